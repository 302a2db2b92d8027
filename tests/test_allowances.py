"""Allowances: how a file and a marker set them."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_memalert.gate.allowances import (
    ALLOWANCE_KEYS,
    ALLOWANCES,
    Allowance,
    Allowances,
    read_allowances,
    widen_for_marker,
)
from pytest_memalert.limits.marker import parse_marker

PLACE = "pyproject.toml: tool.memalert.gate"


def read(**table: Any) -> Allowances:
    """Return the allowances of a table without faults."""
    allowances, problems = read_allowances(table, place=PLACE)
    assert problems == []
    return allowances


def test_table_that_says_nothing_leaves_the_defaults() -> None:
    """Which every metric has."""
    assert read() == ALLOWANCES
    assert {metric for metrics in ALLOWANCE_KEYS.values() for metric in metrics} == {
        *ALLOWANCES.of_tests,
        *ALLOWANCES.of_session,
    }


@pytest.mark.parametrize(
    ("written", "share", "floor"),
    [
        ("2 MiB", 0.0, 2 * 2**20),
        (4096, 0.0, 4096),
        ("10 %", 0.10, ALLOWANCES.of_tests["peak_bytes"].floor),
        (["10 %", "2 MiB"], 0.10, 2 * 2**20),
        (["2 MiB", "10 %"], 0.10, 2 * 2**20),
    ],
)
def test_amount_share_or_the_larger_of_both_can_be_written(written: object, share: float, floor: int) -> None:
    """A share alone keeps the floor: of a small test it would be nothing."""
    assert read(peak=written).of_tests["peak_bytes"] == Allowance(share=share, floor=floor)


def test_word_on_peaks_holds_for_traced_ones_too() -> None:
    """Tracing decides about peaks; ``traced_peak`` has the last word on its own."""
    both = read(peak="1 MiB").of_tests
    assert both["traced_peak_bytes"] == both["peak_bytes"] == Allowance(floor=2**20)
    apart = read(peak="1 MiB", traced_peak="1 KiB").of_tests
    assert apart["traced_peak_bytes"] == Allowance(floor=2**10)


def test_metric_can_be_turned_off() -> None:
    """It is then not compared."""
    assert not read(blocks="off").of_tests["blocks_growth"].enabled


def test_last_pattern_that_fits_wins_key_by_key() -> None:
    """As later layers do everywhere."""
    allowances = read(
        tests=[
            {"tests": ["tests/io/*"], "peak": "1 MiB", "growth": "1 MiB"},
            {"tests": ["tests/io/test_a.py"], "peak": "2 MiB"},
        ]
    )
    found = allowances.for_test("tests/io/test_a.py::test_x")
    assert found["peak_bytes"].floor == 2 * 2**20
    assert found["growth_bytes"].floor == 2**20
    assert allowances.for_test("tests/test_b.py::test_x") == ALLOWANCES.of_tests


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"peak": "2 megs"}, f"{PLACE}.peak: '2 megs' is not a size; write it as '2 MiB'"),
        ({"peek": "2 MiB"}, f"{PLACE}: unknown key 'peek'; did you mean 'peak'?"),
        ({"peak": ["10 %", "5 %"]}, f"{PLACE}.peak: ['10 %', '5 %'] is not one share and one amount"),
        ({"blocks": "2 MiB"}, f"{PLACE}.blocks: '2 MiB' is not a count"),
        ({"tests": "x"}, f"{PLACE}.tests: 'x' is not a list of tables; write [[tool.memalert.gate.tests]]"),
        ({"peak": [True, "1 MiB"]}, f"{PLACE}.peak: [true, '1 MiB'] is not one share and one amount"),
        ({"growth": True}, f"{PLACE}.growth: true is not a size"),
        ({"tests": [{"tests": True}]}, f"{PLACE}.tests[0].tests: true is not a list of patterns"),
        ({"tests": [1]}, f"{PLACE}.tests[0]: 1 is not a table"),
        (
            {"tests": [{"peak": 1}]},
            f"{PLACE}.tests[0]: tests is missing; say of which, as in tests = ['tests/io/*']",
        ),
        ({"tests": [{"tests": ["a"], "session_peak": 1}]}, f"{PLACE}.tests[0]: unknown key 'session_peak'"),
    ],
)
def test_faulty_table_is_told_with_place_and_remedy(table: dict[str, object], problem: str) -> None:
    """Nothing is guessed."""
    _, problems = read_allowances(table, place=PLACE)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_every_fault_is_told_at_once() -> None:
    """Three faults, three lines."""
    _, problems = read_allowances({"peak": "x", "growth": "y", "z": 1}, place=PLACE)
    assert len(problems) == 3


def test_limit_on_the_marker_is_what_the_gate_allows() -> None:
    """It was written for this test, and is held against it anyway."""
    limits = parse_marker([("t", {"peak": 1000, "leak": 64}, ())])
    medians = {"peak_bytes": 400.0, "traced_peak_bytes": 300.0, "leak_bytes_per_run": 0.0}
    narrow = dict.fromkeys(ALLOWANCES.of_tests, Allowance(floor=10))
    widened = widen_for_marker(narrow, limits, medians)
    assert widened["peak_bytes"].floor == 600
    assert widened["traced_peak_bytes"].floor == 700
    assert widened["leak_bytes_per_run"].floor == 64
    assert widened["growth_bytes"].floor == 10
    assert widen_for_marker(narrow, parse_marker([]), medians) == narrow
