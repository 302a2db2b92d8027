"""Histories for tests: runs with the values that a test says, remembered as a session would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pytest_memalert.comparisons import SESSION
from pytest_memalert.history import Keep, write_history
from pytest_memalert.plugin.given.environment import this_environment
from tests.makers import make_run, make_test

START = datetime(2026, 11, 1, tzinfo=timezone.utc)
KEEP = Keep(max_age_s=1e12, max_runs=1000, max_bytes=10**9)


def remember(path: Path, runs: Sequence[Mapping[str, float]], *, metric: str = "peak_bytes") -> None:
    """Write runs of this environment, a run a day, each with a metric's values by node id."""

    def fail(warning: str) -> None:
        raise AssertionError(warning)

    for number, values in enumerate(runs):
        at = START + timedelta(days=number)
        run = make_run(
            run_id=f"run{number}",
            started_at=at,
            environment=this_environment(traced=False),
            tests=tuple(
                replace(make_test(nodeid), values={metric: value})
                for nodeid, value in values.items()
                if nodeid != SESSION
            ),
            commit=f"{number:07x}c0ffee",
        )
        session = {metric: values[SESSION]} if SESSION in values else {}
        write_history(
            path,
            lambda history, run=run, session=session: history.record(  # type: ignore[misc]
                run, session=session, leaks="off", evolve=lambda past: (), keep=KEEP
            ),
            warn=fail,
            at=at,
        )
