"""Holds merge, gate, compare and the formats of report to what they say and to their exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.changes import find_changes
from pytest_memalert.cli.report import FORMATS
from pytest_memalert.codec import decode_run
from pytest_memalert.errors import MemalertError
from pytest_memalert.gate.baseline import Baseline, Entry, Figure, read_baseline, render_baseline
from pytest_memalert.model import AlertSeverity, LeakVerdict, Overhead, Run
from pytest_memalert.reports import json as json_report
from pytest_memalert.shards import join
from tests.makers import HERE, MIB, NOON, make_alert, make_gate, make_run, make_test
from tests.test_ci_reports import law
from tests.test_cli import run

A, B, C = (f"tests/test_{letter}.py::test_it" for letter in "abc")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def shard(number: int, *nodeids: str, **changes: Any) -> Run:
    """Return the run of a shard that ran these tests, each with a peak of 10 MiB."""
    run = make_run(
        run_id=f"r{number}",
        started_at=NOON + timedelta(minutes=number),
        overhead=Overhead(tests_s=1.0, screening_s=0.5),
        reruns=2,
        tests=tuple(make_test(nodeid, peak_bytes=10 * MIB, rss_bytes=50 * MIB) for nodeid in nodeids),
    )
    return replace(run, **changes)


def write(name: str, run: Run) -> str:
    """Write the report of a run; return its name."""
    Path(name).write_text(json_report.render(run), encoding="utf-8")
    return name


def save(name: str, **medians: int) -> str:
    """Write a baseline of ``HERE``, in which tests a, b, c have these peaks."""
    entries = {
        f"tests/test_{letter}.py::test_it": Entry(figures={"peak_bytes": Figure(median=median)})
        for letter, median in medians.items()
    }
    key = HERE.key
    Path(name).write_text(render_baseline(Baseline(environments={key: entries})), encoding="utf-8")
    return name


# ---------------------------------------------------------------------- joining


def test_joined_run_has_every_test_and_the_sum_of_times() -> None:
    joined = join([("a.json", shard(2, A, B)), ("b.json", shard(1, C))])
    assert [test.nodeid for test in joined.run.tests] == [A, B, C]
    assert joined.run.overhead == Overhead(tests_s=2.0, screening_s=1.0)
    assert (joined.run.reruns, joined.run.duration_s) == (4, 20.0)
    assert joined.run.started_at == NOON + timedelta(minutes=1)
    assert joined.warnings == ()


def test_workers_of_two_shards_are_not_taken_for_one() -> None:
    joined = join([("a.json", shard(1, A)), ("b.json", shard(2, B))])
    assert [test.worker for test in joined.run.tests] == ["shard 1 main", "shard 2 main"]


def test_alerts_of_one_fingerprint_become_one_that_lists_every_test() -> None:
    """The worst speaks, and its test is the first: its headline and its location are that test's."""
    first = shard(1, A, alerts=(make_alert(nodeids=(A,), observed=3),))
    second = shard(2, B, alerts=(make_alert(nodeids=(B,), observed=9), make_alert(fingerprint="f2")))
    leak, other = join([("a.json", first), ("b.json", second)]).run.alerts
    assert (leak.nodeids, leak.observed) == ((B, A), 9)
    assert other.fingerprint == "f2"


def test_commit_that_every_shard_names_is_that_of_the_whole() -> None:
    first, second = shard(1, A, commit="c1"), shard(2, B, commit="c1")
    assert join([("a.json", first), ("b.json", second)]).run.commit == "c1"
    assert join([("a.json", first), ("b.json", replace(second, commit="c2"))]).run.commit is None


def test_test_that_two_shards_compared_counts_once() -> None:
    """What the first said of it goes; a test that it didn't compare was never counted."""
    gate = make_gate(comparisons=(), new=(B,), missing=(), compared=1, uncompared=(C,))
    failed = make_test(C, outcome="failed")
    first = shard(1, tests=(make_test(A), make_test(B), failed), gate=gate)
    second = shard(2, A, B, C, gate=replace(gate, new=(), uncompared=(), compared=3))
    joined = join([("a.json", first), ("b.json", second)]).run.gate
    assert joined is not None
    assert (joined.compared, joined.new, joined.uncompared) == (3, (), ())


def test_muted_alert_does_not_speak_for_one_that_is_not() -> None:
    first = shard(1, A, alerts=(make_alert(acknowledged="known", observed=99),))
    second = shard(2, B, alerts=(make_alert(observed=3),))
    assert len(join([("a.json", first), ("b.json", second)]).run.alerts) == 2


def test_test_of_several_shards_counts_as_the_last_that_started_saw_it() -> None:
    later = shard(9, A, tests=(make_test(A, peak_bytes=7),), alerts=())
    earlier = shard(1, A, B, alerts=(make_alert(nodeids=(A,)), make_alert(nodeids=(A, B), fingerprint="f2")))
    for order in ([("l.json", later), ("e.json", earlier)], [("e.json", earlier), ("l.json", later)]):
        joined = join(order)
        peaks = {test.nodeid: test.values["peak_bytes"] for test in joined.run.tests}
        assert peaks == {A: 7, B: 10 * MIB}
        # What was said of the test that doesn't count goes with it.
        assert [alert.nodeids for alert in joined.run.alerts] == [(B,)]
        assert joined.warnings == (f"{A} is in more than one report: the one that started last counts",)
        assert joined.warnings[0] in joined.run.notes[0].text


def test_report_given_twice_is_refused() -> None:
    with pytest.raises(MemalertError, match=r"b\.json: is of the same run as a\.json"):
        join([("a.json", shard(1, A)), ("b.json", shard(1, A))])


def test_reports_of_unlike_environments_are_refused_all_at_once() -> None:
    here = shard(1, A)
    traced = shard(2, B, environment=replace(here.environment, traced=True))
    newer = shard(3, C, environment=replace(here.environment, python="3.12.1", machine="arm64"))
    with pytest.raises(MemalertError) as caught:
        join([("a.json", here), ("b.json", traced), ("c.json", newer)])
    assert "b.json: tracing is on there and off in a.json" in str(caught.value)
    told = "c.json: Python is 3.12 there and 3.11 in a.json, the machine is arm64 there and x86_64 in a.json"
    assert told in str(caught.value)


def test_releases_of_one_python_are_joined_with_a_warning() -> None:
    other = shard(2, B, environment=replace(HERE, python="3.11.9"))
    (warning,) = join([("a.json", shard(1, A)), ("b.json", other)]).warnings
    assert "3.11.7, 3.11.9" in warning


def test_strictest_severity_to_fail_on_counts() -> None:
    lenient, strict = shard(1, A, fail_on=None), shard(2, B, fail_on=AlertSeverity.WARNING)
    joined = join([("a.json", lenient), ("b.json", strict)])
    assert joined.run.fail_on is AlertSeverity.WARNING
    assert "fail_on" in joined.warnings[0]
    assert join([("a.json", lenient)]).run.fail_on is None


def test_gates_are_joined_and_what_another_shard_ran_is_not_missing() -> None:
    first = shard(1, A, gate=make_gate(missing=(B, C), new=(), compared=1))
    second = shard(2, B, gate=make_gate(missing=(A, C), new=("n",), comparisons=(), compared=1))
    gate = join([("a.json", first), ("b.json", second)]).run.gate
    assert gate is not None
    assert (gate.missing, gate.new, gate.compared, len(gate.comparisons)) == ((C,), ("n",), 2, 1)


def test_shard_without_a_gate_among_others_is_told() -> None:
    joined = join([("a.json", shard(1, A, gate=make_gate())), ("b.json", shard(2, B))])
    assert "only 1 of 2 reports were held against a baseline" in joined.warnings[0]


@law
@given(st.permutations([(f"{n}.json", n) for n in range(1, 5)]))
def test_law_of_joining_the_order_of_reports_changes_no_finding(order: list[tuple[str, int]]) -> None:
    shards = {
        n: shard(n, A, f"t::{n}", alerts=(make_alert(nodeids=(f"t::{n}",), observed=n),)) for n in range(1, 5)
    }
    joined = join([(name, shards[n]) for name, n in order]).run
    assert {test.nodeid for test in joined.tests} == {A, "t::1", "t::2", "t::3", "t::4"}
    assert len(joined.tests) == 5
    (alert,) = joined.alerts
    assert alert.observed == 4
    assert (
        joined.run_id
        == join([("x", shards[1]), ("y", shards[2]), ("z", shards[4]), ("w", shards[3])]).run.run_id
    )


# ------------------------------------------------------------------------ merge


def test_merge_writes_a_report_that_the_other_commands_read() -> None:
    first = write("a.json", shard(1, A, alerts=(make_alert(nodeids=(A,)),)))
    result = run("merge", first, write("b.json", shard(2, B)), "-o", "out/all.json")
    assert result.exit_code == 0
    assert result.output == "merged 2 reports: 2 tests, 1 critical\n"
    assert len(decode_run(json.loads(Path("out/all.json").read_text())).tests) == 2
    told = run("report", "out/all.json")
    assert told.exit_code == 1
    assert "2 tests measured" in told.output


def test_merge_pipes() -> None:
    text = json_report.render(shard(2, B))
    result = run("merge", write("a.json", shard(1, A)), "-", text=text)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["totals"]["tests"] == 2
    assert result.stderr == "merged 2 reports: 2 tests, 0 alerts\n"


def test_merge_refuses_what_does_not_belong_together() -> None:
    report, lock = write("a.json", shard(1, A)), save("memalert.lock.json", a=1)
    for arguments, told in (
        ((report, report), "is of the same run as"),
        ((report, lock), "merge those of a kind"),
        ((report, "missing.json"), "'missing.json' can't be read"),
        ((), "Missing argument"),
    ):
        result = run("merge", *arguments, "-o", "all.json")
        assert result.exit_code == 2
        assert told in result.output
        assert not Path("all.json").exists()


def test_name_in_a_report_can_not_steer_the_terminal() -> None:
    nasty = "t::\x1b[31mred\n::error::x" + "y" * 200_000
    reports = [write(f"{n}.json", shard(n, nasty)) for n in (1, 2)]
    result = run("merge", *reports, "-o", "all.json")
    assert result.exit_code == 0
    assert "warning: t::\\x1b[31mred\\n::error::x" in result.output
    assert "\x1b" not in result.output
    assert len(result.output) < 1_000
    told = run("compare", *reports).output
    assert "\x1b" not in told


def test_merge_of_baselines_takes_the_larger_figure() -> None:
    result = run("merge", save("x.lock.json", a=5, b=9), save("y.lock.json", a=7, c=1), "-o", "z.lock.json")
    assert result.exit_code == 0
    assert "merged 2 baselines: 3 entries" in result.output
    (entries,) = read_baseline(Path("z.lock.json").read_text(), "z").environments.values()
    assert [entries[nodeid].figures["peak_bytes"].median for nodeid in (A, B, C)] == [7, 9, 1]


def test_merge_resolves_what_git_left_in_a_baseline() -> None:
    ours, theirs = (Path(save("x.lock.json", a=peak, b=3)).read_text().splitlines() for peak in (5, 7))
    at = next(at for at, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    conflict = [*ours[:at], "<<<<<<< HEAD", ours[at], "=======", theirs[at], ">>>>>>> topic", *ours[at + 1 :]]
    Path("memalert.lock.json").write_text("\n".join([*conflict, ""]))
    result = run("merge", "memalert.lock.json", "-o", "memalert.lock.json")
    assert result.exit_code == 0, result.output
    assert Path("memalert.lock.json").read_text().splitlines() == theirs


@pytest.mark.parametrize(
    "text", ["", '{"format": 1,', '{"format": 1}', "[]", "\x00", '{\n"format": 1,\n"enviro']
)
def test_merge_of_a_broken_baseline_says_how_to_get_it_back(text: str) -> None:
    """As pytest says it where the name tells a baseline; else it might be a report."""
    Path("memalert.lock.json").write_text(text)
    result = run("merge", "memalert.lock.json")
    assert result.exit_code == 2
    assert "memalert.lock.json" in result.output
    assert "delete it" in result.output
    assert "with: pytest --memalert --memalert-save\n" in result.output
    Path("memalert.lock.json").rename("base.json")
    result = run("merge", "base.json")
    assert result.exit_code == 2
    assert "'base.json' is neither the report of a run nor a baseline, or only the beginning" in result.output
    assert "--memalert-json=PATH (a report) or --memalert-save=PATH (a baseline)" in result.output


def test_merge_of_a_broken_report_says_how_to_write_it() -> None:
    Path("cut.json").write_text(json_report.render(shard(1, A))[:-5])
    result = run("merge", "cut.json")
    assert result.exit_code == 2
    assert "'cut.json' is not JSON: " in result.output
    assert "; write a report with: pytest --memalert --memalert-json=memalert.json" in result.output


def test_output_that_can_not_be_written_is_wrong_usage(folder: Path) -> None:
    result = run("merge", write("a.json", shard(1, A)), "-o", folder)
    assert result.exit_code == 2
    assert "is a directory; write a file name" in result.output


# ------------------------------------------------------------------------- gate


def test_gate_of_a_suite_that_needs_no_more_is_fine() -> None:
    result = run("gate", write("all.json", shard(1, A, B)), "-b", save("l.json", a=10 * MIB, b=10 * MIB))
    assert result.exit_code == 0, result.output
    assert "2 tests" in result.output


def test_gate_tells_a_rise_far_beyond_what_a_first_run_may_bring() -> None:
    report = write("all.json", shard(1, A, tests=(make_test(A, peak_bytes=40 * MIB),)))
    save("memalert.lock.json", a=10 * MIB)
    result = run("gate", report, "-o", "judged.json")
    assert result.exit_code == 1
    assert f"CRITICAL memory_regression  {A}" in result.output
    assert "peak 40 MiB is 30 MiB over the baseline's 10 MiB" in result.output
    judged = decode_run(json.loads(Path("judged.json").read_text()))
    assert judged.gate is not None
    assert [each.status for each in judged.gate.comparisons] == ["regression"]
    assert f"| `{A}` | peak | 10 MiB | 40 MiB |" in run("report", "judged.json", "-f", "markdown").output
    # Judged again, it is told once.
    again = run("gate", "judged.json", "-q")
    assert (again.exit_code, again.output.count("CRITICAL")) == (1, 1)


def test_gate_takes_what_shards_confirmed_and_says_what_none_ran() -> None:
    first = shard(1, A, gate=make_gate(comparisons=(), new=(), missing=(B, C)), alerts=())
    second = shard(2, B, gate=make_gate(comparisons=(), new=(), missing=(A, C)), alerts=())
    merged = write("all.json", join([("a", first), ("b", second)]).run)
    save("memalert.lock.json", a=1, b=1, c=1)
    result = run("gate", merged, "-o", "judged.json")
    # Over the baseline in their first runs, and found to be fine when they were run again.
    assert result.exit_code == 0, result.output
    gate = decode_run(json.loads(Path("judged.json").read_text())).gate
    assert gate is not None
    assert (gate.missing, gate.compared) == ((C,), 2)


def test_strict_gate_fails_a_new_test() -> None:
    report = write("all.json", shard(1, A, B))
    save("memalert.lock.json", a=10 * MIB)
    assert run("gate", report).exit_code == 0
    result = run("gate", report, "--strict")
    assert result.exit_code == 1
    assert f"CRITICAL memory_regression  {B}" in result.output


def test_strict_gate_fails_where_a_shard_was_lost() -> None:
    report = write("all.json", shard(1, A))
    save("memalert.lock.json", a=10 * MIB, b=10 * MIB)
    assert run("gate", report).exit_code == 0
    result = run("gate", report, "--strict", "--quiet", "-o", "judged.json")
    assert result.exit_code == 1
    assert (
        f"CRITICAL session: 1 test is in the baseline memalert.lock.json and in no report: {B}"
        in result.output
    )
    assert run("report", "judged.json").exit_code == 1


def test_baseline_is_not_taken_for_a_report() -> None:
    save("memalert.lock.json", a=10 * MIB)
    result = run("gate", "memalert.lock.json")
    assert result.exit_code == 2
    assert (
        "'memalert.lock.json' is a baseline, not the report of a run; write a report with:" in result.output
    )


def test_gate_names_with_v_what_it_cuts_short_without() -> None:
    tests = [f"tests/test_n.py::test_{number}" for number in range(7)]
    report = write("all.json", shard(1, A, *tests))
    save("memalert.lock.json", a=10 * MIB)
    told = " ".join(run("gate", report).output.split())
    assert f"not in the baseline: {', '.join(tests[:5])} and 2 more (-v names them)" in told
    told = " ".join(run("gate", report, "-v").output.split())
    assert f"not in the baseline: {', '.join(tests)} gate: " in told


def test_gate_reads_what_is_allowed_from_pyproject() -> None:
    report = write("all.json", shard(1, A, tests=(make_test(A, peak_bytes=40 * MIB),)))
    save("memalert.lock.json", a=10 * MIB)
    Path("pyproject.toml").write_text("[tool.memalert.gate]\npeak = '400 %'\n")
    assert run("gate", report).exit_code == 0
    Path("pyproject.toml").write_text("[tool.memalert.gate]\npeek = '400 %'\n")
    result = run("gate", report)
    assert result.exit_code == 2
    assert "'peek'; did you mean 'peak'?" in result.output


def test_gate_counts_the_alerts_that_failed_a_test() -> None:
    save("memalert.lock.json", a=10 * MIB)
    assert run("gate", write("all.json", shard(1, A, alerts=(make_alert(),)))).exit_code == 1
    assert run("gate", write("all.json", shard(1, A, alerts=(make_alert(),), fail_on=None))).exit_code == 0


def test_gate_that_can_not_judge_says_why() -> None:
    report = write("all.json", shard(1, A))
    result = run("gate", report)
    assert result.exit_code == 2
    assert "save a baseline with: pytest --memalert --memalert-save" in result.output
    save("memalert.lock.json", a=1)
    Path("cut.json").write_text(Path("memalert.lock.json").read_text()[:-5])
    result = run("gate", report, "-b", "cut.json")
    assert result.exit_code == 2
    assert "cut off" in result.output
    other = replace(HERE, python="3.12.0")
    result = run("gate", write("other.json", shard(1, A, environment=other)))
    assert result.exit_code == 2
    assert "no entries for this environment (cpython-3.12-linux-x86_64)" in result.output
    assert run("gate", report, "-b", report).exit_code == 2


# ---------------------------------------------------------------------- compare


def test_compare_tells_the_largest_change_first() -> None:
    leak = LeakVerdict(status="leaking", bytes_per_run=2_048.0, runs=3)
    old = write("old.json", shard(1, A, B, C))
    tests = (
        make_test(A, peak_bytes=11 * MIB),
        make_test(B, peak_bytes=4 * MIB),
        make_test("new::x", leak=leak, peak_bytes=1),
    )
    result = run("compare", old, write("new.json", shard(2, tests=tests)))
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "cpython-3.11-linux-x86_64: 2 tests compared, 2 changes, 1 added, 1 removed"
    assert lines[2].split() == ["change", "old", "new", "metric", "test"]
    assert lines[3].split() == ["-6", "MiB", "(-60%)", "10", "MiB", "4", "MiB", "peak", B]
    assert lines[4].split() == ["+1", "MiB", "(+10%)", "10", "MiB", "11", "MiB", "peak", A]
    assert lines[5:] == ["", "added:", "  new::x", "", "removed:", f"  {C}"]


def test_compare_prints_markdown_and_json() -> None:
    old, new = save("old.lock.json", a=10 * MIB, b=5), save("new.lock.json", a=14 * MIB, b=5)
    text = run("compare", old, new, "-f", "markdown").output
    assert f"| `{A}` | peak | 10 MiB | 14 MiB | +4 MiB (+40%) |\n" in text
    document = json.loads(run("compare", old, new, "-f", "json").output)
    (environment,) = document["environments"]
    assert environment["changes"] == [
        {
            "nodeid": A,
            "metric": "peak_bytes",
            "unit": "bytes",
            "old": 10 * MIB,
            "new": 14 * MIB,
            "difference": 4 * MIB,
            "ratio": 0.4,
        }
    ]


def test_compare_prints_no_more_than_was_asked_for() -> None:
    tests = [tuple(make_test(f"t::{n}", peak_bytes=n * k) for n in range(1, 31)) for k in (1, 2)]
    old, new = (write(f"{k}.json", shard(k, tests=tests[k - 1])) for k in (1, 2))
    assert "and 10 more: -n 0 prints all" in run("compare", old, new).output
    assert "and 29 more" in run("compare", old, new, "-n", "1").output
    assert "more" not in run("compare", old, new, "-n", "0").output
    assert "0 changes" in run("compare", old, new, "--metric", "growth_bytes").output


def test_compare_reads_a_report_beside_a_baseline() -> None:
    report, lock = write("a.json", shard(1, A)), save("l.json", a=4 * MIB)
    assert "+6 MiB (+150%)" in run("compare", lock, report).output
    assert "-6 MiB" in run("compare", "-", lock, text=Path(report).read_text()).output


def test_compare_of_unlike_environments_warns() -> None:
    other = shard(2, A, environment=replace(HERE, python="3.12.0"))
    result = run("compare", write("a.json", shard(1, A)), write("b.json", other))
    assert result.exit_code == 0
    assert "cpython-3.11-linux-x86_64 -> cpython-3.12-linux-x86_64" in result.stdout
    assert result.stderr.startswith("warning: 'a.json' is of cpython-3.11")


def test_compare_of_what_can_not_be_read_is_wrong_usage() -> None:
    report = write("a.json", shard(1, A))
    assert run("compare", report, "missing.json").exit_code == 2
    assert run("compare", "-", "-").exit_code == 2
    assert run("compare", report).exit_code == 2


FIGURES = st.dictionaries(
    st.sampled_from("abc"),
    st.dictionaries(st.sampled_from(["peak_bytes", "growth_bytes", "blocks_growth"]), st.integers(0, 10**9)),
)


@law
@given(FIGURES, FIGURES)
def test_law_of_changes_back_and_forth_cancel_out(old: Any, new: Any) -> None:
    forth, back = find_changes(old, new), find_changes(new, old)
    assert {(each.nodeid, each.metric): each.difference for each in forth.changes} == {
        (each.nodeid, each.metric): -each.difference for each in back.changes
    }
    assert (forth.added, forth.removed) == (back.removed, back.added)
    assert find_changes(old, old).changes == ()


# ------------------------------------------------------------ formats of report


@pytest.mark.parametrize("format_name", FORMATS)
def test_report_is_printed_and_written_in_every_format(format_name: str) -> None:
    path = write("a.json", shard(1, A, alerts=(make_alert(nodeids=(A,)),)))
    printed = run("report", path, "--format", format_name)
    assert printed.exit_code == 1
    assert A in printed.output
    assert "\x1b" not in printed.output.replace("\\x1b", "")
    written = run("report", path, "-f", format_name, "-o", "deep/out", "--exit-zero")
    assert (written.exit_code, written.output) == (0, "")
    assert Path("deep/out").read_bytes() == printed.stdout_bytes
    again = run("report", path, "-f", format_name, "-o", "deep/out", "--exit-zero")
    assert (again.exit_code, again.output) == (0, "")


@pytest.mark.parametrize("format_name", ["text", "markdown", "json"])
def test_a_comparison_may_replace_a_former_one(format_name: str) -> None:
    path = write("a.json", shard(1, A))
    for _ in range(2):
        assert run("compare", path, path, "-f", format_name, "-o", "out").exit_code == 0


@pytest.mark.parametrize("name", ["pyproject.toml", "test_a.py", "README.md", "history.sqlite3"])
def test_no_command_overwrites_what_memalert_did_not_write(name: str) -> None:
    """Commands replaced sources, configuration and the history without a word."""
    path = write("a.json", shard(1, A))
    save("memalert.lock.json", a=10 * MIB)
    content = b"SQLite format 3\0" if name.endswith("sqlite3") else b"# theirs\n"
    Path(name).write_bytes(content)
    for command in (["report", path], ["merge", path], ["compare", path, path], ["gate", path]):
        result = run(*command, "-o", name)
        assert result.exit_code == 2
        assert f"'{name}' is " in result.output
        assert "never overwritten; name another file" in result.output
    assert Path(name).read_bytes() == content


def test_no_report_replaces_a_baseline() -> None:
    save("memalert.lock.json", a=10 * MIB)
    result = run("gate", write("a.json", shard(1, A)), "-o", "memalert.lock.json")
    assert result.exit_code == 2
    assert "'memalert.lock.json' is a baseline, which no report replaces; name another file" in result.output


def test_report_in_an_unknown_format_is_wrong_usage() -> None:
    result = run("report", write("a.json", shard(1, A)), "-f", "xml")
    assert result.exit_code == 2
    assert "benchmark-action" in result.output


def test_html_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("report", write("a.json", shard(1, A)), "-f", "html")
    assert result.exit_code == 2
    assert "pip install 'pytest-memalert[html]'" in result.output
