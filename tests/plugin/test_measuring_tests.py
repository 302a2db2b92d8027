"""What is measured of each test, and what isn't taken for a test's growth."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.units import parse_duration

if TYPE_CHECKING:
    from tests.conftest import Inner

MIB = 2**20


def test_figures_of_a_test_are_those_of_what_it_did(inner: Inner) -> None:
    """Growth, peak and duration, each with its own cause."""
    inner.write(
        """
        import time
        import pytest

        KEPT = []

        @pytest.mark.memalert(growth="64 MiB")
        def test_growing():
            KEPT.append(b"x" * 8 * 2**20)

        def test_with_a_peak():
            b"x" * 16 * 2**20

        def test_slow():
            time.sleep(0.2)
        """
    )
    inner.run_apart().assert_outcomes(passed=3, failed=0)
    tests = inner.tests()
    growing, peaking, slow = (tests[name] for name in ("test_growing", "test_with_a_peak", "test_slow"))
    assert growing["growth_bytes"] == pytest.approx(8 * MIB, rel=0.1)
    assert growing["rss_after_bytes"] - growing["rss_before_bytes"] == pytest.approx(8 * MIB, rel=0.2)
    assert peaking["growth_bytes"] < MIB
    assert peaking["peak_bytes"] == pytest.approx(16 * MIB, rel=0.2)
    assert peaking["rss_peak_bytes"] == peaking["rss_before_bytes"] + peaking["peak_bytes"]
    assert 0.2 <= slow["duration_s"] < 5
    assert slow["growth_bytes"] < MIB
    assert {test["worker"] for test in tests.values()} <= ({"gw0", "gw1"} if inner.distributed else {"main"})


def test_phases_say_where_a_test_grew(serial: Inner) -> None:
    """Set-up, call and teardown."""
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.fixture
        def kept():
            KEPT.append(b"x" * 6 * 2**20)
            yield
            KEPT.append(b"x" * 4 * 2**20)

        @pytest.mark.memalert(growth="1 MiB")
        def test_growing(kept):
            KEPT.append(b"x" * 2 * 2**20)

        @pytest.mark.parametrize("size", [3])
        def test_alone(size):
            KEPT.append(b"x" * size * 2**20)
        """
    )
    done = serial.run_apart()
    done.assert_outcomes(failed=1, passed=1)
    alone = serial.tests()["test_alone[3]"]["phases"]
    assert alone["call_growth_bytes"] == pytest.approx(3 * MIB, rel=0.2)
    assert (alone["setup_growth_bytes"], alone["teardown_growth_bytes"]) == (None, None)
    phases = serial.tests()["test_growing"]["phases"]
    assert phases["setup_growth_bytes"] == pytest.approx(6 * MIB, rel=0.2)
    assert phases["call_growth_bytes"] == pytest.approx(2 * MIB, rel=0.4)
    assert phases["teardown_growth_bytes"] == pytest.approx(4 * MIB, rel=0.4)
    done.stdout.fnmatch_lines(
        [
            "resident memory grew in: setup * MiB, call * MiB, teardown * MiB",
            "-> most of it came during set-up: look at the test's fixtures first",
        ]
    )


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            """
            def test_it():
                print("x" * 5 * 2**20)
            """,
            id="captured output",
        ),
        pytest.param(
            """
            import pytest

            @pytest.fixture
            def large():
                return b"x" * 10 * 2**20

            def test_it(large):
                assert large
            """,
            id="value of a function fixture",
        ),
        pytest.param(
            """
            import pytest

            @pytest.fixture
            def large():
                yield b"x" * 10 * 2**20

            def test_it(large):
                assert large
            """,
            id="value of a function fixture with teardown",
        ),
        pytest.param(
            """
            class Node:
                def __init__(self):
                    self.me = self
                    self.load = b"x" * 5 * 2**20

            def test_it():
                Node()
                Node()
            """,
            id="cyclic garbage",
        ),
        pytest.param(
            """
            def test_it():
                local = [b"x" * 2**20 for _ in range(10)]
                assert local
            """,
            id="locals",
        ),
        pytest.param(
            """
            import logging

            def test_it():
                logging.getLogger().warning("x" * 3 * 2**20)
            """,
            id="captured log",
        ),
    ],
)
def test_what_a_test_gives_back_is_not_its_growth(serial: Inner, source: str) -> None:
    """The first run counts here, and nothing is over the limit."""
    serial.write(source)
    serial.configure(
        """
        [[tool.memalert.rules]]
        name = "grown"
        metric = "growth_bytes"
        threshold = "1 MiB"
        """
    )
    done = serial.run_apart()
    done.assert_outcomes(passed=1, failed=0)
    assert serial.report()["alerts"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="what glibc's malloc does")
def test_peak_shows_where_malloc_held_memory_free_when_the_session_began(serial: Inner) -> None:
    """As it does after a large collection; glibc keeps up to 64 MiB at the top of its heap."""
    large = b"x" * (31 * MIB)
    del large  # from now on what is smaller comes from the heap
    blocks = [b"x" * MIB for _ in range(56)]
    blocks.clear()
    serial.write(
        """
        import pytest

        @pytest.mark.memalert(peak="1 MiB")
        def test_fat():
            assert not (b"x" * (40 * 2**20)).endswith(b"y")
        """
    )
    serial.run().assert_outcomes(failed=1)
    assert serial.tests()["test_fat"]["peak_bytes"] == pytest.approx(40 * MIB, rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="only there re-runs are told from the test by a mark")
def test_peak_of_re_runs_is_not_the_next_tests(serial: Inner) -> None:
    """Nor what was needed to explain a leak."""
    serial.write(
        """
        RUNS, KEPT = [], []

        def test_leaks():
            RUNS.append(1)
            KEPT.append([[] for _ in range(500)])
            if len(RUNS) == 4:
                assert bytearray(48 * 2**20)

        def test_after():
            pass
        """
    )
    serial.run_apart("--memalert-leaks=suspects")
    assert serial.tests()["test_leaks"]["leak"]["status"] == "leaking"
    assert serial.tests()["test_after"]["peak_bytes"] < 8 * MIB


def test_traced_peak_is_exact(serial: Inner) -> None:
    """To the byte, but for what Python itself needs."""
    serial.write(
        """
        import pytest

        @pytest.mark.memalert(traced_peak="2 MiB")
        def test_peaking():
            bytearray(3 * 2**20)

        def test_small():
            pass
        """
    )
    done = serial.run("--memalert-trace")
    done.assert_outcomes(passed=1, failed=1)
    assert serial.tests()["test_peaking"]["traced_peak_bytes"] == pytest.approx(3 * MIB, rel=0.05)
    assert serial.tests()["test_small"]["traced_peak_bytes"] < MIB
    assert serial.report()["environment"]["traced"] is True


def test_limit_without_data_is_told_and_not_passed_in_silence(serial: Inner) -> None:
    """A traced peak needs --memalert-trace."""
    serial.write(
        """
        import pytest

        @pytest.mark.memalert(traced_peak="1 MiB")
        def test_it():
            bytearray(3 * 2**20)
        """
    )
    done = serial.run()
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(
        ["note: no data for traced_peak_bytes (test_a.py::test_it: *traced only with --memalert-trace*"]
    )


METRICS_ON_DEMAND = {
    "open_fds_growth": "3",
    "threads_growth": "0",
    "cpu_s": "0",
    "disk_written_bytes": "0",
    "net_sent_bytes": "0",
    "uss_bytes": "1",
    "children_rss_bytes": "1",
    "blocks_growth": "0",
}


def test_metrics_are_sampled_only_where_a_rule_names_them(serial: Inner) -> None:
    """Most cost more than a sample does."""
    serial.write("def test_it(): pass")
    serial.run()
    assert not {name for name in METRICS_ON_DEMAND if serial.tests()["test_it"].get(name) is not None}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems lack some of these metrics")
def test_metrics_that_a_rule_names_are_measured(serial: Inner) -> None:
    """Every metric on demand in one test that moves it."""
    serial.write(
        """
        import os, subprocess, sys, threading

        KEPT = []

        def test_it(tmp_path):
            KEPT.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(5))
            sum(range(10**6))
            with open(tmp_path / "written", "wb") as file:
                file.write(b"x" * 2**20)
                file.flush()
                os.fsync(file.fileno())
            KEPT.append([object() for _ in range(1000)])
            stop = threading.Event()
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            KEPT.append(thread)
            code = "print(flush=True); import time; time.sleep(60)"
            child = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
            child.stdout.readline()
            KEPT.append(child)

        def test_child_ends():
            KEPT[-1].kill()
            KEPT[-1].communicate()
        """
    )
    serial.configure(
        "".join(
            f"""
            [[tool.memalert.rules]]
            name = "on-{name}"
            metric = "{name}"
            severity = "info"
            threshold = {threshold}
            """
            for name, threshold in METRICS_ON_DEMAND.items()
        )
    )
    done = serial.run_apart()
    done.assert_outcomes(passed=2, warnings=len(serial.report()["alerts"]))
    found = serial.tests()["test_it"]
    assert found["open_fds_growth"] == 6
    assert found["threads_growth"] == 1
    assert 0 < found["cpu_s"] < 10
    assert found["disk_written_bytes"] >= 0
    assert found["net_sent_bytes"] >= 0
    assert found["uss_bytes"] > MIB
    assert found["children_rss_bytes"] > MIB
    assert found["blocks_growth"] > 1000


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are on what Linux reads")
def test_level_that_no_further_run_can_have_again_is_judged_by_the_first(inner: Inner) -> None:
    """Children are looked at in the test's own run; what it read from the disk is in the page cache then."""
    inner.write(
        """
        import subprocess, sys

        def test_starts_a_child():
            code = "print(flush=True); import time; time.sleep(60)"
            child = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
            child.stdout.readline()
            test_starts_a_child.kept = child

        def test_child_ends():
            test_starts_a_child.kept.kill()
            test_starts_a_child.kept.communicate()
        """
    )
    inner.configure(
        """
        [[tool.memalert.rules]]
        name = "child"
        metric = "children_rss_bytes"
        severity = "critical"
        threshold = 1
        """
    )
    done = inner.run_apart(*["--dist=loadfile"] * inner.distributed, leaks=None)
    done.assert_outcomes(passed=1, failed=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*test_starts_a_child: resident memory of child processes * is over *"])
    # That subprocess keeps a child which nobody waited for, with its pipe, is a leak besides.
    rules = [alert["rule"] for alert in inner.report()["alerts"] if alert["category"] != "memory_leak"]
    assert rules == ["child"]
    assert not any("one-time" in note["text"] for note in inner.report()["notes"])


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are on what Linux reads")
def test_children_of_wider_fixtures_are_no_tests(serial: Inner) -> None:
    """A server of the session is there in every test; one that a test starts is that test's alone."""
    serial.write(
        """
        import subprocess, sys
        import pytest

        def start():
            code = "print(flush=True); import time; time.sleep(60)"
            child = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
            child.stdout.readline()
            return child

        def stop(child):
            child.kill()
            child.communicate()

        @pytest.fixture(scope="session")
        def server():
            child = start()
            yield child
            stop(child)

        def test_first(server): pass

        def test_starts_one_of_its_own(server, request):
            request.addfinalizer(lambda child=start(): stop(child))

        def test_last(server): pass
        """
    )
    serial.configure(
        """
        [[tool.memalert.rules]]
        name = "child"
        metric = "children_rss_bytes"
        severity = "critical"
        threshold = 1
        """
    )
    serial.run_apart(leaks=None).assert_outcomes(passed=2, failed=1)
    found = {name: test["children_rss_bytes"] for name, test in serial.tests().items()}
    assert found["test_starts_one_of_its_own"] > MIB
    assert found["test_first"] == found["test_last"] == 0


def test_measuring_costs_what_it_says(serial: Inner) -> None:
    """The overhead is told in the report, part by part."""
    serial.write("def test_it(): pass")
    serial.run()
    overhead = serial.report()["overhead"]
    assert set(overhead) == {"tests_s", "screening_s", "reruns_s", "reporting_s"}
    assert 0 < overhead["screening_s"] < 1
    assert overhead["reruns_s"] == 0


def test_all_that_the_end_of_a_session_takes_is_told_as_added(serial: Inner) -> None:
    """Also what comes after the JSON report could count it, such as a hook and the writing of reports."""
    serial.write("def test_it(): pass")
    serial.pytester.makeconftest(
        """
        import threading

        def pytest_memalert_finished(config, run):
            threading.Event().wait(0.6)
        """
    )
    done = serial.run()
    overhead = serial.report()["overhead"]
    (added,) = re.findall(r"memalert: .*, added ([\d.]+ m?s)$", done.stdout.str(), re.MULTILINE)
    known_s = overhead["screening_s"] + overhead["reruns_s"] + overhead["reporting_s"]
    assert parse_duration(added) - known_s > 0.5
