"""Run the leak zoo with other tools beside this plugin, in one table.

    python benchmarks/peers.py --zoo DIR --venvs DIR             # every case, every tool that runs here
    python benchmarks/peers.py --zoo DIR --venvs DIR traps NAME  # some of it
    python benchmarks/peers.py --zoo DIR --venvs DIR --tool psleak --tool tracemalloc

Each tool judges every test as its own documentation has it: pytest-memray by
``limit_leaks("1 KB")`` on each test, psleak by ``execute`` with the test as the callable, and what
people do by hand, tracemalloc and resident memory before and after one call of the test, each after
a collection (``peers_plugin.py``). pytest-leaks needs a debug build of Python; on any other it refuses.
This plugin runs with ``--memalert-leaks=all``. Prints Markdown: the totals, then case by case.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo import Case, by_file, find_cases, install, run_plugin

HERE = Path(__file__).resolve().parent
OURS = "memalert"
#: Tool -> what to install for it, and its own arguments.
PEERS: dict[str, tuple[list[str], list[str]]] = {
    "pytest-memray": (["pytest-memray"], ["--memray"]),
    "pytest-leaks": (["pytest-leaks"], ["-R", "3:3"]),
    "psleak": (["psleak"], []),
    "tracemalloc": ([], []),
    "resident memory": ([], []),
}
TIMEOUT_S = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the zoo with every tool; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="pairs, 'traps' or 'synthetic'; default: all")
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()) / "memalert-zoo")
    parser.add_argument("--python", action="append", default=[], metavar="VERSION=PATH")
    parser.add_argument("--traps-python", default="3.11")
    parser.add_argument("--tool", action="append", choices=(OURS, *PEERS), help="only this one, and others")
    parser.set_defaults(mode="pytest", leaks="all")
    options = parser.parse_args(arguments)
    cases = list(find_cases(options))
    said: dict[str, dict[str, str]] = {tool: {} for tool in options.tool or (OURS, *PEERS)}
    for (python, file), group in by_file(cases).items():
        for tool, verdicts in said.items():
            if tool == OURS:
                outcomes = run_plugin(python, file, group, options)
                found = {name: outcome.status for name, outcome in outcomes.items()}
            else:
                found = _run_peer(tool, python, file, group)
            verdicts.update({case.label: found.get(case.test, "no verdict") for case in group})
        print(f"{group[0].label}: done", file=sys.stderr)
    _report(cases, said)
    return 0


def _run_peer(tool: str, python: Path, file: Path, cases: Sequence[Case]) -> dict[str, str]:
    """Return what a tool says of the tests of a file, by name."""
    packages, own = PEERS[tool]
    if packages and not _is_installed(python, packages):
        return {case.test: "doesn't install" for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [
            *(str(python), "-m", "pytest", "-p", "peers_plugin", "-p", "no:cacheprovider", "-q", *own),
            *(f"--rootdir={folder}", *(f"{file}::{case.test}" for case in cases)),
        ]
        environment = {
            **os.environ,
            "MEMALERT_PEER": tool,
            "MEMALERT_PEER_RESULT": str(result),
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"PYTHONMALLOC": "malloc", "PYTHONUNBUFFERED": "1"} if tool == "psleak" else {}),
        }
        # Only this folder's plugin: none of the modules beside it may shadow what a case imports.
        shutil.copy(HERE / "peers_plugin.py", folder)
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**environment, "PYTHONPATH": folder},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {case.test: f"not done in {TIMEOUT_S} s" for case in cases}
        verdicts: dict[str, str] = json.loads(result.read_text("utf-8")) if result.exists() else {}
        if not verdicts:
            said = done.stdout.decode("utf-8", "replace")
            if "requires running on a debug build" in said:
                return {case.test: "needs a debug build" for case in cases}
            print(f"{file.name}: {tool}: {said[-600:]}", file=sys.stderr)
    return verdicts


def _is_installed(python: Path, packages: Sequence[str]) -> bool:
    stamp = python.parents[1] / f"peer-{'-'.join(packages)}.stamp"
    if not stamp.exists():
        try:
            install(python, packages)
        except subprocess.CalledProcessError:
            stamp.write_text("no", "utf-8")
        else:
            stamp.write_text("yes", "utf-8")
    return stamp.read_text("utf-8") == "yes"


def _report(cases: Sequence[Case], said: Mapping[str, Mapping[str, str]]) -> None:
    print("| tool | leaks found | clean tests accused | no verdict |\n|---|---|---|---|")
    leaks = [case for case in cases if case.truth.leaking]
    clean = [case for case in cases if not case.truth.leaking]
    for tool, verdicts in said.items():
        found = sum(verdicts.get(case.label) == "leaking" for case in leaks)
        accused = sum(verdicts.get(case.label) == "leaking" for case in clean)
        silent = sum(verdicts.get(case.label) not in ("leaking", "clean") for case in cases)
        print(f"| {tool} | {found} of {len(leaks)} | {accused} of {len(clean)} | {silent} |")
    print(f"\n| case | truth | {' | '.join(said)} |\n|---|---|{'---|' * len(said)}")
    for case in cases:
        truth = "leak" if case.truth.leaking else "clean"
        row = " | ".join(_cell(case, verdicts.get(case.label, "no verdict")) for verdicts in said.values())
        print(f"| {case.label} | {truth} | {row} |")


def _cell(case: Case, verdict: str) -> str:
    if verdict not in ("leaking", "clean"):
        return verdict
    if (verdict == "leaking") == case.truth.leaking:
        return "right"
    return "**missed**" if case.truth.leaking else "**accused**"


if __name__ == "__main__":
    sys.exit(main())
