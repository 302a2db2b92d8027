"""The baseline as the controller keeps it: written at the end of a session, or held against its tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.comparisons import COLLECTION, SESSION, is_fixture, is_whole, tell
from pytest_memalert.files import locked, replace_text
from pytest_memalert.gate.allowances import widen_for_new_tests, widen_for_order
from pytest_memalert.gate.baseline import (
    COMPILED,
    IMPORTED,
    WHOLE_METRICS,
    Baseline,
    Entry,
    render_baseline,
    summarize,
    update_baseline,
)
from pytest_memalert.gate.comparing import (
    compare,
    compare_whole,
    is_unsteady,
    keep_written,
    settle,
    why_unlike,
)
from pytest_memalert.gate.regressions import judge
from pytest_memalert.model import Comparison, GateResult, Measurement, Note, PerformanceAlert, make_id
from pytest_memalert.plugin.facts import WHOLE, Facts
from pytest_memalert.plugin.given.gate import GateGiven, read_saved
from pytest_memalert.plugin.measuring.whole import least_of_each
from pytest_memalert.plugin.session.remembering import find_gone
from pytest_memalert.records import record
from pytest_memalert.units import listed

__all__ = ["Keeper", "Saved"]

_NAMED = 10


@record(frozen=True, slots=True, kw_only=True)
class Saved:
    """Hold what saving changed."""

    name: str
    tests: int
    once: int = 0
    unsteady: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return what the user is told."""
        text = f"memalert: saved what {self.tests:,} {'test needs' if self.tests == 1 else 'tests need'}"
        lines = [f"{text} to {self.name} ({len(self.new):,} of them new)"]
        if self.once:
            ran = "ran once, since it" if self.once == 1 else "ran once each, since they"
            lines.append(
                f"{self.once:,} of them {ran} can't or mustn't be run again: the gate fails none of these"
            )
        if self.unsteady:
            wants = "1 of them needs" if len(self.unsteady) == 1 else f"{len(self.unsteady):,} of them need"
            named = _name(self.unsteady)
            lines.append(f"{wants} more in one run than in another, and the gate allows as much: {named}")
        if self.gone:
            lines.append(f"dropped from it, since they don't exist any more: {_name(self.gone)}")
        return lines


class Keeper:
    """Gather what concerns the baseline over a session, and conclude from it."""

    def __init__(self, config: pytest.Config, given: GateGiven) -> None:
        self._config = config
        self._given = given
        self._comparisons: dict[str, tuple[Comparison, ...]] = {}
        self._entries: dict[str, Entry] = {}
        self._renamed: dict[str, str] = {}
        self._measured: set[str] = set()
        self._failed: set[str] = set()
        self._skipped: set[str] = set()
        self._uncollected: set[str] = set()
        self._wholes: list[dict[str, Any]] = []
        self._missing_wholes = False
        self._deselected: set[str] = set()
        self._unjudged: set[str] = set()
        self.notes: list[Note] = []

    def gather(self, nodeid: str, facts: Facts) -> None:
        """Take in what a worker found about a test; of one that ran twice, what it found last."""
        for known in (self._comparisons, self._entries, self._renamed):
            known.pop(nodeid, None)
        for names in (self._measured, self._failed, self._skipped, self._unjudged):
            names.discard(nodeid)
        if facts.unjudged:
            self._unjudged.add(nodeid)
        if facts.measurement is None:
            self._skipped.add(nodeid)
            return
        self._measured.add(nodeid)
        if facts.comparisons:
            self._comparisons[nodeid] = tuple(facts.comparisons)
        if facts.entry is not None:
            self._entries[nodeid] = facts.entry
        if facts.renamed_from is not None:
            self._renamed[nodeid] = facts.renamed_from
        # One that failed by an alert of ours (a leak that is not new) was held against it like any other.
        if not facts.passed:
            self._failed.add(nodeid)

    def note_collection(self, report: pytest.CollectReport) -> None:
        """Take note of what was skipped as a whole: the tests in it may well exist."""
        self._uncollected.add(report.nodeid)

    def note_process(self, output: Mapping[str, Any]) -> None:
        """Take in what an xdist worker says of its process; empty of one that said nothing (it crashed)."""
        whole = output.get(WHOLE)
        if whole is None:
            self._missing_wholes = True
        else:
            self._wholes.append(whole)
            self._deselected.update(whole["deselected"])

    @property
    def is_distributed(self) -> bool:
        """Return whether xdist's workers run the tests; --dist alone, without -n, distributes nothing."""
        return self._config.pluginmanager.has_plugin("dsession")

    @property
    def unjudged(self) -> int:
        """Return how many tests trouble of ours kept from being held against the baseline."""
        return 0 if self._given.saves else len(self._unjudged)

    # ----------------------------------------------------------- held against it

    def hold(
        self, tests: Sequence[Measurement], *, ran_whole: bool
    ) -> tuple[GateResult, tuple[PerformanceAlert, ...]]:
        """Return how the session compares with the baseline, and the alerts that no test has raised.

        ``ran_whole`` says that each test of what was asked for, unless deselected, came to its end.
        """
        given = self._given
        partial = not (ran_whole and self._has_all(self._known()))
        skipped = {nodeid for nodeid in self._known() if self._is_uncollected(nodeid)}
        result = compare(
            tests,
            given.baseline,
            key=given.key,
            path=given.name,
            strict=given.strict,
            partial=partial,
            confirmed=[each for found in self._comparisons.values() for each in found],
            renamed=[(old, new) for new, old in self._renamed.items()],
            uncompared={*self._skipped, *self._failed, *skipped},
        )
        worse = any(each.status == "regression" for each in result.comparisons)
        if partial or result.refusal:
            return result, ()  # a whole is like another one only where its parts are
        entries = given.baseline.environments[given.key]
        has_new = bool(result.new or result.renamed)
        allowances = widen_for_new_tests(given.allowances) if has_new else given.allowances
        if has_new or result.missing or not self._comes_in_order():
            allowances = widen_for_order(allowances)
        failed = sum(nodeid in self._failed for nodeid in result.uncompared)
        found: list[Comparison] = []
        compared: list[str] = []
        for nodeid, values in self._whole_values().items():
            is_part = nodeid == COLLECTION or is_fixture(nodeid)
            # What a test keeps that got worse, it told itself.
            if nodeid not in entries or (worse and not is_part):
                continue
            why, names = why_unlike(entries[nodeid], values), f"{nodeid} and collection are"
            if why is None and failed and not is_part:
                # Tracebacks hold what was alive where they were raised.
                why, names = f"{failed:,} of its tests failed or were expected to", f"{nodeid} is"
            if why is None:
                compared.append(nodeid)
                found += compare_whole(nodeid, entries[nodeid], allowances, values)
            elif is_fixture(nodeid):
                for each in compare_whole(nodeid, entries[nodeid], allowances, values):
                    if each.status == "regression":
                        text = f"{nodeid}: {tell(each)}; not held against it: {why}"
                        self.notes.append(Note(kind="unclear", nodeid=None, text=text))
            elif not is_part:
                text = f"{names} not compared with {given.name}: {why}"
                self.notes.append(Note(kind="no_data", nodeid=None, text=text))
        if has_new or result.missing or result.uncompared:
            # Without all its tests a session needs less: that is nothing to lock in.
            found = [each for each in found if each.status == "regression"]
        whole = replace(result, comparisons=tuple(found), new=())
        result = replace(result, comparisons=(*result.comparisons, *found), wholes=tuple(compared))
        return result, judge(whole, raised_at=utc_now(), make_id=make_id)

    # ------------------------------------------------------------------ saving

    def save(self, *, ran_whole: bool) -> Saved:
        """Write what was measured; raise OSError or MemalertError where that can't be done."""
        given = self._given
        path = given.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            # Read again: another session may have saved meanwhile, and loses nothing.
            found = read_saved(path, given.name) or Baseline()
            known = found.environments.get(given.key, {})
            tests = {nodeid for nodeid in known if not is_whole(nodeid)}
            collected = {*self._measured, *self._skipped, *self._deselected}
            whole = ran_whole and self._has_all(tests)
            missing = {nodeid for nodeid in tests - collected if whole and not self._is_uncollected(nodeid)}
            gone = find_gone(missing, collected, self._config.rootpath)
            new = {*self._entries} - tests
            entries = {
                nodeid: keep_written(known[nodeid], entry, given.allowances.for_test(nodeid))
                if nodeid in known
                else entry
                for nodeid, entry in self._entries.items()
            }
            stale: set[str] = set()
            if gone or new:
                stale = {nodeid for nodeid in known if is_whole(nodeid)}
            if whole and {*tests, *new} - gone == {*self._entries}:
                stale |= {*filter(is_fixture, known)}  # those that are still there are written
                for nodeid, values in self._whole_values().items():
                    entry = summarize([values], WHOLE_METRICS)
                    if is_fixture(nodeid):
                        entry = settle(entry, given.allowances.of_session)
                    if nodeid in known:
                        entry = keep_written(known[nodeid], entry, given.allowances.of_session)
                    entries[nodeid] = entry
            changed = update_baseline(found, given.key, {}, gone={*gone, *stale})
            replace_text(path, render_baseline(update_baseline(changed, given.key, entries)))
        return Saved(
            name=given.name,
            tests=len(self._entries),
            once=sum(entry.once for entry in self._entries.values()),
            unsteady=tuple(sorted(nodeid for nodeid in self._entries if is_unsteady(entries[nodeid]))),
            new=tuple(sorted(new)),
            gone=tuple(sorted(gone)),
        )

    # ---------------------------------------------------------------- the whole

    def _known(self) -> list[str]:
        entries = self._given.baseline.environments.get(self._given.key, {})
        return [nodeid for nodeid in entries if not is_whole(nodeid)]

    def _is_uncollected(self, nodeid: str) -> bool:
        """Return whether a test may exist, though it was not collected."""
        parents = [*self._uncollected, *self._folders(self._config.getoption("ignore") or ())]
        return _is_below(nodeid, parents)

    def _has_all(self, tests: Iterable[str]) -> bool:
        """Return whether these tests were asked for, none was deselected, and no process is missing."""
        if self._missing_wholes or not self._wholes:
            return False
        folders = self._folders(self._config.args)
        return all(_is_below(nodeid, folders) and nodeid not in self._deselected for nodeid in tests)

    def _folders(self, paths: Iterable[str]) -> list[str]:
        """Return files and folders as node ids begin with them."""
        folders = []
        for text in paths:
            path = (self._config.invocation_params.dir / str(text)).resolve()
            try:
                folders.append(path.relative_to(self._config.rootpath.resolve()).as_posix())
            except ValueError:
                continue  # nothing below the root is in it
        return folders

    def _whole_values(self) -> dict[str, dict[str, float]]:
        """Return the figures of session, collection and wider fixtures.

        Of several processes, each the largest; of a fixture the least, which is without what came first.
        """
        name = f"{SESSION} of {len(self._wholes)} workers" if self.is_distributed else SESSION
        found: dict[str, dict[str, float]] = {}
        for whole in self._wholes:
            for nodeid, values in ((name, whole[SESSION]), (COLLECTION, whole[COLLECTION])):
                known = found.setdefault(nodeid, {})
                for metric, value in values.items():
                    known[metric] = max(value, known.get(metric, 0))
            for nodeid, values in whole["fixtures"].items():
                least_of_each(found.setdefault(nodeid, dict(values)), values)
        for values in found.values():
            if values.get(IMPORTED):  # then it matters whether the modules had to be compiled
                values[COMPILED] = found.get(COLLECTION, {}).get(COMPILED, 0)
        return {nodeid: values for nodeid, values in found.items() if values}

    def _comes_in_order(self) -> bool:
        """Return whether the tests ran as pytest orders them, in one process."""
        return len(self._wholes) == 1 and self._wholes[0]["in_order"]


def _name(nodeids: Sequence[str]) -> str:
    return listed(nodeids[:_NAMED], len(nodeids))


def _is_below(nodeid: str, folders: Sequence[str]) -> bool:
    return any(folder in ("", ".") or nodeid.startswith((f"{folder}/", f"{folder}::")) for folder in folders)
