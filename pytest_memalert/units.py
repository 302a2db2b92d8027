"""Quantities as text: "64 MiB" <-> 67_108_864, "5 MB/s", "10 %", "30s"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pytest_memalert.errors import WrongValueError

__all__ = [
    "TIMED_UNITS",
    "UNIT_EXAMPLES",
    "Unit",
    "counted",
    "format_beside",
    "format_duration",
    "format_limit",
    "format_mean",
    "format_quantity",
    "format_size",
    "is_decimal",
    "listed",
    "parse_duration",
    "parse_quantity",
    "parse_ratio",
    "parse_size",
]

Unit = Literal["bytes", "bytes/s", "bytes/hour", "seconds", "ratio", "count"]

#: Durations and paces: between runs of the same code on a busy machine they differ by a factor.
TIMED_UNITS: frozenset[Unit] = frozenset({"bytes/s", "bytes/hour", "seconds"})

#: What to write for a quantity of each unit; error messages end in it.
UNIT_EXAMPLES: dict[Unit, str] = {
    "bytes": "'2 MiB' or 2097152",
    "bytes/s": "'5 MB/s'",
    "bytes/hour": "'50 MB/hour'",
    "seconds": "'1.5 s' or 1.5",
    "ratio": "0.5 or '50 %'",
    "count": "a whole number such as 3",
}

_NOUNS: dict[Unit, str] = {
    "bytes": "a size",
    "bytes/s": "a rate in bytes per second",
    "bytes/hour": "a rate in bytes per hour",
    "seconds": "a duration",
    "ratio": "a share",
    "count": "a count",
}

# "MB" is 10**6 and "MiB" 2**20, as in IEC 80000-13; nothing is guessed.
_SIZES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DECIMAL_NAMES = ("B", "kB", "MB", "GB")
_BINARY_NAMES = ("B", "KiB", "MiB", "GiB")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hour": 3600.0}
_SECONDS |= {"hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0}
# No quantity of a program comes near; below it, no arithmetic on one overflows.
_TOO_MUCH = 1e24
_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:_\d+)*)(?:\.\d+)?|[+-]?\.\d+)\s*(.*?)\s*", re.ASCII)
# As format_duration writes it: what is printed can be read again.
_MINUTES_AND_SECONDS = re.compile(r"\s*(\d+)\s*min\s+(\d+)\s*s\s*", re.ASCII | re.IGNORECASE)


def parse_quantity(value: object, unit: Unit) -> float:
    """Return ``value`` (text or a number) in the base of ``unit``; sizes and counts are whole.

    Raises ValueError, saying what to write instead, for anything else.
    """
    if unit == "bytes":
        return parse_size(value)
    if unit == "seconds":
        return parse_duration(value)
    if unit == "ratio":
        return parse_ratio(value)
    if unit == "count":
        number, word = _split(value, unit)
        if word or number != int(number):
            raise _refusal(value, unit)
        return int(number)
    return _parse_rate(value, unit)


def parse_size(value: object) -> int:
    """Return a size in bytes; ``MB`` is 10**6, ``MiB`` is 2**20, a bare number is bytes."""
    number, word = _split(value, "bytes")
    try:
        return round(number * _SIZES[word.lower() or "b"])
    except KeyError:
        raise _refusal(value, "bytes") from None


def parse_duration(value: object) -> float:
    """Return a duration in seconds; a bare number is seconds."""
    if isinstance(value, str) and (match := _MINUTES_AND_SECONDS.fullmatch(value)):
        minutes, seconds = match.groups()
        return parse_duration(f"{minutes} min") + parse_duration(f"{seconds} s")
    number, word = _split(value, "seconds")
    try:
        return number * _SECONDS[word.lower() or "s"]
    except KeyError:
        raise _refusal(value, "seconds") from None


def parse_ratio(value: object) -> float:
    """Return a share as a number: ``"10 %"`` and ``0.1`` are the same."""
    number, word = _split(value, "ratio")
    if word not in ("", "%"):
        raise _refusal(value, "ratio")
    return number / 100 if word else number


def format_size(size_bytes: float, *, decimal: bool = False) -> str:
    """Return a size for people: ``"512 B"``, ``"1.5 KiB"``, ``"-3.2 MiB"``, or ``decimal`` ``"1.5 kB"``."""
    base, names = (1000, _DECIMAL_NAMES) if decimal else (1024, _BINARY_NAMES)
    amount = float(size_bytes)
    for name in names:
        if abs(amount) < 999.5 or name == names[-1]:
            break
        amount /= base
    # A thousand and more of a unit would be shown as four digits: the next one says it shorter.
    return f"{_short(amount)} {name}"


def is_decimal(limit: float, unit: Unit) -> bool:
    """Return whether a limit was written in decimal units of bytes, as what breaks it is to be shown."""
    if not unit.startswith("bytes"):
        return False
    return parse_size(format_size(limit)) != limit == parse_size(format_size(limit, decimal=True))


def format_mean(amount: float, *, signed: bool = False) -> str:
    """Return how many on average, as exactly as that is known: "5,120", "1.84"."""
    digits = 0 if abs(amount) >= 10 or amount == int(amount) else 2
    return f"{amount:{'+' if signed else ''},.{digits}f}"


def counted(number: int, noun: str) -> str:
    """Return how many of what: "1 test", "2,000 tests"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(shown: Iterable[str], total: int) -> str:
    """Return the names that are shown, and how many there are besides: "a, b and 2,000 more"."""
    names = list(shown)
    more = total - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")


def format_duration(duration_s: float) -> str:
    """Return a duration for people: ``"340 us"``, ``"12 ms"``, ``"1.5 s"``, ``"3 min 20 s"``."""
    if duration_s < 0:
        return f"-{format_duration(-duration_s)}"
    if duration_s < 0.0009995:
        return f"{_short(duration_s * 1e6)} us"
    if duration_s < 0.9995:
        return f"{_short(duration_s * 1e3)} ms"
    if duration_s < 99.95:
        return f"{_short(duration_s)} s"
    minutes, seconds = divmod(round(duration_s), 60)
    return f"{minutes} min {seconds} s"


def format_quantity(value: float, unit: Unit, *, decimal: bool = False) -> str:
    """Return a quantity of ``unit`` for people, its unit included; sizes are binary unless ``decimal``."""
    if unit.startswith("bytes"):
        return format_size(value, decimal=decimal) + unit.removeprefix("bytes")
    if unit == "seconds":
        return format_duration(value)
    if unit == "ratio":
        return f"{value:.2f}"
    # "1000000", not "1e+06".
    return f"{value:.0f}" if abs(value) >= 1e5 else f"{value:g}"


def format_limit(limit: float, unit: Unit) -> str:
    """Return a limit as it was written: ``"50 MB"``, not ``"47.7 MiB"``."""
    return format_beside(limit, limit, unit)


def format_beside(value: float, limit: float, unit: Unit) -> str:
    """Return a quantity in the units, binary or decimal, that its limit was written in."""
    return format_quantity(value, unit, decimal=is_decimal(limit, unit))


def _parse_rate(value: object, unit: Unit) -> float:
    """Return a rate in bytes per second or per hour, whichever time the text names."""
    base_s = 3600.0 if unit == "bytes/hour" else 1.0
    if isinstance(value, str):
        size, slash, time = value.partition("/")
        if slash:
            try:
                number, word = _split(size, "bytes")
                return number * _SIZES[word.lower() or "b"] * base_s / _SECONDS[time.strip().lower()]
            except (KeyError, ValueError):
                pass
        raise _refusal(value, unit)
    number, _ = _split(value, unit)
    return number


def _split(value: object, unit: Unit) -> tuple[float, str]:
    """Return the number and the word after it."""
    if isinstance(value, bool):
        raise _refusal(value, unit)
    if isinstance(value, int | float):
        number, word = float(value) if isinstance(value, float) else value, ""
    elif isinstance(value, str) and (match := _NUMBER.fullmatch(value)):
        text, word = match.groups()
        number = float(text)
        if "." not in text and number < _TOO_MUCH:
            number = int(text)
    else:
        raise _refusal(value, unit)
    # Written so that NaN, too, is refused.
    if not 0 <= number < _TOO_MUCH:
        raise _refusal(value, unit)
    return number, word


def _refusal(value: object, unit: Unit) -> ValueError:
    return WrongValueError(value, f"is not {_NOUNS[unit]}; write it as {_suggestion(value, unit)}")


def _suggestion(value: object, unit: Unit) -> str:
    """Return what the user most likely meant: their own number with a unit that exists."""
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match and unit == "bytes" and (number := match.group(1)).lstrip("+").isdigit():
        letter = match.group(2)[:1].upper()
        if letter in ("K", "M", "G", "T"):
            return f"'{number.lstrip('+')} {letter}iB'"
    return UNIT_EXAMPLES[unit]


def _short(amount: float) -> str:
    """Return three digits at most, without trailing zeros."""
    digits = 0 if abs(amount) >= 99.95 else 1
    text = f"{amount:.{digits}f}"
    return text[:-2] if text.endswith(".0") else text
