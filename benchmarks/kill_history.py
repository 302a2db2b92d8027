"""Kill sessions while they write the history, and look at what is left of it.

    python benchmarks/kill_history.py [--kills 200] [--writers 2] [--tests 300]

In each round some processes write runs into one file, as fast as they can; each prints a run's
name once it is committed. At a moment of chance all are killed with SIGKILL. Then the file is read: every
run ever reported as committed must be in it, whole, and SQLite must find nothing wrong.
Prints Markdown; ends with 1 where anything was lost.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pytest_memalert.errors import HistoryError
from pytest_memalert.history import Keep, read_history, write_history
from pytest_memalert.lives import evolve
from pytest_memalert.model import (
    AlertCategory,
    AlertCondition,
    AlertSeverity,
    Environment,
    Measurement,
    Overhead,
    PerformanceAlert,
    Run,
)

KEEP_ALL = Keep(max_age_s=1e12, max_runs=10**9, max_bytes=10**12)
_LONGEST_WAIT_S = 0.15


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, check and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="how many processes to kill")
    parser.add_argument("--writers", type=int, default=2, help="how many write at once")
    parser.add_argument("--tests", type=int, default=300, help="tests of each run")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.write:
        write_on(options.write, options.tests)
    with tempfile.TemporaryDirectory() as folder:
        return kill_on(Path(folder) / "h" / "history.sqlite3", options.kills, options.writers, options.tests)


def kill_on(path: Path, kills: int, writers: int, tests: int) -> int:
    """Kill writers round by round, check the file after each, print what was seen."""
    committed: set[str] = set()
    killed = in_the_middle = rounds = 0
    lost: set[str] = set()
    broken: list[str] = []
    while killed < kills:
        rounds += 1
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--write", str(path), "--tests", str(tests)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(min(writers, kills - killed))
        ]
        heard = [process.stdout.readline() for process in processes]  # all of them have begun
        time.sleep(int.from_bytes(os.urandom(4), "big") / 2**32 * _LONGEST_WAIT_S)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process, first in zip(processes, heard, strict=True):
            lines = [first, *process.communicate()[0].splitlines(keepends=True)]
            # A line without its end was cut off by the signal: nothing was promised yet.
            whole = [line.split() for line in lines if line.endswith("\n")]
            committed |= {name for word, name in whole if word == "committed"}
            in_the_middle += bool(whole) and whole[-1][0] == "writing"
            killed += 1
        found, trouble = look(path, tests) if path.exists() else (set(), [])
        lost |= committed - found
        broken += trouble
    print("| killed | in the middle of a run's writing | runs committed | lost | troubles of the file |")
    print("|---|---|---|---|---|")
    print(f"| {killed} | {in_the_middle} | {len(committed):,} | {len(lost)} | {len(broken)} |")
    print(f"\n{rounds} rounds of {writers} writers, {tests} tests in each run, {path.stat().st_size:,} bytes")
    for trouble in broken[:10]:
        print(trouble)
    return 1 if lost or broken else 0


def look(path: Path, tests: int) -> tuple[set[str], list[str]]:
    """Return the runs in the file, and everything that is wrong with it."""
    trouble = []
    try:
        with read_history(path) as history:
            found = {run.run_id for run in history.runs()}
            times = sum(life.times for life in history.lives())
            # Each transaction counts its run once: run and life are written together or not at all.
            if times != len(found):
                trouble.append(f"{len(found)} runs, but the alert was seen {times} times")
        connection = sqlite3.connect(path)
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        rows = connection.execute("SELECT run, count(*) FROM figures GROUP BY run").fetchall()
        connection.close()
    except HistoryError as error:
        # Killed before the first file was made, nothing can have been committed.
        return set(), [] if "there is no history" in str(error) else [str(error)]
    except Exception as error:
        return set(), [f"{type(error).__name__}: {error}"]
    if verdict != "ok":
        trouble.append(verdict)
    # One more: the session's.
    trouble += [f"run {run} has {count} figures" for run, count in rows if count != tests + 1]
    return found, trouble


def write_on(path: Path, tests: int) -> None:
    """Write runs until killed."""
    while True:
        run = make_run(uuid.uuid4().hex, tests)
        print("writing", run.run_id, flush=True)
        write_history(
            path,
            lambda history, run=run: history.record(
                run,
                session={"duration_s": 1.0},
                leaks="suspects",
                evolve=lambda past: evolve(past.lives, run, rules=(), leaks="suspects", at=run.started_at),
                keep=KEEP_ALL,
            ),
            warn=lambda text: print("warned", text.replace(" ", "_"), flush=True),
            at=run.started_at,
        )
        print("committed", run.run_id, flush=True)


def make_run(run_id: str, tests: int) -> Run:
    """Return a run of so many tests, with the metrics that each test has, and one alert."""
    now = datetime.now(timezone.utc)
    measurements = tuple(
        Measurement(
            nodeid=f"tests/unit/test_module_{number // 50}.py::TestThing::test_does_{number % 50}",
            worker="main",
            outcome="passed",
            component="tests/unit",
            rss_before_bytes=60_000_000 + number,
            values={
                "rss_bytes": 60_000_000 + number,
                "rss_peak_bytes": 61_000_000 + number,
                "rss_growth_bytes": 0,
                "growth_bytes": number % 7 * 4096,
                "peak_bytes": number % 5 * 4096,
                "heap_growth_bytes": number % 11 * 16,
                "blocks_growth": number % 13,
                "growth_rate_bytes_per_s": number / 3,
                "efficiency_ratio": 0.98,
                "duration_s": 0.0012345678 + number / 1e6,
            },
        )
        for number in range(tests)
    )
    alert = PerformanceAlert(
        id=run_id[:12],
        fingerprint="3f2c1e9a0b12",
        rule="leak",
        category=AlertCategory.MEMORY_LEAK,
        severity=AlertSeverity.WARNING,
        component="tests/unit",
        nodeids=(measurements[0].nodeid,),
        metric="leak_bytes_per_run",
        observed=1536,
        limit=0,
        condition=AlertCondition.GREATER_THAN,
        message=f"{measurements[0].nodeid}: leaks 1.5 KiB per run",
        raised_at=now,
    )
    return Run(
        run_id=run_id,
        started_at=now,
        duration_s=1.0,
        environment=Environment(
            implementation="CPython",
            python="3.11.7",
            platform="Linux",
            machine="x86_64",
            traced=False,
            memalert="0.1.0",
        ),
        overhead=Overhead(tests_s=1.0),
        reruns=0,
        tests=measurements,
        fixtures=(),
        alerts=(alert,),
        notes=(),
    )


if __name__ == "__main__":
    sys.exit(main())
