"""Holds the HTML page to what it must show, to harmlessness, and to needing nothing beside it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given

from pytest_memalert.errors import MemalertError
from pytest_memalert.model import LeakVerdict, Note, Run
from pytest_memalert.reports import html
from tests.makers import MIB, NODEID, make_alert, make_fixture, make_gate, make_run, make_test
from tests.test_ci_reports import RUNS, law


@pytest.fixture(autouse=True, scope="module")
def _without_plotly() -> Any:
    """Leave the library's 5 MB out of the pages, so that they can be looked at quickly."""
    import plotly.offline

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotly.offline, "get_plotlyjs", lambda: "/* plotly.js */")
        yield


class Page(HTMLParser):
    """Read a page: its tags with their attributes, its text, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: dict[str, list[dict[str, str | None]]] = {}
        self.open: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag."""
        self.tags.setdefault(tag, []).append(dict(attrs))
        if tag == "script":
            self.scripts.append("")
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Hold that what was opened is closed."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note the text."""
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data

    def charts(self) -> list[dict[str, Any]]:
        """Return what the charts are drawn from."""
        found: list[dict[str, Any]] = json.loads(self.scripts[0])
        return found


def shown(run: Run) -> Page:
    """Return the page of a run, as a browser reads it."""
    return Page(html.render(run))


def shape(page: Page) -> tuple[set[str], set[str]]:
    """Return which tags and attributes a page has."""
    return set(page.tags), {name for tags in page.tags.values() for attrs in tags for name in attrs}


FULL = make_run(
    make_alert(nodeids=(NODEID, f"{NODEID}_too"), message="grew\nagain"),
    gate=make_gate(missing=("a::b",), renamed=(("a::b", "a::c"),)),
    tests=(
        make_test(peak_bytes=14 * MIB, growth_bytes=12 * MIB, rss_bytes=80 * MIB, rss_peak_bytes=84 * MIB),
        make_test("a::c", leak=LeakVerdict(status="leaking", bytes_per_run=10.0, reason="why", runs=3)),
    ),
    fixtures=(make_fixture(growth_bytes=None),),
    notes=(Note(kind="one_time", nodeid=NODEID, text="grew once"),),
)


@law
@given(RUNS)
def test_law_of_the_page_no_text_of_a_run_becomes_markup_or_script(run: Run) -> None:
    page = shown(run)
    tags, attributes = shape(page)
    known_tags, known_attributes = shape(shown(FULL))
    assert tags <= known_tags
    assert attributes <= known_attributes
    assert page.open == []
    # One of data, one that sorts, and where there is a chart plotly's and the one that draws.
    assert len(page.scripts) == (4 if page.charts() else 2)
    for chart in page.charts():
        for trace in chart["data"]:
            # plotly reads some HTML in what it shows.
            assert not any("<" in text for text in trace["text"])


def test_page_needs_nothing_beside_it() -> None:
    """No address, no file: a policy in the page itself forbids what a mistake could let in."""
    page = shown(FULL)
    assert not any({"src", "href"} & set(attrs) for tags in page.tags.values() for attrs in tags)
    (policy,) = [m["content"] for m in page.tags["meta"] if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "url(" not in html.render(FULL)
    assert "@import" not in html.render(FULL)


def test_page_has_plotly_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    import plotly.offline

    monkeypatch.setattr(plotly.offline, "get_plotlyjs", lambda: "const ours = '<plotly>';")
    assert "<script>const ours = '<plotly>';</script>" in html.render(FULL)


def test_page_tells_alerts_with_what_holds_them_and_what_to_do() -> None:
    page = html.render(make_run(make_alert()))
    path = re.search(r'<ol class="path">(.*?)</ol>', page)
    assert path is not None
    assert re.findall(r"<code>(.*?)</code>", path[1]) == ["module app.cache", "ITEMS: dict of 48"]
    assert "<li>bound or clear <code>app.cache.ITEMS</code></li>" in page
    assert "growth 12 MiB is over the limit of 1 MiB" in page
    assert "tests/test_a.py:12" in page


def test_page_tells_the_gate_and_the_fixtures_and_the_notes() -> None:
    text = shown(FULL).text
    for told in ("regression", "+4 MiB (+40%)", "1 new", "1 missing", "1 renamed", "server", "grew once"):
        assert told in text
    refused = shown(make_run(gate=make_gate(refusal="no entries"))).text
    assert "Nothing was compared: no entries" in refused
    assert "no alerts" in refused


def test_tests_are_sorted_by_peak_and_each_cell_has_its_number() -> None:
    tests = tuple(make_test(f"t::{n}", peak_bytes=n * MIB, growth_bytes=n) for n in (3, 9, 1))
    page = html.render(make_run(tests=tests))
    assert re.findall(r'<td class="code">(t::\d)</td>', page) == ["t::9", "t::3", "t::1"]
    assert '<td class="number" data-value="9437184">9 MiB</td>' in page
    assert 'aria-sort="descending"><button type="button">peak</button>' in page


def test_page_stays_of_a_size_that_a_browser_can_take() -> None:
    tests = tuple(
        make_test(f"t::{n}", peak_bytes=n, growth_bytes=0, rss_bytes=n, rss_peak_bytes=n)
        for n in range(20_000)
    )
    leaking = make_test("t::leaking", leak=LeakVerdict(status="leaking", bytes_per_run=9.0, runs=3))
    run = make_run(*(make_alert(id=str(n)) for n in range(2_000)), tests=(leaking, *tests))
    text = html.render(run)
    page = Page(text)
    assert len(text) < 4_000_000
    assert "and 18001 smaller ones" in page.text
    assert "and 1500 more" in page.text
    assert "t::leaking" in page.text
    memory = page.charts()[0]
    assert all(len(trace["x"]) <= 2_000 for trace in memory["data"])
    # Of neighbors the highest stays.
    assert memory["data"][1]["y"][-1] == pytest.approx(19_999 / MIB, abs=0.001)


def test_memory_is_drawn_for_each_process() -> None:
    tests = [
        replace(make_test(f"t::{n}", rss_bytes=n * MIB, rss_peak_bytes=n * MIB), worker=f"gw{n % 2}")
        for n in range(6)
    ]
    (memory,) = shown(make_run(tests=tuple(tests))).charts()
    assert [trace["name"] for trace in memory["data"]] == [
        "gw0: after each test",
        "gw0: highest",
        "gw1: after each test",
        "gw1: highest",
    ]
    assert memory["data"][0]["x"] == [1, 2, 3]
    assert memory["data"][2]["y"] == [1, 3, 5]


def test_largest_peaks_are_drawn_with_file_function_and_parameters() -> None:
    tests = (
        make_test("a/b/t.py::test_x[1/b]", peak_bytes=9 * MIB),
        make_test("c/t.py::T::test_y", peak_bytes=MIB),
    )
    (peaks,) = (
        chart for chart in shown(make_run(tests=tests)).charts() if "ticktext" in chart["layout"]["yaxis"]
    )
    assert sorted(peaks["layout"]["yaxis"]["ticktext"]) == ["t.py::T::test_y", "t.py::test_x[1/b]"]


def test_figure_that_nobody_knows_is_told_as_unknown() -> None:
    """A report has null where a number was not finite."""
    nan = float("nan")
    run = make_run(make_alert(metric="duration_s", observed=nan, limit=nan))
    run = replace(run, tests=(make_test(rss_bytes=nan, peak_bytes=1),))
    page = shown(run)
    assert "unknown" in page.text
    assert page.charts()[0]["data"][0]["y"] == [None]


def test_page_of_a_run_without_tests_says_so() -> None:
    page = shown(make_run(tests=()))
    assert "No tests were measured." in page.text
    assert page.charts() == []


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MemalertError, match="jinja2 and plotly are not installed") as caught:
        html.render(FULL)
    assert "pip install 'pytest-memalert[html]'" in str(caught.value)
