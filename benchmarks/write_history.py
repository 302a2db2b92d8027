"""Measure what remembering a run costs at the end of a session, and what it takes on the disk.

    python benchmarks/write_history.py [--tests 60000] [--runs 5]

Prints Markdown: CPU seconds of each write, the first into a new file, and the size of the file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from kill_history import KEEP_ALL, make_run

from pytest_memalert.history import write_history
from pytest_memalert.lives import evolve
from pytest_memalert.measurement import values_of_worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=60_000, help="tests of each run")
    parser.add_argument("--runs", type=int, default=5, help="runs to write")
    options = parser.parse_args(arguments)
    print("| run | CPU seconds | of which the session's own values | bytes of file |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.sqlite3"
        for number in range(1, options.runs + 1):
            run = make_run(uuid.uuid4().hex, options.tests)
            began_s = cpu_s()
            session = values_of_worst(run.tests)
            judged_s = cpu_s()
            write_history(
                path,
                lambda history, run=run, session=session: history.record(
                    run,
                    session=session,
                    leaks="suspects",
                    evolve=lambda past: evolve(
                        past.lives, run, rules=(), leaks="suspects", at=run.started_at
                    ),
                    keep=KEEP_ALL,
                ),
                warn=print,
                at=run.started_at,
            )
            row = f"{cpu_s() - began_s:.2f} | {judged_s - began_s:.2f} | {path.stat().st_size:,}"
            print(f"| {number} | {row} |")
    return 0


def cpu_s() -> float:
    """Return the processor time of this process, in seconds."""
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    sys.exit(main())
