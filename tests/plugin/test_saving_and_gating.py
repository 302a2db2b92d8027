"""Sessions that save a baseline, and sessions that are held against one."""

from __future__ import annotations

import json
import sys
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_memalert.plugin.measuring.whole import WholeProcess

if TYPE_CHECKING:
    from tests.conftest import Inner

NAME = "memalert.lock.json"

BEFORE = """
    import pytest

    KEPT = []

    def test_peak():
        block = bytearray(4 * 2**20)

    def test_objects():
        texts = [str(number) for number in range(20_000)]

    def test_small():
        pass
"""


FIXTURE = """
    @pytest.fixture(scope="module", autouse=True)
    def kept():
        return bytearray(2**20)
"""

# Runs in this process are no sessions of their own: what it holds changes from one to the next.
OFF = "\n".join(
    ("[tool.memalert.gate]", *(f'{key} = "off"' for key in ("session_peak", "session_rss", "session_heap")))
)


@pytest.fixture(autouse=True)
def _sessions_are_not_compared(request: pytest.FixtureRequest) -> None:
    for name in ("inner", "serial", "distributed"):
        if name in request.fixturenames:
            request.getfixturevalue(name).configure(f'{OFF}\ncollection = "off"')


def saved(inner: Inner) -> dict[str, dict[str, Any]]:
    """Return the entries of the one environment that the file has."""
    document = json.loads((inner.pytester.path / NAME).read_text(encoding="utf-8"))
    (entries,) = document["environments"].values()
    assert isinstance(entries, dict)
    return entries


def write_saved(inner: Inner, source: str) -> None:
    """Write tests, and beside them the baseline that a session of them has saved: once for all who ask."""
    inner.write(source)
    path = inner.pytester.path / NAME
    if source not in _BASELINES:
        inner.run("--memalert-save")
        _BASELINES[source] = path.read_text(encoding="utf-8")
    path.write_text(_BASELINES[source], encoding="utf-8")


_BASELINES: dict[str, str] = {}


def names(inner: Inner) -> list[str]:
    """Return the tests of the file by their names alone."""
    return [nodeid.rpartition("::")[2] for nodeid in saved(inner) if "::" in nodeid]


# ------------------------------------------------------------------- the gate


def test_unchanged_code_passes(inner: Inner) -> None:
    """Saved and gated in one process, and by two workers."""
    inner.write(BEFORE)
    done = inner.run("--memalert-save")
    done.assert_outcomes(passed=3)
    done.stdout.fnmatch_lines([f"memalert: saved what 3 tests need to {NAME} (3 of them new)"])
    assert names(inner) == ["test_objects", "test_peak", "test_small"]
    done = inner.run("--memalert-gate")
    done.assert_outcomes(passed=3)
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines([f"gate: 3 tests compared with {NAME}, 0 worse, 0 better"])


def test_higher_peak_fails_the_test_with_the_figures(serial: Inner) -> None:
    """A mebibyte more than four; and twice as many small objects, which the kernel may not see at all."""
    serial.write(BEFORE)
    serial.run_apart("--memalert-save")
    serial.write(BEFORE.replace("4 * 2**20", "5_242_880").replace("20_000", "100_000"))
    done = serial.run_apart("--memalert-gate")
    done.assert_outcomes(passed=1, failed=2)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            f"gate: 3 tests compared with {NAME}, 2 worse, 0 better",
            "FAILED test_a.py::test_peak - traced peak 5 MiB is 1 MiB over the baseline's 4 MiB (allowed: *)",
        ]
    )
    done.stdout.fnmatch_lines(
        [
            "test_a.py::test_peak: traced peak 5 MiB is 1 MiB over the baseline's 4 MiB (allowed: *)",
            "run again: 5 MiB, 5 MiB",
            "-> If that is meant: save the test's figures with: pytest 'test_a.py::test_peak' --memalert *",
        ]
    )


def test_peak_that_is_over_by_a_few_buffers_is_confirmed_by_more_runs(serial: Inner) -> None:
    """How many there are at once may be chance, and the same chance in three runs."""
    source = """
        RUNS = []

        def test_buffers():
            RUNS.append(1)
            bytearray(2**20 + (200_000 if {more} else 0))
    """
    serial.write(source.format(more="False"))
    serial.run_apart("--memalert-save")
    serial.write(source.format(more="len(RUNS) <= 7"))
    serial.run_apart("--memalert-gate").assert_outcomes(passed=1)
    serial.write(source.format(more="True").replace("200_000", "600_000"))
    serial.run_apart("--memalert-gate").assert_outcomes(failed=1)


@pytest.mark.skipif(sys.platform == "win32", reason="child processes aren't counted there")
def test_peak_of_a_test_that_runs_processes_may_differ_by_a_few_buffers(serial: Inner) -> None:
    """Their output comes in pieces; a mebibyte is found, and less where that is asked for."""
    source = """
        import subprocess
        import sys

        def test_buffers():
            subprocess.run([sys.executable, "-S", "-c", ""], check=True)
            bytearray(2**19 + {more})
    """
    serial.write(source.format(more=0))
    serial.run_apart("--memalert-save")
    serial.write(source.format(more=400_000))
    serial.run_apart("--memalert-gate").assert_outcomes(passed=1)
    serial.write(source.format(more=2**20))
    serial.run_apart("--memalert-gate").assert_outcomes(failed=1)
    serial.write(source.format(more=400_000))
    serial.pytester.makepyprojecttoml('[tool.memalert.gate]\ntraced_peak = "200 KiB"')
    serial.run_apart("--memalert-gate").assert_outcomes(failed=1)


def test_verdicts_of_workers_are_those_of_one_process(serial: Inner, distributed: Inner) -> None:
    """Saved by the one, gated by the others."""
    serial.write(BEFORE)
    serial.run("--memalert-save")
    distributed.run("--memalert-gate").assert_outcomes(passed=3)
    distributed.write(BEFORE.replace("4 * 2**20", "5_242_880"))
    done = distributed.run("--memalert-gate")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["*test_a.py::test_peak - traced peak 5 MiB is 1 MiB over *"])


def test_memory_that_each_run_retains_fails_the_test(serial: Inner) -> None:
    """As a regression, whatever the leak rules say (here, they are off)."""
    write_saved(serial, BEFORE)
    serial.write(BEFORE.replace("pass", "KEPT.append(bytearray(64 * 2**10))"))
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(
        ["test_a.py::test_small: growth 6? KiB, where the baseline has none (allowed: *"]
    )


def test_cache_that_is_filled_once_is_no_regression(serial: Inner) -> None:
    """It didn't come back when the test was run again."""
    write_saved(serial, BEFORE)
    serial.write(BEFORE.replace("pass", "KEPT or KEPT.append(bytearray(256 * 2**10))"))
    done = serial.run("--memalert-gate", "-k", "small or objects")
    done.assert_outcomes(passed=2)
    assert done.ret == pytest.ExitCode.OK


def test_regression_is_found_with_the_search_for_leaks_on(serial: Inner) -> None:
    """What the search has proven needs no further runs; the alert has what survives."""
    serial.write(BEFORE)
    serial.run("--memalert-save", leaks="suspects")
    serial.write(BEFORE.replace("pass", "KEPT.append(bytearray(64 * 2**10))"))
    done = serial.run("--memalert-gate", leaks="suspects")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(
        [
            "test_a.py::test_small: leak per run 6[4-7]* KiB, where the baseline has none *",
            "each run leaves 1 bytearray, *",
        ]
    )


def test_saving_names_tests_that_need_now_this_and_now_that(serial: Inner) -> None:
    """What is saved as their noise is allowed: nobody would see that they can double."""
    serial.write(
        """
        RUNS = []

        def test_uneven():
            RUNS.append(1)
            bytearray((1 + 8 * (len(RUNS) % 2)) * 2**20)

        def test_steady():
            bytearray(4 * 2**20)
        """
    )
    done = serial.run("--memalert-save")
    text = "1 of them needs more in one run than in another, and the gate allows as much: "
    done.stdout.fnmatch_lines([f"{text}test_a.py::test_uneven"])


def test_gate_that_trouble_of_ours_kept_from_judging_is_not_passed(inner: Inner) -> None:
    """Nobody would see that it compared nothing: the tests pass, and the session fails."""
    inner.write(BEFORE)
    inner.run_apart("--memalert-save")
    broken = """
        import pytest_memalert.plugin.measuring.meter as meter

        def measure_test(*args, **kwargs):
            raise LookupError("our own")

        meter.measure_test = measure_test
    """
    inner.write(BEFORE, conftest=broken)
    done = inner.run_apart("--memalert-gate")
    done.assert_outcomes(passed=3, warnings=3 if inner.distributed else 2)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [f"*memalert could not hold 3 tests against {NAME}, as it warns; the gate is not passed*"]
    )


def test_new_leak_is_told_once_and_its_peak_apart(serial: Inner) -> None:
    """The alert of the leak speaks for what is kept; the other says that the test needs more at once, too."""
    serial.pytester.makepyprojecttoml("")
    serial.write(BEFORE)
    serial.run("--memalert-save", leaks="suspects")
    leaking = "KEPT.append(bytearray(64 * 2**10))"
    serial.write(BEFORE.replace("pass", leaking))
    done = serial.run("--memalert-gate", leaks="suspects")
    done.assert_outcomes(passed=2, failed=1)
    assert speaking(serial) == {"memory_leak": ["leak_rate_bytes_per_hour"]}
    done.stdout.fnmatch_lines([f"gate: 3 tests compared with {NAME}, 1 worse, 0 better"])

    serial.write(BEFORE.replace("pass", f"bytearray(9 * 2**20); {leaking}"))
    serial.run("--memalert-gate", leaks="suspects").assert_outcomes(passed=2, failed=1)
    assert speaking(serial) == {
        "memory_leak": ["leak_rate_bytes_per_hour"],
        "memory_regression": ["traced_peak_bytes"],
    }


def test_leak_of_which_nobody_is_told_speaks_for_no_regression(serial: Inner) -> None:
    """It was acknowledged, maybe in another test, or a hook dropped it: what the test keeps is news."""
    serial.pytester.makepyprojecttoml("")
    serial.write(BEFORE)
    serial.run_apart("--memalert-save", leaks="suspects")
    dropping = """
        def pytest_memalert_modify_alerts(alerts):
            alerts[:] = [alert for alert in alerts if alert.category.value != "memory_leak"]
    """
    serial.write(BEFORE.replace("pass", "KEPT.append(bytearray(64 * 2**10))"), conftest=dropping)
    serial.run_apart("--memalert-gate", leaks="suspects").assert_outcomes(passed=2, failed=1)
    assert speaking(serial) == {"memory_regression": ["leak_bytes_per_run"]}


def speaking(inner: Inner) -> dict[str, list[str]]:
    """Return the metrics of the alerts that nothing inhibits, by category."""
    found: dict[str, list[str]] = {}
    for alert in inner.report()["alerts"]:
        if alert["inhibited_by"] is None:
            found.setdefault(alert["category"], []).append(alert["metric"])
    return found


def test_regression_is_found_with_the_budget_spent(serial: Inner) -> None:
    """The budget is for the search for leaks, which caches that are filled keep busy."""
    before = f"import time\n\ndef test_a_slow_one(): time.sleep(0.02)\n\n{dedent(BEFORE)}"
    serial.write(before)
    serial.run_apart("--memalert-save")
    serial.write(before.replace("4 * 2**20", "8 * 2**20"))
    # Within this process all tests would leak: what listens to its hooks keeps every call of them.
    done = serial.run_apart("--memalert-gate", "--memalert-budget=10ms", leaks="all")
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(["FAILED test_a.py::test_peak *"])


def test_leak_that_the_baseline_has_is_no_news(serial: Inner) -> None:
    """It was reviewed with the file; what is larger, and a limit that somebody wrote, fails all the same."""
    serial.pytester.makepyprojecttoml(f'{OFF}\ncollection = "off"')
    source = """
        import pytest

        KEPT = []

        def test_leaking():
            KEPT.append([object() for _ in range({count})])
    """
    serial.write(source.format(count=400))
    serial.run_apart("--memalert-save", leaks="suspects").assert_outcomes(failed=1)
    done = serial.run_apart("--memalert-gate", leaks="suspects")
    done.assert_outcomes(passed=1)
    assert done.ret == pytest.ExitCode.OK
    leaks = [alert for alert in serial.report()["alerts"] if alert["category"] == "memory_leak"]
    assert {alert["acknowledged"] for alert in leaks} == {f"{NAME} has this leak"}
    done.stdout.fnmatch_lines(["2 acknowledged"])

    serial.write(source.format(count=600))
    done = serial.run_apart("--memalert-gate", leaks="suspects")
    done.assert_outcomes(failed=1)
    assert None in {alert["acknowledged"] for alert in serial.report()["alerts"]}

    serial.write(
        source.format(count=400).replace("def test", "@pytest.mark.memalert(leak='1 KiB')\n        def test")
    )
    serial.run_apart("--memalert-gate", leaks="suspects").assert_outcomes(failed=1)


def test_improvement_is_told_with_the_command_that_keeps_it(serial: Inner) -> None:
    """It fails nothing."""
    write_saved(serial, BEFORE)
    serial.write(BEFORE.replace("4 * 2**20", "2_097_152"))
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=3)
    done.stdout.fnmatch_lines(
        [
            "better than the baseline: test_a.py::test_peak: traced peak 2 MiB is 2 MiB under the *",
            "  keep it, so that it can't get lost again: pytest --memalert --memalert-save",
            "gate: 3 tests compared with *, 0 worse, 1 better",
        ]
    )


def test_import_that_brings_more_fails_the_session(inner: Inner) -> None:
    """No test is to blame: the exit status is."""
    inner.configure(OFF)
    inner.write(BEFORE)
    inner.run_apart("--memalert-save")
    inner.write(BEFORE.replace("KEPT = []", "KEPT = [bytearray(2**20)]"))
    done = inner.run_apart("--memalert-gate")
    done.assert_outcomes(passed=3)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            "CRITICAL memory_regression  *",
            "  memory that imports at collection brought * is 1 MiB over the baseline's *",
        ]
    )


def test_import_in_a_conftest_counts_as_well(serial: Inner) -> None:
    """It is loaded before the collection, and where most projects import what they test."""
    serial.configure(OFF)
    serial.pytester.makeconftest("import shop")
    serial.pytester.makepyfile(shop="KEPT = []")
    serial.write(BEFORE)
    serial.run_apart("--memalert-save")
    serial.pytester.makepyfile(shop="KEPT = [bytearray(2**20)]")
    done = serial.run_apart("--memalert-gate")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        ["  memory that imports at collection brought * is 1 MiB over the baseline's *"]
    )


@pytest.mark.parametrize(("mebibytes", "worse"), [(4, 1), (0, 0)])
def test_new_test_keeps_no_import_from_being_compared(serial: Inner, mebibytes: int, worse: int) -> None:
    """What it imports itself has some room."""
    serial.configure(OFF)
    serial.write(BEFORE)
    serial.run_apart("--memalert-save")
    serial.write(
        BEFORE.replace("KEPT = []", f"KEPT = [bytearray({mebibytes} * 2**20)]")
        + "\n    def test_new(): pass\n"
    )
    done = serial.run_apart("--memalert-gate")
    assert done.ret == worse
    done.stdout.fnmatch_lines([f"gate: 3 tests compared with *, {worse} worse, 0 better, 1 new"])


def test_session_with_a_failed_test_is_not_compared_and_says_so(serial: Inner) -> None:
    """What it imports is."""
    serial.write(BEFORE)
    serial.run_apart("--memalert-save")
    serial.write(BEFORE.replace("4 * 2**20)", "4 * 2**20); assert 0"))
    done = serial.run_apart("--memalert-gate")
    done.stdout.fnmatch_lines(["note: session* is not compared with *: 1 of its tests failed or *"])
    assert serial.report()["gate"]["wholes"] == ["collection"]


def test_test_that_fails_by_itself_keeps_its_own_failure(serial: Inner) -> None:
    """It isn't compared."""
    write_saved(serial, BEFORE)
    serial.write(BEFORE.replace("4 * 2**20)", "9 * 2**20); assert 0"))
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["gate: 2 tests compared with *, 0 worse, 0 better, 1 not compared"])
    done.stdout.no_fnmatch_line("*over the baseline*")


def test_test_that_fails_by_another_alert_is_compared_all_the_same(serial: Inner) -> None:
    """A leak or a limit is no reason not to hold the session against the baseline."""
    serial.write(BEFORE.replace("def test_peak", '@pytest.mark.memalert(peak="1 MiB")\n    def test_peak'))
    serial.run("--memalert-save")
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["gate: 3 tests compared with *, 0 worse, 0 better"])


def test_fail_on_never_makes_a_regression_a_warning(serial: Inner) -> None:
    """As any other alert."""
    write_saved(serial, BEFORE)
    serial.write(BEFORE.replace("4 * 2**20", "5_242_880"))
    done = serial.run("--memalert-gate", "--memalert-fail-on=never")
    done.assert_outcomes(passed=3, warnings=1)
    assert done.ret == pytest.ExitCode.OK


def test_gate_is_in_the_json_report(serial: Inner) -> None:
    """With the values of the runs that confirmed it."""
    write_saved(serial, BEFORE)
    serial.write(BEFORE.replace("4 * 2**20", "5_242_880"))
    serial.run("--memalert-gate")
    gate = serial.report()["gate"]
    assert (gate["path"], gate["compared"], gate["refusal"]) == (NAME, 3, None)
    (comparison,) = gate["comparisons"]
    assert (comparison["nodeid"], comparison["status"]) == ("test_a.py::test_peak", "regression")
    assert comparison["observed"] == pytest.approx(5 * 2**20, rel=0.02)
    assert len(comparison["further"]) == 2


def session_of(whole: WholeProcess) -> dict[str, Any]:
    """Return what a process says of itself."""
    summed_up = whole.sum_up()
    assert summed_up is not None
    session: dict[str, Any] = summed_up["session"]
    return session


def test_modules_that_load_late_or_raise_are_left_alone(serial: Inner) -> None:
    """To ask each for its compiled file ended the session, or imported what nobody had used yet."""
    serial.write(
        """
        import importlib.util
        import sys

        class Proxy:
            def __getattr__(self, name):
                raise RuntimeError("outside of the application's context")

        sys.modules["proxied"] = Proxy()
        spec = importlib.util.find_spec("broken")
        loader = spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules["broken"] = importlib.util.module_from_spec(spec)
        loader.exec_module(sys.modules["broken"])

        def test_it(): pass
        """
    )
    (serial.pytester.path / "broken.py").write_text("raise ImportError('not installed')", encoding="utf-8")
    done = serial.run_apart("--memalert-save", "-p", "no:cacheprovider")
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*could not*")


def test_process_that_cannot_be_measured_breaks_nothing(serial: Inner) -> None:
    """Nothing is said of it; the tests are held against their own baselines."""
    serial.write("def test_it(): pass")
    serial.run_apart("--memalert-save")
    serial.pytester.makeconftest(
        """
        import psutil

        def refuse(self):
            raise psutil.AccessDenied

        psutil.Process.create_time = refuse
        """
    )
    done = serial.run_apart("--memalert-gate")
    done.assert_outcomes(passed=1, warnings=1)
    done.stdout.fnmatch_lines(["*memalert could not measure the process as a whole (AccessDenied*"])
    assert serial.report()["gate"]["compared"] == 1


@pytest.mark.parametrize(("runs", "peak_bytes"), [(3, 9e9), (300, 5e9)])
def test_resident_memory_of_a_session_is_not_told_after_a_leak_followed_for_long(
    pytestconfig: pytest.Config, runs: int, peak_bytes: float
) -> None:
    """It has left a heap full of holes; what is in the heap is told."""
    whole = WholeProcess(pytestconfig)
    whole.note_test({"rss_peak_bytes": 5e9}, 10**9, usual_peak_bytes=None)
    whole.note_reruns(None, runs=runs, retains=True, tracing_left_bytes=0)
    whole.note_test({"rss_peak_bytes": 9e9}, 10**9, usual_peak_bytes=None)
    session = session_of(whole)
    assert session["rss_peak_bytes"] == peak_bytes
    assert ("rss_bytes" in session) is (runs == 3)


@pytest.mark.parametrize(
    ("peak", "usual", "session"),
    [
        (50, None, 150),  # a new test
        (50, 90, 190),
        (200, 90, 190),  # one with threads, today
        (20, 90, 150),  # a wider fixture, whose set-up reached more than the test
    ],
)
def test_test_counts_in_the_peak_of_the_session_with_its_usual_peak(
    pytestconfig: pytest.Config, peak: int, usual: int | None, session: int
) -> None:
    """By itself it is held against its own."""
    whole = WholeProcess(pytestconfig)
    reached = {"rss_peak_bytes": 150 if peak == 20 else 100 + peak, "peak_bytes": peak}
    whole.note_test(reached, 100, usual_peak_bytes=usual)
    whole.note_test({"rss_peak_bytes": 120, "peak_bytes": 10}, 110, usual_peak_bytes=5)
    assert session_of(whole)["rss_peak_bytes"] == session


def test_long_test_is_not_traced_and_held_against_its_resident_peak(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it was traced the last time and takes not even twice as long as a test may that is."""
    monkeypatch.setattr("pytest_memalert.plugin.judging.gating._LONG_S", 0.1)
    source = """
        import time

        def test_long():
            block = bytearray({size} * 2**20)
            time.sleep(0.3)

        def test_quick():
            block = bytearray({size} * 2**20)
    """
    serial.write(source.format(size=4))
    serial.run("--memalert-save").assert_outcomes(passed=2)
    entries = saved(serial)
    assert "traced_peak_bytes" not in entries["test_a.py::test_long"]
    assert "traced_peak_bytes" in entries["test_a.py::test_quick"]
    serial.write(source.format(size=8))
    done = serial.run("--memalert-gate")
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["FAILED test_a.py::test_long - peak [78]* MiB is *"])
    monkeypatch.setattr("pytest_memalert.plugin.judging.gating._LONG_S", 0.5)
    serial.run("--memalert-save").assert_outcomes(passed=2)
    monkeypatch.setattr("pytest_memalert.plugin.judging.gating._LONG_S", 0.2)
    serial.run("--memalert-save").assert_outcomes(passed=2)
    assert "traced_peak_bytes" in saved(serial)["test_a.py::test_long"]


def test_test_that_stops_tracing_is_held_against_its_resident_peak(serial: Inner) -> None:
    """It has no traced one, and no zero for it."""
    source = """
        import tracemalloc

        def test_traces():
            tracemalloc.start()
            block = bytearray({size} * 2**20)
            tracemalloc.stop()
    """
    serial.write(source.format(size=4))
    serial.run("--memalert-save").assert_outcomes(passed=1, warnings=0)
    assert "traced_peak_bytes" not in saved(serial)["test_a.py::test_traces"]
    serial.write(source.format(size=8))
    serial.run("--memalert-gate").assert_outcomes(failed=1, warnings=0)


def test_traced_session_has_entries_of_its_own(serial: Inner) -> None:
    """It is another environment: tracing changes every figure."""
    serial.write(BEFORE)
    serial.run("--memalert-save")
    serial.run("--memalert-save", "--memalert-trace")
    document = json.loads((serial.pytester.path / NAME).read_text(encoding="utf-8"))
    plain, traced = sorted(document["environments"])
    assert traced == f"{plain}-traced"
    serial.write(BEFORE.replace("4 * 2**20", "5_242_880"))
    serial.run("--memalert-gate", "--memalert-trace").assert_outcomes(passed=2, failed=1)


# -------------------------------------------------------- markers and allowances


def test_marker_limit_is_all_that_the_gate_asks_of_its_test(serial: Inner) -> None:
    """It was written by hand for this test."""
    write_saved(serial, BEFORE)
    marked = BEFORE.replace("def test_peak", '@pytest.mark.memalert(peak="6 MiB")\n    def test_peak')
    serial.write(marked.replace("4 * 2**20", "5_242_880"))
    serial.run("--memalert-gate").assert_outcomes(passed=3)


def test_allowance_of_the_configuration_holds(serial: Inner) -> None:
    """For the tests of its pattern; apart, since objects that fit into what is held free show no peak."""
    serial.configure(f'{OFF}\n[[tool.memalert.gate.tests]]\ntests = ["*::test_peak"]\npeak = "2 MiB"')
    serial.write(BEFORE)
    serial.run_apart("--memalert-save")
    serial.write(BEFORE.replace("4 * 2**20", "5_242_880").replace("20_000", "100_000"))
    done = serial.run_apart("--memalert-gate")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["FAILED test_a.py::test_objects *"])


def test_test_that_must_not_be_repeated_is_never_failed_by_the_gate(serial: Inner) -> None:
    """What could not be confirmed is told as unclear."""
    once = BEFORE.replace("def test_peak", '@pytest.mark.memalert(leaks="off")\n    def test_peak')
    serial.write(once)
    done = serial.run("--memalert-save")
    done.stdout.fnmatch_lines(["1 of them ran once, since it can't or mustn't be run again: *"])
    entry = saved(serial)["test_a.py::test_peak"]
    assert entry["once"] is True
    assert "growth_bytes" not in entry
    serial.write(once.replace("4 * 2**20", "8_388_608"))
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=3)
    # The kernel's mark lags by up to 32 pages for each processor.
    told = r"note: test_a\.py::test_peak: peak (7\.[5-9]|8(\.\d)?) MiB is .*; not confirmed: the test is"
    done.stdout.re_match_lines([told])


# ------------------------------------------------------ new, missing and renamed


def test_new_and_missing_tests_are_listed_and_pass(inner: Inner) -> None:
    """Unless it is strict."""
    inner.write(BEFORE)
    inner.run("--memalert-save")
    inner.write(BEFORE.replace("test_small", "test_newly_written"))
    done = inner.run("--memalert-gate")
    done.assert_outcomes(passed=3)
    done.stdout.fnmatch_lines(
        [
            "not in the baseline: test_a.py::test_newly_written",
            "in the baseline, but not collected: test_a.py::test_small",
            "gate: 2 tests compared with *, 0 worse, 0 better, 1 new, 1 missing",
        ]
    )


def test_strict_gate_fails_new_tests(serial: Inner) -> None:
    """With the command that saves them."""
    write_saved(serial, BEFORE)
    serial.write(BEFORE.replace("test_small", "test_newly_written"))
    done = serial.run("--memalert-gate", "--memalert-strict")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(
        [
            f"test_a.py::test_newly_written: is not in the baseline {NAME}, which --memalert-strict asks for",
            "-> save the test's figures with: pytest 'test_a.py::test_newly_written' --memalert --mem*",
        ]
    )


PARAMETRISED = """
    import pytest

    @pytest.mark.parametrize("size", [pytest.param(1, id="small"), pytest.param(3, id="large")])
    def test_size(size):
        block = bytearray(size * 2**20)
"""


def test_renamed_parameter_is_the_same_test(serial: Inner) -> None:
    """One id went, one came, and it needs the same: even the strict gate lets it pass."""
    write_saved(serial, PARAMETRISED)
    serial.write(PARAMETRISED.replace("large", "the largest"))
    done = serial.run("--memalert-gate", "--memalert-strict")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(
        [
            "renamed: test_a.py::test_size?large? is now test_a.py::test_size?the largest?",
            "gate: 2 tests compared with *, 0 worse, 0 better",
        ]
    )


def test_parameter_that_needs_more_is_another_test(serial: Inner) -> None:
    """It is new, not worse."""
    write_saved(serial, PARAMETRISED)
    serial.write(PARAMETRISED.replace('3, id="large"', '5, id="the largest"'))
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["gate: 1 test compared with *, 0 worse, 0 better, 1 new, 1 missing"])


def test_nothing_is_missing_where_a_part_was_asked_for(serial: Inner) -> None:
    """By node id, or by expression."""
    write_saved(serial, BEFORE)
    for part in (["test_a.py::test_peak"], ["-k", "peak"]):
        done = serial.run(*part, "--memalert-gate")
        done.stdout.fnmatch_lines([f"gate: 1 test compared with {NAME}, 0 worse, 0 better"])


# -------------------------------------------------------------------- saving


def test_saving_a_part_keeps_the_rest(inner: Inner) -> None:
    """A test that the part doesn't have may well exist."""
    inner.write(BEFORE)
    inner.run("--memalert-save")
    before = saved(inner)
    inner.write(BEFORE.replace("4 * 2**20", "9_437_184").replace("20_000", "200_000"))
    inner.run("-k", "peak", "--memalert-save")
    after = saved(inner)
    assert set(after) == set(before)
    changed = [nodeid for nodeid in before if before[nodeid] != after[nodeid]]
    assert changed == ["test_a.py::test_peak"]
    assert after["test_a.py::test_peak"]["traced_peak_bytes"][0] > 9 * 2**20


def test_saving_again_changes_nothing_where_nothing_changed(serial: Inner) -> None:
    """So a review sees what changed, and no noise."""
    serial.write(BEFORE)
    serial.run("--memalert-save")
    before = {nodeid: entry for nodeid, entry in saved(serial).items() if "::" in nodeid}
    serial.run("--memalert-save")
    assert {nodeid: entry for nodeid, entry in saved(serial).items() if "::" in nodeid} == before


def test_baseline_that_cannot_be_saved_fails_the_session_and_says_so(serial: Inner) -> None:
    serial.write(f"from pathlib import Path\ndef test_it(): Path({NAME!r}).mkdir()")
    done = serial.run("--memalert-save")
    done.assert_outcomes(passed=1, warnings=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        ["*MemalertWarning: memalert could not save the baseline: *; its file is as it was, *"]
    )


def test_entries_of_a_file_that_is_left_out_are_kept(serial: Inner) -> None:
    """By a conftest.py, or an option: its tests exist."""
    serial.write(BEFORE)
    serial.pytester.makepyfile(test_b="def test_other(): pass")
    serial.run("--memalert-save")
    serial.pytester.makeconftest("collect_ignore = ['test_b.py']")
    serial.run("--memalert-save").stdout.no_fnmatch_line("*dropped from it*")
    assert "test_other" in names(serial)
    (serial.pytester.path / "test_b.py").unlink()
    serial.run("--memalert-save").stdout.fnmatch_lines(["dropped from it, *: test_b.py::test_other"])


def test_entries_of_tests_that_an_ended_session_did_not_reach_are_kept(serial: Inner) -> None:
    """pytest.exit() may end a session with the status of one whose tests failed."""
    serial.write(BEFORE)
    serial.run("--memalert-save")
    serial.pytester.makeconftest(
        "import pytest\ndef pytest_runtest_setup(item):\n"
        "    if item.name == 'test_small': pytest.exit('the server is down', returncode=1)"
    )
    serial.run("--memalert-save").stdout.no_fnmatch_line("*dropped from it*")
    assert names(serial) == ["test_objects", "test_peak", "test_small"]


def test_entries_of_doctests_are_kept_where_none_were_collected(serial: Inner) -> None:
    serial.write(f"{BEFORE}\n    def helper():\n        '>>> size = 1'")
    serial.run("--doctest-modules", "--memalert-save")
    serial.run("--memalert-save").stdout.no_fnmatch_line("*dropped from it*")
    assert "test_a.helper" in names(serial)


def test_entries_of_tests_that_a_conftest_drops_without_a_word_are_kept(inner: Inner) -> None:
    """It deselects them without pytest_deselected; the gate misses none of them either."""
    inner.write(BEFORE)
    inner.run("--memalert-save")
    inner.pytester.makeconftest(
        "def pytest_collection_modifyitems(items):"
        " items[:] = [item for item in items if item.name != 'test_peak']"
    )
    inner.run("--memalert-save").stdout.no_fnmatch_line("*dropped from it*")
    assert names(inner) == ["test_objects", "test_peak", "test_small"]
    done = inner.run("--memalert-gate")
    done.stdout.fnmatch_lines([f"gate: 2 tests compared with {NAME}, 0 worse, 0 better"])


def test_way_to_distribute_alone_distributes_nothing(serial: Inner) -> None:
    """With --dist in addopts and no -n, this process ran the tests: its session is saved and compared."""
    serial.write(BEFORE.replace("KEPT = []", FIXTURE))
    serial.run_apart("--dist=loadfile", "--memalert-save")
    wholes = ["collection", "fixture kept in test_a.py", "session"]
    assert [nodeid for nodeid in saved(serial) if "::" not in nodeid] == wholes
    serial.write(BEFORE.replace("test_small", "test_renamed"))
    done = serial.run_apart("--dist=loadfile", "--memalert-gate")
    done.stdout.fnmatch_lines(["in the baseline, but not collected: test_a.py::test_small"])


def test_saving_the_whole_suite_drops_and_names_tests_that_are_gone(inner: Inner) -> None:
    """A skipped one stays, and so does one whose module is skipped."""
    inner.write(BEFORE, test_b="def test_other(): pass", test_c="def test_third(): pass")
    inner.run("--memalert-save")
    inner.write(
        BEFORE.replace("def test_small", "@pytest.mark.skip\n    def test_objects"),
        test_b="import pytest; pytest.importorskip('no_such_module')\ndef test_other(): pass",
        test_c="def test_renamed(): pass",
    )
    done = inner.run("--memalert-save")
    done.stdout.fnmatch_lines(
        [
            "memalert: saved what 2 tests need to *",
            "dropped from it, since they don't exist any more: test_a.py::test_small, test_c.py::test_third",
        ]
    )
    assert names(inner) == ["test_objects", "test_peak", "test_other", "test_renamed"]


def test_failing_test_keeps_its_entry(serial: Inner) -> None:
    """What it needs is not known."""
    write_saved(serial, BEFORE)
    before = saved(serial)["test_a.py::test_peak"]
    serial.write(BEFORE.replace("4 * 2**20)", "9 * 2**20); assert 0"))
    serial.run("--memalert-save")
    assert saved(serial)["test_a.py::test_peak"] == before


def test_saving_measures_each_test_more_than_once(serial: Inner) -> None:
    """And leaves its outcome, and what it prints, alone."""
    serial.write("COUNT = []\ndef test_a():\n    COUNT.append(1); print('run', len(COUNT)); assert 1")
    serial.run("--memalert-save", "-rP").stdout.fnmatch_lines(["run 1"])
    assert serial.report()["totals"]["reruns"] == 5


def test_baseline_is_beside_the_configuration_wherever_pytest_is_started(serial: Inner) -> None:
    """Unless a path is typed: that is relative to where."""
    folder = serial.pytester.mkdir("sub")
    serial.write(BEFORE)
    serial.pytester.chdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        serial.run("..", "--memalert-save")
        serial.run("..", "--memalert-save=own.json")
    assert (serial.pytester.path / NAME).exists()
    assert (folder / "own.json").exists()


def test_saving_wins_over_the_gate_of_the_configuration(serial: Inner) -> None:
    """Whoever saves isn't judged meanwhile."""
    serial.configure(OFF, pytest_options='addopts = "--memalert-gate"')
    serial.write(BEFORE)
    serial.run("--memalert-save").stdout.fnmatch_lines(["memalert: saved what 3 tests need *"])
    serial.run().stdout.fnmatch_lines(["gate: 3 tests compared *"])


# ------------------------------------------------------------------- bad input


def refused(inner: Inner, *args: str) -> str:
    """Return what a session is refused for; there is no test of it that ran."""
    done = inner.run(*args)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    text = done.stderr.str()
    assert "Traceback" not in text
    return text


def test_gate_without_a_baseline_says_how_to_save_one(serial: Inner) -> None:
    """Before any test runs."""
    serial.write(BEFORE)
    assert (
        f"--memalert-gate: there is no baseline {NAME}; save one with: pytest --memalert --memalert-save"
    ) in refused(serial, "--memalert-gate")


@pytest.mark.parametrize("option", ["--memalert-gate", "--memalert-save"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"format": 1,\n"envir', f"{NAME}, line 3: not valid JSON (the file seems to be cut off)"),
        ('{\n"format": 99,\n"environments": {}}', f"{NAME}, line 2: format 99 is newer than what this"),
        ('{\n"format": 1,\n<<<<<<< HEAD\n', f"{NAME}, line 3: a merge conflict is left (<<<<<<<)"),
        (
            '{"format": 1, "environments": {"k": {\n"a": {},\n"a": {}}}}',
            f"{NAME}, line 3: the test 'a' is named twice",
        ),
    ],
)
def test_broken_baseline_is_refused_and_left_alone(
    serial: Inner, option: str, text: str, message: str
) -> None:
    """With its line; saving doesn't write over what somebody may want to repair."""
    serial.write(BEFORE)
    path = serial.pytester.path / NAME
    path.write_text(text, encoding="utf-8")
    assert message in refused(serial, option)
    assert path.read_text(encoding="utf-8") == text


def test_baseline_that_is_not_utf_8_is_refused(serial: Inner) -> None:
    """With the line of the first odd byte."""
    serial.write(BEFORE)
    (serial.pytester.path / NAME).write_bytes(b"{\n\xff")
    assert f"{NAME}, line 2: is not UTF-8 text" in refused(serial, "--memalert-gate")


def test_baseline_of_another_environment_is_refused(serial: Inner) -> None:
    """Nothing was compared, and that must not look like success."""
    write_saved(serial, BEFORE)
    path = serial.pytester.path / NAME
    (key,) = json.loads(path.read_text(encoding="utf-8"))["environments"]
    path.write_text(path.read_text(encoding="utf-8").replace(key, "pypy-2.7-plan9-vax"), encoding="utf-8")
    text = refused(serial, "--memalert-gate")
    assert f"{NAME}: has no entries for this environment, {key} (it has: pypy-2.7-plan9-vax)" in text
    serial.run("--memalert-save")
    assert set(json.loads(path.read_text(encoding="utf-8"))["environments"]) == {key, "pypy-2.7-plan9-vax"}


def test_tests_are_not_taken_for_the_path(serial: Inner) -> None:
    """``pytest --memalert-save test_a.py``: argparse takes what follows for the option's value."""
    serial.write(BEFORE)
    text = refused(serial, "--memalert-save", "test_a.py")
    assert "--memalert-save: 'test_a.py' is not the name of a .json file; to run 'test_a.py', put it " in text
    assert f"--memalert-save={NAME}" in text


def test_faulty_allowances_are_refused_with_all_else(serial: Inner) -> None:
    """Every problem at once."""
    serial.configure('[tool.memalert.gate]\npeak = "2 megs"\npeek = 1', options='leaks = "some"')
    text = refused(serial)
    assert "pyproject.toml: tool.memalert.gate.peak: '2 megs' is not a size; write it as '2 MiB'" in text
    assert "unknown key 'peek'" in text
    assert "tool.memalert.leaks" in text


def test_directory_in_the_place_of_the_file_is_refused(serial: Inner) -> None:
    """For saving and for the gate."""
    serial.write(BEFORE)
    serial.pytester.mkdir("own.json")
    assert "own.json' is a directory" in refused(serial, "--memalert-save=own.json")


def test_blocks_are_had_the_same_way_whatever_was_freed_before(serial: Inner) -> None:
    """A large one freed makes glibc take others from its heap, where peaks are less or more."""
    if sys.platform != "linux" or not hasattr(psutil, "heap_info"):
        pytest.skip("tells glibc's malloc from its mappings")
    serial.write(
        """
        import psutil

        def test_large():
            block = bytearray(2**22)
            del block
            before = psutil.heap_info().mmap_used
            block = bytearray(2**20)
            assert psutil.heap_info().mmap_used - before >= 2**20
        """
    )
    assert serial.run_apart("--memalert-save").ret == 0
    plain = serial.run_apart(memalert=False)
    plain.assert_outcomes(failed=1)
