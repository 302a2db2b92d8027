"""What a process needed as a whole, the tests' own further runs taken out."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.collector import collect_all
from pytest_memalert.comparisons import COLLECTION, SESSION
from pytest_memalert.errors import describe_exception
from pytest_memalert.gate.baseline import ALLOCATED, COMPILED, IMPORTED
from pytest_memalert.measurement import Deduction
from pytest_memalert.model import Sample
from pytest_memalert.plugin.facts import WHOLE
from pytest_memalert.plugin.imports import globals_of
from pytest_memalert.plugin.measuring.guarding import guarded
from pytest_memalert.plugin.pytest_internals import is_in_pytests_order
from pytest_memalert.plugin.telling import tell_trouble
from pytest_memalert.probes.malloc import fix_thresholds, refuse_huge_pages, trim_heap
from pytest_memalert.probes.memory import open_blocks_reader, open_heap_reader, open_rss_reader, read_nothing

__all__ = ["WholeProcess", "least_of_each", "measured_conftests"]

# Following a leak so long and explaining it leaves a heap full of holes: click's process is 9 MiB larger
# at its end, though nothing but the leak is left in it.
_MANY_RUNS = 100


_CONFTESTS = pytest.StashKey[int]()


@contextmanager
def measured_conftests(config: pytest.Config) -> Iterator[None]:
    """Measure what is imported meanwhile, to be counted with what the collection imports."""
    read_heap = open_heap_reader() or read_nothing
    collect_all()
    before = read_heap()
    yield
    collect_all()
    after = read_heap()
    if before is not None and after is not None:
        config.stash[_CONFTESTS] = after - before


class WholeProcess:
    """Sum up the process: registered only where a baseline is saved or held against.

    Confirming a test that leaves something behind, or measuring it for the baseline, leaves a process
    larger than the suite alone would: what such further runs brought is read around them and deducted.
    Of any other test's nothing is: what its further runs fill (a cache) the suite would have filled later.
    """

    def __init__(self, config: pytest.Config) -> None:
        # Else the peak of a test depends on what was freed before it, in this run or that.
        fix_thresholds()
        refuse_huge_pages()
        self._config = config
        self._read_rss = open_rss_reader()
        self._read_heap = open_heap_reader() or read_nothing
        self._read_blocks = open_blocks_reader() or read_nothing
        self._collection_began: int | None = None
        self._collected: int | None = None
        self._shift_rss = 0
        self._shift_heap = 0
        self._tracing_left_bytes = 0
        self._peak: float | None = None
        self._has_holes = False
        self._has_failed = False
        self._compiled = 0
        self._deselected: frozenset[str] = frozenset()
        self._in_order = True
        self._fixtures: dict[str, dict[str, float]] = {}
        #: Every test that there is, those that were deselected included.
        self.nodeids: frozenset[str] = frozenset()

    def give_up(self, trouble: Exception) -> None:
        """Have nothing to say of the process, and tell why."""
        self._has_failed = True
        told = f"memalert could not measure the process as a whole ({describe_exception(trouble)})"
        tell_trouble(self._config, f"{told}; what a baseline has of it is not compared")

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_collection(self) -> None:
        """Read the heap before anything is imported for the tests."""
        collect_all()
        self._collection_began = self._read_heap()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, None, None]:
        """Take note of all tests, before any are deselected, of those that are, and of their order.

        A conftest.py may drop tests without a call of pytest_deselected.
        """
        collected = tuple(items)
        yield
        self._learn_collected(collected, items)

    @guarded
    def _learn_collected(self, collected: Sequence[pytest.Item], items: Sequence[pytest.Item]) -> None:
        self.nodeids = frozenset(item.nodeid for item in collected)
        self._deselected = self.nodeids.difference(item.nodeid for item in items)
        self._in_order = is_in_pytests_order(items, collected)

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_collection_finish(self) -> None:
        """Read the heap after the imports; garbage of the collection is not theirs."""
        self._compiled = _count_compiled()
        collect_all()
        heap = self._read_heap()
        if heap is not None and self._collection_began is not None:
            self._collected = heap - self._collection_began + self._config.stash.get(_CONFTESTS, 0)

    def pytest_sessionfinish(self) -> None:
        """Tell the controller, where that is another process."""
        if hasattr(self._config, "workerinput"):
            self._config.workeroutput[WHOLE] = self.sum_up()  # type: ignore[attr-defined]

    def note_test(
        self, values: Mapping[str, float], before_bytes: int | None, *, usual_peak_bytes: int | None
    ) -> None:
        """Take note of a test's own run, which began at a level of resident memory.

        For the session its peak is what it has as a rule: by itself it is held against its own baseline,
        and peaks that differ from run to run (threads, random data) would make the session differ.
        """
        if "rss_peak_bytes" not in values or before_bytes is None or self._has_holes:
            return
        peak_bytes = values["rss_peak_bytes"]
        # What a wider fixture reached counts as it is.
        if usual_peak_bytes is not None and peak_bytes <= before_bytes + values["peak_bytes"]:
            peak_bytes = before_bytes + usual_peak_bytes
        self._peak = max(self._peak or 0, peak_bytes - self._shift_rss)

    def note_fixture(self, name: str, brought: Deduction, modules: int) -> None:
        """Take note of what the set-up of a wider fixture brought: of several, what each brings at least."""
        values: dict[str, float] = {
            "setup_bytes": brought.heap_bytes,
            "setup_blocks": brought.blocks,
            IMPORTED: modules,
        }
        least_of_each(self._fixtures.setdefault(name, values), values)

    def note_reruns(
        self, before: Sample | None, *, runs: int, retains: bool, tracing_left_bytes: int
    ) -> None:
        """Take note of what a test's further runs brought since its own run ended.

        That is all there is more of where each run ``retains`` something, else what tracing left. After a
        leak that was followed for long, resident memory says no more of the suite; the heap does.
        """
        self._has_holes |= retains and runs >= _MANY_RUNS
        traced_bytes = tracing_left_bytes - self._tracing_left_bytes
        self._tracing_left_bytes = tracing_left_bytes
        if not retains or before is None or before.rss_bytes is None:
            self._shift_rss += traced_bytes
            self._shift_heap += traced_bytes
            return
        trim_heap()
        rss, heap = self._read_rss(), self._read_heap()
        if rss is not None:
            self._shift_rss += rss - before.rss_bytes
        if heap is not None and before.heap_bytes is not None:
            self._shift_heap += heap - before.heap_bytes

    @guarded
    def sum_up(self) -> dict[str, Any] | None:
        """Return the figures of the process, as plain values; None where they could not all be had."""
        if self._has_failed:
            return None
        collect_all()
        trim_heap()
        rss, heap = self._read_rss(), self._read_heap()
        return {
            "deselected": sorted(self._deselected),
            "in_order": self._in_order,
            "fixtures": self._fixtures,
            COLLECTION: (
                {}
                if self._collected is None
                else {"heap_growth_bytes": self._collected, COMPILED: self._compiled}
            ),
            SESSION: {
                name: value
                for name, value in (
                    ("rss_peak_bytes", self._peak),
                    ("rss_bytes", None if rss is None or self._has_holes else rss - self._shift_rss),
                    (COMPILED, self._compiled),
                    (ALLOCATED, self._read_blocks()),
                    ("heap_bytes", None if heap is None else heap - self._shift_heap),
                )
                if value is not None
            },
        }


def least_of_each(known: dict[str, float], values: Mapping[str, float]) -> None:
    """Lower what is known of a fixture to what it brought another time: the first time fills caches."""
    for metric, value in values.items():
        known[metric] = min(value, known[metric])


def _count_compiled() -> int:
    """Return how many modules were compiled in this process, and not loaded from their cache."""
    count = 0
    started_at = _started_at()
    for module in tuple(sys.modules.values()):
        spec = globals_of(module).get("__spec__")
        cached = spec.cached if type(spec) is ModuleSpec else None
        if not isinstance(cached, str) or not cached.endswith(".pyc"):
            continue
        # pytest keeps the modules whose assertions it rewrites under a name of its own.
        for path in (cached, f"{cached[:-4]}-pytest-{pytest.__version__}.pyc"):
            try:
                if os.stat(path).st_mtime < started_at:  # noqa: PTH116 - a thousand of them
                    break
            except OSError:
                continue
        else:
            count += 1
    return count


def _started_at() -> float:
    """Return when this process started, in seconds of the wall clock.

    psutil's answer lies up to a second too early on Linux, whose time of boot is in whole seconds: files
    compiled by an installer just before would count as compiled here. The age is exact to a tick.
    """
    import psutil

    created_at = psutil.Process().create_time()
    try:
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        text = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        age_s = uptime_s - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return created_at
    started_at = utc_now().timestamp() - age_s
    # Some containers have an uptime of their own, which has nothing to do with the ticks.
    return started_at if abs(started_at - created_at) < 2 else created_at
