"""Run the leak zoo: real releases that leak and their fixes, traps, and leaks of known size.

    python benchmarks/zoo.py --zoo DIR --venvs DIR                  # everything, the test functions called
    python benchmarks/zoo.py --zoo DIR --venvs DIR --mode pytest    # ... through the plugin
    python benchmarks/zoo.py --zoo DIR --venvs DIR traps NAME ...   # some of it

For each pair of the zoo's manifest two environments are made (kept in --venvs; with uv where it
is installed). In mode ``callable`` each test function is handed to ``hunt`` in a process of its
file's own; functions that want fixtures are left to mode ``pytest``, which runs
``pytest --memalert --memalert-leaks=all`` and reads its JSON report. Prints Markdown; the exit
status is 1 when a leak was missed, a clean test accused, or a size more than 10 % off.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 0.1
TIMEOUT_S = 900


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Say what the right verdict is; sizes as (least, most) per run, None where not known."""

    leaking: bool
    borderline: bool = False
    bytes: tuple[float, float] | None = None
    blocks: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """Name one test, the Python that runs it, and the truth about it."""

    label: str
    python: Path
    file: Path
    test: str
    truth: Truth


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold what was said about a case."""

    status: str
    reason: str = ""
    bytes_per_run: float | None = None
    blocks_per_run: float | None = None
    runs: int = 0
    seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the zoo; return the exit status."""
    options = _parse(arguments)
    cases = list(find_cases(options))
    outcomes: dict[Case, Outcome] = {}
    for (python, file), group in by_file(cases).items():
        run = _run_callable if options.mode == "callable" else run_plugin
        found = run(python, file, group, options)
        for case in group:
            outcomes[case] = found.get(case.test, Outcome(status="missing"))
            print(f"{case.label}: {outcomes[case].status}", file=sys.stderr)
    return _report(outcomes, options.mode)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="pairs, 'traps' or 'synthetic'; default: all")
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()) / "memalert-zoo")
    parser.add_argument("--mode", choices=("callable", "pytest"), default="callable")
    parser.add_argument("--leaks", choices=("suspects", "all"), default="all", help="in mode pytest")
    parser.add_argument("--python", action="append", default=[], metavar="VERSION=PATH")
    parser.add_argument("--traps-python", default="3.11", help="version for traps and synthetic (3.11)")
    return parser.parse_args(arguments)


# ---------------------------------------------------------------------- cases


def find_cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield the cases that the options name, each with an environment that is made where it isn't there."""
    given = dict(text.split("=", 1) for text in options.python)
    wanted = set(options.names)
    for entry in json.loads((options.zoo / "manifest.json").read_text("utf-8")):
        if wanted and entry["name"] not in wanted:
            continue
        for side in ("leaky", "fixed"):
            python = make_environment(
                options.venvs / f"{entry['name']}-{side}",
                _find_python(entry.get(f"python_{side}", entry["python"]), given),
                [*entry[side], *entry.get("extra", ["pytest", "psutil>=7.2"])],
                needs_plugin=options.mode == "pytest",
            )
            yield Case(
                label=f"{entry['name']} {side}",
                python=python,
                file=options.zoo / entry["name"] / f"test_{entry['name']}.py",
                test=entry["test"],
                truth=_truth_of_pair(entry["growth"]["leaky"]) if side == "leaky" else Truth(leaking=False),
            )
    for folder in ("traps", "synthetic"):
        if wanted and folder not in wanted:
            continue
        python = make_environment(
            options.venvs / f"{folder}-{options.traps_python}",
            _find_python(options.traps_python, given),
            ["pytest", "psutil>=7.2"],
            needs_plugin=options.mode == "pytest",
        )
        expected = json.loads((options.zoo / folder / "expected.json").read_text("utf-8"))
        for nodeid, facts in expected.items():
            path, _, test = nodeid.partition("::")
            yield Case(
                label=nodeid,
                python=python,
                file=options.zoo / path,
                test=test,
                truth=_truth_of_made(facts, options.traps_python),
            )


def _truth_of_pair(growth: Mapping[str, Any]) -> Truth:
    """Return the truth about a leaking release from its measured slopes.

    tracemalloc doesn't see what C allocates, malloc's figures don't see small objects, and
    large objects are in both: the truth lies between the larger of the two and their sum.
    """
    parts = [growth[name] for name in ("heap", "traced") if name in growth["growing"]]
    return Truth(
        leaking=True, bytes=(max(parts), sum(parts)) if parts else None, blocks=round(growth["blocks"], 1)
    )


def _truth_of_made(facts: Mapping[str, Any], version: str) -> Truth:
    leaking = facts["verdict"] == "leak"
    blocks = facts.get("measured_per_call", {}).get("blocks") if leaking else None
    # An instance's dict is part of the instance from 3.13 on: a block less, measured on 3.11 alone.
    exact = version == "3.11"
    size = facts.get("bytes_per_call")
    return Truth(
        leaking=leaking,
        borderline=bool(facts.get("borderline")),
        bytes=(size, size) if leaking and size is not None else None,
        blocks=blocks if exact else None,
    )


def by_file(cases: Sequence[Case]) -> dict[tuple[Path, Path], list[Case]]:
    """Return the cases by the Python that runs them and their file: one process each."""
    groups: dict[tuple[Path, Path], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.python, case.file), []).append(case)
    return groups


# --------------------------------------------------------------- environments


def _find_python(version: str, given: Mapping[str, str]) -> str:
    if version in given:
        return given[version]
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for folder in sorted(versions.glob(f"{version}*"), reverse=True):
        if folder.name == version or folder.name.startswith(f"{version}."):
            return str(folder / "bin" / "python")
    found = shutil.which(f"python{version}")
    if found is None:
        raise SystemExit(f"there is no Python {version} here; name one: --python {version}=PATH")
    return found


def make_environment(folder: Path, base: str, requirements: list[str], *, needs_plugin: bool) -> Path:
    """Return the Python of an environment that has the requirements, making it where it isn't there."""
    python = folder / "bin" / "python"
    stamp = folder / "memalert.stamp"
    wanted = [*requirements, "pympler", "click"] if needs_plugin else requirements
    made = json.loads(stamp.read_text("utf-8")) if stamp.exists() else None
    if made is not None and made[0] == base and set(wanted) <= set(made[1]):
        return python
    uv = shutil.which("uv")
    if not (folder / "zoo.stamp").exists() and made is None:
        shutil.rmtree(folder, ignore_errors=True)
        create = [uv, "venv", "-q", "--python", base] if uv else [base, "-m", "venv"]
        subprocess.run([*create, str(folder)], check=True)
    install(python, wanted)
    stamp.write_text(json.dumps([base, wanted]), "utf-8")
    return python


def install(python: Path, requirements: Sequence[str]) -> None:
    """Install requirements for a Python, with uv where it is installed; raises CalledProcessError."""
    uv = shutil.which("uv")
    pip = (
        [uv, "pip", "install", "-q", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    )
    subprocess.run([*pip, *requirements], check=True)


# ----------------------------------------------------------------------- runs


def _run_callable(
    python: Path, file: Path, cases: Sequence[Case], options: argparse.Namespace
) -> dict[str, Outcome]:
    names = [case.test for case in cases]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        finished = subprocess.run(
            [str(python), str(Path(__file__).resolve()), "--worker", str(file), str(result), *names],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
        if not result.exists():
            tail = finished.stderr.decode("utf-8", "replace")[-1500:]
            print(f"{file.name}: the worker failed ({finished.returncode})\n{tail}", file=sys.stderr)
            return {}
        found = json.loads(result.read_text("utf-8"))
    return {name: Outcome(**values) for name, values in found.items()}


def run_plugin(
    python: Path, file: Path, cases: Sequence[Case], options: argparse.Namespace
) -> dict[str, Outcome]:
    """Run a file's tests through the plugin; return what was said of each."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "memalert.json"
        plugin = [] if _has_entry_point(python) else ["-p", "pytest_memalert.plugin"]
        finished = subprocess.run(
            [
                *(str(python), "-m", "pytest", *plugin, "--memalert", f"--memalert-leaks={options.leaks}"),
                *(f"--memalert-json={report}", "-p", "no:cacheprovider"),
                f"--rootdir={folder}",
                *(f"{file}::{case.test}" for case in cases),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
        if not report.exists():
            print(finished.stdout.decode("utf-8", "replace")[-3000:], file=sys.stderr)
            return {}
        run = json.loads(report.read_text("utf-8"))
    seconds = run.get("overhead", {}).get("reruns_s", 0.0) / max(1, len(cases))
    outcomes = {}
    for test in run["tests"]:
        leak = test["leak"]
        outcomes[test["nodeid"].rpartition("::")[2]] = Outcome(
            status=leak["status"],
            reason=leak.get("reason") or "",
            bytes_per_run=leak.get("bytes_per_run"),
            blocks_per_run=leak.get("blocks_per_run"),
            runs=leak.get("runs") or 0,
            seconds=seconds,
        )
    return outcomes


def _has_entry_point(python: Path) -> bool:
    code = "import importlib.metadata as m; m.distribution('pytest-memalert')"
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def _work(file: str, result: str, names: Sequence[str]) -> None:
    """Hunt in each of the file's functions; called in a process of the case's own Python."""
    import importlib.util
    import inspect
    import time
    import warnings

    from pytest_memalert.hunting.hunt import hunt

    warnings.simplefilter("ignore")
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [path for path in sys.path if str(Path(path or ".").resolve()) != here]
    sys.path.insert(0, str(Path(file).parent))
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = {}
    for name in names:
        function = getattr(module, name)
        if inspect.signature(function).parameters or getattr(function, "pytestmark", None):
            found[name] = {"status": "skipped", "reason": "wants pytest"}
            continue

        began_s = time.perf_counter()
        # Itself, without a wrapper: a leaked traceback holds the frames of all its callers.
        analysis = hunt(function)
        found[name] = {
            "status": analysis.status,
            "reason": analysis.reason or "",
            "bytes_per_run": analysis.bytes_per_run,
            "blocks_per_run": analysis.blocks_per_run,
            "runs": analysis.runs,
            "seconds": time.perf_counter() - began_s,
        }
    Path(result).write_text(json.dumps(found), "utf-8")
    # Some leaks crash the interpreter's own end.
    os._exit(0)


# --------------------------------------------------------------------- report


def _report(outcomes: Mapping[Case, Outcome], mode: str) -> int:
    """Print the table and its totals; return 1 when anything is wrong."""
    print(f"Mode {mode}, {platform.platform()}, {os.cpu_count()} cores\n")
    print("| case | truth | verdict | runs | seconds | bytes per run (truth) | blocks per run (truth) | |")
    print("|---|---|---|---|---|---|---|---|")
    wrong = 0
    judged = {case: outcome for case, outcome in outcomes.items() if outcome.status != "skipped"}
    for case, outcome in judged.items():
        problems = list(_problems(case.truth, outcome))
        wrong += bool(problems)
        truth = "leak" if case.truth.leaking else "clean"
        print(
            f"| {case.label} | {truth} | {outcome.status} | {outcome.runs:,} "
            f"| {outcome.seconds:.2f} | {_figure(outcome.bytes_per_run)} ({_range(case.truth.bytes)}) "
            f"| {_figure(outcome.blocks_per_run)} ({_figure(case.truth.blocks)}) "
            f"| {'; '.join(problems) or 'ok'}{f' — {outcome.reason}' if outcome.reason else ''} |"
        )
    leaks = [outcome for case, outcome in judged.items() if case.truth.leaking]
    clean = [outcome for case, outcome in judged.items() if not case.truth.leaking]
    found = sum(outcome.status == "leaking" for outcome in leaks)
    accused = sum(outcome.status == "leaking" for outcome in clean)
    unclear = sum(outcome.status == "unclear" for outcome in clean)
    print(
        f"\nLeaks found: {found} of {len(leaks)}. Clean tests accused: {accused} of {len(clean)}, "
        f"unclear: {unclear}. Runs: {sum(o.runs for o in judged.values()):,}. "
        f"Seconds: {sum(o.seconds for o in judged.values()):.1f}. "
        f"Left to mode pytest: {len(outcomes) - len(judged)}. Cases with a problem: {wrong}."
    )
    return 1 if wrong else 0


def _problems(truth: Truth, outcome: Outcome) -> Iterator[str]:
    if truth.leaking and outcome.status != "leaking" and not truth.borderline:
        yield "MISSED"
    if not truth.leaking and outcome.status == "leaking":
        yield "ACCUSED"
    if not truth.leaking and outcome.status == "unclear" and not truth.borderline:
        yield "UNCLEAR"
    if outcome.status == "missing":
        yield "NOT RUN"
    if truth.leaking and outcome.status == "leaking":
        if truth.bytes is not None and not _is_within(outcome.bytes_per_run, *truth.bytes):
            yield "BYTES"
        if truth.blocks is not None and not _is_within(outcome.blocks_per_run, truth.blocks, truth.blocks):
            yield "BLOCKS"


def _is_within(value: float | None, least: float, most: float) -> bool:
    return value is not None and least * (1 - TOLERANCE) - 0.05 <= value <= most * (1 + TOLERANCE) + 0.05


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:,.{0 if value >= 100 else 2}f}"


def _range(size: tuple[float, float] | None) -> str:
    if size is None:
        return "?"
    return _figure(size[0]) if size[0] == size[1] else f"{_figure(size[0])} to {_figure(size[1])}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _work(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        sys.exit(main())
