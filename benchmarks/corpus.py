"""Run real, healthy test suites with and without the plugin: same outcomes, and which alerts?

    python benchmarks/corpus.py --runner RUN.PY --install WHEEL click flask ...
    python benchmarks/corpus.py --runner RUN.PY --install WHEEL --keep DIR all
    python benchmarks/corpus.py --runner RUN.PY --install WHEEL --leaks suspects --leaks all httpx

RUN.PY prepares and runs the suites: it takes ``SUITE --work DIR --install WHEEL -- ARGUMENTS`` and
prints a JSON list with one entry per suite, of which ``cpu_s`` and ``counts`` are read here.
Each suite runs once plainly and once with ``--memalert`` for each ``--leaks``; the outcomes are compared
test by test. Prints Markdown: a table, then the first line of every alert. A healthy suite should have
none: each has to be looked at by hand. The exit status is 1 when an outcome differs.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Hold one run of a suite: its CPU seconds, and each test's outcome by test id."""

    cpu_s: float
    outcomes: Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites; return the exit status."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        return _compare_all(options, folder)


def _compare_all(options: argparse.Namespace, folder: Path) -> int:
    rows, details, all_same = [], [], True
    for suite in _suites(options):
        print(f"{suite}: plain", file=sys.stderr)
        plain = _run(options, suite, folder / f"{suite}.plain.xml", [], install=False)
        for leaks in options.leaks or ["suspects"]:
            name = f"{suite}.{leaks}"
            report_path = folder / f"{name}.json"
            print(f"{suite}: with --memalert-leaks={leaks}", file=sys.stderr)
            ours = ["--memalert", f"--memalert-leaks={leaks}", f"--memalert-json={report_path}"]
            measured = _run(options, suite, folder / f"{name}.xml", [*ours, *options.argument], install=True)
            report = json.loads(report_path.read_text(encoding="utf-8"))
            differing = find_differences(plain.outcomes, measured.outcomes, report["alerts"])
            all_same = all_same and not differing
            rows.append(_row(suite, leaks, plain, measured, differing, report))
            details += _details(f"{suite}, {leaks}", differing, report)
            print(rows[-1], file=sys.stderr)
    print("| suite | leaks | tests | outcomes | alerts | tests they name | re-runs | CPU, times plain |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print("\n".join(["", *details] if details else ["", "No alerts."]))
    return 0 if all_same else 1


def find_differences(
    plain: Mapping[str, str], measured: Mapping[str, str], alerts: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return a line for each test whose outcome differs for another reason than an alert about it."""
    blamed = {nodeid for alert in alerts if alert["severity"] == "critical" for nodeid in alert["nodeids"]}
    names = {_junit_name(nodeid) for nodeid in blamed}
    return [
        f"{test}: {plain.get(test, 'not run')} -> {measured.get(test, 'not run')}"
        for test in sorted({*plain, *measured})
        if plain.get(test) != measured.get(test) and test.partition("#")[0] not in names
    ]


def read_outcomes(path: Path) -> dict[str, str]:
    """Return the outcome of each test of a JUnit XML file; of a name that recurs, each time."""
    outcomes: dict[str, str] = {}
    seen: Counter[str] = collections.Counter()
    for case in ET.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        seen[name] += 1
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcomes[f"{name}#{seen[name]}"] = "+".join(sorted(kinds)) or "passed"
    return outcomes


def _junit_name(nodeid: str) -> str:
    path, _, rest = nodeid.partition("::")
    parameters = rest[rest.index("[") :] if "[" in rest else ""
    *classes, name = rest.removesuffix(parameters).split("::")
    return ".".join((path.removesuffix(".py").replace("/", "."), *classes)) + f"::{name}{parameters}"


def _run(options: argparse.Namespace, suite: str, xml: Path, extra: Sequence[str], *, install: bool) -> Pass:
    xml.unlink(missing_ok=True)
    command = [sys.executable, str(options.runner), suite]
    if options.work:
        command += ["--work", str(options.work)]
    if install:
        command += ["--install", str(options.install)]
    command += ["--", f"--junitxml={xml}", *extra]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    (answer,) = json.loads(done.stdout)
    return Pass(cpu_s=answer["cpu_s"], outcomes=read_outcomes(xml))


def _suites(options: argparse.Namespace) -> list[str]:
    if options.suites != ["all"]:
        return list(options.suites)
    listed = subprocess.run(
        [sys.executable, str(options.runner), "--list"], stdout=subprocess.PIPE, text=True, check=True
    )
    return [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]


def _row(
    suite: str,
    leaks: str,
    plain: Pass,
    measured: Pass,
    differing: Sequence[str],
    report: Mapping[str, Any],
) -> str:
    totals = report["totals"]
    counts = [
        f"{totals['alerts'][severity]} {severity}"
        for severity in ("critical", "warning", "info")
        if totals["alerts"].get(severity)
    ]
    named = {nodeid for alert in report["alerts"] if speaks(alert) for nodeid in alert["nodeids"]}
    cells = (
        suite,
        leaks,
        f"{len(plain.outcomes):,}",
        "the same" if not differing else f"{len(differing)} differ",
        ", ".join(counts) or "none",
        str(len(named)),
        f"{totals['reruns']:,}",
        f"{measured.cpu_s / plain.cpu_s:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def speaks(alert: Mapping[str, Any]) -> bool:
    """Return whether an alert of the report is one that the user is told of."""
    return alert["inhibited_by"] is None and alert["acknowledged"] is None


def _details(suite: str, differing: Sequence[str], report: Mapping[str, Any]) -> list[str]:
    lines = [f"- {suite}, another outcome: `{line}`" for line in differing[:_SHOWN]]
    for alert in report["alerts"]:
        if speaks(alert):
            headline = alert["message"].split("\n", 1)[0]
            others = len(alert["nodeids"]) - 1
            more = f" (and {others} more)" if others else ""
            lines.append(f"- {suite}, {alert['severity']} {alert['rule']}: `{headline}`{more}")
    return lines


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="+", help='names that the runner knows, or "all"')
    parser.add_argument("--runner", type=Path, required=True, help="the script that prepares and runs suites")
    parser.add_argument("--install", type=Path, required=True, help="the wheel of the plugin, or a checkout")
    parser.add_argument("--work", type=Path, help="where the runner keeps environments and sources")
    parser.add_argument("--keep", type=Path, help="folder for the reports of each run")
    parser.add_argument("--leaks", action="append", choices=("off", "suspects", "all"), help="suspects")
    parser.add_argument(
        "--argument", action="append", default=[], help="a further pytest argument of the measured run"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
