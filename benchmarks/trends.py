"""Measure how often noise is told as a trend, and how soon a change is seen.

    python benchmarks/trends.py                      the tables of docs/reference/trends.md
    python benchmarks/trends.py --reports FOLDER     real series: JSON reports NAME-1.json, NAME-2.json, ...

Noise has no change in it, so whatever is told of it is wrong. The seeds are fixed: the same tables come
out each time.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from pytest_memalert.anomalies import parse_history_threshold, resolve_rule
from pytest_memalert.history import History, Keep, read_history, write_history
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import (
    AlertCategory,
    AlertRule,
    AlertSeverity,
    Environment,
    Measurement,
    Overhead,
    Run,
    SeriesPoint,
)
from pytest_memalert.trends import MINIMUM_RUNS, Search, find_trend

MIB = 2**20
PAGE = 4096
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
RUNS = (10, 15, 20, 30, 60)
AFTER = (3, 4, 5, 8, 10)

Noise = Callable[[random.Random, float], float]


def gaussian(share: float) -> Noise:
    """Return normal noise with this standard deviation, as a share of the level."""
    return lambda chance, level: chance.gauss(level, share * level)


def heavy(share: float) -> Noise:
    """Return noise with the tails of Student's t with 3 degrees of freedom."""

    def draw(chance: random.Random, level: float) -> float:
        spread = sum(chance.gauss(0, 1) ** 2 for _ in range(3)) / 3
        return level * (1 + share * chance.gauss(0, 1) / spread**0.5)

    return draw


def pages(chance: random.Random, level: float) -> float:
    """Return whole pages: the level, and up to four pages more."""
    return level // PAGE * PAGE + PAGE * chance.choice((0, 0, 0, 0, 1, 1, 2, 4))


def bimodal(share: float, gap: float) -> Noise:
    """Return one of two values, as malloc does that takes a block from its heap or from the kernel."""
    return lambda chance, level: (
        level * (1 + (gap if chance.random() < share else 0)) + PAGE * chance.randrange(3)
    )


NOISES: dict[str, Noise] = {
    "whole pages": pages,
    "normal, 2 %": gaussian(0.02),
    "normal, 20 %": gaussian(0.20),
    "heavy tails, 5 %": heavy(0.05),
    "heavy tails, 20 %": heavy(0.20),
    "two values 30 % apart, 1 in 2": bimodal(0.5, 0.3),
    "two values 30 % apart, 1 in 5": bimodal(0.2, 0.3),
    "two values 30 % apart, 1 in 20": bimodal(0.05, 0.3),
}


def points(values: list[float]) -> list[SeriesPoint]:
    """Return a series of these values, a run a day."""
    return [
        SeriesPoint(run_id=str(day), started_at=START + timedelta(days=day), commit=f"{day:07x}", value=value)
        for day, value in enumerate(values)
    ]


def kind_of(values: list[float], search: Search = "standard") -> str:
    """Return what is told of a series of peaks."""
    trend = find_trend(points(values), metric="peak_bytes", search=search)
    return trend.kind if trend else "too few"


def print_accusations(count: int, level: float) -> None:
    """Print the share of pure noise that is told as a step or a drift, and as an outlier."""
    print(f"| noise | {' | '.join(f'{runs} runs' for runs in RUNS)} |")
    print(f"|---|{'---|' * len(RUNS)}")
    for name, noise in NOISES.items():
        cells = []
        for runs in RUNS:
            chance = random.Random(f"{name} {runs}")
            kinds = Counter(kind_of([noise(chance, level) for _ in range(runs)]) for _ in range(count))
            wrong = kinds["step"] + kinds["drift"]
            cells.append(f"{wrong / count:.2%} ({kinds['outlier'] / count:.1%})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def print_power(count: int) -> None:
    """Print the share of real steps that are told as one, so many runs after them."""
    cases = [
        ("whole pages", 20 * MIB, 2 * MIB, "20 MiB + 10 %"),
        ("whole pages", 20 * MIB, 5 * MIB, "20 MiB + 25 %"),
        ("whole pages", 5 * MIB, MIB, "5 MiB + 1 MiB"),
        ("normal, 2 %", 20 * MIB, 2 * MIB, "20 MiB + 10 %"),
        ("normal, 2 %", 20 * MIB, 5 * MIB, "20 MiB + 25 %"),
        ("normal, 2 %", 5 * MIB, MIB, "5 MiB + 1 MiB"),
        ("heavy tails, 5 %", 20 * MIB, 2 * MIB, "20 MiB + 10 %"),
        ("heavy tails, 5 %", 20 * MIB, 5 * MIB, "20 MiB + 25 %"),
        ("heavy tails, 5 %", 5 * MIB, MIB, "5 MiB + 1 MiB"),
    ]
    print("| noise | step | runs in all | " + " | ".join(f"{after} after" for after in AFTER) + " |")
    print(f"|---|---|---|{'---|' * len(AFTER)}")
    for name, level, step, words in cases:
        for runs in (5, 10, 15, 20, 30):
            cells = []
            for after in AFTER:
                if after >= runs:
                    cells.append("")
                    continue
                chance = random.Random(f"{name} {words} {runs} {after}")
                noise = NOISES[name]
                kinds = Counter(
                    kind_of(
                        [noise(chance, level + (step if run >= runs - after else 0)) for run in range(runs)]
                    )
                    for _ in range(count)
                )
                cells.append(f"{kinds['step'] / count:.0%}")
            print(f"| {name} | {words} | {runs} | {' | '.join(cells)} |", flush=True)


def print_agreement(count: int) -> None:
    """Print how often ruptures and the standard method say the same."""
    chance = random.Random("agreement")
    same = Counter[str]()
    spent_s = {"standard": 0.0, "ruptures": 0.0}
    for name, noise in NOISES.items():
        for _ in range(count):
            level, runs, after = 20 * MIB, 30, chance.randrange(0, 12)
            step = chance.choice((0.0, 0.25, 0.5)) * level
            values = [noise(chance, level + (step if run >= runs - after else 0)) for run in range(runs)]
            began_s = time.process_time()
            ours = kind_of(values)
            between_s = time.process_time()
            theirs = kind_of(values, "ruptures")
            spent_s["standard"] += between_s - began_s
            spent_s["ruptures"] += time.process_time() - between_s
            same[name] += ours == theirs
    print("| noise | the same said |\n|---|---|")
    for name in NOISES:
        print(f"| {name} | {same[name] / count:.1%} |")
    for name, seconds in spent_s.items():
        print(f"{name}: {1000 * seconds / count / len(NOISES):.2f} ms a series")


def print_anomalies(count: int) -> None:
    """Print how often the next value of a series breaks a rule that compares with it, unrepeated."""
    noises = (
        "whole pages",
        "normal, 2 %",
        "normal, 20 %",
        "heavy tails, 5 %",
        "two values 30 % apart, 1 in 5",
    )
    changes = (("nothing changed", 0.0), ("+ 10 %", 0.1), ("+ 25 %", 0.25))
    print(f"| threshold | runs | noise | {' | '.join(words for words, _ in changes)} |")
    print(f"|---|---|---|{'---|' * len(changes)}")
    for text in ("p99 of 30 runs", "p95 of 30 runs", "4 MAD over median of 30 runs"):
        for runs in (10, 30):
            for name in noises:
                cells = [f"{_share_broken(text, runs, name, change, count):.1%}" for _, change in changes]
                print(f"| {text} | {runs} | {name} | {' | '.join(cells)} |", flush=True)


def _share_broken(text: str, runs: int, name: str, change: float, count: int) -> float:
    chance = random.Random(f"{text} {runs} {name} {change}")
    rule = AlertRule(
        name="unusual",
        category=AlertCategory.MEMORY_THRESHOLD,
        severity=AlertSeverity.CRITICAL,
        metric="peak_bytes",
        threshold=float("nan"),
        against=parse_history_threshold(text, "bytes"),
    )
    noise, level, broken = NOISES[name], 20 * MIB, 0
    for _ in range(count):
        resolved = resolve_rule(rule, points([noise(chance, level) for _ in range(runs)]))
        assert resolved is not None
        broken += noise(chance, level * (1 + change)) > resolved.threshold
    return broken / count


def print_cost(tests: int, runs: int) -> None:
    """Print what looking for trends reads at the end of a session, in CPU time."""
    environment = Environment(
        implementation="CPython",
        python="3.11",
        platform="Linux",
        machine="x86_64",
        traced=False,
        memalert="0",
    )
    chance = random.Random("cost")
    names = [name for name, metric in METRICS.items() if metric.reading in (None, "peak")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.sqlite3"
        for number in range(runs):
            measurements = tuple(
                Measurement(
                    nodeid=f"tests/test_{test % 50}.py::test_{test}",
                    worker="main",
                    outcome="passed",
                    component="",
                    rss_before_bytes=None,
                    values={name: pages(chance, 10 * MIB) for name in names},
                )
                for test in range(tests)
            )
            run = Run(
                run_id=str(number),
                started_at=START + timedelta(days=number),
                duration_s=1.0,
                environment=environment,
                overhead=Overhead(),
                reruns=0,
                tests=measurements,
                fixtures=(),
                alerts=(),
                notes=(),
            )
            write_history(path, partial(_record, run=run), warn=print, at=run.started_at)
        with read_history(path) as history:
            began_s = time.process_time()
            latest, _ = history.samples("peak_bytes", ages=(0, 13), environment=environment)
            # As of a suite in which one test in twenty differs between the two.
            differing = set(list(latest)[::20])
            history.samples("peak_bytes", ages=(1, 8, 18, 23, 28), environment=environment, nodeids=differing)
            sampled_s = time.process_time()
            history.every_series("peak_bytes", limit=30, environment=environment)
            read_s = time.process_time()
    print(f"{tests:,} tests, {runs} runs, CPU time a test:")
    print(f"looking for what has moved: {1e6 * (sampled_s - began_s) / tests:.0f} us")
    print(
        f"reading every series, as a rule on earlier runs does: {1e6 * (read_s - sampled_s) / tests:.0f} us"
    )


def _record(history: History, *, run: Run) -> None:
    keep = Keep(max_age_s=1e12, max_runs=1000, max_bytes=10**10)
    history.record(run, session={}, leaks="off", evolve=lambda past: (), keep=keep)


def print_real(folder: Path) -> None:
    """Print what is told of real series, and how far their values scatter."""
    reports = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        if named := re.fullmatch(r"(.+)-(\d+)", path.stem):
            reports[named[1]].append((int(named[2]), path))
    print(
        "| suite | runs | metric | series | told: step | drift | outlier | spread: median | 99 % | 99.9 % |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, numbered in reports.items():
        series: dict[str, dict[str, list[float]]] = {}
        for _, path in sorted(numbered):
            for test in json.loads(path.read_text(encoding="utf-8"))["tests"]:
                if test["outcome"] != "passed":
                    continue
                for metric in ("peak_bytes", "growth_bytes", "rss_peak_bytes"):
                    if test.get(metric) is not None:
                        series.setdefault(metric, {}).setdefault(test["nodeid"], []).append(test[metric])
        for metric, tests in series.items():
            whole = [values for values in tests.values() if len(values) == len(numbered)]
            kinds = Counter[str]()
            spreads = []
            for values in whole:
                trend = find_trend(points(values), metric=metric)
                kinds[trend.kind if trend else "too few"] += 1
                level = statistics.median(values)
                spreads.append(max(abs(value - level) for value in values) / 1024)
            spreads.sort()
            at = [spreads[min(int(share * len(spreads)), len(spreads) - 1)] for share in (0.5, 0.99, 0.999)]
            told = " | ".join(str(kinds[kind]) for kind in ("step", "drift", "outlier"))
            shown = " | ".join(f"{kib:,.0f} KiB" for kib in at)
            print(f"| {name} | {len(numbered)} | {metric} | {len(whole)} | {told} | {shown} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=2000, help="series for each cell (2000)")
    parser.add_argument(
        "--only", choices=("noise", "power", "agreement", "anomalies", "cost"), help="one table alone"
    )
    parser.add_argument("--reports", type=Path, help="a folder of JSON reports of one suite, again and again")
    given = parser.parse_args()
    if given.reports:
        print_real(given.reports)
        return
    print(f"nothing is said of fewer than {MINIMUM_RUNS} runs\n")
    if given.only in (None, "noise"):
        print("told of pure noise: step or drift (outlier); level 20 MiB\n")
        print_accusations(given.series, 20 * MIB)
    if given.only in (None, "power"):
        print("\nsteps told as a step\n")
        print_power(max(given.series // 10, 50))
    if given.only in (None, "agreement"):
        print("\nruptures and the standard method\n")
        print_agreement(max(given.series // 20, 20))
    if given.only in (None, "anomalies"):
        print("\nthe next value of a series breaks a rule that compares with it; level 20 MiB\n")
        print_anomalies(given.series)
    if given.only in (None, "cost"):
        print()
        print_cost(5000, 30)


if __name__ == "__main__":
    main()
