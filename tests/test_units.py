"""Laws and examples of quantities as text."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.units import (
    UNIT_EXAMPLES,
    Unit,
    counted,
    format_duration,
    format_limit,
    format_quantity,
    format_size,
    listed,
    parse_duration,
    parse_quantity,
    parse_ratio,
    parse_size,
)

UNITS: tuple[Unit, ...] = get_args(Unit)
SIZES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}

each_unit = pytest.mark.parametrize("unit", UNITS)
gaps = st.sampled_from(["", " ", "  ", "\t"])


@given(st.integers(0, 10**9), st.sampled_from(sorted(SIZES)), gaps)
def test_law_a_whole_number_of_a_size_unit_is_read_exactly(number: int, name: str, gap: str) -> None:
    assert parse_size(f"{number}{gap}{name}") == number * SIZES[name]


@given(st.integers(0, 10**6), st.sampled_from(sorted(SIZES)), st.data())
def test_law_the_case_of_a_size_unit_means_nothing(number: int, name: str, data: st.DataObject) -> None:
    spelling = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in name)
    assert parse_size(f"{number} {spelling}") == parse_size(f"{number} {name}")


@given(st.integers(0, 10**15))
def test_law_a_bare_number_is_bytes_as_text_and_as_number(size_bytes: int) -> None:
    assert parse_size(size_bytes) == parse_size(str(size_bytes)) == size_bytes


@given(st.integers(1, 999), st.sampled_from(["kB", "MB", "GB", "KiB", "MiB", "GiB"]))
def test_law_a_limit_is_shown_as_it_was_written(number: int, name: str) -> None:
    # "512 kB" and "500 KiB" are the same.
    shown = format_limit(parse_size(f"{number} {name}"), "bytes")
    assert parse_size(shown) == number * SIZES[name]
    assert shown == f"{number} {name}" or name == "kB"


@given(st.integers(0, 10**15))
def test_law_a_size_that_was_written_is_read_back_within_its_last_digit(size_bytes: int) -> None:
    # One decimal is written below 99.95: 1.0 KiB may stand for anything up to 1.05 KiB.
    assert parse_size(format_size(size_bytes)) == pytest.approx(size_bytes, rel=0.055, abs=0.5)


@given(st.floats(1e-6, 1e7))
def test_law_a_duration_that_was_written_is_read_back_within_its_last_digit(duration_s: float) -> None:
    assert parse_duration(format_duration(duration_s)) == pytest.approx(duration_s, rel=0.055)


@given(st.sampled_from(UNITS), st.integers(1, 10**9))
def test_law_what_is_written_can_be_read(unit: Unit, number: int) -> None:
    assert parse_quantity(format_quantity(number, unit), unit) == pytest.approx(number, rel=0.055)


@given(st.sampled_from(UNITS), st.integers(0, 10**9))
def test_law_a_bare_number_is_in_the_base_unit(unit: Unit, number: int) -> None:
    assert parse_quantity(number, unit) == number


@given(st.floats(0, 100, allow_subnormal=False))
def test_law_a_percentage_is_a_hundredth(number: float) -> None:
    assert parse_ratio(f"{number:.3f} %") == pytest.approx(parse_ratio(f"{number:.3f}") / 100)


@given(st.integers(0, 10**6), st.sampled_from(["B", "kB", "MB", "MiB"]))
def test_law_a_rate_per_second_is_3600_times_as_much_per_hour(number: int, name: str) -> None:
    per_second = parse_quantity(f"{number} {name}/s", "bytes/s")
    assert parse_quantity(f"{number} {name}/s", "bytes/hour") == pytest.approx(per_second * 3600)


@given(
    st.sampled_from(UNITS),
    st.none() | st.booleans() | st.text() | st.integers() | st.floats() | st.lists(st.integers(), max_size=2),
)
def test_law_anything_at_all_is_read_or_refused_with_what_to_write(unit: Unit, value: object) -> None:
    try:
        quantity, refusal = parse_quantity(value, unit), None
    except ValueError as error:
        quantity, refusal = 0, str(error)
    assert quantity >= 0
    assert refusal is None or refusal.startswith(f"{value!r} is not a")
    assert refusal is None or "; write it as " in refusal


@each_unit
@pytest.mark.parametrize(
    "value",
    [
        "",
        "many",
        "-1",
        -1,
        True,
        None,
        [],
        float("nan"),
        float("inf"),
        10**400,
        "9" * 5000,
        "1.0" + "0" * 400 + "x",
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_amount_is_refused(unit: Unit, value: object) -> None:
    with pytest.raises(ValueError, match="; write it as "):
        parse_quantity(value, unit)


@each_unit
def test_what_an_error_says_to_write_is_accepted(unit: Unit) -> None:
    for example in UNIT_EXAMPLES[unit].removeprefix("a whole number such as ").split(" or "):
        value = example.strip("'") if example.startswith("'") else float(example)
        assert parse_quantity(value, unit) > 0


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("2 MiB", "ratio"),
        ("2 MiB", "seconds"),
        ("2 MiB", "bytes/s"),
        ("2 MiB", "count"),
        ("3 s", "bytes"),
        ("50 %", "bytes"),
        ("5 MB/s", "bytes"),
        ("1.5", "count"),
        ("5", "bytes/s"),
    ],
)
def test_a_quantity_of_another_unit_is_refused(value: str, unit: Unit) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_quantity(value, unit)


def test_a_misspelt_size_is_answered_with_its_own_number() -> None:
    with pytest.raises(ValueError, match=r"^'2 megs' is not a size; write it as '2 MiB'$"):
        parse_size("2 megs")


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [("340us", 340e-6), ("10ms", 0.01), ("30s", 30), ("5 min", 300), ("2 h", 7200), ("3 min 20 s", 200)],
)
def test_durations_are_read(text: str, duration_s: float) -> None:
    assert parse_duration(text) == pytest.approx(duration_s)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0.00034, "340 us"), (0.012, "12 ms"), (1.5, "1.5 s"), (99.99, "1 min 40 s"), (-2, "-2 s")],
)
def test_durations_are_written_in_three_digits(duration_s: float, text: str) -> None:
    assert format_duration(duration_s) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1000, "1 KiB"),
        (1536, "1.5 KiB"),
        (-3355443, "-3.2 MiB"),
        (2**40, "1024 GiB"),
    ],
)
def test_sizes_are_written_in_the_shortest_unit(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


def test_a_rate_below_a_byte_is_not_rounded_away() -> None:
    assert parse_quantity("0.25 B/s", "bytes/hour") == 900


def test_a_large_count_is_written_without_an_exponent() -> None:
    assert format_quantity(1_234_567, "count") == "1234567"


def test_a_number_of_things_is_written_with_its_noun() -> None:
    assert [counted(number, "test") for number in (0, 1, 2_000)] == ["0 tests", "1 test", "2,000 tests"]


@pytest.mark.parametrize(
    ("names", "total", "text"),
    [([], 0, ""), (["a", "b"], 2, "a, b"), (["a", "b"], 2_002, "a, b and 2,000 more")],
)
def test_names_that_find_no_room_are_counted(names: list[str], total: int, text: str) -> None:
    assert listed(names, total) == text
