"""Count the bytecodes that the plugin adds to each empty test, by function: what to make cheaper next.

    python benchmarks/bytecodes.py                                    # with --memalert --memalert-leaks=off
    python benchmarks/bytecodes.py --memalert                         # with other options

Two suites that differ in 100 empty tests, each with the plugin and without; the difference of the differences
is what a test costs, its share of the session's end included. The count is the same in every run, whatever
else the machine does, but for readings that are rationed by time. It sees no work that is done in C: neither
the kernel's nor SQLite's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = (50, 150)
LEAST = 5.0

_EMPTY = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_nothing(number):
    pass
"""


def main(arguments: list[str]) -> int:
    """Print the table; with ``--count FILE`` be the process that counts."""
    if arguments[:1] == ["--count"]:
        return _count(Path(arguments[1]), arguments[2:])
    switches = arguments or ["--memalert", "--memalert-leaks=off"]
    with tempfile.TemporaryDirectory() as scratch:
        plain = _per_test(Path(scratch) / "plain", [])
        measured = _per_test(Path(scratch) / "measured", ["-p", "pytest_memalert.plugin", *switches])
    added = {name: measured.get(name, 0.0) - plain.get(name, 0.0) for name in {*plain, *measured}}
    print("| function | added per empty test | plain |")
    print("|---|---|---|")
    for name, bytecodes in sorted(added.items(), key=lambda pair: -pair[1]):
        if abs(bytecodes) >= LEAST:
            print(f"| `{name}` | {bytecodes:+,.0f} | {plain.get(name, 0.0):,.0f} |")
    total, before = sum(added.values()), sum(plain.values())
    print(f"| all | {total:+,.0f} ({total / before:.1%}) | {before:,.0f} |")
    return 0


def _per_test(folder: Path, switches: list[str]) -> dict[str, float]:
    """Return the bytecodes that one more test takes, by function."""
    counts: list[dict[str, int]] = []
    for tests in TESTS:
        suite = folder / str(tests)
        suite.mkdir(parents=True)
        (suite / "test_built_in.py").write_text(_EMPTY.format(tests=tests), encoding="utf-8")
        out = folder / f"{tests}.json"
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment["PYTHONPATH"] = str(ROOT)
        command = [sys.executable, __file__, "--count", str(out), "-q", "-p", "no:cacheprovider", *switches]
        subprocess.run(command, cwd=suite, env=environment, stdout=subprocess.DEVNULL, check=True)
        counts.append(json.loads(out.read_text(encoding="utf-8")))
    few, many = counts
    return {name: (many[name] - few.get(name, 0)) / (TESTS[1] - TESTS[0]) for name in many}


def _count(out: Path, arguments: list[str]) -> int:
    """Run pytest in this process, and write how many bytecodes each function took."""
    counts: Counter[CodeType] = Counter()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            counts[frame.f_code] += 1
        return trace

    sys.settrace(trace)
    try:
        status = pytest.main(arguments)
    finally:
        sys.settrace(None)
    named: Counter[str] = Counter()
    for code, bytecodes in counts.items():
        path = Path(code.co_filename)
        named[f"{path.parent.name}/{path.name}:{code.co_name}"] += bytecodes
    out.write_text(json.dumps(named), encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
