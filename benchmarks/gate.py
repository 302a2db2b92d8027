"""Does the gate stay quiet on unchanged suites, and does it find what got worse?

    python benchmarks/gate.py --runner RUN.PY --install WHEEL click flask httpx anyio more-itertools

RUN.PY prepares and runs suites of real projects, as for ``corpus.py``; besides it takes ``--plugin FILE``
(a plugin module for pytest) and ``--env KEY=VALUE``. For each suite: one plain run; one that saves a
baseline; ``--rounds`` runs of unchanged code held against it, each with another hash seed; one run with
regressions injected into tests and fixtures, all at once; one run for each size injected into the set-up of
every wider fixture that the baseline has, and one for each size injected at import.
One test in some dozens holds 20 MiB in all runs, so that there are peaks large enough to raise by 10 %.

Injected are 64 KiB and 1 MiB that each run of a test retains, and a peak that is 10 % or 1 MiB higher.
Tests are drawn at random (``--seed``): of all that passed; for 10 % of those
whose peak is at least 1 MiB, where there are any. The exit status is 1 when there was a false alarm.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_KIB, _MIB = 2**10, 2**20
_KINDS = ("retain 64 KiB", "retain 1 MiB", "peak +10 %", "peak +1 MiB")
_PLACES = ("test", "fixture")
_IMPORTS = ("64 KiB", "1 MiB", "10 %")
_WIDER = ("64 KiB", "1 MiB")
_FIXTURE = re.compile(r"fixture (\w+) in .+")
_PLUGIN = Path(__file__).with_name("gate_injection.py")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites; return the exit status."""
    options = _parse(arguments)
    rows, details, false_alarms = [], [], 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for suite in options.suites:
            row, found, alarms = _try_suite(options, suite, folder)
            rows.append(row)
            details += found
            false_alarms += alarms
            print(row, file=sys.stderr)
    titles = [
        "suite",
        "tests",
        "false alarms",
        *(f"{kind}, in the {place}" for kind in _KINDS for place in _PLACES),
        *(f"{size} in wider fixtures" for size in _WIDER),
        *(f"{size} at import" for size in _IMPORTS),
        "save",
        "gate",
    ]
    print(f"| {' | '.join(titles)} |")
    print("|---" * len(titles) + "|")
    print("\n".join([*rows, "", *details]))
    return 1 if false_alarms else 0


def _try_suite(options: argparse.Namespace, suite: str, folder: Path) -> tuple[str, list[str], int]:
    path = folder / f"{suite}.lock.json"
    path.unlink(missing_ok=True)
    plain = _run(options, suite, ["-q"], install=False)
    # Modules that are compiled only in the first run would make it unlike all others.
    _run(options, suite, ["-q", "--memalert"])
    saving = _run(options, suite, ["--memalert", f"--memalert-save={path}"])
    (entries,) = json.loads(path.read_text(encoding="utf-8"))["environments"].values()
    details, alarmed, cpu_s = [], 0, []
    began_s = time.monotonic()
    for number in range(options.rounds):
        if cpu_s and time.monotonic() - began_s > options.at_most_s:
            break
        answer, alerts, report = _gate(options, suite, path, folder, f"{suite}.{number}")
        cpu_s.append(answer["cpu_s"])
        alarmed += len(alerts)
        gate = report["gate"] or {}
        print(
            f"{suite} round {number}: {len(alerts)} alarms, {gate.get('compared')} compared, "
            f"{report['totals']['reruns']} re-runs, {answer['cpu_s']} s",
            file=sys.stderr,
        )
        details += [f"- {suite}, round {number}: `{_headline(alert)}`" for alert in alerts]
    plan = draw(entries, random.Random(options.seed), each=options.each)
    _, alerts, report = _gate(
        options, suite, path, folder, f"{suite}.injected", plan={"tests": plan, "import": 0}
    )
    accused = {nodeid for alert in alerts for nodeid in alert["nodeids"]}
    passed = {test["nodeid"] for test in report["tests"]}
    cells, missed = count_found(plan, accused, passed)
    details += [f"- {suite}, not found: {line}" for line in missed]
    strangers = accused - set(plan)
    details += [f"- {suite}, accused beside those injected: `{name}`" for name in sorted(strangers)]
    for size in _WIDER:
        cell, missed = _try_fixtures(options, suite, path, folder, entries, size)
        cells.append(cell)
        details += [f"- {suite}, not found: {size} in `{name}`" for name in missed]
    cells += [_try_import(options, suite, path, folder, entries, size) for size in _IMPORTS]
    median = sorted(cpu_s)[len(cpu_s) // 2] if cpu_s else 0.0
    row = [
        suite,
        f"{len([name for name in entries if '::' in name]):,}",
        f"{alarmed} in {len(cpu_s)} runs",
        *cells,
        f"{saving['cpu_s'] / plain['cpu_s']:.1f}",
        f"{median / plain['cpu_s']:.2f}",
    ]
    return f"| {' | '.join(row)} |", details, alarmed


def draw(
    entries: Mapping[str, Mapping[str, Any]], source: random.Random, *, each: int
) -> dict[str, tuple[str, str, int]]:
    """Return which tests are made worse, where, in what and by how much: no test twice."""
    plan: dict[str, tuple[str, str, int]] = {}
    peaks = {
        nodeid: figures.get("traced_peak_bytes", figures["peak_bytes"])[0]
        for nodeid, figures in entries.items()
        if "peak_bytes" in figures and not figures.get("once")
    }
    # Those with a large peak first: they are few.
    for kind in sorted(_KINDS, key=lambda kind: "10 %" not in kind):
        for place in _PLACES:
            free = [name for name in sorted(peaks) if name not in plan]
            if "10 %" in kind:
                free = [name for name in free if peaks[name] >= _MIB]
            for nodeid in source.sample(free, min(each, len(free))):
                what = kind.partition(" ")[0]
                plan[nodeid] = (place, what, _size(kind, peaks[nodeid]))
    return plan


def count_found(
    plan: Mapping[str, tuple[str, str, int]], accused: set[str], passed: set[str]
) -> tuple[list[str], list[str]]:
    """Return the share found for each kind and place, as cells of a table, and a line for each one missed."""
    wanted: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    missed = []
    for nodeid, (place, what, size) in plan.items():
        if nodeid not in passed:
            continue
        kind = _kind(what, size)
        wanted[kind, place] += 1
        if nodeid in accused:
            found[kind, place] += 1
        else:
            missed.append(f"{kind} ({size:,} bytes) in the {place}: `{nodeid}`")
    cells = [
        f"{found[kind, place]} of {wanted[kind, place]}" if wanted[kind, place] else "-"
        for kind in _KINDS
        for place in _PLACES
    ]
    return cells, missed


def _try_fixtures(
    options: argparse.Namespace,
    suite: str,
    path: Path,
    folder: Path,
    entries: Mapping[str, Mapping[str, Any]],
    size: str,
) -> tuple[str, list[str]]:
    """Return the share of wider fixtures in which the injected size was found, and those where it wasn't.

    Those that pytest makes of ``setUpClass`` and the like go by another name, and are left out.
    """
    wanted = {name: match.group(1) for name in entries if (match := _FIXTURE.fullmatch(name))}
    if not wanted:
        return "-", []
    amount = {"64 KiB": 64 * _KIB, "1 MiB": _MIB}[size]
    plan = {"fixtures": dict.fromkeys(wanted.values(), amount)}
    _, alerts, _ = _gate(options, suite, path, folder, f"{suite}.fixtures", plan=plan)
    accused = {nodeid for alert in alerts for nodeid in alert["nodeids"]}
    missed = sorted(wanted.keys() - accused)
    return f"{len(wanted) - len(missed)} of {len(wanted)}", missed


def _try_import(
    options: argparse.Namespace,
    suite: str,
    path: Path,
    folder: Path,
    entries: Mapping[str, Mapping[str, Any]],
    size: str,
) -> str:
    share = entries.get("session", {}).get("rss_peak_bytes", [0])[0] // 10
    amount = {"64 KiB": 64 * _KIB, "1 MiB": _MIB, "10 %": share}[size]
    plan = {"tests": {}, "import": amount}
    _, alerts, _ = _gate(options, suite, path, folder, f"{suite}.import", plan=plan)
    about = {nodeid for alert in alerts for nodeid in alert["nodeids"]}
    return "found" if about & {"session", "collection"} else "**missed**"


def _gate(
    options: argparse.Namespace,
    suite: str,
    path: Path,
    folder: Path,
    name: str,
    *,
    plan: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Return what the runner says, the alerts of the gate and the whole report."""
    report_path, plan_path = folder / f"{name}.json", folder / f"{name}.plan.json"
    environment = []
    if plan is not None:
        plan_path.write_text(json.dumps(plan), encoding="utf-8")
        environment = [f"GATE_INJECTIONS={plan_path}"]
    ours = ["--memalert", f"--memalert-gate={path}", f"--memalert-json={report_path}"]
    answer = _run(options, suite, [*ours, *options.argument], environment=environment)
    report = json.loads(report_path.read_text(encoding="utf-8"))
    alerts = [alert for alert in report["alerts"] if alert["rule"] == "regression"]
    return answer, alerts, report


def _run(
    options: argparse.Namespace,
    suite: str,
    arguments: Sequence[str],
    *,
    install: bool = True,
    environment: Sequence[str] = (),
) -> dict[str, Any]:
    command = [sys.executable, str(options.runner), suite]
    if options.work:
        command += ["--work", str(options.work)]
    if install:
        command += ["--install", str(options.install), "--plugin", str(_PLUGIN)]
    for each in ("PYTHONHASHSEED=random", *environment):
        command += ["--env", each]
    done = subprocess.run([*command, "--", *arguments], stdout=subprocess.PIPE, text=True, check=True)
    (answer,) = json.loads(done.stdout)
    return dict(answer)


def _size(kind: str, peak_bytes: int) -> int:
    if "10 %" in kind:
        return peak_bytes // 10
    return 64 * _KIB if "64 KiB" in kind else _MIB


def _kind(what: str, size: int) -> str:
    if what == "retain":
        return "retain 64 KiB" if size == 64 * _KIB else "retain 1 MiB"
    return "peak +1 MiB" if size == _MIB else "peak +10 %"


def _headline(alert: Mapping[str, Any]) -> str:
    return str(alert["message"]).split("\n", 1)[0]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="+", help="names that the runner knows")
    parser.add_argument("--runner", type=Path, required=True, help="the script that prepares and runs suites")
    parser.add_argument("--install", type=Path, required=True, help="the wheel of the plugin, or a checkout")
    parser.add_argument("--work", type=Path, help="where the runner keeps environments and sources")
    parser.add_argument("--keep", type=Path, help="folder for the baselines and the report of each run")
    parser.add_argument("--rounds", type=int, default=20, help="runs of unchanged code (default 20)")
    parser.add_argument(
        "--at-most-s",
        type=float,
        default=float("inf"),
        help="begin no further round of a suite after so long",
    )
    parser.add_argument("--each", type=int, default=10, help="tests for each kind of regression (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing of tests")
    parser.add_argument("--argument", action="append", default=[], help="a further pytest argument")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
