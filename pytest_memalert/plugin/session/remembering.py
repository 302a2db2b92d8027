"""Remember a run: in the history, with what became of the alerts known from before."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.errors import HistoryError, describe_exception
from pytest_memalert.model import AlertLife, Run
from pytest_memalert.plugin.given.destinations import history_path
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.rules import find_idle_rules

if TYPE_CHECKING:
    from pytest_memalert.history import Past

__all__ = ["find_gone", "note_idle", "remember"]


def remember(
    config: pytest.Config,
    given: Given,
    run: Run,
    whole: Mapping[str, float],
    *,
    others: Collection[str] | None,
    warn: Callable[[str], None],
) -> tuple[AlertLife, ...]:
    """Write the run into the history; return the lives of alerts that it changed.

    ``whole`` has the values of the session (``measurement.values_of_worst``), ``others`` are the tests
    that were collected and not measured, None where some may not have been collected.
    Where the history is off, or can't be written (of which ``warn`` is told), each alert is new.
    """
    path = history_path(config, given.settings)
    if path is None and not run.alerts:
        return ()
    # SQLite takes longer to load than all else here: a session that remembers nothing goes without.
    from pytest_memalert.history import WHOLE_SHARE, Keep, Past, write_history
    from pytest_memalert.lives import evolve

    settings, at = given.settings, utc_now()

    def gone_since(past: Past) -> frozenset[str]:
        """Return the tests of open alerts that don't exist any more, as far as that is sure."""
        open_lives = [life for life in past.lives.values() if life.resolved_at is None]
        # Without "::" it stands for the session, and for no test.
        named = {nodeid for life in open_lives for nodeid in life.alert.nodeids if "::" in nodeid}
        if others is None or not named:
            return frozenset()
        collected = {*others, *(test.nodeid for test in run.tests)}
        gone = find_gone(named - collected, collected, config.rootpath)
        return frozenset(nodeid for nodeid in gone if not _may_be_off(nodeid, collected, config.rootpath))

    def lives_after(past: Past) -> Iterable[AlertLife]:
        return evolve(
            past.lives,
            run,
            rules=settings.rules,
            leaks=settings.leaks,
            at=at,
            is_whole=len(run.tests) >= WHOLE_SHARE * past.most_tests,
            gone=gone_since(past),
            since=lambda known: {test.nodeid for test in run.tests} - past.tests_until(known),
        )

    if path is not None and (run.tests or run.alerts):
        try:
            return write_history(
                path,
                lambda history: history.record(
                    run,
                    session=whole,
                    leaks=settings.leaks,
                    evolve=lives_after,
                    keep=Keep(
                        max_age_s=settings.history_max_age_s,
                        max_runs=settings.history_max_runs,
                        max_bytes=settings.history_max_bytes,
                    ),
                ),
                warn=warn,
                at=at,
            )
        except HistoryError as trouble:
            warn(f"memalert could not remember this run: {trouble}")
        except Exception as trouble:  # whatever it is, it is ours and not the tests'
            warn(f"memalert could not remember this run ({describe_exception(trouble)})")
    return tuple(lives_after(Past(lives={})))


def find_gone(missing: Collection[str], collected: Collection[str], rootpath: Path) -> frozenset[str]:
    """Return which tests that were not collected don't exist any more.

    Of a file that is there and of which nothing was collected they may: a conftest.py or an option leaves it
    out, or it was skipped. So may a doctest where no doctest of its file was collected.
    """
    parts = {_part_of(nodeid) for nodeid in collected} if missing else set()
    return frozenset(
        nodeid
        for nodeid in missing
        if _part_of(nodeid) in parts or not (rootpath / _part_of(nodeid)[0]).exists()
    )


def _part_of(nodeid: str) -> tuple[str, bool]:
    """Return the file of a test, and whether it is one of the doctests, whose names have dots."""
    file, _, name = nodeid.partition("::")
    return file, "." in name.partition("[")[0]


def _may_be_off(nodeid: str, collected: Collection[str], rootpath: Path) -> bool:
    """Return whether the function of a test that wasn't collected is there: an option may bring it back."""
    function = nodeid.partition("[")[0]
    if any(other.partition("[")[0] == function for other in collected):
        return True  # with other parameters
    try:
        text = (rootpath / _part_of(nodeid)[0]).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return re.search(rf"\b{re.escape(re.split('::|[.]', function)[-1])}\b", text) is not None


def note_idle(config: pytest.Config, given: Given, run: Run) -> Run:
    """Return the run with a note for each rule that no test was for, and each idle acknowledgment."""
    option = config.option
    chosen = [getattr(option, name, None) for name in ("keyword", "markexpr", "lf", "deselect")]
    is_whole = not any(chosen) and config.args_source is not pytest.Config.ArgsSource.ARGS
    notes = find_idle_rules(given.settings.rules, run.tests) if is_whole and run.tests else ()
    if given.acknowledgments:
        from pytest_memalert.acknowledgments import find_idle

        notes += find_idle(given.acknowledgments, run, today=utc_now().date(), is_whole=is_whole)
    return replace(run, notes=(*run.notes, *notes)) if notes else run
