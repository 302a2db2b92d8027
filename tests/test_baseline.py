"""The baseline file: what is written can be read, reviewed and merged; what is broken is refused by line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.errors import MemalertError
from pytest_memalert.gate.baseline import (
    IMPORTED,
    SETUP_METRICS,
    TEST_METRICS,
    WHOLE_METRICS,
    Baseline,
    Entry,
    Figure,
    merge_baselines,
    read_baseline,
    render_baseline,
    split_conflict,
    summarize,
    update_baseline,
)
from pytest_memalert.model import Environment

KEY = "cpython-3.12-linux-x86_64"
HERE = Environment(
    implementation="CPython",
    python="3.12.1",
    platform="Linux",
    machine="x86_64",
    traced=False,
    pytest="9.2.0",
    memalert="1.0",
)


def entry(peak: int, spread: int = 0) -> Entry:
    """Return an entry with a peak alone."""
    return Entry(figures={"peak_bytes": Figure(median=peak, spread=spread)})


BASELINE = Baseline(
    environments={KEY: {"test_a.py::test_b": entry(10), "test_a.py::test_a": entry(20), "session": entry(99)}}
)
TEXT = render_baseline(BASELINE)

figures = st.builds(
    Figure, median=st.integers(min_value=0, max_value=2**60), spread=st.integers(min_value=0, max_value=2**60)
)
WRITTEN_AT_ZERO = [metric for metric in WHOLE_METRICS if metric not in (*SETUP_METRICS, IMPORTED)]
entries = st.builds(
    Entry,
    figures=st.dictionaries(
        st.sampled_from(("peak_bytes", "traced_peak_bytes", *WRITTEN_AT_ZERO)), figures, min_size=1
    ),
    once=st.booleans(),
)
baselines = st.builds(
    Baseline,
    environments=st.dictionaries(st.text(), st.dictionaries(st.text(), entries, min_size=1), max_size=3),
)


def test_like_environments_have_one_key() -> None:
    """Patch releases and versions of pytest are alike; tracing makes figures of its own."""
    assert HERE.key == KEY
    assert replace(HERE, python="3.12.9", pytest="8.0").key == KEY
    assert replace(HERE, python="3.13.0").key != KEY
    assert replace(HERE, traced=True).key == f"{KEY}-traced"


def test_each_test_is_one_sorted_line_and_the_session_the_last() -> None:
    """A test that is added leaves every other line alone."""
    assert TEXT.splitlines() == [
        "{",
        '"format": 1,',
        '"environments": {',
        f'"{KEY}": {{',
        '"test_a.py::test_a": {"peak_bytes": [20, 0]},',
        '"test_a.py::test_b": {"peak_bytes": [10, 0]},',
        '"session": {"peak_bytes": [99, 0]}',
        "}",
        "}",
        "}",
    ]
    added = update_baseline(BASELINE, KEY, {"test_a.py::test_c": entry(1)})
    assert set(render_baseline(added).splitlines()) > set(TEXT.splitlines())


@given(baselines)
def test_what_is_written_is_read_again(baseline: Baseline) -> None:
    """Whatever tests and environments are called."""
    assert read_baseline(render_baseline(baseline), "f") == baseline


@given(baselines)
def test_file_is_valid_json(baseline: Baseline) -> None:
    """Other programs may read it."""
    assert json.loads(render_baseline(baseline))["format"] == 1


@given(baselines, st.data())
def test_truncated_file_is_refused_with_its_line(baseline: Baseline, data: st.DataObject) -> None:
    """Wherever it was cut off."""
    text = render_baseline(baseline)
    length = data.draw(st.integers(min_value=0, max_value=len(text.rstrip()) - 1))
    with pytest.raises(MemalertError, match=r"^f, line \d+: "):
        read_baseline(text[:length], "f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f, line 1: not valid JSON (the file seems to be cut off)"),
        ("[]", "f, line 1: not a baseline of memalert: it has no 'format'"),
        ("{}", "f, line 1: not a baseline of memalert"),
        (TEXT.replace('"format": 1', '"format": 2'), "f, line 2: format 2 is newer than what this version"),
        (TEXT.replace('"format": 1', '"format": "1"'), "f, line 2: '1' is not a format"),
        (
            TEXT.replace('"peak_bytes"', '"peek_bytes"', 1),
            "f, line 5: 'peek_bytes' of 'test_a.py::test_a' is no metric (did you mean 'peak_bytes'?)",
        ),
        (TEXT.replace("test_b", "test_a"), "f, line 6: the test 'test_a.py::test_a' is named twice"),
        (TEXT.replace("[10, 0]", "[10]"), "f, line 6: peak_bytes of 'test_a.py::test_b' is [10], which is"),
        (TEXT.replace("[10, 0]", '"10"'), "f, line 6: peak_bytes of 'test_a.py::test_b' is \"10\", which"),
        (TEXT.replace("[10, 0]", "[1.5, 0]"), "f, line 6: peak_bytes"),
        (TEXT.replace("[10, 0]", "[-1, 0]"), "f, line 6: peak_bytes"),
        (TEXT.replace("[10, 0]", "[10, true]"), "f, line 6: peak_bytes"),
        (TEXT.replace("[10, 0]", f"[{10**400}, 0]"), "f, line 6: peak_bytes"),
        (
            TEXT.replace("[10, 0]", '[10, 0], "once": 1'),
            "f, line 6: once of 'test_a.py::test_b' is 1, not true",
        ),
        (
            TEXT.replace('"test_a.py::test_b"', '<<<<<<< HEAD\n"test_a.py::test_b"'),
            "f, line 6: a merge conflict is left (<<<<<<<); resolve it with: memalert merge f",
        ),
        (TEXT + "=======\n", "f, line 11: a merge conflict"),
        ("[" * 100_000, "f: not a baseline: nested too deeply"),
        ('{"format": 1, "environments": []}', "f: 'environments' is not an object"),
        ('{"format": 1, "environments": {"k": 1}}', "f: 'k' has no entries"),
        ('{"format": 1, "environments": {"k": {"t": 1}}}', "f: 't' has no figures"),
    ],
)
def test_broken_file_is_refused_with_line_and_remedy(text: str, message: str) -> None:
    """Each message says what to do: a command that saves, upgrades or merges."""
    with pytest.raises(MemalertError) as wrong:
        read_baseline(text, "f")
    assert str(wrong.value).startswith(message)
    assert "memalert" in str(wrong.value).partition("; ")[2]


def test_metric_of_a_later_version_is_passed_over() -> None:
    """The format stays the same where a metric is added."""
    text = TEXT.replace('"peak_bytes": [10, 0]', '"peak_bytes": [10, 0], "unheard_of": "yes"')
    assert read_baseline(text, "f") == BASELINE


def test_what_a_test_does_not_retain_is_zero_and_not_written() -> None:
    """But of a test that ran once, nobody knows what it retains."""
    assert entry(1).figure("growth_bytes") == Figure(median=0)
    assert entry(1).figure("traced_peak_bytes") is None
    assert replace(entry(1), once=True).figure("growth_bytes") is None


def test_median_and_spread_of_the_runs_are_kept() -> None:
    """In whole bytes; what is below zero is nothing."""
    runs: list[dict[str, float]] = [
        {"peak_bytes": 10.4},
        {"peak_bytes": 13},
        {"peak_bytes": -5},
        {"traced_peak_bytes": 7},
    ]
    assert summarize(runs).figures == {
        "peak_bytes": Figure(median=10, spread=13),
        "traced_peak_bytes": Figure(median=7),
    }


def test_what_not_every_run_leaves_behind_is_not_retained() -> None:
    """A single run that grew is noise, and kept as such."""
    runs = [{"growth_bytes": 0}, {"growth_bytes": 4096}, {"growth_bytes": 4096}]
    assert summarize(runs).figures["growth_bytes"] == Figure(median=0, spread=4096)


def test_other_environments_are_left_alone_by_an_update() -> None:
    """Each is saved where it is."""
    changed = update_baseline(BASELINE, "other", {"t": entry(1)})
    assert changed.environments[KEY] == BASELINE.environments[KEY]
    gone = update_baseline(BASELINE, KEY, {}, gone=["test_a.py::test_b"])
    assert sorted(gone.environments[KEY]) == ["session", "test_a.py::test_a"]


def test_merging_takes_all_tests_and_the_larger_figures() -> None:
    """So it accuses nobody; the next save settles it."""
    other = Baseline(
        environments={KEY: {"test_a.py::test_b": entry(7, 3), "test_c.py::t": entry(1)}, "x": {"t": entry(2)}}
    )
    merged = merge_baselines([BASELINE, other])
    assert merged.environments[KEY]["test_a.py::test_b"].figures["peak_bytes"] == Figure(median=10, spread=3)
    assert set(merged.environments[KEY]) == {*BASELINE.environments[KEY], "test_c.py::t"}
    assert merged.environments["x"] == {"t": entry(2)}


@given(baselines, baselines)
def test_order_of_merging_does_not_matter(first: Baseline, second: Baseline) -> None:
    """Two people who merge get the same file."""
    one, other = (render_baseline(merge_baselines(pair)) for pair in ((first, second), (second, first)))
    assert one == other


def test_both_sides_of_a_conflict_are_baselines() -> None:
    """Those that the branches had; the third part, which both come from, is neither."""
    lines = TEXT.splitlines(keepends=True)
    ours, theirs = lines[5], lines[5].replace("10", "11")
    conflict = f"<<<<<<< HEAD\n{ours}||||||| base\nx\n=======\n{theirs}>>>>>>> branch\n"
    sides = split_conflict("".join([*lines[:5], conflict, *lines[6:]]))
    assert sides == (TEXT, TEXT.replace("[10, 0]", "[11, 0]"))
    assert split_conflict(TEXT) == (TEXT, TEXT)


def test_test_metrics_and_whole_metrics_are_apart() -> None:
    """Else a test's line would say what is the session's."""
    assert not set(TEST_METRICS) & set(WHOLE_METRICS)
