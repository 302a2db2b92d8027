"""Measure what the plugin costs: suites with and without ``--memalert``, in alternation.

    python benchmarks/overhead.py                                     # the built-in suites
    python benchmarks/overhead.py --instructions                      # the same by count: no noise (valgrind)
    python benchmarks/overhead.py --suite NAME=DIR:ARGUMENTS ...      # one of your own, in this environment
    python benchmarks/overhead.py --runner RUN.PY --install WHEEL click flask ...
                                                                      # suites that a runner prepares

Every round runs each variant once, in an order that turns from round to round: plain, plain again (the
null: this machine's own noise), with the readings alone (``readings_plugin.py``, which does nothing with
them: what measures a test can hardly cost less), and with ``--memalert``, with leak checks off and by
default. Each is compared with the plain run of its own round, in CPU seconds (user and system, child
processes included), never in wall time: other work on the machine disturbs that far more. Prints Markdown:
the median of the ratios, and in brackets the lowest, the highest, and (without a runner) that of the
least CPU seconds of each, which other work disturbs least.

The built-in suites are 5,000 empty tests, 500 empty tests beside 2 million live objects, and 10,000
empty tests for the memory kept per test. What starting takes is measured by one test alone, told
apart, and not counted among what is added per test.

Bytecode is kept, whatever PYTHONDONTWRITEBYTECODE says: an installed plugin has it.

``--instructions`` counts what the processor executes under valgrind's callgrind, the same in every run
to 0.1 %, whatever else the machine does. It sees nothing of the kernel's work: add 1 to 2 us for each
system call (benchmarks/readings.py), of which an empty test costs about nine.

RUN.PY takes ``SUITE --ab ROUNDS --matrix FILE --work DIR``, where FILE is a JSON list of variants with
``name``, ``install``, ``plugins`` (files to be loaded with ``-p``) and ``args``; it prints a JSON list with
one entry per variant, of which ``variant``, ``cpu_s_plain`` and ``cpu_s_ratio`` (each with ``median``,
``min`` and ``max``) are read here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EMPTY_TESTS = 5_000
KEPT_TESTS = 10_000
CROWDED_TESTS = 500
LIVE_OBJECTS = 2_000_000
COUNTED_TESTS = 200

READINGS = Path(__file__).with_name("readings_plugin.py")
MEMALERT = "pytest_memalert.plugin"

_EMPTY = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_nothing(number):
    pass
"""
_CROWDED = """
import gc

gc.disable()
HELD = [[object()] for _ in range({objects} // 2)]
gc.enable()
"""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Say how to run a suite: with which plugin, and what is added to the command line."""

    plugin: str = ""
    arguments: tuple[str, ...] = ()


VARIANTS = {
    "plain": Variant(),
    "plain again": Variant(),
    "readings alone": Variant(plugin=READINGS.stem),
    "leaks off": Variant(plugin=MEMALERT, arguments=("--memalert", "--memalert-leaks=off")),
    "default": Variant(plugin=MEMALERT, arguments=("--memalert",)),
}
_COMPARED = tuple(name for name in VARIANTS if name != "plain")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Hold what one run of a suite took."""

    cpu_s: float
    peak_rss_bytes: int


Runs = Mapping[str, Sequence[Cost]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return the exit status."""
    options = _parse(arguments)
    if options.suites:
        _print_ratios([_ratios_of_runner(options, suite) for suite in options.suites])
    elif options.suite:
        _print_ratios([_ratios_of_suite(options, text) for text in options.suite])
    elif options.instructions:
        _print_instructions()
    else:
        _print_built_in(options.rounds)
    return 0


# ------------------------------------------------------------------ real suites


def _ratios_of_runner(options: argparse.Namespace, suite: str) -> list[str]:
    """Return the cells of a suite that the runner prepares and runs."""
    installs = {"": [], READINGS.stem: ["psutil"], MEMALERT: [str(options.install)]}
    matrix = [
        {
            "name": name,
            "install": installs[VARIANTS[name].plugin],
            "plugins": [str(READINGS)] if VARIANTS[name].plugin == READINGS.stem else [],
            "args": list(VARIANTS[name].arguments),
        }
        for name in _COMPARED
        if name not in options.without
    ]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "variants.json"
        file.write_text(json.dumps(matrix), encoding="utf-8")
        command = [sys.executable, str(options.runner), suite, "--ab", str(options.rounds)]
        command += ["--matrix", str(file), *(["--work", str(options.work)] if options.work else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answers = {answer["variant"]: answer for answer in json.loads(done.stdout)}
    cells = [suite, f"{answers['plain again']['cpu_s_plain']['median']:.1f}"]
    for name in _COMPARED:
        ratio = answers[name]["cpu_s_ratio"] if name in answers else None
        cells.append(
            "" if ratio is None else f"{ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
        )
    return cells


def _ratios_of_suite(options: argparse.Namespace, text: str) -> list[str]:
    """Return the cells of a suite given as NAME=DIR:ARGUMENTS."""
    name, _, rest = text.partition("=")
    folder, _, words = rest.partition(":")
    variants = [variant for variant in VARIANTS if variant not in options.without]

    def run(variant: str) -> Cost:
        plugin, added = VARIANTS[variant].plugin, VARIANTS[variant].arguments
        switch = [] if plugin == MEMALERT else ["-p", "no:memalert"]
        own = plugin if plugin == READINGS.stem else ""
        return run_pytest([*shlex.split(words), *switch, *added], folder=Path(folder), plugin=own)

    runs = alternate(run, variants, rounds=options.rounds)
    cells = [name, f"{statistics.median(cost.cpu_s for cost in runs['plain']):.1f}"]
    return cells + [_tell_ratio(runs, variant) if variant in runs else "" for variant in _COMPARED]


def _print_ratios(rows: Sequence[Sequence[str]]) -> None:
    print(f"| suite | plain, CPU s | {' | '.join(_COMPARED)} |")
    print(f"|---|---|{'---|' * len(_COMPARED)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


# -------------------------------------------------------------- built-in suites


def _print_built_in(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runs = {
            "one": _run_built_in(folder / "one", _EMPTY.format(tests=1), rounds),
            "empty": _run_built_in(folder / "empty", _EMPTY.format(tests=EMPTY_TESTS), rounds),
            "crowded one": _run_built_in(
                folder / "crowded_one", _CROWDED.format(objects=LIVE_OBJECTS) + _EMPTY.format(tests=1), rounds
            ),
            "crowded": _run_built_in(
                folder / "crowded",
                _CROWDED.format(objects=LIVE_OBJECTS) + _EMPTY.format(tests=CROWDED_TESTS),
                rounds,
            ),
            # Memory repeats better than time does.
            "kept": _run_built_in(folder / "kept", _EMPTY.format(tests=KEPT_TESTS), min(rounds, 2)),
        }
    print(f"| | {' | '.join(_COMPARED)} |")
    print(f"|---|{'---|' * len(_COMPARED)}")

    def row(title: str, cell: Callable[[str], str]) -> None:
        print(f"| {title} | {' | '.join(cell(name) for name in _COMPARED)} |")

    row("CPU to start, ms", lambda name: _tell(_added_s(runs["one"], name), factor=1e3))
    row(
        "CPU per empty test, us",
        lambda name: _tell(
            _less(_added_s(runs["empty"], name), _added_s(runs["one"], name)), factor=1e6 / EMPTY_TESTS
        ),
    )
    row(
        f"CPU per empty test beside {LIVE_OBJECTS:,} objects, ms",
        lambda name: _tell(
            _less(_added_s(runs["crowded"], name), _added_s(runs["crowded one"], name)),
            factor=1e3 / CROWDED_TESTS,
        ),
    )
    row("resident memory to start, MiB", lambda name: _tell(_added_bytes(runs["one"], name), factor=2**-20))
    row(
        "resident memory kept per test, KiB",
        lambda name: _tell(
            _less(_added_bytes(runs["kept"], name), _added_bytes(runs["one"], name)),
            factor=2**-10 / KEPT_TESTS,
        ),
    )
    row(f"{EMPTY_TESTS:,} empty tests, CPU ratio", lambda name: _tell_ratio(runs["empty"], name))


def _print_instructions() -> None:
    """Print how many instructions the plugin adds to a start and to each empty test."""
    switches = {
        "plain": VARIANTS["plain"],
        "installed, not asked for": Variant(plugin=MEMALERT),
        **{name: VARIANTS[name] for name in _COMPARED[1:]},
    }
    counts: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {tests: Path(scratch) / f"tests_{tests}" for tests in (1, 1 + COUNTED_TESTS)}
        for tests, folder in folders.items():
            folder.mkdir()
            (folder / "test_built_in.py").write_text(_EMPTY.format(tests=tests), encoding="utf-8")
        for name, variant in switches.items():
            arguments = ["-q", *variant.arguments]
            run_pytest(arguments, folder=folders[1], own_suite=True, plugin=variant.plugin)  # its bytecode
            one, many = (
                count_instructions(arguments, folder=folder, plugin=variant.plugin)
                for folder in folders.values()
            )
            counts[name] = one, (many - one) / COUNTED_TESTS
            print(name, file=sys.stderr)
    plain_start, plain_test = counts.pop("plain")
    print("| | start, millions | of a plain one | per empty test, thousands | of a plain one |")
    print("|---|---|---|---|---|")
    print(f"| plain | {plain_start / 1e6:,.1f} | | {plain_test / 1e3:,.1f} | |")
    for name, (start, test) in counts.items():
        print(
            f"| {name} | +{(start - plain_start) / 1e6:,.1f} | {start / plain_start:.3f} "
            f"| {(test - plain_test) / 1e3:+,.1f} | {test / plain_test:.3f} |"
        )


def _run_built_in(folder: Path, source: str, rounds: int) -> Runs:
    folder.mkdir()
    (folder / "test_built_in.py").write_text(source, encoding="utf-8")

    def run(name: str) -> Cost:
        variant = VARIANTS[name]
        return run_pytest(["-q", *variant.arguments], folder=folder, own_suite=True, plugin=variant.plugin)

    return alternate(run, list(VARIANTS), rounds=rounds)


def _added_s(runs: Runs, variant: str) -> list[float]:
    return [one.cpu_s - plain.cpu_s for one, plain in zip(runs[variant], runs["plain"], strict=True)]


def _added_bytes(runs: Runs, variant: str) -> list[float]:
    pairs = zip(runs[variant], runs["plain"], strict=True)
    return [float(one.peak_rss_bytes - plain.peak_rss_bytes) for one, plain in pairs]


def _less(values: Sequence[float], start: Sequence[float]) -> list[float]:
    """Return the values without what starting takes."""
    return [value - statistics.median(start) for value in values]


# ------------------------------------------------------------------------- runs


def alternate(run: Callable[[str], Cost], variants: Sequence[str], *, rounds: int) -> Runs:
    """Return the costs of each variant, one per round, after one run of each that isn't counted."""
    for variant in variants:
        run(variant)
    costs: dict[str, list[Cost]] = {variant: [] for variant in variants}
    for number in range(rounds):
        turn = number // 2 % len(variants)
        order = [*variants[turn:], *variants[:turn]]
        for variant in order if number % 2 == 0 else reversed(order):
            costs[variant].append(run(variant))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return costs


def run_pytest(arguments: Sequence[str], *, folder: Path, plugin: str, own_suite: bool = False) -> Cost:
    """Run pytest once with a plugin of this tree, and return its cost; ``own_suite``: with no other."""
    command, environment = _prepare(arguments, own_suite=own_suite, plugin=plugin)
    child = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):
        raise SystemExit(f"{shlex.join(command)} in {folder}:\n{output.decode()[-2000:]}")
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return Cost(cpu_s=usage.ru_utime + usage.ru_stime, peak_rss_bytes=usage.ru_maxrss * unit_bytes)


def count_instructions(arguments: Sequence[str], *, folder: Path, plugin: str) -> int:
    """Run pytest once under callgrind and return how many instructions it executed."""
    command, environment = _prepare(arguments, own_suite=True, plugin=plugin)
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*valgrind, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or counted is None:
        raise SystemExit(f"{shlex.join(command)} in {folder}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return int(counted.group(1))


def _prepare(arguments: Sequence[str], *, own_suite: bool, plugin: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs pytest, and its environment."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if own_suite:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if plugin or own_suite:
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(READINGS.parent)])
    return [*command, *(["-p", plugin] if plugin else []), *arguments], environment


# ------------------------------------------------------------------------ words


def _tell_ratio(runs: Runs, variant: str) -> str:
    pairs = zip(runs[variant], runs["plain"], strict=True)
    ratios = [one.cpu_s / plain.cpu_s for one, plain in pairs]
    least = min(cost.cpu_s for cost in runs[variant]) / min(cost.cpu_s for cost in runs["plain"])
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}; least {least:.3f})"


def _tell(values: Sequence[float], *, factor: float) -> str:
    figures = [value * factor for value in values]
    return f"{statistics.median(figures):.3g} ({min(figures):.3g} to {max(figures):.3g})"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", help="suites that the runner knows")
    parser.add_argument("--runner", type=Path, help="the script that prepares and runs suites")
    parser.add_argument("--install", type=Path, help="with --runner: the wheel of the plugin, or a checkout")
    parser.add_argument("--work", type=Path, help="where the runner keeps environments and sources")
    parser.add_argument("--suite", action="append", metavar="NAME=DIR:ARGUMENTS", help="a suite of your own")
    parser.add_argument("--instructions", action="store_true", help="count instructions of built-in suites")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    parser.add_argument(
        "--without", action="append", default=[], choices=list(_COMPARED), help="leave a variant out"
    )
    options = parser.parse_args(arguments)
    if options.suites and not (options.runner and options.install):
        parser.error("suites need --runner and --install; a suite of your own is --suite NAME=DIR:ARGUMENTS")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
