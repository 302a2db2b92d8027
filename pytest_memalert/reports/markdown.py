"""The report as Markdown, made for a pull request's comment and for a job's summary."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from pytest_memalert.escaping import escape_controls
from pytest_memalert.model import AlertSeverity, Comparison, GateResult, PerformanceAlert, Run
from pytest_memalert.records import record
from pytest_memalert.reports.words import (
    closing_text,
    comparison_cells,
    counts_text,
    cut,
    gate_counts,
    headline,
    label_of,
    speaking_alerts,
    subject,
)
from pytest_memalert.units import counted, format_duration, format_size, listed

__all__ = ["COMMENT_BYTES", "MARK", "SMALLEST_BYTES", "code", "prose", "render", "table"]

#: GitHub takes comments of up to 65,536 characters.
COMMENT_BYTES = 60_000
#: No report is longer than this at its shortest: heading, counts and the line that closes it.
SMALLEST_BYTES = 16_000
#: The first line, by which a workflow finds the comment that it wrote before.
MARK = "<!-- memalert -->"

_NAME_LENGTH = 200
_TEXT_LENGTH = 400
_TESTS_NAMED = 20
_SURVIVORS_TOLD = 5
_ADVICE_TOLD = 5
_MORE_BYTES = 120

_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_PLAIN_CODE = re.compile(r"[^`|\\]*")


@record(frozen=True, slots=True, kw_only=True)
class _Part:
    """Hold a part of the report: of its entries as many are shown as find room."""

    head: str
    entries: Sequence[str]
    tail: str = "\n"
    noun: str


def render(run: Run, *, limit_bytes: int = COMMENT_BYTES) -> str:
    """Return the report in no more than ``limit_bytes`` of UTF-8 (at least ``SMALLEST_BYTES``).

    What finds no room is counted: alerts and comparisons go before their details.
    """
    speaking = speaking_alerts(run)
    opening = f"{MARK}\n## memalert: {counts_text(run.alerts)}\n\n{_refusal(run.gate)}"
    closing = _closing(run)
    room = max(limit_bytes, SMALLEST_BYTES) - _size(opening) - _size(closing)
    parts = [
        _alert_part(speaking, run),
        *_gate_parts(run.gate),
        _detail_part(speaking),
        *_name_parts(run.gate),
    ]
    text = ""
    for part in parts:
        if part.entries:
            shown = _fit(part, room)
            room -= _size(shown)
            text += shown
    return f"{opening}{text}{closing}"


def code(text: str) -> str:
    """Return text from anywhere as code that can stand in a table's cell: shown as it is, never acted on."""
    told = escape_controls(text)
    if told and _PLAIN_CODE.fullmatch(told) and told.strip(" ") == told:
        return f"`{told}`"
    # Backticks, bars and backslashes have no spelling of their own in a code span inside a table.
    return f"<code>{_PUNCTUATION.sub(lambda match: f'&#{ord(match.group())};', told)}</code>"


def prose(text: str) -> str:
    """Return text from anywhere as it reads: no markup, no HTML, no mention, no link to an issue."""

    def escaped(match: re.Match[str]) -> str:
        character = match.group()
        if character in "@#":
            # A backslash would leave a mention a mention: those are found in what Markdown became.
            return f"<code>{character}</code>"
        return html.escape(character) if character in "<>&\"'" else f"\\{character}"

    return _MARKUP.sub(escaped, escape_controls(text))


def table(columns: Sequence[str], *, right: Sequence[str] = ()) -> str:
    """Return the two lines that begin a table; the columns named in ``right`` are of numbers."""
    marks = ("---:" if column in right else "---" for column in columns)
    return f"| {' | '.join(columns)} |\n| {' | '.join(marks)} |\n"


# What means something inside a line: emphasis, code, links, HTML, tables, strikethrough, maths, and the colon
# and the dot of an address, which would become a link, or of an emoji's name.
_MARKUP = re.compile(r"[\\`*{}\[\]<>&|~$@#!\"']|(?<![^\W_])_|_(?![^\W_])|:(?=\S)|(?<=www)\.", re.IGNORECASE)

# ------------------------------------------------------------------- alerts


def _alert_part(alerts: Sequence[PerformanceAlert], run: Run) -> _Part:
    rows = [
        f"| {_severity(alert, run)} | {_subject(alert)} | {prose(_shown(headline(alert), _TEXT_LENGTH))} |\n"
        for alert in alerts
    ]
    return _Part(head=table(("severity", "test", "what")), entries=rows, noun="alerts")


def _severity(alert: PerformanceAlert, run: Run) -> str:
    word = alert.severity.value
    return f"**{word}**" if run.fails(alert) or alert.severity is AlertSeverity.CRITICAL else word


def _subject(alert: PerformanceAlert) -> str:
    if not alert.nodeids:
        return subject(alert)
    return listed([code(_shown(alert.nodeids[0], _NAME_LENGTH))], len(alert.nodeids))


def _detail_part(alerts: Sequence[PerformanceAlert]) -> _Part:
    return _Part(
        head="",
        entries=[text for alert in alerts if (text := _detail(alert))],
        tail="",
        noun="alerts' details",
    )


def _detail(alert: PerformanceAlert) -> str:
    """Return what keeps the memory and what to do, folded away; empty where the table says it all."""
    rows = [*_evidence(alert), *_survivors(alert), *_advice(alert)]
    if not rows:
        return ""
    # What `memalert ack` takes.
    rows.append(f"alert {code(alert.fingerprint)}")
    # Inside a summary Markdown isn't read, HTML is.
    name = html.escape(_shown(subject(alert), _NAME_LENGTH))
    what = html.escape(alert.category.value)
    listed = "".join(f"- {row}\n" for row in rows)
    return f"<details><summary>{what}: <code>{name}</code></summary>\n\n{listed}\n</details>\n\n"


def _evidence(alert: PerformanceAlert) -> Iterator[str]:
    for row in alert.message.split("\n")[1:]:
        if row.strip():
            yield prose(_shown(row.strip(), _TEXT_LENGTH))
    if len(alert.nodeids) > 1:
        named = (code(_shown(nodeid, _NAME_LENGTH)) for nodeid in alert.nodeids[:_TESTS_NAMED])
        yield listed(named, len(alert.nodeids))


def _survivors(alert: PerformanceAlert) -> Iterator[str]:
    for survivor in alert.survivors[:_SURVIVORS_TOLD]:
        size = format_size(survivor.size_bytes)
        row = f"{survivor.left_by} {survivor.count:,} {code(_shown(survivor.type, _NAME_LENGTH))}, {size}"
        if survivor.allocated_at:
            row += f"; allocated at {_steps(survivor.allocated_at)}"
        if survivor.held_by:
            row += f"; held by {_steps(survivor.held_by)}"
        yield row
    if (more := len(alert.survivors) - _SURVIVORS_TOLD) > 0:
        yield f"and {counted(more, 'more kind')} of objects"


def _steps(steps: Sequence[str]) -> str:
    shown = ", ".join(code(_shown(step, _NAME_LENGTH)) for step in steps[:_SURVIVORS_TOLD])
    return f"{shown}, ..." if len(steps) > _SURVIVORS_TOLD else shown


def _advice(alert: PerformanceAlert) -> Iterator[str]:
    for recommendation in alert.recommendations[:_ADVICE_TOLD]:
        # It names code in backticks, which are meant.
        pieces = _shown(" ".join(recommendation.split("\n")), _TEXT_LENGTH).split("`")
        paired = len(pieces) % 2 == 1
        yield "**what to do**: " + (
            "".join(code(piece) if at % 2 and piece else prose(piece) for at, piece in enumerate(pieces))
            if paired
            else prose("`".join(pieces))
        )


# ---------------------------------------------------------------- the gate


def _gate_parts(gate: GateResult | None) -> Iterator[_Part]:
    if gate is None or gate.refusal is not None:
        return
    regressions = [each for each in gate.comparisons if each.status == "regression"]
    improvements = [each for each in gate.comparisons if each.status == "improvement"]
    path, place = code(_shown(gate.path, _NAME_LENGTH)), prose(_shown(gate.environment, _NAME_LENGTH))
    yield _Part(
        head="", entries=[f"Compared with {path} ({place}): {', '.join(gate_counts(gate))}\n"], noun="lines"
    )
    for word, comparisons in (("regression", regressions), ("improvement", improvements)):
        columns = (word, "metric", "baseline", "now", "change", "allowed")
        yield _Part(
            head=table(columns, right=columns[2:]),
            entries=[_comparison_row(each) for each in _largest_first(comparisons)],
            noun=f"{word}s",
        )


def _comparison_row(comparison: Comparison) -> str:
    name, metric = comparison.nodeid, label_of(comparison.metric)
    cells = (
        code(_shown(name, _NAME_LENGTH)),
        prose(_shown(metric, _NAME_LENGTH)),
        *comparison_cells(comparison),
    )
    return f"| {' | '.join(cells)} |\n"


def _largest_first(comparisons: Iterable[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda each: -abs(each.observed - each.baseline))


def _name_parts(gate: GateResult | None) -> Iterator[_Part]:
    if gate is None:
        return
    renamed = [f"{old} -> {new}" for old, new in gate.renamed]
    for word, names in (("new", gate.new), ("missing", gate.missing), ("renamed", renamed)):
        strictly = " (they fail: the gate is strict)" if word == "new" and gate.strict else ""
        yield _Part(
            head=f"<details><summary>{len(names):,} {word}{strictly}</summary>\n\n",
            entries=[f"- {code(_shown(name, _NAME_LENGTH))}\n" for name in names],
            tail="\n</details>\n\n",
            noun="tests",
        )


def _refusal(gate: GateResult | None) -> str:
    if gate is None or gate.refusal is None:
        return ""
    reason = prose(_shown(gate.refusal, _TEXT_LENGTH))
    return f"**Nothing was compared** with {code(_shown(gate.path, _NAME_LENGTH))}: {reason}\n\n"


# ---------------------------------------------------------------- the whole


def _closing(run: Run) -> str:
    where = run.environment
    place = f"{where.implementation} {where.python}, {where.platform} {where.machine}"
    rows = (
        closing_text(run, with_name=False),
        f"{_shown(place, _NAME_LENGTH)}, {format_duration(run.duration_s)}",
    )
    return f"{prose(rows[0])}  \n<sub>{prose(rows[1])}</sub>\n"


def _fit(part: _Part, room: int) -> str:
    """Return a part with as many of its entries as fit into ``room`` bytes; the others are counted."""
    text = part.head
    left = room - _size(part.head) - _size(part.tail) - _MORE_BYTES
    for number, entry in enumerate(part.entries):
        left -= _size(entry)
        if left < 0:
            more = f"\nand {len(part.entries) - number:,} more {part.noun}\n"
            # A table without rows says nothing.
            return f"{text if number else ''}{more}{part.tail if number else ''}\n"
        text += entry
    return text + part.tail


def _shown(text: str, length: int) -> str:
    """Return text from anywhere on one line and short; escaped first, since that makes it longer."""
    return cut(escape_controls(text), length)


def _size(text: str) -> int:
    return len(text.encode("utf-8", errors="backslashreplace"))
