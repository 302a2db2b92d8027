"""Holds the acknowledgments to what a reviewer expects of them, and their file to what its author wrote."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.acknowledgments import (
    Acknowledgment,
    acknowledge,
    exact_text,
    find_idle,
    most_accepted,
    parse_acknowledgments,
    put_entry,
    read_acknowledgments,
    remove_entry,
)
from pytest_memalert.errors import ConfigurationError, MemalertError
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertCategory, AlertCondition, PerformanceAlert
from pytest_memalert.units import parse_quantity
from tests import makers
from tests.makers import MIB, NODEID, make_run, make_test

TODAY = date(2026, 11, 23)
NAME = "memalert.acks.toml"


def make_alert(**changes: Any) -> PerformanceAlert:
    """Return an alert of 8 MiB of peak."""
    alert = makers.make_alert(
        rule="peak",
        category=AlertCategory.MEMORY_THRESHOLD,
        metric="peak_bytes",
        observed=8 * MIB,
        message=f"{NODEID}: peak 8 MiB is over the limit of 1 MiB",
    )
    return replace(alert, **changes)


def make_entry(**changes: Any) -> Acknowledgment:
    """Return the entry for that alert, good for today."""
    entry = Acknowledgment(fingerprint="f1", reason="known", until=TODAY)
    return replace(entry, **changes)


def judged(alert: PerformanceAlert, *entries: Acknowledgment, **given: Any) -> PerformanceAlert:
    """Return the alert as the entries leave it."""
    (found,) = acknowledge([alert], entries, **{"today": TODAY, **given})
    return found


def problems_of(text: str) -> tuple[str, ...]:
    """Return what is wrong with the text of a file."""
    with pytest.raises(ConfigurationError) as caught:
        parse_acknowledgments(text, NAME)
    return caught.value.problems


# -------------------------------------------------------------------- deciding


def test_acknowledged_alert_says_why_by_whom_and_until_when() -> None:
    assert judged(make_alert(), make_entry(author="Ada")).acknowledged == "known (Ada, until 2026-11-23)"
    assert judged(make_alert(), make_entry()).acknowledged == "known (until 2026-11-23)"


def test_alert_of_another_fingerprint_is_not_acknowledged() -> None:
    assert judged(make_alert(fingerprint="f2"), make_entry()) == make_alert(fingerprint="f2")


def test_acknowledged_run_does_not_fail() -> None:
    run = make_run(judged(make_alert(), make_entry()))
    assert not any(run.fails(alert) for alert in run.alerts)


def test_alert_speaks_again_the_day_after_its_date_and_says_so() -> None:
    alert = judged(make_alert(), make_entry(until=date(2026, 11, 22), author="Ada"))
    assert alert.acknowledged is None
    assert alert.message.endswith("\nits acknowledgment expired on 2026-11-22 (Ada, known)")


def test_alert_speaks_again_when_it_has_grown_beyond_the_accepted_value() -> None:
    entry = make_entry(metric="peak_bytes", accepted=7 * MIB)
    assert judged(make_alert(observed=7.6 * MIB), entry).acknowledged is not None
    alert = judged(make_alert(observed=8 * MIB), entry)
    assert alert.acknowledged is None
    assert alert.message.endswith("\nit has grown beyond the 7 MiB acknowledged (known)")


def test_alert_on_low_values_speaks_again_when_it_has_fallen() -> None:
    low = make_alert(metric="efficiency_ratio", condition=AlertCondition.LESS_THAN)
    entry = make_entry(metric="efficiency_ratio", accepted=0.4)
    assert judged(replace(low, observed=0.36), entry).acknowledged is not None
    assert judged(replace(low, observed=0.3), entry).acknowledged is None


def test_entry_without_a_value_accepts_any() -> None:
    assert judged(make_alert(observed=1e15), make_entry()).acknowledged is not None


def test_pace_of_a_leak_is_accepted_by_the_size_of_the_leak() -> None:
    """The pace has the test's duration in it, and differs by a factor from run to run."""
    leak = make_alert(metric="leak_rate_bytes_per_hour", observed=1e9, category=AlertCategory.MEMORY_LEAK)
    entry = make_entry(metric="leak_bytes_per_run", accepted=1024.0)
    same, larger = {"leak_bytes_per_run": 1024.0}, {"leak_bytes_per_run": 2000.0}
    assert judged(replace(leak, observed=9e9), entry, values=same).acknowledged is not None
    alert = judged(leak, entry, values=larger)
    assert alert.acknowledged is None
    assert "beyond the 1 KiB (leak_bytes_per_run) acknowledged" in alert.message


@pytest.mark.parametrize(
    ("metric", "accepted", "still_covered", "beyond"),
    [
        ("leak_bytes_per_run", 1000, 1050, 1051),
        ("leak_blocks_per_run", 1, 1, 2),
        ("peak_bytes", 1000, 1000 + 256 * 1024, 1001 + 256 * 1024),
        ("peak_bytes", 10**9, 11 * 10**8, 11 * 10**8 + 1),
        ("leak_rate_bytes_per_hour", 1000, 2000, 2001),
        ("duration_s", 1.0, 2.0, 2.1),
        ("open_fds_growth", 3, 3, 4),
    ],
)
def test_what_differs_from_run_to_run_is_no_growth(
    metric: str, accepted: float, still_covered: float, beyond: float
) -> None:
    limit = most_accepted(accepted, metric, METRICS[metric].unit, condition=AlertCondition.GREATER_THAN)
    assert still_covered <= limit < beyond


# ----------------------------------------------------------------------- idle


def test_entry_whose_alert_was_raised_is_in_use() -> None:
    assert find_idle([make_entry()], make_run(make_alert()), today=TODAY) == ()


def test_unused_entry_is_told_with_what_to_do() -> None:
    entry = make_entry(origin=f"{NAME}: acknowledged[0]", what="peak 8 MiB", tests=(NODEID,))
    (note,) = find_idle([entry], make_run(), today=TODAY)
    assert note.kind == "acknowledgment"
    assert note.text == (
        f"{NAME}: acknowledged[0]: f1 (peak 8 MiB) is unused: the alert was not raised; "
        "remove it with: memalert unack f1"
    )


def test_entry_whose_tests_did_not_run_is_not_unused() -> None:
    elsewhere = make_run(tests=(make_test("tests/test_b.py::test_c"),))
    assert find_idle([make_entry(tests=(NODEID,))], elsewhere, today=TODAY) == ()
    assert find_idle([make_entry()], elsewhere, today=TODAY, is_whole=False) == ()
    assert len(find_idle([make_entry()], elsewhere, today=TODAY)) == 1


def test_expired_entry_is_told_whether_or_not_its_alert_was_raised() -> None:
    entry = make_entry(until=date(2026, 1, 1))
    for run in (make_run(), make_run(make_alert()), make_run(tests=())):
        (note,) = find_idle([entry], run, today=TODAY)
        assert "expired on 2026-01-01; renew it with memalert ack, or remove it" in note.text


# --------------------------------------------------------------------- reading

WHOLE = f"""\
format = 1

[[acknowledged]]
fingerprint = "f1"
what = "peak 8 MiB"
tests = ["{NODEID}"]
reason = "known"
author = "Ada"
until = 2026-11-23
metric = "peak_bytes"
accepted = "8 MiB"
"""


def test_entry_is_read_with_its_place() -> None:
    (entry,) = parse_acknowledgments(WHOLE, NAME)
    assert entry == Acknowledgment(
        fingerprint="f1",
        what="peak 8 MiB",
        tests=(NODEID,),
        reason="known",
        author="Ada",
        until=TODAY,
        metric="peak_bytes",
        accepted=8 * MIB,
        origin=f"{NAME}: acknowledged[0]",
    )


def test_date_may_be_text_or_have_a_time() -> None:
    for written in ('"2026-11-23"', "2026-11-23T08:00:00"):
        (entry,) = parse_acknowledgments(WHOLE.replace("2026-11-23", written), NAME)
        assert entry.until == TODAY


def test_file_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    assert read_acknowledgments(tmp_path / NAME) == ()


def test_every_problem_is_told_at_once_with_its_place() -> None:
    text = """
        formet = 1
        [[acknowledged]]
        fingerprint = "two words"
        reason = " "
        until = "soon"
        metric = "peak_byte"
        accepted = "8 megs"
        [[acknowledged]]
        fingerprint = "f2"
        accepted = "8 MiB"
        expires = 2026-01-01
        [[acknowledged]]
        fingerprint = "f2"
        reason = "a"
        until = 2026-11-23
        metric = "peak_bytes"
        accepted = "8 megs"
        tests = "tests"
    """
    assert problems_of(text) == (
        f"{NAME}: unknown key 'formet'; did you mean 'format'?",
        (
            f"{NAME}: acknowledged[0].fingerprint: 'two words' is not a fingerprint; copy it from the alert, "
            "or from: memalert history"
        ),
        f"{NAME}: acknowledged[0].reason: ' ' is empty; write a text",
        f"{NAME}: acknowledged[0].until: 'soon' is not a date; write it as 2027-01-31",
        f"{NAME}: acknowledged[0].metric: unknown metric 'peak_byte'; did you mean 'peak_bytes'?",
        (
            f"{NAME}: acknowledged[1]: unknown key 'expires'; write one of 'fingerprint', 'what', 'tests', "
            "'reason', 'author', 'until', 'metric', 'accepted'"
        ),
        (
            f"{NAME}: acknowledged[1]: reason is missing; say why the alert is accepted, such as reason = "
            "'the cache is replaced in 2.0'"
        ),
        (
            f"{NAME}: acknowledged[1]: until is missing; say when it is to be looked at again, such as "
            "until = 2027-01-31"
        ),
        (
            f"{NAME}: acknowledged[1].accepted: of which metric isn't said; write it beside, such as "
            "metric = 'leak_bytes_per_run'"
        ),
        (
            f"{NAME}: acknowledged[2].tests: 'tests' is not a list of node ids; write it as "
            "['tests/test_a.py::test_b']"
        ),
        f"{NAME}: acknowledged[2].accepted: '8 megs' is not a size; write it as '8 MiB'",
    )


def test_fingerprint_acknowledged_twice_is_refused() -> None:
    (problem,) = problems_of(WHOLE + WHOLE.removeprefix("format = 1\n"))
    assert problem == (
        f"{NAME}: acknowledged[1].fingerprint: 'f1' is acknowledged already, in acknowledged[0]; "
        "remove one of the two"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[acknowledged]\n", "is not valid TOML"),
        ("format = " + "9" * 5000, "has a number of too many digits; write it shorter"),
        ("format = 2\nnew = 1\n", "format: 2 is newer than what this version reads (up to 1)"),
        ("format = 'one'\n", "format: 'one' is not a format of this file; write 1"),
        ("acknowledged = 3\n", "acknowledged: write [[acknowledged]] above each entry"),
        ("acknowledged = [3]\n", "acknowledged[0]: 3 is not a table"),
    ],
)
def test_file_that_is_none_is_refused(text: str, said: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith(f"{NAME}: {said}")


def test_file_that_is_not_utf8_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"format = 1\n# caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"is not UTF-8 text \(at line 2\)"):
        read_acknowledgments(tmp_path / NAME)


# --------------------------------------------------------------------- writing


def put(text: str, **changes: Any) -> str:
    """Return the text with an entry put into it."""
    return put_entry(text, make_entry(**changes), place=NAME)


def test_first_entry_begins_a_file_that_explains_itself() -> None:
    text = put("", metric="peak_bytes", accepted=8.0 * MIB)
    assert text.startswith("# Memory alerts that someone looked at and accepts")
    assert '\nformat = 1\n\n[[acknowledged]]\nfingerprint = "f1"\n' in text
    assert text.endswith('metric = "peak_bytes"\naccepted = "8 MiB"\n')


HAND_WRITTEN = """\
# ours

[[acknowledged]]   # the old one
reason = "known"   # see 12
fingerprint = "f0"
until = 2026-12-01
# half a thought

# about the next
[[acknowledged]]
fingerprint = "f1"
reason = 'x'
until = 2026-12-01

# the end
"""


def test_new_entry_keeps_comments_and_order() -> None:
    text = put(HAND_WRITTEN, fingerprint="f2")
    assert text.startswith(HAND_WRITTEN)
    assert [entry.fingerprint for entry in parse_acknowledgments(text, NAME)] == ["f0", "f1", "f2"]


def test_renewed_entry_stays_in_its_place() -> None:
    text = put(HAND_WRITTEN, until=date(2027, 1, 1))
    assert [entry.fingerprint for entry in parse_acknowledgments(text, NAME)] == ["f0", "f1"]
    assert text == HAND_WRITTEN.replace(
        "fingerprint = \"f1\"\nreason = 'x'\nuntil = 2026-12-01\n",
        'fingerprint = "f1"\nreason = "known"\nuntil = 2027-01-01\n',
    )


def test_removed_entry_leaves_the_comments_around_it() -> None:
    assert remove_entry(HAND_WRITTEN, "f0", place=NAME) == (
        "# ours\n\n# half a thought\n\n# about the next\n[[acknowledged]]\n"
        "fingerprint = \"f1\"\nreason = 'x'\nuntil = 2026-12-01\n\n# the end\n"
    )


def test_entry_that_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(MemalertError, match="'f9' is not acknowledged"):
        remove_entry(HAND_WRITTEN, "f9", place=NAME)


@pytest.mark.parametrize(
    "text",
    [
        'acknowledged = [{fingerprint = "f1", reason = "x", until = 2026-12-01}]\n',
        'acknowledged = [{fingerprint = "f0", reason = "x", until = 2026-12-01}]\n',
        '[[acknowledged]]\nfingerprint = "f1"\nuntil = 2026-12-01\nreason = """\n[[acknowledged]]\n"""\n',
    ],
)
def test_file_written_in_a_way_that_cannot_be_edited_is_refused_and_not_mangled(text: str) -> None:
    with pytest.raises(MemalertError, match="edit it by hand") as caught:
        put(text)
    # Nothing is wrong with it.
    assert not isinstance(caught.value, ConfigurationError)


def test_conflict_that_a_merge_left_is_named_with_the_ways_out() -> None:
    ours, theirs = (f'[[acknowledged]]\nfingerprint = "{side}"\n' for side in "ab")
    text = f"format = 1\n<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> topic\n"
    told = "memalert.acks.toml, line 2: a merge conflict is left (<<<<<<<); keep the entries that are meant"
    with pytest.raises(ConfigurationError, match=re.escape(told)) as caught:
        parse_acknowledgments(text, NAME)
    assert str(caught.value).endswith("with: git checkout --ours memalert.acks.toml (or --theirs)")


def test_marker_of_a_conflict_in_a_text_is_none() -> None:
    text = '[[acknowledged]]\nfingerprint = "f"\nuntil = 2026-12-01\nreason = """\n<<<<<<< HEAD\n"""\n'
    assert parse_acknowledgments(text, NAME)[0].reason == "<<<<<<< HEAD\n"


texts = st.text(max_size=20).filter(str.strip)
entries = st.builds(
    Acknowledgment,
    fingerprint=st.from_regex(r"[0-9a-f]{3}", fullmatch=True),
    reason=texts,
    until=st.dates(),
    what=texts | st.just(""),
    author=texts | st.just(""),
    tests=st.lists(texts, max_size=2).map(tuple),
)


@given(st.lists(entries, max_size=4), entries)
def test_law_what_is_put_is_read_and_what_is_removed_is_gone(
    before: list[Acknowledgment], entry: Acknowledgment
) -> None:
    text = "# mine\n"
    for each in before:
        text = put_entry(text, each, place=NAME)
    known = {e.fingerprint: replace(e, origin="") for e in parse_acknowledgments(text, NAME)}
    changed = put_entry(text, entry, place=NAME)
    read = {e.fingerprint: replace(e, origin="") for e in parse_acknowledgments(changed, NAME)}
    assert read == {**known, entry.fingerprint: entry}
    removed = remove_entry(changed, entry.fingerprint, place=NAME)
    left = {e.fingerprint: replace(e, origin="") for e in parse_acknowledgments(removed, NAME)}
    known.pop(entry.fingerprint, None)
    assert left == known
    assert removed.startswith("# mine\n")


@given(st.sampled_from(sorted(METRICS)), st.floats(min_value=0, max_value=1e12))
def test_law_an_accepted_value_is_never_written_as_less(metric: str, value: float) -> None:
    unit = METRICS[metric].unit
    written = exact_text(value, unit)
    number: object = float(written) if written.replace(".", "", 1).isdigit() else written
    assert parse_quantity(number, unit) >= value * (1 - 1e-9) - 0.0001
