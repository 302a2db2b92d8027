"""What a run tells on the terminal and in its JSON report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Inner

GROWING = """
    import pytest

    KEPT = []

    @pytest.mark.memalert(growth="1 MiB")
    def test_growing():
        KEPT.append(b"x" * 4 * 2**20)

    def test_fine():
        pass
"""


def test_summary_is_one_line_when_all_is_well(inner: Inner) -> None:
    """Tests measured, peak, overhead."""
    inner.write("def test_one(): pass\ndef test_two(): pass")
    done = inner.run()
    done.assert_outcomes(passed=2)
    told = [line for line in done.outlines if "memalert:" in line]
    assert len(told) == 1
    assert told[0].startswith("memalert: 2 tests measured, resident peak ")
    done.stdout.no_fnmatch_line("*= memory*")


def test_quiet_summary_is_a_line_for_each_alert(serial: Inner) -> None:
    """And none where there are no alerts."""
    serial.write(GROWING)
    done = serial.run("-q")
    done.stdout.fnmatch_lines(["CRITICAL test_a.py::test_growing: growth 4 MiB is over the limit of 1 MiB"])
    done.stdout.no_fnmatch_line("memalert:*")
    done = serial.run("-q", "-k", "fine")
    done.stdout.no_fnmatch_line("*memalert*measured*")


def test_verbose_summary_lists_the_largest(serial: Inner) -> None:
    """Growths, by test."""
    serial.write(GROWING)
    done = serial.run("-v")
    done.stdout.fnmatch_lines(["largest growth:", "* 4 MiB  test_a.py::test_growing"])


def test_narrow_terminal_gets_narrow_lines(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the summary's lines is wider."""
    monkeypatch.setenv("COLUMNS", "40")
    serial.write(GROWING)
    done = serial.run_apart()
    begin = next(at for at, line in enumerate(done.outlines) if "memory alerts" in line)
    end = next(at for at, line in enumerate(done.outlines) if "short test summary" in line)
    assert end - begin > 5
    assert max(map(len, done.outlines[begin:end])) <= 40


def test_summary_has_color_only_where_pytest_has(serial: Inner) -> None:
    """--color decides."""
    serial.write(GROWING)
    assert "\x1b[31m\x1b[1mCRITICAL memory_growth" in serial.run("--color=yes").stdout.str()
    assert "\x1b" not in serial.run("--color=no").stdout.str()


def test_report_has_the_documented_keys(inner: Inner) -> None:
    """Every key of the format, and numbers that make sense."""
    inner.write(GROWING)
    inner.run()
    report = inner.report()
    assert {
        "format",
        "run_id",
        "started_at",
        "duration_s",
        "environment",
        "overhead",
        "totals",
        "tests",
        "alerts",
        "gate",
    } <= set(report)
    assert report["format"] == 1
    assert report["gate"] is None
    assert 0 < report["duration_s"] < 120
    assert report["totals"]["tests"] == 2
    assert report["totals"]["alerts"] == {
        "critical": 1,
        "warning": 0,
        "info": 0,
        "acknowledged": 0,
        "inhibited": 0,
    }
    test = inner.tests()["test_growing"]
    assert {
        "nodeid",
        "worker",
        "outcome",
        "duration_s",
        "rss_before_bytes",
        "rss_after_bytes",
        "rss_peak_bytes",
        "growth_bytes",
        "peak_bytes",
        "traced_peak_bytes",
        "cpu_s",
        "leak",
    } <= set(test)
    assert test["traced_peak_bytes"] is None
    assert set(test["leak"]) >= {
        "status",
        "reason",
        "bytes_per_run",
        "blocks_per_run",
        "runs",
        "rate_bytes_per_hour",
    }
    assert test["leak"]["status"] == "unchecked"
    assert 2**20 < test["rss_before_bytes"] < test["rss_after_bytes"] <= test["rss_peak_bytes"]
    (alert,) = report["alerts"]
    assert {
        "id",
        "fingerprint",
        "rule",
        "category",
        "severity",
        "component",
        "nodeids",
        "metric",
        "observed",
        "limit",
        "condition",
        "message",
        "recommendations",
        "acknowledged",
        "inhibited_by",
        "survivors",
    } <= set(alert)
    assert alert["nodeids"] == ["test_a.py::test_growing"]
    assert (alert["metric"], alert["limit"], alert["condition"]) == ("growth_bytes", 2**20, ">")
    assert alert["observed"] == pytest.approx(4 * 2**20, rel=0.1)


def test_report_path_is_relative_to_where_pytest_was_started(serial: Inner) -> None:
    """Wherever a test has gone meanwhile."""
    serial.write("import os\n\ndef test_it(tmp_path): os.chdir(tmp_path)")
    serial.run_apart().assert_outcomes(passed=1)
    assert serial.report()["totals"]["tests"] == 1


@pytest.mark.parametrize("left", ["path", "meta_path", "path_hooks"])
def test_a_test_that_leaves_no_way_to_modules_costs_no_report(serial: Inner, left: str) -> None:
    """What concludes a session is loaded at its end: all reports were lost, and the session green."""
    serial.write(
        f"import sys\n\ndef test_it():\n    sys.{left}[:] = []\n    sys.path_importer_cache.clear()\n"
    )
    done = serial.run_apart("--memalert-markdown=r.md", "--memalert-html=page", "--memalert-save")
    assert done.ret == 0
    assert "could not" not in done.stdout.str()
    written = {each.name for each in serial.pytester.path.iterdir()}
    assert {"memalert.json", "r.md", "page", ".memalert", "memalert.lock.json"} <= written
    assert [test["nodeid"] for test in serial.report()["tests"]] == ["test_a.py::test_it"]


def test_a_leak_is_found_after_a_test_that_leaves_no_way_to_modules(serial: Inner) -> None:
    """What checks a test is loaded for the first one: none could be judged."""
    serial.write(
        """
        import sys

        import pytest

        KEPT = []

        def test_leaves_none():
            sys.path[:] = []
            sys.path_importer_cache.clear()

        @pytest.mark.memalert(leaks="all", runs=40)
        def test_leaks():
            KEPT.extend(object() for _ in range(1000))
        """
    )
    done = serial.run_apart("--memalert-leaks=suspects")
    assert "could not" not in done.stdout.str()
    assert serial.report()["tests"][1]["leak"]["status"] == "leaking"


def test_report_that_can_not_be_written_in_the_end_is_a_warning(serial: Inner) -> None:
    """The run itself isn't affected."""
    serial.write("import os\n\ndef test_it(): os.mkdir('memalert.json')")
    done = serial.run()
    done.assert_outcomes(passed=1, warnings=1)
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["*MemalertWarning: memalert could not write *memalert.json*"])


def test_fixture_measures_blocks_with_and_without_memalert(serial: Inner) -> None:
    """The same figures either way; alerts are those raised so far."""
    serial.write(
        """
        KEPT = []

        def test_blocks(memalert):
            with memalert.measure("outer") as outer:
                with memalert.measure("inner") as inner:
                    kept = b"x" * 8 * 2**20
                del kept
            assert inner.growth_bytes > 7 * 2**20
            assert inner.peak_bytes > 7 * 2**20
            assert outer.peak_bytes > 7 * 2**20
            assert outer.growth_bytes < 2**20
            assert 0 < inner.duration_s <= outer.duration_s
            assert memalert.alerts == ()
        """
    )
    serial.run_apart().assert_outcomes(passed=1)
    serial.run_apart(memalert=False).assert_outcomes(passed=1)


@pytest.mark.parametrize("way", ["memalert.measure", "memalert.manager.measure", "measure"])
def test_spike_before_a_measured_block_is_the_tests_own_peak(serial: Inner, way: str) -> None:
    """The block reset the one high-water mark that the process has: a limit on the peak then passed."""
    serial.write(
        f"""
        from pytest_memalert import measure

        def test_spike(memalert):
            spike = b"x" * 32 * 2**20
            del spike
            with {way}("block") as block:
                pass
            assert block.peak_bytes < 8 * 2**20
        """
    )
    serial.run_apart().assert_outcomes(passed=1)
    assert serial.tests()["test_spike"]["peak_bytes"] >= 30 * 2**20
