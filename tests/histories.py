"""Histories for tests: runs with the values that a test says, remembered as a session would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pytest_memalert.history import SESSION, Keep, write_history
from pytest_memalert.model import Measurement, Overhead, Run
from pytest_memalert.plugin.environment import this_environment

START = datetime(2026, 11, 1, tzinfo=timezone.utc)
KEEP = Keep(max_age_s=1e12, max_runs=1000, max_bytes=10**9)


def remember(path: Path, runs: Sequence[Mapping[str, float]], *, metric: str = "peak_bytes") -> None:
    """Write runs of this environment, a run a day, each with a metric's values by node id."""

    def fail(warning: str) -> None:
        raise AssertionError(warning)

    for number, values in enumerate(runs):
        at = START + timedelta(days=number)
        run = Run(
            run_id=f"run{number}",
            started_at=at,
            duration_s=1.0,
            environment=this_environment(traced=False),
            overhead=Overhead(),
            reruns=0,
            tests=tuple(
                Measurement(
                    nodeid=nodeid,
                    worker="main",
                    outcome="passed",
                    component="test_a.py",
                    rss_before_bytes=None,
                    values={metric: value},
                )
                for nodeid, value in values.items()
                if nodeid != SESSION
            ),
            fixtures=(),
            alerts=(),
            notes=(),
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
