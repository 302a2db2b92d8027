"""The fields of an object of JSON: each is read as what it should be, or refused.

All raise MemalertError, which begins with the place: ``alerts[2].survivors[0].count: ...``.
"""

from __future__ import annotations

import enum
import reprlib
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TypeVar

from pytest_memalert.errors import MemalertError

__all__ = [
    "LARGEST",
    "read_at",
    "read_each",
    "read_member",
    "read_number",
    "read_number_or_none",
    "read_object",
    "read_one_of",
    "read_text",
    "read_text_or_none",
    "read_texts",
    "read_time",
    "read_whole",
    "read_whole_or_none",
    "unfit",
]

#: No number is larger, nor less than its negative. JSON's whole numbers may be: no float could be as large.
LARGEST = sys.float_info.max

_T = TypeVar("_T")
_E = TypeVar("_E", bound=enum.Enum)


def unfit(key: str, value: object, wanted: str) -> MemalertError:
    """Return the error that says what stands there instead of what was ``wanted``."""
    shown = "null" if value is None else reprlib.repr(value)
    return MemalertError(f"{key}: {shown} is not {wanted}")


def read_at(key: str, decode: Callable[[object], _T], value: object) -> _T:
    """Return ``decode(value)``; what it raises names the place."""
    try:
        return decode(value)
    except MemalertError as error:
        raise MemalertError(f"{key}.{error}") from None


def read_each(entry: Mapping[str, Any], key: str, decode: Callable[[object], _T]) -> tuple[_T, ...]:
    """Return the decoded entries of a list; a list that an older report lacks is empty."""
    values = entry.get(key)
    if values is None:
        return ()
    if not isinstance(values, list | tuple):
        raise unfit(key, values, "a list")
    return tuple(read_at(f"{key}[{index}]", decode, value) for index, value in enumerate(values))


def read_object(entry: object) -> dict[str, Any]:
    """Return what is an object of JSON."""
    # JSON's keys are text; only a dict made by hand has others.
    if not isinstance(entry, dict):
        raise unfit("entry", entry, "an object with keys")
    return entry


def read_text(entry: Mapping[str, Any], key: str) -> str:
    """Return the text under a key."""
    value = entry.get(key)
    if not isinstance(value, str):
        raise unfit(key, value, "text")
    return value


def read_text_or_none(entry: Mapping[str, Any], key: str) -> str | None:
    """Return the text under a key; None where it is null or missing."""
    return None if entry.get(key) is None else read_text(entry, key)


def read_texts(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the list of texts under a key; a list that an older report lacks is empty."""
    values = entry.get(key)
    if values is None:
        return ()
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise unfit(key, values, "a list of texts")
    return tuple(values)


def read_number(entry: Mapping[str, Any], key: str) -> float:
    """Return the number under a key, which is finite."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise unfit(key, value, "a number")
    return value


def read_number_or_none(entry: Mapping[str, Any], key: str) -> float | None:
    """Return the number under a key; None where it is null or missing."""
    return None if entry.get(key) is None else read_number(entry, key)


def read_whole(entry: Mapping[str, Any], key: str) -> int:
    """Return the whole number under a key."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not abs(value) <= LARGEST:
        raise unfit(key, value, "a whole number")
    return value


def read_whole_or_none(entry: Mapping[str, Any], key: str) -> int | None:
    """Return the whole number under a key; None where it is null or missing."""
    return None if entry.get(key) is None else read_whole(entry, key)


def read_one_of(entry: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    """Return the text under a key, which is one of those ``allowed``."""
    value = read_text(entry, key)
    if value not in allowed:
        raise unfit(key, value, f"one of {', '.join(allowed)}")
    return value


def read_member(entry: Mapping[str, Any], key: str, words: type[_E]) -> _E:
    """Return the member of an enumeration whose value is under a key."""
    value = read_text(entry, key)
    try:
        return words(value)
    except ValueError:
        raise unfit(key, value, f"one of {', '.join(word.value for word in words)}") from None


def read_time(entry: Mapping[str, Any], key: str) -> datetime:
    """Return the time under a key, in UTC."""
    value = read_text(entry, key)
    try:
        # Python 3.10 doesn't read the "Z" that other programs write.
        moment = datetime.fromisoformat(value[:-1] + "+00:00" if value.endswith("Z") else value)
        if moment.tzinfo is not None:
            return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass
    raise unfit(key, value, "a time with its zone, such as '2026-01-31T12:00:00+00:00'")
