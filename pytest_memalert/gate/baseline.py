"""The baseline: what each test needed when it was last agreed upon, as a text for review.

The file is JSON with one test a line, so that a diff shows which tests changed and that two
branches' files mostly merge by themselves. It has no dates, no names of machines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from difflib import get_close_matches
from typing import Any

from pytest_memalert.comparisons import is_whole
from pytest_memalert.errors import MemalertError
from pytest_memalert.metrics import PEAKS, RETAINED
from pytest_memalert.records import record

__all__ = [
    "ALLOCATED",
    "COMPILED",
    "DEFAULT_NAME",
    "IMPORTED",
    "SETUP_METRICS",
    "TEST_METRICS",
    "WHOLE_METRICS",
    "Baseline",
    "Entry",
    "Figure",
    "find_conflict",
    "merge_baselines",
    "read_baseline",
    "render_baseline",
    "split_conflict",
    "summarize",
    "update_baseline",
]

#: The format of the file. Older ones are read, newer ones refused.
#:
#: 1  the first
_FORMAT = 1

#: The name of the file, beside pytest's configuration, unless the user says otherwise.
DEFAULT_NAME = "memalert.lock.json"

#: The metrics of a test: its peak as the kernel saw it and as tracing did, and what each run leaves behind.
TEST_METRICS = (*PEAKS, *RETAINED)
#: How many modules a process had to compile, instead of loading them from their cache. That leaves
#: some kilobytes each, up to a megabyte in all: only where it is the same are wholes alike.
COMPILED = "compiled_modules"
#: How many blocks Python has allocated when a session ends: beside the heap, they explain what is resident.
ALLOCATED = "allocated_blocks"
#: What the set-up of a fixture that is wider than a test brings. What is not written is zero.
SETUP_METRICS = ("setup_bytes", "setup_blocks")
#: How many modules that set-up imports: whoever needs one first pays for it, which may be another.
IMPORTED = "imported_modules"
#: The metrics of a whole session, of a collection and of a wider fixture.
WHOLE_METRICS = (
    "rss_peak_bytes",
    "rss_bytes",
    "heap_bytes",
    ALLOCATED,
    "heap_growth_bytes",
    *SETUP_METRICS,
    IMPORTED,
    COMPILED,
)

# Nearly every test has none of these: what is not written is zero, and lines stay short.
_ZERO_UNWRITTEN = (*RETAINED, *SETUP_METRICS, IMPORTED)
# The metrics that the file may have, in the order of a line.
_METRICS = (*TEST_METRICS, *WHOLE_METRICS)

# So alike a name is a slip of the pen.
_MISSPELT = 0.85
_CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?: |$)")


@record(frozen=True, slots=True, kw_only=True)
class Figure:
    """Hold one metric of one test: the median of the runs that measured it, and how far they lay apart."""

    median: int
    spread: int = 0


@record(frozen=True, slots=True, kw_only=True)
class Entry:
    """Hold what one test needed, by metric.

    ``once`` says that the test could not be run again: its figures are those of a single, first run.
    """

    figures: Mapping[str, Figure]
    once: bool = False

    def figure(self, metric: str) -> Figure | None:
        """Return the figure for a metric; None where it is not known."""
        found = self.figures.get(metric)
        if found is None and metric in _ZERO_UNWRITTEN and not self.once:
            return Figure(median=0)
        return found


@record(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Hold the entries of every environment, each by node id."""

    environments: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)


# ------------------------------------------------------------- what is compared


def summarize(
    runs: Sequence[Mapping[str, float]], metrics: Iterable[str] = TEST_METRICS, *, once: bool = False
) -> Entry:
    """Return the entry for a test (or a whole) of which these runs were measured."""
    figures = {}
    for metric in metrics:
        values = sorted(max(0, round(values[metric])) for values in runs if metric in values)
        if values:
            # The upper one of an even number: the lower would make the other an excess. What not
            # every run leaves behind is not retained.
            middle = 0 if metric in RETAINED and values[0] == 0 else values[len(values) // 2]
            figures[metric] = Figure(median=middle, spread=values[-1] - values[0])
    return Entry(figures=figures, once=once)


# --------------------------------------------------------------- changing it


def update_baseline(
    baseline: Baseline, key: str, entries: Mapping[str, Entry], *, gone: Iterable[str] = ()
) -> Baseline:
    """Return the baseline with these entries of one environment set, and those of ``gone`` dropped."""
    known = {**baseline.environments.get(key, {}), **entries}
    for nodeid in gone:
        known.pop(nodeid, None)
    return Baseline(environments={**baseline.environments, key: known})


def merge_baselines(baselines: Iterable[Baseline]) -> Baseline:
    """Return the entries of all; where two differ, each metric is the larger of both.

    Neither branch has seen the other's change: the larger figure accuses nobody, and the next
    save settles it.
    """
    merged: dict[str, dict[str, Entry]] = {}
    for baseline in baselines:
        for key, entries in baseline.environments.items():
            known = merged.setdefault(key, {})
            for nodeid, entry in entries.items():
                known[nodeid] = _larger(known[nodeid], entry) if nodeid in known else entry
    return Baseline(environments=merged)


def _larger(first: Entry, second: Entry) -> Entry:
    figures = {}
    for metric in _METRICS:
        found = [each for entry in (first, second) if (each := entry.figure(metric)) is not None]
        if found:
            figures[metric] = Figure(
                median=max(figure.median for figure in found), spread=max(figure.spread for figure in found)
            )
    return replace(first, figures=figures, once=first.once and second.once)


# -------------------------------------------------------------------- as text


def render_baseline(baseline: Baseline) -> str:
    """Return the text of the file: sorted, one test a line."""
    lines = ["{", f'"format": {_FORMAT},', '"environments": {']
    environments = sorted(key for key in baseline.environments if baseline.environments[key])
    for number, key in enumerate(environments):
        entries = baseline.environments[key]
        lines.append(f"{_quoted(key)}: {{")
        # The session's lines come last, so that a test that is added leaves the line above it as it was.
        nodeids = sorted(entries, key=lambda nodeid: (is_whole(nodeid), nodeid))
        lines += [f"{_quoted(nodeid)}: {_line(entries[nodeid])}," for nodeid in nodeids]
        lines[-1] = lines[-1].removesuffix(",")
        lines.append("}" if number == len(environments) - 1 else "},")
    return "\n".join([*lines, "}", "}", ""])


def read_baseline(text: str, name: str) -> Baseline:
    """Return the baseline that a file holds; ``name`` is what error messages call it.

    Raises MemalertError, with the line and what to do, for anything that is not a whole baseline of
    a known format.
    """
    if conflict := find_conflict(text):
        raise MemalertError(
            f"{name}, {conflict}; "
            f"resolve it with: memalert merge {name} -o {name} (takes the larger figure of both sides), "
            "or restore the file and save again with: pytest --memalert --memalert-save"
        )
    try:
        document = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        # An error at the end, or in a text that is never closed, as json words it.
        is_cut = error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated string")
        cut = " (the file seems to be cut off)" if is_cut else ""
        raise MemalertError(
            f"{name}, line {error.lineno}: not valid JSON{cut}: {error.msg}; {_restore(name)}"
        ) from None
    except RecursionError:
        raise MemalertError(f"{name}: not a baseline: nested too deeply; {_restore(name)}") from None
    return _decode(document, _Place(name=name, text=text))


def find_conflict(text: str) -> str | None:
    """Return the line of the first merge conflict marker that is left in a text, and that it is one."""
    for number, line in enumerate(text.splitlines(), start=1):
        if _CONFLICT.match(line):
            return f"line {number}: a merge conflict is left ({line[:7]})"
    return None


def split_conflict(text: str) -> tuple[str, str]:
    """Return both sides of a text with merge conflict markers, each whole; the text twice without any."""
    sides: tuple[list[str], list[str]] = ([], [])
    into: tuple[int, ...] = (0, 1)
    for line in text.splitlines(keepends=True):
        marker = _CONFLICT.match(line)
        if marker is None:
            for side in into:
                sides[side].append(line)
        else:
            # The third kind (|) begins what both sides come from, which is neither.
            into = {"<": (0,), "|": (), "=": (1,), ">": (0, 1)}[marker.group()[0]]
    return "".join(sides[0]), "".join(sides[1])


# ------------------------------------------------------------------- reading


class _Pairs(list[tuple[str, Any]]):
    """An object of the file, with the keys that it names twice."""


@record(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the text comes from; it finds the line of a key."""

    name: str
    text: str

    def line(self, key: str, *, occurrence: int = 0) -> str:
        """Return ``NAME, line N``, the line being that on which ``key`` stands for the last time or so."""
        start = f"{_quoted(key)}:"
        numbers = [
            number
            for number, line in enumerate(self.text.splitlines(), start=1)
            if line.lstrip().startswith(start)
        ]
        return f"{self.name}, line {numbers[min(occurrence, len(numbers) - 1)]}" if numbers else self.name


def _decode(document: object, place: _Place) -> Baseline:
    if not isinstance(document, _Pairs) or "format" not in dict(document):
        raise MemalertError(
            f"{place.name}, line 1: not a baseline of memalert: it has no 'format'; "
            "delete it, and write one with: pytest --memalert --memalert-save"
        )
    top = _unique(document, place, "the key")
    found = top["format"]
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise MemalertError(
            f"{place.line('format')}: {found!r} is not a format of a baseline; {_restore('')}"
        )
    if found > _FORMAT:
        raise MemalertError(
            f"{place.line('format')}: format {found} is newer than what this version reads (up to {_FORMAT})"
            "; upgrade with: pip install --upgrade pytest-memalert"
        )
    environments = top.get("environments")
    if not isinstance(environments, _Pairs):
        raise MemalertError(f"{place.line('environments')}: 'environments' is not an object; {_restore('')}")
    return Baseline(
        environments={
            key: _decode_entries(key, entries, place)
            for key, entries in _unique(environments, place, "the environment").items()
        }
    )


def _decode_entries(key: str, entries: object, place: _Place) -> dict[str, Entry]:
    if not isinstance(entries, _Pairs):
        raise MemalertError(f"{place.line(key)}: {key!r} has no entries; {_restore('')}")
    return {
        nodeid: _decode_entry(nodeid, entry, place)
        for nodeid, entry in _unique(entries, place, "the test").items()
    }


def _decode_entry(nodeid: str, entry: object, place: _Place) -> Entry:
    if not isinstance(entry, _Pairs):
        raise MemalertError(f"{place.line(nodeid)}: {nodeid!r} has no figures; {_restore('')}")
    values = _unique(entry, place, "the metric")
    once = values.pop("once", False)
    if not isinstance(once, bool):
        raise MemalertError(
            f"{place.line(nodeid)}: once of {nodeid!r} is {json.dumps(once)}, not true; {_restore('')}"
        )
    figures = {}
    for metric, value in values.items():
        if metric not in _METRICS:
            # Else written by a version that knows more, in a format that is ours.
            if meant := get_close_matches(metric, _METRICS, 1, cutoff=_MISSPELT):
                what = f"{metric!r} of {nodeid!r} is no metric (did you mean {meant[0]!r}?)"
                raise MemalertError(f"{place.line(nodeid)}: {what}; {_restore('')}")
            continue
        match value:
            case [median, spread] if _is_amount(median) and _is_amount(spread):
                figures[metric] = Figure(median=median, spread=spread)
            case _:
                raise MemalertError(
                    f"{place.line(nodeid)}: {metric} of {nodeid!r} is {json.dumps(value)}, which is not "
                    f"[figure, spread] in whole numbers from 0; {_restore('')}"
                )
    return Entry(figures=figures, once=once)


def _is_amount(value: object) -> bool:
    """Return whether a value of the file is a number of bytes or things, such as a machine may have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _unique(pairs: _Pairs, place: _Place, noun: str) -> dict[str, Any]:
    """Return the pairs as a dict; two of one key are refused, since nobody can say which is meant."""
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            where = place.line(key, occurrence=1)
            raise MemalertError(
                f"{where}: {noun} {key!r} is named twice; delete one of its two lines, "
                "or the file, and save it again with: pytest --memalert --memalert-save"
            )
        seen[key] = value
    return seen


def _restore(name: str) -> str:
    what = f"restore it (git checkout -- {name})" if name else "restore the file from version control"
    return f"{what} or delete it and save again with: pytest --memalert --memalert-save"


# ------------------------------------------------------------------- writing


def _line(entry: Entry) -> str:
    parts = [
        f'"{metric}": [{figure.median}, {figure.spread}]'
        for metric in _METRICS
        if (figure := entry.figures.get(metric)) is not None
        and (entry.once or metric not in _ZERO_UNWRITTEN or figure != Figure(median=0))
    ]
    if entry.once:
        parts.append('"once": true')
    return f"{{{', '.join(parts)}}}"


def _quoted(text: str) -> str:
    # In ASCII: a lone surrogate (a file name that is not UTF-8) can't be written otherwise.
    return json.dumps(text)
