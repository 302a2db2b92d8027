"""The growth of fixtures wider than a test, kept apart from the tests that use them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Set
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.comparisons import name_fixture
from pytest_memalert.measurement import NOTHING_TO_DEDUCT, Deduction, fold
from pytest_memalert.model import FixtureGrowth, Sample
from pytest_memalert.plugin.measuring.guarding import guarded
from pytest_memalert.plugin.measuring.letting_go import LettingGo
from pytest_memalert.probes.malloc import trim_heap
from pytest_memalert.probes.peak import PeakWindow
from pytest_memalert.probes.sampler import Sampler

if TYPE_CHECKING:
    import psutil

__all__ = ["WiderFixtures"]

# pytest makes fixtures of setup_module, setUpClass and their like; this is how it names them.
_MADE_BY_PYTEST = re.compile(r"_?(?:xunit|unittest)_(\w+?)_fixture_(.+)")


# A trim gives pages back, which the tests then touch anew: 0.2 ms (benchmarks/readings.py).
_WORTH_TRIMMING_BYTES = 2**20


class _Span:
    """A set-up or teardown that is under way."""

    __slots__ = ("before", "children", "definition", "modules", "nested", "window")

    def __init__(
        self,
        definition: object,
        before: Sample,
        window: PeakWindow | None,
        children: Set[psutil.Process] = frozenset(),
    ) -> None:
        self.definition = definition
        self.before = before
        self.window = window
        self.children = children
        self.nested = NOTHING_TO_DEDUCT
        self.modules = len(sys.modules)


class WiderFixtures:
    """Measure each set-up and teardown of a class-, module-, package- or session-scoped fixture.

    ``deduction`` sums up what they took since ``start_test``: it isn't the test's own. ``remains`` are those
    torn down since then, with what is left of each. What goes wrong here
    is given to ``report_trouble``, what the project's own fixtures brought in their set-up to ``note``.
    """

    def __init__(
        self,
        sampler: Sampler,
        letting_go: LettingGo,
        *,
        worker: str,
        rootpath: Path,
        report_trouble: Callable[[Exception], None],
        note: Callable[[str, Deduction, int], None] | None = None,
    ) -> None:
        self._sampler = sampler
        self._letting_go = letting_go
        self._report_trouble = report_trouble
        self._note = note
        self._worker = worker
        self._rootpath = rootpath
        self._spans: list[_Span] = []
        self._set_up: dict[int, tuple[FixtureGrowth, Deduction]] = {}
        self._idle: set[str] = set()
        self._torn_down: list[tuple[FixtureGrowth, Deduction]] = []
        self._last: Sample | None = None
        self._freed = NOTHING_TO_DEDUCT
        self._news: list[FixtureGrowth] = []
        self.remains: list[tuple[FixtureGrowth, Deduction]] = []
        self.deduction = NOTHING_TO_DEDUCT

    def start_test(self) -> None:
        """Begin the deduction of another test."""
        self.deduction = NOTHING_TO_DEDUCT
        self._spans.clear()
        self.remains.clear()

    def give_up(self, trouble: Exception) -> None:
        """Forget what is under way, and tell of the trouble."""
        self._spans.clear()
        self._torn_down.clear()
        self.remains.clear()
        self._report_trouble(trouble)

    def take_news(self) -> list[FixtureGrowth]:
        """Return what was measured since the last call: each fixture after set-up, again after teardown."""
        if not self._news:
            return self._news
        news, self._news = self._news, []
        return news

    def left_over(self) -> tuple[list[str], dict[str, float]] | None:
        """Return the fixtures torn down since ``start_test``, and what they left; None where there are none.

        Who left most comes first. The session's don't count, which are set up once; nor those of ``unittest``
        that do nothing.
        """
        kept = [
            (fixture.name, remains)
            for fixture, remains in (*self.remains, *self._torn_down)
            if fixture.scope != "session" and fixture.name not in self._idle
        ]
        if not kept:
            return None
        total = reduce(fold, (remains for _, remains in kept))
        kept.sort(key=lambda each: -_size_bytes(each[1]))
        return [name for name, _ in kept], {
            "blocks_growth": total.blocks,
            "heap_growth_bytes": total.heap_bytes,
            "rss_growth_bytes": total.rss_bytes,
            "duration_s": total.duration_s,
        }

    @guarded
    def begin_setup(self, definition: pytest.FixtureDef[Any]) -> None:
        """Take note that a fixture's set-up begins."""
        peaks = self._sampler.peaks
        window = peaks.open(apart=True) if peaks else None
        children = self._sampler.children
        there = frozenset() if children is None else children.present()
        self._letting_go.before_span()
        self._spans.append(_Span(definition, self._sampler.take(), window, there))

    @guarded
    def end_setup(self, definition: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
        """Take note that a fixture's set-up ended, well or not, and have its teardown announced."""
        if not self._spans or self._spans[-1].definition is not definition:
            return
        span, own = self._end()
        if self._sampler.children is not None:
            self._sampler.children.leave_out_since(span.children)
        peak_bytes = span.window.own_highest_bytes if span.window else None
        fixture = FixtureGrowth(
            name=_name(definition.argname),
            scope=definition.scope,
            location=self._locate(definition),
            worker=self._worker,
            nodeid=request.node.nodeid,
            setup_growth_bytes=_size_bytes(own),
            peak_bytes=(
                None
                if peak_bytes is None or span.before.rss_bytes is None
                else max(0, peak_bytes - span.before.rss_bytes)
            ),
            growth_bytes=None,
        )
        self._set_up[id(definition)] = (fixture, own)
        if _does_nothing(definition, request.node):
            self._idle.add(fixture.name)
        self._news.append(fixture)
        if self._note is not None and (file := self._own_file(definition, request)):
            self._note(name_fixture(fixture.name, file), own, len(sys.modules) - span.modules)
        # Finalizers run last in, first out: this one runs before the fixture's own teardown, and
        # after those of the fixtures that depend on it, which were added later.
        definition.addfinalizer(partial(self._begin_teardown, definition))

    @guarded
    def end_teardown(self, definition: pytest.FixtureDef[Any]) -> None:
        """Take note that a fixture's teardown ended."""
        if self._spans and self._spans[-1].definition is definition:
            _, own = self._end()
            known = self._set_up.pop(id(definition), None)
            if known is not None:
                fixture, brought = known
                self._torn_down.append((fixture, fold(brought, own)))

    @guarded
    def end_test(self) -> None:
        """Measure what the fixtures torn down in this test gave back, now that pytest has let go of them.

        A fixture's value lives on after its teardown, in pytest's cache for a moment and in the
        arguments of the last test that used it until that test's protocol is over. What goes
        then is taken to be what the largest of the fixtures still had.
        """
        if self._torn_down:
            if any(_size_bytes(remained) > _WORTH_TRIMMING_BYTES for _, remained in self._torn_down):
                trim_heap()  # what malloc merely holds on to has not remained
            self._letting_go.before_span()
            self._note_freed(self._sampler.take())
            freed, self._freed = self._freed, NOTHING_TO_DEDUCT
            for fixture, remained in sorted(self._torn_down, key=lambda torn: -_size_bytes(torn[1])):
                given = Deduction(
                    rss_bytes=-max(0, min(freed.rss_bytes, remained.rss_bytes)),
                    heap_bytes=-max(0, min(freed.heap_bytes, remained.heap_bytes)),
                )
                freed = fold(freed, given)
                self.deduction = fold(self.deduction, given)
                remains = fold(remained, given)
                fixture = replace(fixture, growth_bytes=_size_bytes(remains))
                self._news.append(fixture)
                # Single blocks may be the test's as well: they count for suspicion, and for no limit.
                gone = max(0, min(freed.blocks, remained.blocks))
                freed = replace(freed, blocks=freed.blocks - gone)
                self.remains.append((fixture, replace(remains, blocks=remains.blocks - gone)))
        self._torn_down.clear()

    @guarded
    def _begin_teardown(self, definition: pytest.FixtureDef[Any]) -> None:
        self._letting_go.before_span()
        now = self._sampler.take()
        self._note_freed(now)
        self._spans.append(_Span(definition, now, None))

    def _note_freed(self, now: Sample) -> None:
        """Take note of what went since the last teardown ended, outside of any."""
        if self._torn_down and self._last is not None:
            self._freed = fold(self._freed, _difference(now, self._last))

    def _end(self) -> tuple[_Span, Deduction]:
        """Close the innermost span; return it and what was its own."""
        span = self._spans.pop()
        self._letting_go.after_span()
        self._last = self._sampler.take()
        total = _difference(span.before, self._last)
        own = Deduction(
            rss_bytes=total.rss_bytes - span.nested.rss_bytes,
            heap_bytes=total.heap_bytes - span.nested.heap_bytes,
            blocks=total.blocks - span.nested.blocks,
            duration_s=total.duration_s - span.nested.duration_s,
        )
        peaks = self._sampler.peaks
        if peaks is not None and span.window is not None:
            peaks.close(span.window, shift_bytes=own.rss_bytes)
        elif peaks is not None:
            peaks.shift(own.rss_bytes)
        if self._spans:
            self._spans[-1].nested = fold(self._spans[-1].nested, total)
        else:
            self.deduction = fold(self.deduction, total)
        return span, own

    def _own_file(self, definition: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> str | None:
        """Return the project's file that a fixture is of; None where it is a plugin's, or does nothing."""
        if _does_nothing(definition, request.node):
            return None
        if _MADE_BY_PYTEST.fullmatch(definition.argname):
            nodeid: str = request.node.nodeid
            return nodeid.partition("::")[0]
        file = self._locate(definition).rpartition(":")[0]
        return file if file and not Path(file).is_absolute() else None

    def _locate(self, definition: pytest.FixtureDef[Any]) -> str:
        code = getattr(definition.func, "__code__", None)
        if code is None:
            return definition.baseid
        try:
            path = Path(code.co_filename).relative_to(self._rootpath).as_posix()
        except ValueError:
            path = code.co_filename
        return f"{path}:{code.co_firstlineno}"


def _difference(before: Sample, after: Sample) -> Deduction:
    """Return what came between two samples; where the heap is not known, resident memory stands for it."""
    rss_bytes = heap_bytes = blocks = 0
    if before.rss_bytes is not None and after.rss_bytes is not None:
        rss_bytes = heap_bytes = after.rss_bytes - before.rss_bytes
    if before.heap_bytes is not None and after.heap_bytes is not None:
        heap_bytes = after.heap_bytes - before.heap_bytes
    if before.blocks is not None and after.blocks is not None:
        blocks = after.blocks - before.blocks
    duration_s = after.at_s - before.at_s
    return Deduction(rss_bytes=rss_bytes, heap_bytes=heap_bytes, blocks=blocks, duration_s=duration_s)


def _size_bytes(taken: Deduction) -> int:
    return max(taken.rss_bytes, taken.heap_bytes)


def _does_nothing(definition: pytest.FixtureDef[Any], node: pytest.Collector) -> bool:
    """Return whether pytest made a fixture of what a class has from ``unittest`` itself."""
    return _MADE_BY_PYTEST.fullmatch(definition.argname) is not None and _inherits_set_up(node)


def _inherits_set_up(node: pytest.Collector) -> bool:
    """Return whether a class has ``setUpClass`` and ``tearDownClass`` from ``unittest`` itself."""
    made_for = getattr(node, "obj", None)
    base = getattr(sys.modules.get("unittest"), "TestCase", None)
    if base is None or not isinstance(made_for, type) or not issubclass(made_for, base):
        return False
    return all(
        getattr(getattr(made_for, name), "__func__", None) is getattr(base, name).__func__
        for name in ("setUpClass", "tearDownClass")
    )


def _name(argname: str) -> str:
    match = _MADE_BY_PYTEST.fullmatch(argname)
    return f"{match.group(1)} of {match.group(2)}" if match else argname
