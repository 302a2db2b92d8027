"""The records as rows of the history, there and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from pytest_memalert.codec import (
    decode_alert,
    encode_alert,
    encode_environment,
    encode_overhead,
    encode_totals,
)
from pytest_memalert.errors import MemalertError
from pytest_memalert.json_fields import read_object, read_text_or_none, read_whole
from pytest_memalert.model import AlertLife, PerformanceAlert, Run

__all__ = [
    "LIFE_COLUMNS",
    "alert_of",
    "alert_text",
    "counts_of",
    "header_text",
    "installation_of",
    "life_of",
    "life_row",
    "names_of",
    "number_at",
    "number_named",
    "numbers_by_name",
    "numbers_texts",
    "plain",
    "text_of",
    "time_of",
]

LIFE_COLUMNS = (
    "fingerprint",
    "first_seen",
    "last_seen",
    "times",
    "worst",
    "resolved_at",
    "reopened",
    "notified",
    "notified_at",
    "leaks",
    "alert",
)

# One encoder for all rows: json.dumps makes a new one for each where the separators are given.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def header_text(run: Run) -> str:
    """Return what there is of a run but what has tables of its own; spelled as in the report."""
    return _encode(
        {
            "fail_on": None if run.fail_on is None else run.fail_on.value,
            "environment": encode_environment(run.environment),
            "overhead": encode_overhead(run.overhead),
            "totals": encode_totals(run),
        }
    )


def numbers_texts(all_values: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[str]:
    """Return of each the values as a list in the order of ``names``; null for what isn't known or finite."""
    rows = [list(map(values.get, names)) for values in all_values]
    if not rows or not names:
        return ["[]" for _ in rows]
    try:
        # All at once, then taken apart: there are but numbers in it. A call for each takes twice as long.
        text = _encode(rows)
    except ValueError:  # JSON has no word for what isn't finite
        rows = [[n if n is not None and n - n == 0 else None for n in row] for row in rows]
        text = _encode(rows)
    return [f"[{numbers}]" for numbers in text[2:-2].split("],[")]


def names_of(text: str) -> list[str]:
    """Return the names of a run's figures; raises MemalertError."""
    names = _read(text, "a list of metrics")
    if not isinstance(names, list):
        raise MemalertError(f"{text!r} is no list of metrics")
    return names


def installation_of(header: str) -> str | None:
    """Return the installation that a text of ``header_text`` names; raises MemalertError."""
    return read_text_or_none(read_object(_header(header).get("environment")), "installation")


def counts_of(header: str) -> dict[str, int]:
    """Return how many alerts of each kind a text of ``header_text`` counts; raises MemalertError."""
    counts = read_object(read_object(_header(header).get("totals")).get("alerts"))
    return {word: read_whole(counts, word) for word in counts}


def number_at(index: int, numbers: str) -> float | None:
    """Return the number that is there in such a list: taken apart as it was put together, 5 times as fast."""
    try:
        text = numbers[1:-1].split(",", index + 1)[index]
        return None if text == "null" else float(text)
    except (ValueError, IndexError, TypeError):
        raise MemalertError(f"figures are no list of numbers: {numbers!r}") from None


def number_named(name: str, names: str, numbers: str) -> float | None:
    """Return the number of that name in such a list."""
    known = names_of(names)
    return number_at(known.index(name), numbers) if name in known else None


def numbers_by_name(names: Sequence[str], numbers: str) -> dict[str, float]:
    """Return the numbers that are known in such a list, by name; raises MemalertError."""
    try:
        pairs = zip(names, _read(numbers, "figures"), strict=True)
        return {name: number for name, number in pairs if number is not None}
    except (ValueError, TypeError):
        raise MemalertError(f"figures are no list of numbers: {numbers!r}") from None


def alert_text(alert: PerformanceAlert) -> str:
    """Return an alert as it stands in the report."""
    return _encode(encode_alert(alert))


def alert_of(text: str) -> PerformanceAlert:
    """Return the alert of such a text; raises MemalertError."""
    return decode_alert(_read(text, "an alert"))


def life_row(life: AlertLife) -> tuple[object, ...]:
    """Return a life in the order of ``LIFE_COLUMNS``."""
    return (
        plain(life.fingerprint),
        text_of(life.first_seen),
        text_of(life.last_seen),
        life.times,
        life.worst,
        None if life.resolved_at is None else text_of(life.resolved_at),
        life.reopened,
        life.notified,
        None if life.notified_at is None else text_of(life.notified_at),
        life.leaks,
        alert_text(life.alert),
    )


def life_of(row: Sequence[Any]) -> AlertLife:
    """Return the life in such a row; a number that is NULL, which nan becomes, is nan."""
    known = dict(zip(LIFE_COLUMNS, row, strict=True))
    return AlertLife(
        fingerprint=known["fingerprint"],
        alert=alert_of(known["alert"]),
        first_seen=time_of(known["first_seen"]),
        last_seen=time_of(known["last_seen"]),
        times=known["times"],
        worst=float("nan") if known["worst"] is None else known["worst"],
        resolved_at=None if known["resolved_at"] is None else time_of(known["resolved_at"]),
        reopened=known["reopened"],
        notified=known["notified"],
        notified_at=None if known["notified_at"] is None else time_of(known["notified_at"]),
        leaks=known["leaks"],
    )


def plain(text: str) -> str:
    """Return text that SQLite takes: a file name that is not UTF-8 has lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(moment: datetime) -> str:
    """Return a time as text, in UTC; all with microseconds, so that texts sort as the times do."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def time_of(text: str) -> datetime:
    """Return the time of such a text; raises MemalertError."""
    try:
        return datetime.fromisoformat(text)
    except (ValueError, TypeError):
        raise MemalertError(f"{text!r} is no time") from None


def _header(text: str) -> dict[str, Any]:
    return read_object(_read(text, "the header of a run"))


def _read(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise MemalertError(f"{what} is not JSON: {error}") from None
