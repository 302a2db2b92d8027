"""Holds the reports made for CI and dashboards to their formats, whatever tests are called."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_memalert.escaping import disarm, escape_controls
from pytest_memalert.model import (
    AlertSeverity,
    Comparison,
    Environment,
    GateResult,
    LeakVerdict,
    Measurement,
    Overhead,
    PerformanceAlert,
    Run,
    Survivor,
)
from pytest_memalert.reports import bencher, benchmark_action, github, gitlab, markdown
from tests.makers import MIB, NODEID, NOON, make_alert, make_gate, make_run, make_test

# What node ids and reprs are made of by those who mean ill, and by those who don't.
NASTY = (
    "a::b\n::error::forged",
    "x|y`z\\|",
    "``a` b",
    "<script>alert(1)</script>",
    "</summary></details>",
    "100%0A::warning::x",
    "\x1b[31mred\x1b[0m",
    "@everyone #1 http://e.vil www.e.vil a@b.co",
    "*bold* _it_ ~~no~~ [a](b) ![c](d) $x$ :tada:",
    "\u202eback\u2028line\r\rreturn",
    "\udcff漢é",
    " ",
    "-->",
    "##[error]x",
    "x" * 5_000,
    "|@" * 2_500,
)
TEXT = st.sampled_from(NASTY) | st.text(
    st.sampled_from("ab/:[]|`\\<>&%@#*_ \n\r\t\x1b\u202e漢é\udcff,") | st.characters(), max_size=60
)
TEXTS = st.lists(TEXT, max_size=4).map(tuple)
FINITE = st.floats(-1e15, 1e15) | st.integers(-(10**12), 10**12)
ALERTS = st.builds(
    PerformanceAlert,
    fingerprint=TEXT,
    rule=TEXT,
    nodeids=TEXTS,
    metric=st.just("growth_bytes") | TEXT,
    message=TEXT,
    recommendations=TEXTS,
    survivors=st.lists(st.builds(Survivor, type=TEXT, allocated_at=TEXTS, held_by=TEXTS), max_size=2).map(
        tuple
    ),
    observed=FINITE,
    limit=FINITE,
    raised_at=st.just(NOON),
    acknowledged=st.none(),
    inhibited_by=st.none(),
    location=st.none() | TEXT | st.just("tests/test_a.py:12"),
)
GATES = st.builds(
    GateResult,
    path=TEXT,
    environment=TEXT,
    comparisons=st.lists(
        st.builds(
            Comparison,
            nodeid=TEXT,
            metric=st.just("peak_bytes") | TEXT,
            baseline=FINITE,
            observed=FINITE,
            allowance=FINITE,
        ),
        max_size=3,
    ).map(tuple),
    new=TEXTS,
    missing=TEXTS,
    renamed=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    refusal=st.none() | TEXT,
)
RUNS = st.builds(
    Run,
    started_at=st.just(NOON),
    duration_s=st.floats(0, 1e6),
    environment=st.builds(Environment, implementation=TEXT, python=TEXT, platform=TEXT, machine=TEXT),
    overhead=st.builds(Overhead, tests_s=st.floats(0, 1e6), screening_s=st.floats(0, 1e6)),
    reruns=st.integers(0, 10**6),
    tests=st.lists(
        st.builds(
            Measurement,
            nodeid=TEXT,
            values=st.dictionaries(
                st.sampled_from(["growth_bytes", "peak_bytes", "rss_peak_bytes"]), st.integers(0, 10**12)
            ),
            phases=st.just({}),
        ),
        max_size=3,
    ).map(tuple),
    fixtures=st.just(()),
    alerts=st.lists(ALERTS, max_size=3).map(tuple),
    notes=st.just(()),
    gate=st.none() | GATES,
)
# Runs are large; on a busy machine making one is slow, and says nothing of what is tested.
law = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ------------------------------------------------------------------- markdown


class Page(HTMLParser):
    """Read HTML: its tags, their attributes, and the text of each cell and code."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.rows: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.text += data


def shown(text: str) -> Page:
    """Return Markdown as a reader sees it; HTML inside is let through, as GitHub does at first."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return Page(parser.render(text.encode("utf-8", "backslashreplace").decode("utf-8")))


OURS = {"h2", "table", "thead", "tbody", "tr", "th", "td", "code", "strong", "details", "summary", "ul", "li"}
OURS |= {"p", "br", "sub"}


@law
@given(RUNS)
def test_law_of_markdown_no_text_of_a_run_becomes_markup(run: Run) -> None:
    page = shown(markdown.render(run))
    assert page.tags <= OURS
    assert page.attributes <= {"style"}  # the alignment of a column


@law
@given(RUNS, st.integers(0, 100_000))
def test_law_of_markdown_it_keeps_to_its_limit(run: Run, limit_bytes: int) -> None:
    size = len(markdown.render(run, limit_bytes=limit_bytes).encode("utf-8", "backslashreplace"))
    assert size <= max(limit_bytes, markdown.SMALLEST_BYTES)


@law
@given(TEXT)
@example("a\\|b`")
def test_law_of_code_a_reader_sees_the_name_itself(text: str) -> None:
    name = escape_controls(text)[:300]
    page = shown(f"{markdown.table(('a', 'b'))}| {markdown.code(name)} | end |\n")
    assert page.rows == [2, 2]
    inner = page.text.split("b", 1)[1].rpartition("end")[0].strip("\n")
    # A code span joins spaces with nothing else; a name of spaces alone is shown as spaces.
    assert inner.split() == name.split()


@law
@given(TEXT)
def test_law_of_prose_a_reader_sees_the_text_itself(text: str) -> None:
    told = "x " + escape_controls(text)[:300]
    page = shown(f"{markdown.table(('a', 'b'))}| {markdown.prose(told)} | end |\n")
    assert page.rows == [2, 2]
    assert page.text.split("b", 1)[1].rpartition("end")[0].split() == told.split()
    assert page.tags <= {"table", "thead", "tbody", "tr", "th", "td", "code"}


def test_markdown_tells_alert_gate_and_totals() -> None:
    text = markdown.render(make_run(make_alert(), gate=make_gate()))
    assert text.startswith(f"{markdown.MARK}\n## memalert: 1 critical\n")
    assert f"| **critical** | `{NODEID}` | growth 12 MiB is over the limit of 1 MiB |" in text
    assert f"| `{NODEID}` | peak | 10 MiB | 14 MiB | +4 MiB (+40%) | +1 MiB |" in text
    assert "120 tests, 1 worse, 0 better, 1 new" in text
    assert "allocated at `app/cache.py:14 in put`; held by `module app.cache`, `ITEMS: dict of 48`" in text
    assert "**what to do**: bound or clear `app.cache.ITEMS`" in text
    assert "memalert: 1 test measured, resident peak 84 MiB, added 80 ms" in text


def test_markdown_of_a_run_without_alerts_is_short() -> None:
    assert markdown.render(make_run()).splitlines() == [
        markdown.MARK,
        "## memalert: 0 alerts",
        "",
        "memalert: 1 test measured, resident peak 84 MiB, added 80 ms  ",
        "<sub>CPython 3.11.7, Linux x86_64, 10 s</sub>",
    ]


def test_markdown_counts_what_finds_no_room() -> None:
    alerts = [
        make_alert(fingerprint=str(n), nodeids=(f"tests/test_a.py::test_{n}",), message=f"growth {n}")
        for n in range(5_000)
    ]
    text = markdown.render(make_run(*alerts, gate=make_gate()))
    assert len(text.encode()) <= markdown.COMMENT_BYTES
    rows = re.findall(r"^\| \*\*critical\*\* \| `tests/test_a.py::test_\d+` ", text, re.MULTILINE)
    told = re.search(r"^and ([\d,]+) more alerts$", text, re.MULTILINE)
    assert told is not None
    assert len(rows) + int(told[1].replace(",", "")) == 5_000
    # What closes the report has room always.
    assert text.endswith("<sub>CPython 3.11.7, Linux x86_64, 10 s</sub>\n")
    wide = markdown.render(make_run(*alerts), limit_bytes=2**20)
    assert markdown.COMMENT_BYTES < len(wide.encode()) <= 2**20


def test_markdown_says_why_nothing_was_compared() -> None:
    gate = make_gate(refusal="it has no entries for this environment", comparisons=())
    text = markdown.render(make_run(gate=gate))
    assert "**Nothing was compared** with `memalert.lock.json`: it has no entries for" in text


def test_alert_that_is_acknowledged_is_counted_alone() -> None:
    run = make_run(make_alert(acknowledged="known"))
    assert "1 acknowledged" in markdown.render(run)
    assert NODEID not in markdown.render(run)
    assert github.render(run) == ""
    assert json.loads(gitlab.render(run)) == []


def test_names_of_200_kb_are_cut_in_every_report() -> None:
    name = "tests/test_a.py::test[" + "|@\x1b" * 70_000 + "]"
    survivor = Survivor(type=name, count=1, size_bytes=1, allocated_at=(name,), held_by=(name,))
    alert = make_alert(
        nodeids=(name,), message=f"{name}: {name}", recommendations=(name,), survivors=(survivor,), rule=name
    )
    gate = make_gate(new=(name,), missing=(name,), renamed=((name, name),), path=name, environment=name)
    run = make_run(alert, gate=gate, tests=(make_test(name, peak_bytes=1),))
    assert len(markdown.render(run).encode()) <= markdown.COMMENT_BYTES
    assert shown(markdown.render(run)).tags <= OURS
    assert len(github.render(run)) < 20_000
    assert len(gitlab.render(run)) < 10_000
    assert len(bencher.render(run)) < 10_000
    assert len(benchmark_action.render(run)) < 10_000


# --------------------------------------------------------------------- github


def parse_command(line: str) -> tuple[str, dict[str, str], str]:
    """Return a workflow command as the runner's toolkit reads it: kind, properties, message."""
    match = re.fullmatch(r"::(\w+) ([^\n]*?)::(.*)", line)
    assert match is not None, line

    def unescaped(text: str) -> str:
        for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            text = text.replace(code, character)
        return text

    properties = dict(pair.split("=", 1) for pair in match[2].split(","))
    message = match[3].replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    return match[1], {name: unescaped(value) for name, value in properties.items()}, message


@law
@given(RUNS)
def test_law_of_commands_each_line_is_one_and_says_what_it_was_given(run: Run) -> None:
    lines = github.render(run).split("\n")[:-1]
    assert len(lines) == len(run.alerts)
    for line in lines:
        assert escape_controls(line) == line
        kind, properties, message = parse_command(line)
        assert kind in ("error", "warning", "notice")
        assert set(properties) <= {"file", "line", "title"}
        assert properties.get("line", "1").isdigit()
        assert properties["title"].startswith("memalert: ")
        assert len(message) < 10_000


@law
@given(TEXT)
def test_law_of_escaping_a_command_ends_where_we_end_it(text: str) -> None:
    assert not set("\r\n") & set(github.escape_message(text))
    assert not set("\r\n:,") & set(github.escape_property(text))
    restored = github.escape_property(text)
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        restored = restored.replace(code, character)
    assert restored == text


@law
@given(TEXT)
@example("  ::error::x")
@example("a ##[error]x")
def test_law_of_disarming_no_line_is_a_command(text: str) -> None:
    with mock.patch.dict("os.environ", {"GITHUB_ACTIONS": "true"}):
        line = disarm(escape_controls(text))
    assert not line.strip().startswith("::")
    assert "##[" not in line


def test_command_points_at_the_test_and_tells_what_to_do() -> None:
    (line,) = github.render(make_run(make_alert())).splitlines()
    assert line == (
        "::error file=tests/test_a.py,line=12,title=memalert%3A memory_growth::"
        f"{NODEID}: growth 12 MiB is over the limit of 1 MiB"
        "%0Aeach run leaves 48 dict, 12 KiB, held by module app.cache, ITEMS: dict of 48"
        "%0A-> bound or clear `app.cache.ITEMS`"
    )


def test_alert_that_fails_no_test_is_a_warning_and_one_of_the_session_has_no_file() -> None:
    alert = make_alert(severity=AlertSeverity.WARNING, nodeids=("session",), location=None)
    (line,) = github.render(make_run(alert)).splitlines()
    assert line.startswith("::warning title=memalert%3A memory_growth::session: ")
    info = make_alert(severity=AlertSeverity.INFO)
    assert github.render(make_run(info)).startswith("::notice ")
    assert github.render(make_run(make_alert(), fail_on=None)).startswith("::warning ")


@pytest.mark.parametrize(("alerts", "lines"), [(10, 10), (11, 10), (500, 10)])
def test_commands_are_ten_of_a_kind_at_most_and_the_rest_is_counted(alerts: int, lines: int) -> None:
    run = make_run(
        *(make_alert(id=str(n)) for n in range(alerts)),
        *(make_alert(severity=AlertSeverity.WARNING) for _ in range(alerts)),
    )
    told = github.render(run).splitlines()
    assert len(told) == 2 * lines
    if alerts > 10:
        assert f"and {alerts - 9} more alerts that fail a test" in told[9]
        assert f"and {alerts - 9} more alerts: " in told[19]


# --------------------------------------------------------------------- gitlab


@law
@given(RUNS)
def test_law_of_code_quality_every_entry_has_what_gitlab_asks_for(run: Run) -> None:
    text = gitlab.render(run)
    assert text.isascii()
    entries = json.loads(text)
    assert len(entries) == len({alert.fingerprint for alert in run.alerts})
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert re.fullmatch("[0-9a-f]{32}", entry["fingerprint"])
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert entry["location"]["path"]
        assert entry["location"]["lines"]["begin"] >= 1
        assert len(entry["description"]) <= 1_000


def test_code_quality_knows_a_violation_by_its_fingerprint_alone() -> None:
    (entry,) = json.loads(gitlab.render(make_run(make_alert())))
    assert entry["description"] == f"{NODEID}: growth 12 MiB is over the limit of 1 MiB"
    assert (entry["check_name"], entry["severity"]) == ("memalert:growth", "critical")
    assert entry["location"] == {"path": "tests/test_a.py", "lines": {"begin": 12}}
    moved = make_alert(location="tests/test_a.py:99", message="growth 13 MiB", observed=13 * MIB)
    (later,) = json.loads(gitlab.render(make_run(moved)))
    assert later["fingerprint"] == entry["fingerprint"]


# ----------------------------------------------------------------- dashboards


@law
@given(RUNS)
def test_law_of_exports_every_value_is_a_number_under_a_name(run: Run) -> None:
    for name, measures in json.loads(bencher.render(run)).items():
        assert 0 <= len(name) <= bencher.NAME_LENGTH
        assert measures
        for measure, metric in measures.items():
            assert re.fullmatch("[a-z-]{1,64}", measure)
            assert isinstance(metric["value"], int | float)
    for entry in json.loads(benchmark_action.render(run)):
        assert set(entry) == {"name", "unit", "value"}
        assert isinstance(entry["value"], int | float)


def test_exports_have_each_figure_of_a_test() -> None:
    leak = LeakVerdict(status="leaking", bytes_per_run=2_048.0, runs=5)
    run = make_run(tests=(make_test(leak=leak, peak_bytes=14 * MIB, growth_bytes=-3, rss_bytes=9),))
    assert json.loads(bencher.render(run)) == {
        NODEID: {
            "peak-bytes": {"value": 14 * MIB},
            "growth-bytes": {"value": 0},
            "leak-bytes-per-run": {"value": 2_048.0},
        }
    }
    assert json.loads(benchmark_action.render(run)) == [
        {"name": f"{NODEID}: peak", "unit": "bytes", "value": 14 * MIB},
        {"name": f"{NODEID}: growth", "unit": "bytes", "value": 0},
        {"name": f"{NODEID}: leak per run", "unit": "bytes", "value": 2_048.0},
    ]


def test_export_is_no_way_to_silence_a_benchmark() -> None:
    run = make_run(tests=(make_test(f"{NODEID}-bencher-ignore", peak_bytes=1),))
    (name,) = json.loads(bencher.render(run))
    assert not name.endswith("-bencher-ignore")
