"""The summary at the end of a session, as lines for a terminal."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from pytest_memalert.comparisons import is_whole
from pytest_memalert.escaping import escape_controls
from pytest_memalert.model import (
    AS_BEFORE,
    OUT_OF_TURN,
    AlertSeverity,
    FixtureGrowth,
    Measurement,
    Note,
    PerformanceAlert,
    Run,
    Survivor,
)
from pytest_memalert.records import record
from pytest_memalert.reports.words import closing_text, counts_text, function_name, headline, speaking_alerts
from pytest_memalert.units import counted, format_size

__all__ = ["Line", "render", "render_alert", "wrap"]

#: Narrower terminals get lines of this many columns.
NARROWEST_COLUMNS = 20

_ALERTS_SHOWN = 20
_NOTES_SHOWN = 20
_FIXTURES_SHOWN = 20
_NOTES_TOLD_UNASKED = 3
_TRENDS_TOLD_UNASKED = 3
_TESTS_SHOWN = 5
_SURVIVORS_SHOWN = 5
_STEPS_SHOWN = 5
_ALONG_SHOWN = 4
_TOP = 5

_REMAINED_BYTES = 2**20
_BROUGHT_BYTES = 10 * 2**20

_ALL = "see the JSON report (--memalert-json PATH)"
_COLORS: dict[AlertSeverity, Mapping[str, bool]] = {
    AlertSeverity.CRITICAL: {"red": True, "bold": True},
    AlertSeverity.WARNING: {"yellow": True, "bold": True},
    AlertSeverity.INFO: {"cyan": True, "bold": True},
}
_NOTE_WORDS = {
    "no_data": "without data",
    "no_history": "without enough history",
    "unclear": "unclear",
    "already_above": "about lines crossed before",
    "acknowledgment": "about acknowledgments",
    "resolved": "about what is resolved",
    "trouble": "about our own trouble",
}


@record(frozen=True, slots=True, kw_only=True)
class Line:
    """Hold one line without its newline; ``markup`` is for pytest's terminal writer (``{"red": True}``)."""

    text: str
    markup: Mapping[str, bool] = field(default_factory=dict)


def render(run: Run, *, verbosity: int, width: int, shown_as_failed: Collection[str] = ()) -> list[Line]:
    """Return the summary of ``run``, none of its lines wider than ``width`` columns unless a word is.

    Below zero, ``verbosity`` leaves one line for each alert; from one on, it adds the
    largest growths and peaks, the fixtures and every note. An alert that failed one of the tests
    ``shown_as_failed`` stands in full further up: here it is said what it is, and what to do.
    """
    width = max(width, NARROWEST_COLUMNS)
    speaking = speaking_alerts(run)
    if verbosity < 0:
        return list(_brief_lines(speaking, width))
    lines: list[Line] = []
    for alert in speaking[:_ALERTS_SHOWN]:
        is_shown = run.fails(alert) and any(nodeid in shown_as_failed for nodeid in alert.nodeids)
        lines += _alert_lines(alert, width, in_short=is_shown)
        lines.append(Line(text=""))
    if len(speaking) > _ALERTS_SHOWN:
        lines += _wrapped(f"and {len(speaking) - _ALERTS_SHOWN:,} more: {_ALL}", width)
    if verbosity >= 1:
        lines += _acknowledged_lines(run.alerts, width)
        lines += _table_lines(run.tests, width)
        lines += _unsure_lines(run.tests, width)
    lines += _fixture_lines(run, verbosity, width)
    lines += _trend_lines(run.notes, verbosity, width)
    leaking = {test.nodeid for test in run.tests if test.leak.status == "leaking"}
    notes = [
        note
        for note in run.notes
        # Of a test that leaks, what came once besides is no comfort.
        if note.kind != "trend" and not (note.kind == "one_time" and note.nodeid in leaking)
    ]
    lines += _note_lines(notes, verbosity, width)
    if run.gate is not None:
        from pytest_memalert.reports import gate

        for text in gate.render(run.gate, verbosity=verbosity):
            lines += _wrapped(escape_controls(text), width)
    # That alerts are inhibited, as those of a test that failed by itself, is news to nobody.
    inhibited = bool(run.alerts) and not speaking and not any(alert.acknowledged for alert in run.alerts)
    if run.alerts and (verbosity >= 1 or not inhibited):
        worst: Mapping[str, bool] = _COLORS[speaking[0].severity] if speaking else {}
        lines += _wrapped(counts_text(run.alerts), width, markup=worst)
    closing = closing_text(run, with_name=True)
    if _columns(closing) > width:
        closing = closing_text(run, with_name=False)
    lines += _wrapped(closing, width, markup={} if speaking else {"green": True})
    return lines


def render_alert(alert: PerformanceAlert) -> str:
    """Return an alert as the text of a failing test's section; its first line stands alone."""
    return "\n".join((*_body(alert), _origin(alert)))


def wrap(text: str, width: int) -> list[str]:
    """Return a line in lines of at most ``width`` columns unless a word is wider, as the summary's are."""
    return [line.text for line in _wrapped(text, max(width, NARROWEST_COLUMNS))]


# ------------------------------------------------------------------- alerts


def _brief_lines(alerts: list[PerformanceAlert], width: int) -> Iterator[Line]:
    for alert in alerts[:_ALERTS_SHOWN]:
        first_line = alert.message.split("\n", 1)[0]
        text = f"{alert.severity.name} {escape_controls(first_line)}"
        if alert.nodeids and all(map(is_whole, alert.nodeids)):
            # It is no test's, so that no failure says more of it.
            yield from _wrapped(text, width, markup=_COLORS[alert.severity])
            continue
        if _columns(text) > width and len(alert.nodeids) == 1:
            # How much, against what, says more than the folders of the test.
            said = headline(alert)
            if said != first_line:
                text = (
                    f"{alert.severity.name} {escape_controls(f'{function_name(alert.nodeids[0])}: {said}')}"
                )
        yield Line(text=_cut(text, width), markup=_COLORS[alert.severity])
    if len(alerts) > _ALERTS_SHOWN:
        yield from _wrapped(f"and {len(alerts) - _ALERTS_SHOWN:,} more: {_ALL}", width)


def _acknowledged_lines(alerts: Iterable[PerformanceAlert], width: int) -> Iterator[Line]:
    acknowledged = [alert for alert in alerts if alert.acknowledged is not None]
    if acknowledged:
        yield Line(text="acknowledged:"[:width])
    for alert in acknowledged[:_ALERTS_SHOWN]:
        first_line = alert.message.split("\n", 1)[0]
        yield from _wrapped(f"  {alert.severity.value} {escape_controls(first_line)}", width)
        told = escape_controls(alert.acknowledged or "")
        yield from _wrapped(f"    {told}, alert {escape_controls(alert.fingerprint)}", width)
    if len(acknowledged) > _ALERTS_SHOWN:
        yield from _wrapped(f"  and {len(acknowledged) - _ALERTS_SHOWN:,} more: {_ALL}", width)


def _alert_lines(alert: PerformanceAlert, width: int, *, in_short: bool) -> Iterator[Line]:
    if len(alert.nodeids) == 1:
        where = escape_controls(alert.nodeids[0])
    else:
        where = f"{len(alert.nodeids)} tests" if alert.nodeids else "the session"
    heading = f"{alert.severity.name} {alert.category.value}  {where}"
    yield from _wrapped(heading, width, markup=_COLORS[alert.severity])
    # The heading has the test's name already; only in a failing test's section must the message bear it.
    for row in _body(alert, without=f"{where}: ", in_short=in_short):
        yield from _wrapped(f"  {row}", width)
    yield from _wrapped(f"  alert {escape_controls(alert.fingerprint)}", width)


def _body(alert: PerformanceAlert, *, without: str = "", in_short: bool = False) -> Iterator[str]:
    """Yield what an alert tells, one row each: message, evidence, tests, survivors, recommendations.

    ``without`` is what the message needn't begin with; ``in_short`` leaves out evidence and survivors.
    """
    first, *evidence = alert.message.split("\n")
    yield escape_controls(first).removeprefix(without)
    for row in () if in_short else evidence:
        yield escape_controls(row)
    if len(alert.nodeids) > 1:
        for nodeid in alert.nodeids[:_TESTS_SHOWN]:
            yield f"  {escape_controls(nodeid)}"
        if len(alert.nodeids) > _TESTS_SHOWN:
            yield f"  and {len(alert.nodeids) - _TESTS_SHOWN:,} more"
    groups = () if in_short else _together(alert.survivors)
    held_by: tuple[str, ...] = ()
    for survivor, *along in groups[:_SURVIVORS_SHOWN]:
        yield from _survivor_rows(survivor, along, is_held_alike=survivor.held_by == held_by)
        held_by = survivor.held_by
    if more := sum(map(len, groups[_SURVIVORS_SHOWN:])):
        yield f"and {counted(more, 'more kind')} of objects"
    for recommendation in alert.recommendations:
        first, *others = recommendation.split("\n")
        yield f"-> {escape_controls(first)}"
        for other in others:
            yield f"   {escape_controls(other)}"


def _origin(alert: PerformanceAlert) -> str:
    """Return what it takes to find the rule or to acknowledge the alert."""
    severity, category, known = alert.severity.value, alert.category.value, alert.fingerprint
    return f"({severity}, {category}, rule {escape_controls(alert.rule)}, alert {escape_controls(known)})"


def _together(survivors: Sequence[Survivor]) -> list[list[Survivor]]:
    """Return the survivors, each with those that come along: held by nothing else, or made and held alike."""
    groups: list[list[Survivor]] = []
    for survivor in survivors:
        group = next((group for group in groups if _comes_along(survivor, group[0])), None)
        if group is None:
            groups.append([survivor])
        else:
            group.append(survivor)
    return groups


def _comes_along(survivor: Survivor, first: Survivor) -> bool:
    is_part = bool(first.held_by) and not survivor.held_by
    is_alike = (survivor.allocated_at, survivor.held_by) == (first.allocated_at, first.held_by)
    return (is_part or is_alike) and survivor.left_by == first.left_by


def _survivor_rows(survivor: Survivor, others: Sequence[Survivor], *, is_held_alike: bool) -> Iterator[str]:
    """Yield what is told of a survivor, and of others that come along with it.

    What holds them isn't told again, where it holds those before as well.
    """
    yield f"{survivor.left_by} {escape_controls(survivor.told)}, {format_size(survivor.size_bytes)}"
    if survivor.allocated_at:
        yield f"  allocated at {_steps(survivor.allocated_at)}"
    if survivor.held_by:
        yield f"  held by {'the same' if is_held_alike else _steps(survivor.held_by)}"
    if others:
        told = [
            f"{escape_controls(each.told)} ({format_size(each.size_bytes)})" for each in others[:_ALONG_SHOWN]
        ]
        if (more := len(others) - _ALONG_SHOWN) > 0:
            told.append(f"{counted(more, 'more kind')} of objects")
        yield f"  along with {', '.join(told)}"


def _steps(steps: tuple[str, ...]) -> str:
    shown = ", ".join(escape_controls(step) for step in steps[:_STEPS_SHOWN])
    return f"{shown}, ..." if len(steps) > _STEPS_SHOWN else shown


# ----------------------------------------------------------------- the rest


def _table_lines(tests: Iterable[Measurement], width: int) -> Iterator[Line]:
    for title, metric in (("largest growth", "growth_bytes"), ("largest peak above the start", "peak_bytes")):
        found = [
            (value, measurement.nodeid)
            for measurement in tests
            if (value := measurement.values.get(metric, 0)) > 0
        ]
        top = sorted(found, key=lambda each: -each[0])[:_TOP]
        if not top:
            continue
        yield Line(text=f"{title}:"[:width])
        for value, nodeid in top:
            yield from _wrapped(f"  {format_size(value):>9}  {escape_controls(nodeid)}", width)


def _unsure_lines(tests: Iterable[Measurement], width: int) -> Iterator[Line]:
    """Yield the tests of which it isn't known whether they leak, those first that left the most behind."""
    unsure = [
        test
        for test in tests
        if test.leak.status in ("unclear", "unchecked")
        and test.leak.reason not in (None, AS_BEFORE, OUT_OF_TURN)
    ]
    unsure.sort(key=lambda test: -test.values.get("growth_bytes", 0))
    if unsure:
        yield Line(text="not known to leak, or not to:"[:width])
    for test in unsure[:_TOP]:
        nodeid, reason = escape_controls(test.nodeid), escape_controls(test.leak.reason or "")
        yield from _wrapped(f"  {nodeid}: {test.leak.status}: {reason}", width)
    if len(unsure) > _TOP:
        yield from _wrapped(f"  and {len(unsure) - _TOP:,} more: {_ALL}", width)


def _fixture_lines(run: Run, verbosity: int, width: int) -> Iterator[Line]:
    # One of a class or a module may be set up many times.
    set_ups: dict[tuple[str, str, str, str], list[FixtureGrowth]] = {}
    for fixture in run.fixtures:
        key = (fixture.name, fixture.scope, fixture.location, fixture.worker)
        set_ups.setdefault(key, []).append(fixture)
    sums = {
        key: (sum(each.growth_bytes or 0 for each in same), sum(each.setup_growth_bytes for each in same))
        for key, same in set_ups.items()
    }
    shown = sorted(
        (
            key
            for key, (growth_bytes, setup_growth_bytes) in sums.items()
            if growth_bytes >= _REMAINED_BYTES or (verbosity >= 1 and setup_growth_bytes >= _BROUGHT_BYTES)
        ),
        key=sums.__getitem__,
        reverse=True,
    )
    many_workers = len({measurement.worker for measurement in run.tests}) > 1
    for key in shown[:_FIXTURES_SHOWN]:
        yield from _wrapped(_fixture_text(set_ups[key], *sums[key], many_workers=many_workers), width)
    if len(shown) > _FIXTURES_SHOWN:
        yield from _wrapped(f"and {len(shown) - _FIXTURES_SHOWN:,} more fixtures: {_ALL}", width)


def _fixture_text(
    set_ups: Sequence[FixtureGrowth], growth_bytes: int, setup_growth_bytes: int, *, many_workers: bool
) -> str:
    """Return what a fixture brought in all its set-ups, and what remained."""
    fixture = set_ups[0]
    where = [fixture.scope, fixture.location, *([fixture.worker] if many_workers else [])]
    is_set_up = all(each.growth_bytes is None for each in set_ups)
    # Not "remained": what Python and malloc keep for reuse stays resident, too.
    after = "still set up" if is_set_up else f"{format_size(growth_bytes)} after teardown"
    times = f", set up {len(set_ups):,} times" if len(set_ups) > 1 else ""
    return (
        f"fixture '{escape_controls(fixture.name)}' ({escape_controls(', '.join(where))}){times}: "
        f"{format_size(setup_growth_bytes)} at set-up, {after}"
    )


def _trend_lines(notes: Iterable[Note], verbosity: int, width: int) -> Iterator[Line]:
    trends = [note for note in notes if note.kind == "trend"]
    shown = _NOTES_SHOWN if verbosity >= 1 else _TRENDS_TOLD_UNASKED
    for note in trends[:shown]:
        yield from _wrapped(f"trend: {escape_controls(note.text)}", width)
    if len(trends) > shown:
        how = _ALL if verbosity >= 1 else "-v tells them"
        yield from _wrapped(f"and {len(trends) - shown:,} more trends: {how}", width)


def _note_lines(notes: Iterable[Note], verbosity: int, width: int) -> Iterator[Line]:
    if verbosity >= 1:
        told = list(notes)
    else:
        told = [note for note in notes if note.kind in _NOTE_WORDS]
        if len(told) > _NOTES_TOLD_UNASKED:
            counts = Counter(_NOTE_WORDS[note.kind] for note in told)
            kinds = ", ".join(f"{count} {word}" for word, count in counts.items())
            yield from _wrapped(f"{len(told)} notes ({kinds}): -v tells them", width)
            return
    for note in told[:_NOTES_SHOWN]:
        text = note.text if note.nodeid is None or note.nodeid in note.text else f"{note.nodeid}: {note.text}"
        yield from _wrapped(f"note: {escape_controls(text)}", width)
    if len(told) > _NOTES_SHOWN:
        yield from _wrapped(f"and {len(told) - _NOTES_SHOWN:,} more notes: {_ALL}", width)


# ------------------------------------------------------------ lines that fit


def _wrapped(text: str, width: int, *, markup: Mapping[str, bool] | None = None) -> Iterator[Line]:
    """Yield ``text`` broken at spaces; what follows the first line is indented further.

    An arrow stays with its first word, as the indentation it is.
    """
    content = text.lstrip(" ")
    indent = " " * min(len(text) - len(content), width // 4)
    following = " " * (len(indent) + (3 if content.startswith("-> ") else 4))
    if content.startswith("-> "):
        indent, content = f"{indent}-> ", content[3:].strip(" ")
    line, empty, gap = indent, True, ""
    for word in content.split(" "):
        if not empty and _columns(line) + len(gap) + _columns(word) > width:
            yield Line(text=line, markup=markup or {})
            line, empty, gap = following, True, ""
        # Spaces next to each other (a column, a node id's own) come as empty words.
        if word:
            line, empty, gap = line + gap + word, False, " "
        elif not empty:
            gap += " "
    if not empty or not content:
        yield Line(text=line.rstrip(" "), markup=markup or {})


def _cut(text: str, width: int) -> str:
    """Return as much of ``text`` as fits, with dots where something is missing."""
    if _columns(text) <= width:
        return text
    while _columns(text) > width - 3:
        text = text[: max(len(text) - max((_columns(text) - width + 3) // 2, 1), 0)]
    return f"{text}..."


def _columns(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(character) for character in text)


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
