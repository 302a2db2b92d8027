"""The acknowledgments: alerts that someone looked at and accepts, for a reason, until a date.

They live in ``memalert.acks.toml``, which is reviewed and committed like code. Deciding takes the
date and the alerts as values; what is written keeps every comment and the order of the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pytest_memalert.errors import ConfigurationError, MemalertError, WrongValueError, show_toml
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import AlertCondition, Note, PerformanceAlert, Run
from pytest_memalert.records import record
from pytest_memalert.settings import parse_toml
from pytest_memalert.units import TIMED_UNITS, Unit, format_quantity, format_size, parse_quantity, parse_size
from pytest_memalert.user_values import collecting, read_text, refuse_unknown

__all__ = [
    "FILE_NAME",
    "Acknowledgment",
    "acknowledge",
    "exact_text",
    "find_idle",
    "most_accepted",
    "parse_acknowledgments",
    "put_entry",
    "read_acknowledgments",
    "remove_entry",
]

#: The file, beside the configuration.
FILE_NAME = "memalert.acks.toml"

#: The format of the file. Older ones are read, newer ones refused; without one it is the first.
#:
#: 1  the first
_FORMAT = 1

_TABLE = "acknowledged"

_HEADING = f"""\
# Memory alerts that someone looked at and accepts, for a reason, until a date.
# Written by: memalert ack FINGERPRINT --reason "..."; edit it as you like.
format = {_FORMAT}
"""


@record(frozen=True, slots=True, kw_only=True)
class Acknowledgment:
    """Hold one entry: which alert is accepted, why, by whom, until when (that day included) and up to what.

    ``accepted`` is in the base unit of ``metric``; None accepts any value. ``what`` is for readers;
    ``tests`` are the node ids that raised the alert; ``origin`` is its place in the file.
    """

    fingerprint: str
    reason: str
    until: date
    what: str = ""
    author: str = ""
    metric: str | None = None
    accepted: float | None = None
    tests: tuple[str, ...] = ()
    origin: str = ""


# -------------------------------------------------------------------- deciding


def acknowledge(
    alerts: Iterable[PerformanceAlert],
    acknowledgments: Sequence[Acknowledgment],
    *,
    today: date,
    metrics: Mapping[str, Metric] = METRICS,
    values: Mapping[str, float] | None = None,
) -> tuple[PerformanceAlert, ...]:
    """Return the alerts, each acknowledged that an entry covers.

    ``values`` are the metrics of the test that raised them, for entries that accept a value of
    another metric than the alert's own: a leak's pace has the test's duration in it, its size
    doesn't. One whose entry has expired, or that has grown beyond the accepted value, speaks again
    and says so.
    """
    known = {entry.fingerprint: entry for entry in acknowledgments}
    return tuple(
        _judge(alert, entry, today, metrics, values or {})
        if alert.acknowledged is None and (entry := known.get(alert.fingerprint)) is not None
        else alert
        for alert in alerts
    )


def most_accepted(accepted: float, metric: str, unit: Unit, *, condition: AlertCondition) -> float:
    """Return the last value that an accepted one still covers: what differs from run to run is no growth.

    ``docs/concepts/history-and-acknowledgments.md`` has the measurement: what a leak leaves per run
    is exact; sizes of the process differ by pages; whatever has time in it differs by a factor.
    """
    if metric in ("leak_bytes_per_run", "leak_blocks_per_run", "leak_handles_per_run"):
        slack = 0.05 * accepted
    elif unit == "bytes":
        slack = max(0.1 * accepted, 256 * 1024)
    elif unit in TIMED_UNITS:
        slack = accepted
    else:
        slack = 0.05 if unit == "ratio" else 0.1 * accepted
    if condition is AlertCondition.LESS_THAN:
        # Half is to a lower bound what the double is to an upper one.
        return accepted / 2 if slack == accepted else accepted - slack
    return accepted + slack


def find_idle(
    acknowledgments: Iterable[Acknowledgment], run: Run, *, today: date, is_whole: bool = True
) -> tuple[Note, ...]:
    """Return a note for each entry that has expired, or whose alert didn't come back.

    Nothing is said of an entry whose tests did not run; of one that names none, where the run
    was of a part of the suite (``is_whole``).
    """
    raised = {alert.fingerprint for alert in run.alerts}
    ran = {test.nodeid for test in run.tests if test.outcome in ("passed", "failed")}
    notes = []
    for entry in acknowledgments:
        about = f"{entry.origin}: {entry.fingerprint}" + (f" ({entry.what})" if entry.what else "")
        remedy = f"remove it with: memalert unack {entry.fingerprint}"
        if entry.until < today:
            text = f"{about} expired on {entry.until}; renew it with memalert ack, or {remedy}"
        elif entry.fingerprint in raised:
            continue
        elif ran.issuperset(entry.tests) if entry.tests else is_whole and bool(ran):
            text = f"{about} is unused: the alert was not raised; {remedy}"
        else:
            continue
        notes.append(Note(kind="acknowledgment", nodeid=None, text=text))
    return tuple(notes)


def _judge(
    alert: PerformanceAlert,
    entry: Acknowledgment,
    today: date,
    metrics: Mapping[str, Metric],
    values: Mapping[str, float],
) -> PerformanceAlert:
    who = f"{entry.author}, " if entry.author else ""
    if entry.until < today:
        return _saying(alert, f"its acknowledgment expired on {entry.until} ({who}{entry.reason})")
    if entry.accepted is not None and entry.metric is not None and entry.metric in metrics:
        own = entry.metric == alert.metric
        observed = alert.observed if own else values.get(entry.metric)
        condition = alert.condition if own else AlertCondition.GREATER_THAN
        unit = metrics[entry.metric].unit
        limit = most_accepted(entry.accepted, entry.metric, unit, condition=condition)
        if observed is not None and _is_beyond(observed, limit, condition):
            accepted = f"{format_quantity(entry.accepted, unit)}{'' if own else f' ({entry.metric})'}"
            return _saying(alert, f"it has grown beyond the {accepted} acknowledged ({who}{entry.reason})")
    return replace(alert, acknowledged=f"{entry.reason} ({who}until {entry.until})")


def _is_beyond(observed: float, limit: float, condition: AlertCondition) -> bool:
    return observed < limit if condition is AlertCondition.LESS_THAN else observed > limit


def _saying(alert: PerformanceAlert, line: str) -> PerformanceAlert:
    return replace(alert, message=f"{alert.message}\n{line}")


# --------------------------------------------------------------------- reading


def read_acknowledgments(path: Path, metrics: Mapping[str, Metric] = METRICS) -> tuple[Acknowledgment, ...]:
    """Return the entries of a file, none where there is no file; raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigurationError([f"{path.name}: can't be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            [f"{path.name}: is not UTF-8 text (at line {line}); save it as UTF-8"]
        ) from error
    return parse_acknowledgments(text, path.name, metrics)


def parse_acknowledgments(
    text: str, place: str, metrics: Mapping[str, Metric] = METRICS
) -> tuple[Acknowledgment, ...]:
    """Return the entries in the text of a file; raises ConfigurationError with every problem there is."""
    document = _parse(text, place)
    problems: list[str] = []
    found = document.pop("format", _FORMAT)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        problems.append(f"{place}: format: {show_toml(found)} is not a format of this file; write {_FORMAT}")
    elif found > _FORMAT:
        # Its other keys may mean what isn't known here.
        newer = f"{place}: format: {found} is newer than what this version reads (up to {_FORMAT})"
        raise ConfigurationError([f"{newer}; upgrade with: pip install --upgrade pytest-memalert"])
    tables = document.pop(_TABLE, [])
    problems += [f"{place}: {refuse_unknown('key', key, ('format', _TABLE))}" for key in document]
    if not isinstance(tables, list):
        problems.append(f"{place}: {_TABLE}: write [[{_TABLE}]] above each entry")
        tables = []
    entries: list[Acknowledgment] = []
    origins: dict[str, str] = {}
    for index, table in enumerate(tables):
        origin = f"{place}: {_TABLE}[{index}]"
        entry = _read_entry(table, origin, metrics, problems)
        if entry is None:
            continue
        if entry.fingerprint in origins:
            problems.append(
                f"{origin}.fingerprint: {entry.fingerprint!r} is acknowledged already, in "
                f"{origins[entry.fingerprint].removeprefix(f'{place}: ')}; remove one of the two"
            )
        origins.setdefault(entry.fingerprint, origin)
        entries.append(entry)
    if problems:
        raise ConfigurationError(problems)
    return tuple(entries)


def _parse(text: str, place: str) -> dict[str, Any]:
    try:
        return parse_toml(text, place)
    except ConfigurationError as error:
        from pytest_memalert.gate.baseline import find_conflict  # where something is wrong, alone

        if conflict := find_conflict(text):
            how = (
                "keep the entries that are meant, each whole, and delete the lines of the markers, or take "
                f"one side with: git checkout --ours {place} (or --theirs)"
            )
            raise ConfigurationError([f"{place}, {conflict}; {how}"]) from error
        raise


def _read_fingerprint(value: object) -> str:
    text = read_text(value)
    if re.search(r"\s", text):
        raise WrongValueError(
            value, "is not a fingerprint; copy it from the alert, or from: memalert history"
        )
    return text


def _read_until(value: object) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise WrongValueError(value, "is not a date; write it as 2027-01-31") from None


def _read_tests(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value):
        return tuple(value)
    raise WrongValueError(value, "is not a list of node ids; write it as ['tests/test_a.py::test_b']")


_READERS: dict[str, Callable[[object], object]] = {
    "fingerprint": _read_fingerprint,
    "what": read_text,
    "tests": _read_tests,
    "reason": read_text,
    "author": read_text,
    "until": _read_until,
    "metric": read_text,
}

#: The keys of an entry, in the order in which they are written.
_ENTRY_KEYS: tuple[str, ...] = (*_READERS, "accepted")

_MISSING = {
    "fingerprint": "copy it from the alert, or from: memalert history",
    "reason": "say why the alert is accepted, such as reason = 'the cache is replaced in 2.0'",
    "until": "say when it is to be looked at again, such as until = 2027-01-31",
}


def _read_entry(
    table: object, origin: str, metrics: Mapping[str, Metric], problems: list[str]
) -> Acknowledgment | None:
    """Return the entry of a table; None, with what is wrong added to ``problems``, where it is none."""
    if not isinstance(table, Mapping):
        problems.append(f"{origin}: {show_toml(table)} is not a table; write [[{_TABLE}]] above each entry")
        return None
    before = len(problems)
    fields: dict[str, Any] = {}
    problems += [
        f"{origin}: {refuse_unknown('key', key, _ENTRY_KEYS)}" for key in table if key not in _ENTRY_KEYS
    ]
    problems += [f"{origin}: {key} is missing; {hint}" for key, hint in _MISSING.items() if key not in table]
    for key, read in _READERS.items():
        if key in table:
            with collecting(problems, f"{origin}.{key}"):
                fields[key] = read(table[key])
    metric = fields.get("metric")
    if metric is not None and metric not in metrics:
        problems.append(f"{origin}.metric: {refuse_unknown('metric', metric, metrics)}")
    elif "accepted" in table and "metric" not in table:
        problems.append(
            f"{origin}.accepted: of which metric isn't said; write it beside, "
            "such as metric = 'leak_bytes_per_run'"
        )
    elif "accepted" in table and metric is not None:
        with collecting(problems, f"{origin}.accepted"):
            fields["accepted"] = parse_quantity(table["accepted"], metrics[metric].unit)
    return Acknowledgment(**fields, origin=origin) if len(problems) == before else None


# --------------------------------------------------------------------- writing


def put_entry(
    text: str, entry: Acknowledgment, *, place: str, metrics: Mapping[str, Metric] = METRICS
) -> str:
    """Return the text of a file with an entry added at its end, or in the place of the one it renews.

    All else stays as it is, comments included. Raises ConfigurationError for a text that is no such file,
    MemalertError for one that can't be edited here.
    """
    known = parse_acknowledgments(text, place, metrics)
    others = [each for each in known if each.fingerprint != entry.fingerprint]
    written = _entry_text(entry, metrics)
    names = [each.fingerprint for each in known]
    if entry.fingerprint in names:
        lines = text.splitlines(keepends=True)
        first, last = _block(lines, names.index(entry.fingerprint))
        changed = "".join((*lines[:first], written, *lines[last:]))
    else:
        opening = text if text.strip() else _HEADING
        changed = f"{opening.rstrip()}\n\n{written}"
    _expect(changed, others, entry.fingerprint, place, metrics)
    return changed


def remove_entry(text: str, fingerprint: str, *, place: str, metrics: Mapping[str, Metric] = METRICS) -> str:
    """Return the text of a file without an entry; what stands between entries stays.

    Raises ConfigurationError for a text that is no such file, MemalertError where the entry isn't in it or
    can't be edited here.
    """
    known = parse_acknowledgments(text, place, metrics)
    names = [each.fingerprint for each in known]
    if fingerprint not in names:
        raise MemalertError(f"{place}: {fingerprint!r} is not acknowledged")
    lines = text.splitlines(keepends=True)
    first, last = _block(lines, names.index(fingerprint))
    while last < len(lines) and not lines[last].strip() and (first == 0 or not lines[first - 1].strip()):
        last += 1  # two blank lines would meet
    changed = "".join((*lines[:first], *lines[last:]))
    others = [each for each in known if each.fingerprint != fingerprint]
    _expect(changed, others, None, place, metrics)
    return changed


def exact_text(value: float, unit: Unit) -> str:
    """Return a quantity as it is written in the file: what is read is no less, and short where it can be."""
    if unit == "bytes":
        whole = math.ceil(value)
        short = format_size(whole)
        return short if parse_size(short) == whole else f"{whole} B"
    if unit in ("bytes/s", "bytes/hour"):
        return f"{math.ceil(value)} B{unit.removeprefix('bytes')}"
    if unit == "seconds":
        return f"{value:.6f} s"
    return f"{value:.4f}" if unit == "ratio" else str(math.ceil(value))


def _entry_text(entry: Acknowledgment, metrics: Mapping[str, Metric]) -> str:
    rows = [f"[[{_TABLE}]]", f"fingerprint = {_quoted(entry.fingerprint)}"]
    if entry.what:
        rows.append(f"what = {_quoted(entry.what)}")
    if entry.tests:
        rows.append(f"tests = [{', '.join(map(_quoted, entry.tests))}]")
    rows.append(f"reason = {_quoted(entry.reason)}")
    if entry.author:
        rows.append(f"author = {_quoted(entry.author)}")
    rows.append(f"until = {entry.until.isoformat()}")
    if entry.metric is not None:
        rows.append(f"metric = {_quoted(entry.metric)}")
        if entry.accepted is not None:
            text = exact_text(entry.accepted, metrics[entry.metric].unit)
            rows.append(f"accepted = {text if text.replace('.', '', 1).isdigit() else _quoted(text)}")
    return "\n".join(rows) + "\n"


def _quoted(text: str) -> str:
    """Return text as a basic string of TOML, on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"'
        + re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", lambda found: f"\\u{_code(found[0]):04x}", escaped)
        + '"'
    )


def _code(character: str) -> int:
    # TOML has no word for half of a surrogate pair.
    return 0xFFFD if "\ud800" <= character <= "\udfff" else ord(character)


def _block(lines: Sequence[str], index: int) -> tuple[int, int]:
    """Return where the lines of an entry begin, and where they end: after its last key."""
    heads = [number for number, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{_TABLE}\s*\]\]", line)]
    if index >= len(heads):
        return 0, 0  # written in some other way: what comes out is not what is expected
    first = last = heads[index]
    end = next((n for n in range(first + 1, len(lines)) if lines[n].lstrip().startswith("[[")), len(lines))
    for number in range(first, end):
        if lines[number].strip() and not lines[number].lstrip().startswith("#"):
            last = number + 1
    return first, last


def _expect(
    text: str, others: Sequence[Acknowledgment], added: str | None, place: str, metrics: Mapping[str, Metric]
) -> None:
    """Raise MemalertError where editing the text did not give the entries that it should."""
    expected = {entry.fingerprint: replace(entry, origin="") for entry in others}
    try:
        found = {
            entry.fingerprint: replace(entry, origin="")
            for entry in parse_acknowledgments(text, place, metrics)
        }
    except ConfigurationError:
        found = {}
    if (added is None or found.pop(added, None) is not None) and found == expected:
        return
    raise MemalertError(
        f"{place}: can't be edited by this command, which changes only entries that stand as [[{_TABLE}]] "
        "above their keys; edit it by hand"
    )
