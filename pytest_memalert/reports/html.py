"""The report as one HTML page that needs nothing beside it: no network, no other file."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_memalert.codec import count_alerts
from pytest_memalert.errors import MemalertError
from pytest_memalert.escaping import escape_controls
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import Comparison, ComparisonStatus, Measurement, PerformanceAlert, Run
from pytest_memalert.reports.words import (
    comparison_cells,
    cut,
    headline,
    label_of,
    speaking_alerts,
    subject,
)
from pytest_memalert.units import Unit, format_duration, format_quantity, format_size

__all__ = ["explain_missing", "render"]

_PACKAGES = ("jinja2", "plotly")
_TEMPLATE = "page.html.jinja"

# A browser sorts and draws this many at once without making its user wait.
_TESTS_LISTED = 2_000
_POINTS_DRAWN = 2_000
_ALERTS_LISTED = 500
_ROWS_LISTED = 500
_TESTS_NAMED = 50
_BARS = 15
_FEW = 20

_NAME_LENGTH = 500
_LABEL_LENGTH = 48
_MIB = 2**20


def explain_missing() -> str | None:
    """Return what to install before ``render`` works; None where it does."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    return f"{' and '.join(missing)} {verb} not installed; install with: pip install 'pytest-memalert[html]'"


def render(run: Run) -> str:
    """Return the page. Raises MemalertError where the extra ``html`` isn't installed.

    Its charts are drawn by plotly.js, which is part of the page: about 5 MB of it.
    """
    if problem := explain_missing():
        raise MemalertError(f"the HTML report can't be made: {problem}")
    import jinja2
    import plotly.offline
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Whatever is shown is shown harmless; markup of our own is of another type.
        finalize=lambda value: escape_controls(value) if type(value) is str else value,
    )
    return environment.get_template(_TEMPLATE).render(
        **_page(run),
        # It is ours to embed; its text is never that of a test.
        plotly=Markup(plotly.offline.get_plotlyjs()),
    )


def _page(run: Run) -> dict[str, Any]:
    """Return what the template shows, ready but for escaping."""
    speaking = speaking_alerts(run)
    tests = _largest(run.tests)
    where = run.environment
    return {
        "title": f"Memory of {len(run.tests):,} tests",
        "when": run.started_at.strftime("%Y-%m-%d %H:%M UTC"),
        "place": f"{where.implementation} {where.python}, {where.platform} {where.machine}",
        "version": where.memalert,
        "tiles": _tiles(run),
        "counts": count_alerts(run.alerts),
        "alerts": [_alert(alert, run) for alert in speaking[:_ALERTS_LISTED]],
        "more_alerts": max(len(speaking) - _ALERTS_LISTED, 0),
        "gate": None if run.gate is None else _gate(run),
        "tests": [_test(measurement) for measurement in tests],
        "more_tests": len(run.tests) - len(tests),
        "several_workers": len({measurement.worker for measurement in run.tests}) > 1,
        "fixtures": _fixtures(run),
        "notes": [
            note.text if note.nodeid is None or note.nodeid in note.text else f"{note.nodeid}: {note.text}"
            for note in run.notes[:_ROWS_LISTED]
        ],
        "more_notes": max(len(run.notes) - _ROWS_LISTED, 0),
        "charts": [chart for chart in (_memory_chart(run.tests), _peaks_chart(run.tests)) if chart],
    }


def _tiles(run: Run) -> list[tuple[str, str]]:
    peaks = [value for test in run.tests if (value := _resident(test)) is not None]
    spent_s = run.overhead.screening_s + run.overhead.reruns_s + run.overhead.reporting_s
    total_s = run.overhead.tests_s + spent_s
    tiles = [("tests", f"{len(run.tests):,}"), ("duration", format_duration(run.duration_s))]
    if peaks:
        tiles.append(("highest resident memory", format_size(max(peaks))))
    grown = sum(test.values.get("growth_bytes", 0) for test in run.tests)
    tiles.append(("growth, all tests", format_size(grown)))
    tiles.append(("re-runs", f"{run.reruns:,}"))
    if total_s > 0:
        tiles.append(("cost of measuring", f"{spent_s / total_s:.1%}"))
    return tiles


# ------------------------------------------------------------------- alerts


def _alert(alert: PerformanceAlert, run: Run) -> dict[str, Any]:
    metric = METRICS.get(alert.metric)
    unit = metric.unit if metric is not None else "count"
    return {
        "severity": alert.severity.value,
        "category": alert.category.value.replace("_", " "),
        "fails": run.fails(alert),
        "subject": cut(subject(alert), _NAME_LENGTH),
        "location": alert.location,
        "headline": cut(headline(alert), 2 * _NAME_LENGTH),
        "evidence": [line for line in alert.message.split("\n")[1:] if line.strip()],
        "metric": label_of(alert.metric),
        "observed": _quantity(alert.observed, unit),
        "limit": f"{alert.condition.value} {_quantity(alert.limit, unit)}",
        "rule": alert.rule,
        "fingerprint": alert.fingerprint,
        "nodeids": alert.nodeids[:_TESTS_NAMED] if len(alert.nodeids) > 1 else (),
        "more_nodeids": max(len(alert.nodeids) - _TESTS_NAMED, 0),
        "survivors": [
            {
                "left_by": survivor.left_by,
                "count": f"{survivor.count:,}",
                "type": survivor.type,
                "size": format_size(survivor.size_bytes),
                "allocated_at": survivor.allocated_at,
                "held_by": survivor.held_by,
            }
            for survivor in alert.survivors
        ],
        "recommendations": [_pieces(text) for text in alert.recommendations],
    }


def _quantity(value: float, unit: Unit) -> str:
    """Return a quantity for people; a report has none where a number was not finite."""
    return format_quantity(value, unit) if value - value == 0 else "unknown"


def _pieces(recommendation: str) -> list[tuple[bool, str]]:
    """Return a recommendation in pieces, each with whether it is code: that stands in backticks."""
    pieces = recommendation.split("`")
    if len(pieces) % 2 == 0:
        return [(False, recommendation)]
    return [(bool(at % 2), piece) for at, piece in enumerate(pieces) if piece]


# ----------------------------------------------------------------- the gate


def _gate(run: Run) -> dict[str, Any]:
    gate = run.gate
    assert gate is not None
    order: tuple[ComparisonStatus, ...] = ("regression", "improvement", "within")
    told = sorted(
        (each for each in gate.comparisons if each.status != "within"),
        key=lambda each: (order.index(each.status), -abs(each.observed - each.baseline)),
    )
    return {
        "path": gate.path,
        "environment": gate.environment,
        "refusal": gate.refusal,
        "compared": f"{gate.compared:,}",
        "strict": gate.strict,
        "rows": [_comparison(each) for each in told[:_ROWS_LISTED]],
        "more_rows": max(len(told) - _ROWS_LISTED, 0),
        "names": [
            (word, names[:_ROWS_LISTED], len(names))
            for word, names in (
                ("new", gate.new),
                ("missing", gate.missing),
                ("renamed", tuple(f"{old} \N{RIGHTWARDS ARROW} {new}" for old, new in gate.renamed)),
            )
            if names
        ],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    figures = (comparison.baseline, comparison.observed, comparison.observed - comparison.baseline)
    return {
        "nodeid": cut(comparison.nodeid, _NAME_LENGTH),
        "status": comparison.status,
        "metric": label_of(comparison.metric),
        "cells": list(zip((*figures, comparison.allowance), comparison_cells(comparison), strict=True)),
    }


# ------------------------------------------------------- tests and fixtures


def _largest(tests: Sequence[Measurement]) -> list[Measurement]:
    """Return the tests to list, by their peaks: those that leak, and those that took or kept the most."""

    def size(test: Measurement) -> tuple[bool, float]:
        taken = max(test.values.get("peak_bytes", 0), test.values.get("growth_bytes", 0))
        return test.leak.status == "leaking", taken

    listed = sorted(tests, key=size, reverse=True)[:_TESTS_LISTED]
    return sorted(listed, key=lambda test: test.values.get("peak_bytes", -1), reverse=True)


def _test(test: Measurement) -> dict[str, Any]:
    leak = test.leak
    per_run = format_size(leak.bytes_per_run) if leak.bytes_per_run else "unknown"
    return {
        "nodeid": cut(test.nodeid, _NAME_LENGTH),
        "worker": test.worker,
        "outcome": test.outcome,
        "cells": [
            _cell(test.values, "peak_bytes"),
            _cell(test.values, "growth_bytes"),
            _cell(test.values, "rss_bytes"),
            _cell(test.values, "duration_s"),
        ],
        "leak": leak.status,
        "leak_order": leak.bytes_per_run or 0,
        "leak_text": f"{per_run} a run" if leak.status == "leaking" else leak.status,
        "leak_reason": leak.reason,
    }


def _cell(values: Mapping[str, float], metric: str) -> tuple[float | None, str]:
    value = values.get(metric)
    return value, "" if value is None else format_quantity(value, METRICS[metric].unit)


def _fixtures(run: Run) -> list[dict[str, Any]]:
    brought = sorted(run.fixtures, key=lambda fixture: -(fixture.growth_bytes or fixture.setup_growth_bytes))
    return [
        {
            "name": fixture.name,
            "scope": fixture.scope,
            "location": fixture.location,
            "worker": fixture.worker,
            "setup": (fixture.setup_growth_bytes, format_size(fixture.setup_growth_bytes)),
            "remained": (
                fixture.growth_bytes,
                "still set up" if fixture.growth_bytes is None else format_size(fixture.growth_bytes),
            ),
        }
        for fixture in brought[:_ROWS_LISTED]
    ]


# ------------------------------------------------------------------- charts


def _memory_chart(tests: Sequence[Measurement]) -> dict[str, Any] | None:
    """Return the chart of resident memory over the session, a line for each process."""
    processes: dict[str, list[tuple[int, Measurement]]] = {}
    for test in tests:
        if _resident(test) is not None:
            series = processes.setdefault(test.worker, [])
            series.append((len(series) + 1, test))
    traces: list[dict[str, Any]] = []
    for number, (worker, series) in enumerate(sorted(processes.items())):
        drawn = _thinned(series, _POINTS_DRAWN // len(processes) or 1)
        name = _label(worker)
        common = {
            "type": "scatter",
            "mode": "lines+markers" if len(drawn) <= _FEW else "lines",
            "x": [at for at, _ in drawn],
            "text": [_label(test.nodeid, 120) for _, test in drawn],
            "legendgroup": name,
            "line": {"shape": "linear", "width": 2, "color": _COLORS[number % len(_COLORS)]},
        }
        traces.append(
            {
                **common,
                "name": f"{name}: after each test" if len(processes) > 1 else "after each test",
                "y": [_mib(test.values.get("rss_bytes", _resident(test))) for _, test in drawn],
                "hovertemplate": "%{y:,.1f} MiB after<br>%{text}<extra></extra>",
            }
        )
        if any("rss_peak_bytes" in test.values for _, test in drawn):
            line = {**common["line"], "width": 1, "dash": "dot"}  # type: ignore[dict-item]
            traces.append(
                {
                    **common,
                    "name": f"{name}: highest" if len(processes) > 1 else "highest during it",
                    "y": [_mib(test.values.get("rss_peak_bytes")) for _, test in drawn],
                    "line": line,
                    "hovertemplate": "%{y:,.1f} MiB at its highest<br>%{text}<extra></extra>",
                }
            )
    if not traces:
        return None
    return {
        "id": "memory",
        "title": "Resident memory over the session",
        "height": 340,
        "data": traces,
        "layout": {
            "xaxis": {
                "title": {"text": "tests, in the order in which they ran"},
                # Left alone, the axis of a few tests has halves of a test.
                "dtick": 1 if max(map(len, processes.values())) <= _FEW else None,
            },
            "yaxis": {"title": {"text": "MiB"}, "rangemode": "tozero"},
            "legend": {"orientation": "h", "y": 1.12, "x": 0},
            "hovermode": "closest",
        },
    }


def _peaks_chart(tests: Sequence[Measurement]) -> dict[str, Any] | None:
    """Return the chart of the largest peaks, the largest on top, with what remained of each."""
    top = sorted(
        (test for test in tests if test.values.get("peak_bytes", 0) > 0),
        key=lambda test: test.values["peak_bytes"],
    )[-_BARS:]
    if not top:
        return None
    places = list(range(len(top)))
    names = [_label(test.nodeid, 160) for test in top]
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": places,
            "x": [_mib(test.values.get(metric, 0)) for test in top],
            "text": names,
            "textposition": "none",
            "marker": {"color": color},
            "hovertemplate": "%{x:,.2f} MiB<br>%{text}<extra>" + name + "</extra>",
        }
        for name, metric, color in (
            ("peak: what it took", "peak_bytes", _COLORS[0]),
            ("growth: what remained", "growth_bytes", _COLORS[1]),
        )
    ]
    return {
        "id": "peaks",
        "title": "Largest peaks",
        "height": 120 + 26 * len(top),
        "data": bars,
        "layout": {
            "barmode": "overlay",
            "bargap": 0.35,
            "xaxis": {"title": {"text": "MiB"}, "rangemode": "tozero"},
            "yaxis": {
                "tickvals": places,
                # Not the functions alone: tests of several files may be called the same.
                "ticktext": [_label(_without_folders(test.nodeid)) for test in top],
                "automargin": True,
            },
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "hovermode": "closest",
        },
    }


# Told apart by those who don't see red and green as others do (Okabe and Ito's palette).
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")


def _resident(test: Measurement) -> float | None:
    return test.values.get("rss_peak_bytes", test.values.get("rss_bytes"))


def _without_folders(nodeid: str) -> str:
    """Return a node id without the folders of its file; a parameter may have slashes, too."""
    path, colons, name = nodeid.partition("::")
    return f"{path.rpartition('/')[2]}{colons}{name}"


def _label(text: str, length: int = _LABEL_LENGTH) -> str:
    """Return text as plotly shows it: it reads some HTML in labels, such as links."""
    return html.escape(cut(escape_controls(text), length))


def _mib(size_bytes: float | None) -> float | None:
    # Zero for what is finite only: JSON has no word for the rest.
    return round(size_bytes / _MIB, 3) if size_bytes is not None and size_bytes - size_bytes == 0 else None


def _thinned(series: Sequence[tuple[int, Measurement]], most: int) -> list[tuple[int, Measurement]]:
    """Return at most ``most`` points of a series: of neighbors the highest stays."""
    if len(series) <= most:
        return list(series)
    size = -(-len(series) // most)
    return [
        max(series[start : start + size], key=lambda each: _resident(each[1]) or 0)
        for start in range(0, len(series), size)
    ]
