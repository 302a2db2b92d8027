"""pytest's own options, and tests that do what tests do to a process, work as without --memalert."""

from __future__ import annotations

import sys
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


@pytest.mark.parametrize(
    "option",
    ["-s", "--capture=sys", "--capture=tee-sys", "-q", "-v", "--strict-markers", "-pno:cacheprovider", "-vv"],
)
def test_option_changes_no_outcome(serial: Inner, option: str) -> None:
    """The same alert, whatever the option."""
    serial.write(GROWING)
    done = serial.run(option)
    done.assert_outcomes(passed=1, failed=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("capture", ["no", "sys", "tee-sys", "fd"])
def test_what_a_leaking_test_prints_is_printed_once(
    serial: Inner, monkeypatch: pytest.MonkeyPatch, capture: str
) -> None:
    """Through whichever stream, in a child process, and around pytest's capturing."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    serial.write(
        """
        import io, os, subprocess, sys, pytest

        pytestmark = pytest.mark.memalert(runs=10)
        KEPT = []
        STREAM = sys.__stdout__

        def test_before():
            print("before", end=" ")

        def test_leaking(capsys):
            with capsys.disabled():
                print("in print")
                print("in print", file=sys.stderr)
                print("in print", file=STREAM, end=" ")
                os.write(1, b"in write ")
                subprocess.run([sys.executable, "-c", "print('in child')"], check=True)
            KEPT.append(bytearray(200_000))

        def test_captured(capfd):
            os.write(1, b"in capfd")
            assert capfd.readouterr().out == "in capfd"
            os.write(1, b"in capfd")
            KEPT.append(bytearray(200_000))

        def test_replaced():
            sys.stdout = io.TextIOWrapper(open(os.dup(1), "wb"), line_buffering=True)
            print("in replaced")
            sys.stdout = sys.__stdout__
            KEPT.append(bytearray(200_000))

        def test_after():
            print("after")
        """
    )
    done = serial.run_apart(f"--capture={capture}", leaks="suspects")
    done.assert_outcomes(passed=5)
    assert serial.report()["totals"]["reruns"] >= 3 * 10
    told = done.stdout.str() + done.stderr.str()
    for words, times in (("in print", 3), ("in write", 1), ("in child", 1)):
        assert told.count(words) == times
    if capture == "no":
        assert [told.count(words) for words in ("before", "in capfd", "in replaced", "after")] == [1] * 4


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are handles there")
def test_test_that_closes_descriptors_does_not_silence_the_session(serial: Inner) -> None:
    """Those of the re-runs are out of its way."""
    serial.write(
        """
        import os, pytest

        @pytest.mark.memalert(leaks="all")
        def test_closing():
            os.closerange(5, 50)

        def test_after():
            print("after")
        """
    )
    done = serial.run_apart("-s", leaks="suspects")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["*after"])
    assert serial.report()["totals"]["reruns"]


def test_what_is_typed_is_for_the_own_runs(serial: Inner) -> None:
    """A further run that asks for more finds nothing, and doesn't wait."""
    serial.write(
        """
        import os, pytest

        @pytest.mark.memalert(leaks="all")
        def test_asking():
            assert os.read(0, 4) == b"own\\n"

        def test_after():
            assert os.read(0, 5) == b"next\\n"
        """
    )
    command = (sys.executable, "-m", "pytest", "-s", "--memalert", "--memalert-json=memalert.json")
    serial.pytester.run(*command, stdin=b"own\nnext\n").assert_outcomes(passed=2)
    assert serial.tests()["test_asking"]["leak"]["status"] == "unclear"


def test_interrupt_in_a_re_run_is_told(serial: Inner) -> None:
    """What is printed after it is printed."""
    serial.write(
        """
        RUNS = []

        def test_leaking():
            RUNS.append(bytearray(200_000))
            print(f"run {len(RUNS)}")
            if len(RUNS) == 3:
                raise KeyboardInterrupt
        """
    )
    done = serial.run_apart("-s", leaks="suspects")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines(["*run 1", "*KeyboardInterrupt*"])
    done.stdout.no_fnmatch_line("*run [23]*")


@pytest.mark.parametrize("capture", ["no", "fd"])
def test_timeout_that_ends_the_process_in_a_re_run_is_told(serial: Inner, capture: str) -> None:
    """pytest-timeout's other method knows no other way to stop a test."""
    pytest.importorskip("pytest_timeout")
    serial.write(
        """
        import time

        KEPT = []

        def test_leaking():
            time.sleep(30 * len(KEPT))
            KEPT.append(bytearray(200_000))
        """
    )
    done = serial.run_apart(
        "-p", "timeout", "--timeout=1", "--timeout-method=thread", f"--capture={capture}", leaks="suspects"
    )
    done.stdout.fnmatch_lines(["*+ Timeout +*", "*test_leaking*"])


@pytest.mark.parametrize("condition", ["True", "KEPT"])
def test_test_that_stops_in_the_debugger_is_not_run_again(serial: Inner, condition: str) -> None:
    """Nor does a further run open it, where the first didn't."""
    serial.write(
        f"""
        KEPT = []

        def test_leaking():
            if {condition}:
                breakpoint()
            KEPT.append(bytearray(200_000))

        def test_after(): pass
        """,
        conftest="""
        import pdb

        class Debugger(pdb.Pdb):
            def cmdloop(self):
                print("stopped")
                self.do_continue("")
        """,
    )
    done = serial.run_apart("-s", "--pdbcls=conftest:Debugger", leaks="suspects")
    done.assert_outcomes(passed=2)
    leak = serial.tests()["test_leaking"]["leak"]
    assert leak["status"] == "unclear"
    if condition == "True":
        assert done.stdout.str().count("stopped") == 1
        assert leak["reason"] == "it stopped in the debugger"
    else:
        done.stdout.no_fnmatch_line("*stopped*")
        assert "it opens the debugger" in leak["reason"]


def test_without_terminal_the_report_is_written_all_the_same(serial: Inner) -> None:
    """Nobody reads a summary there."""
    serial.write(GROWING)
    done = serial.run_apart("-p", "no:terminal")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert serial.report()["totals"]["alerts"]["critical"] == 1


@pytest.mark.parametrize(
    "names",
    [
        ("logging",),
        ("tmpdir",),
        ("skipping",),
        ("capture", "setuponly", "setupplan", "stepwise", "subtests", "unittest"),
        ("faulthandler", "logging", "tmpdir", "warnings", "recwarn", "doctest", "reports"),
    ],
    ids=["logging", "tmpdir", "skipping", "others", "all"],
)
def test_leak_is_found_without_some_of_pytests_own_plugins(serial: Inner, names: tuple[str, ...]) -> None:
    """What is undone of them has nothing to undo then."""
    serial.write(
        "KEPT = []\n\ndef test_leaking():\n    KEPT.append(bytearray(200_000))\n\ndef test_next(): pass\n"
    )
    done = serial.run_apart(*(f"-pno:{name}" for name in names), leaks="suspects")
    done.assert_outcomes(passed=2)
    assert serial.tests()["test_leaking"]["leak"]["status"] == "leaking"


@pytest.mark.parametrize(
    "option", ["--collect-only", "--setup-plan", "--setup-only", "--markers", "--fixtures"]
)
def test_nothing_is_measured_where_no_test_runs(serial: Inner, option: str) -> None:
    """Nor are alerts raised."""
    serial.write(GROWING)
    done = serial.run(option)
    assert done.ret == pytest.ExitCode.OK
    done.stdout.no_fnmatch_line("*CRITICAL*")


def test_marker_is_known_without_memalert(serial: Inner) -> None:
    """Under --strict-markers an unknown one would be an error."""
    serial.write(GROWING)
    serial.run("--strict-markers", memalert=False).assert_outcomes(passed=2)


def test_without_memalert_nothing_is_loaded_nor_registered(serial: Inner) -> None:
    """The plugin is in every run of whoever has it installed."""
    serial.write(
        """
        import sys

        def test_it(pytestconfig):
            assert not {"psutil", "pympler", "tracemalloc"} & set(sys.modules)
            assert not pytestconfig.pluginmanager.hasplugin("memalert-worker")
            assert not pytestconfig.pluginmanager.hasplugin("memalert-controller")
        """
    )
    done = serial.run_apart(memalert=False)
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*memalert:*")


def test_interrupt_keeps_what_was_found_before(serial: Inner) -> None:
    """Ctrl-C in the third test: the first two are reported."""
    serial.write(
        GROWING
        + """
    def test_interrupted():
        import os, signal
        # Whoever starts the suite in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        import time; time.sleep(5)

    def test_never(): pass
    """
    )
    done = serial.run_apart()
    done.assert_outcomes(passed=1, failed=1)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines(["CRITICAL memory_growth  test_a.py::test_growing", "*KeyboardInterrupt*"])
    assert set(serial.tests()) == {"test_growing", "test_fine"}


def test_interrupt_in_teardown_keeps_the_call_that_failed(serial: Inner) -> None:
    """Its report was made, and is logged."""
    serial.write(
        """
        import pytest

        @pytest.fixture
        def interrupted():
            yield
            raise KeyboardInterrupt

        def test_failing(interrupted):
            assert False, "known before the interrupt"
        """
    )
    done = serial.run_apart()
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines(["FAILED test_a.py::test_failing - AssertionError: known before the interrupt"])


def test_exit_in_a_test_ends_the_session_as_ever(serial: Inner) -> None:
    """With the status asked for, and the tests before."""
    serial.write("import pytest\n\ndef test_one(): pass\n\ndef test_two(): pytest.exit('enough', 7)")
    done = serial.run_apart()
    assert done.ret == 7
    assert set(serial.tests()) == {"test_one"}


HOSTILE = {
    "descriptors closed": "import os; os.closerange(5, 50)",
    "directory changed": "import os; os.chdir('/')",
    "open replaced": "import builtins; monkeypatch.setattr(builtins, 'open', None)",
    "time replaced": "import time; [monkeypatch.setattr(time, n, float) for n in ('time', 'monotonic')]",
    "os replaced": "import os; [monkeypatch.setattr(os, n, None) for n in ('pread', 'read', 'listdir')]",
    "collector off": "import gc; gc.disable()",
    "heap frozen": "import gc; gc.freeze()",
    "thread left": "import threading; threading.Timer(0.5, print).start()",
    "warnings as errors": "import warnings; warnings.simplefilter('error')",
    "recursion": "import sys; monkeypatch.setattr(sys, 'setrecursionlimit', None)",
    "environment emptied": "import os; monkeypatch.setattr(os, 'environ', {})",
}


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are handles there")
@pytest.mark.parametrize("deed", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_test_is_no_trouble(serial: Inner, deed: str) -> None:
    """It passes, those after it are measured, and nothing is said of it."""
    serial.write(
        f"""
        import pytest

        def test_before(): pass

        def test_hostile(monkeypatch):
            {deed}

        @pytest.mark.memalert(growth="64 MiB", duration="1 min")
        def test_after(): b"x" * 4 * 2**20
        """
    )
    done = serial.run_apart("-p", "no:cacheprovider", "--capture=sys", leaks="suspects")
    done.assert_outcomes(passed=3, warnings=0)
    done.stdout.no_fnmatch_line("*MemalertWarning*")
    assert serial.tests()["test_after"]["peak_bytes"] > 3 * 2**20


@pytest.mark.skipif(not hasattr(sys, "getswitchinterval") or sys.platform == "win32", reason="needs fork")
def test_forked_child_is_not_measured(serial: Inner) -> None:
    """It leaves without a word; the parent goes on."""
    serial.write(
        """
        import os

        def test_forking():
            pid = os.fork()
            if pid == 0:
                kept = b"x" * 4 * 2**20
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0

        def test_after(): pass
        """
    )
    done = serial.run_apart()
    done.assert_outcomes(passed=2, warnings=0)
    assert serial.report()["totals"]["tests"] == 2


def test_modules_are_loaded_from_the_bytecode_they_came_with(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pytest may not keep what it compiles, rewriting their assertions would take 0.3 s each time."""
    serial.write(
        "def test_it(): pass",
        conftest="""
        import sys

        def pytest_terminal_summary(terminalreporter):
            for name in ("model", "plugin.worker"):
                loader = sys.modules[f"pytest_memalert.{name}"].__spec__.loader
                terminalreporter.write_line(f"{name} by {type(loader).__name__}")
        """,
    )
    # By this name pytest marks the whole package, as it does for an entry point that it finds by itself.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p pytest_memalert.plugin")
    result = serial.run_apart()
    result.stdout.fnmatch_lines(["model by SourceFileLoader", "plugin.worker by SourceFileLoader"])
    result.assert_outcomes(passed=1)


def test_plugin_that_a_conftest_loads_measures_as_well(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the hook in which it notes when the session began."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    serial.pytester.makeconftest("pytest_plugins = ['pytest_memalert.plugin']")
    serial.write("def test_passes(): pass")
    serial.run_apart().assert_outcomes(passed=1)
    assert list(serial.tests()) == ["test_passes"]
