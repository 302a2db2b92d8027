"""Whatever goes wrong in a test or around it ends as it does without the plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.plugin.judging.judge import Judge
from pytest_memalert.probes.sampler import Sampler

if TYPE_CHECKING:
    from tests.conftest import Inner

TEARDOWNS = {
    "the function's own": """
        def teardown_function():
            raise RuntimeError("own")
        def test_last(): pass
    """,
    "a skip": """
        import pytest
        def teardown_function():
            pytest.skip("not here")
        def test_last(): pass
    """,
    "own and module's": """
        def teardown_function():
            raise RuntimeError("own")
        def teardown_module():
            raise RuntimeError("wide")
        def test_last(): pass
    """,
    "own of a class": """
        class TestAll:
            def teardown_method(self):
                raise RuntimeError("own")
            def test_last(self): pass
    """,
    "module's after a failure": """
        def teardown_module():
            raise RuntimeError("wide")
        def test_last():
            assert False
    """,
}

FAILING_WITHIN_A_MODULE_FIXTURE = """
    import pytest

    @pytest.fixture(scope="module")
    def wide():
        yield
        raise RuntimeError("wide teardown went wrong")

    def test_failing(wide):
        assert False

    def test_after(wide): pass
"""


def assert_as_plain(inner: Inner, *arguments: str, leaks: Sequence[str] = ("suspects",)) -> dict[str, int]:
    """Assert that a run ends as one without the plugin does; return the counts of outcomes."""
    plain = inner.run_apart(*arguments, leaks=None, memalert=False)
    for which in leaks:
        ours = inner.run_apart(*arguments, leaks=which)
        assert ours.parseoutcomes() == plain.parseoutcomes(), which
        assert ours.ret == plain.ret, which
    return plain.parseoutcomes()


@pytest.mark.parametrize("how", TEARDOWNS)
def test_teardown_that_fails_at_the_end_of_a_module_breaks_nothing_else(serial: Inner, how: str) -> None:
    """The module and the class are torn down all the same, once."""
    serial.write(TEARDOWNS[how], test_b="def test_other(): pass")
    assert_as_plain(serial, leaks=("suspects", "all"))


@pytest.mark.parametrize("option", ["-x", "--maxfail=1", "--sw"])
def test_session_that_stops_at_a_failure_tears_down_within_the_test_that_failed(
    serial: Inner, option: str
) -> None:
    """Pytest knows of the failure before the teardown, and reports what goes wrong in that."""
    serial.write(FAILING_WITHIN_A_MODULE_FIXTURE)
    counts = assert_as_plain(serial, option)
    assert counts["failed"] == counts["errors"] == 1


# A suite that keeps classes apart by hooks of its own, as SQLAlchemy's does.
TABLES_OF_A_CLASS = """
    import pytest

    TABLES = []
    current = None

    def pytest_runtest_setup(item):
        global current
        if current is None:
            current = item.cls
            TABLES.append(item.cls.__name__)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(item, nextitem):
        global current
        yield
        if nextitem is None or nextitem.cls is not current:
            current = None
            TABLES.clear()

    @pytest.fixture
    def tables():
        return TABLES
"""
TWO_CLASSES = """
    class TestA:
        def test_one(self, tables): assert tables == ["TestA"]
        def test_last(self, tables): assert tables == ["TestA"]
    class TestB:
        def test_one(self, tables): assert tables == ["TestB"]
        def test_last(self, tables): assert tables == ["TestB"]
"""


def test_hooks_that_ask_for_the_next_test_end_a_class_once(serial: Inner) -> None:
    """What they end with the last test of a class is theirs: that test isn't run again, and says why."""
    serial.write(TWO_CLASSES, conftest=TABLES_OF_A_CLASS)
    assert assert_as_plain(serial, leaks=("all",)) == {"passed": 4}
    leaks = {name: test["leak"] for name, test in serial.tests().items()}
    assert leaks["test_one"]["status"] == "clean"
    assert leaks["test_last"]["status"] == "unclear"
    assert "conftest.py ends more than fixtures with it" in leaks["test_last"]["reason"]


def test_hooks_that_do_nothing_with_the_next_test_keep_none_from_being_run_again(serial: Inner) -> None:
    serial.write(
        "class TestA:\n    def test_last(self): pass",
        conftest="def pytest_runtest_teardown(item, nextitem):\n    assert item.cls",
    )
    serial.run_apart(leaks="all")
    assert [test["leak"]["status"] for test in serial.tests().values()] == ["clean"]


def test_re_run_of_the_only_test_of_a_module_shows_hooks_a_test(serial: Inner) -> None:
    """The module itself has no fixture names; what such a hook leaves set up is torn down all the same."""
    serial.write(
        "def test_alone(): pass\nclass TestA:\n    def test_one(self): pass\n    def test_two(self): pass",
        conftest="""
        import functools

        def counted(hook):
            @functools.wraps(hook)
            def wrapper(item, nextitem):
                return hook(item, nextitem)
            return wrapper

        @counted
        def pytest_runtest_teardown(item, nextitem):
            if nextitem is not None:
                nextitem.fixturenames
        """,
    )
    assert assert_as_plain(serial, leaks=("all",)) == {"passed": 3}
    status = {name: test["leak"]["status"] for name, test in serial.tests().items()}
    assert status == {"test_alone": "clean", "test_one": "clean", "test_two": "unclear"}


def test_failures_are_logged_once(serial: Inner) -> None:
    """Each phase of each test is heard of once, and in order."""
    serial.write(
        """
        import pytest

        @pytest.fixture
        def broken():
            raise RuntimeError("broken")

        def test_passing(): pass
        def test_failing(): assert False
        def test_skipping(): pytest.skip("no")
        def test_broken(broken): pass
        """,
        conftest="""
        def pytest_runtest_logreport(report):
            with open("log", "a") as log:
                print(report.nodeid.rpartition("::")[2], report.when, report.outcome, file=log)
        """,
    )
    log = serial.pytester.path / "log"
    serial.run_apart(leaks=None, memalert=False)
    plain = log.read_text(encoding="utf-8")
    log.unlink()
    serial.run_apart(leaks="all")
    assert log.read_text(encoding="utf-8") == plain


def test_teardown_that_was_made_to_wait_is_shown_to_who_looks_at_failures(serial: Inner) -> None:
    """As to ``--pdb``."""
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.fixture(scope="module")
        def wide():
            yield
            raise RuntimeError("wide teardown went wrong")

        @pytest.mark.memalert(growth="1 MiB")
        def test_growing(wide):
            KEPT.append(b"x" * 4 * 2**20)
        """,
        conftest="""
        def pytest_exception_interact(call, report):
            with open("shown", "a") as shown:
                print(report.when, call.excinfo.value, file=shown)
        """,
    )
    serial.run_apart(leaks="suspects")
    shown = (serial.pytester.path / "shown").read_text(encoding="utf-8")
    assert shown == "teardown wide teardown went wrong\n"


def test_test_that_patches_the_collector_while_a_wide_fixture_is_set_up(serial: Inner) -> None:
    """What measures the fixture doesn't call what the test patched."""
    serial.write(
        """
        import gc
        import pytest
        from unittest import mock

        @pytest.fixture(scope="module")
        def wide(): pass

        def test_patching(request):
            with mock.patch("gc.collect") as collect, mock.patch("gc.freeze") as freeze:
                request.getfixturevalue("wide")
                assert collect.call_count == freeze.call_count == 0
        """
    )
    serial.run_apart().assert_outcomes(passed=1)
    serial.run_apart(leaks="all").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "part", ["scopes._Span", "scopes._name", "scopes._difference", "letting_go.collect_young"]
)
def test_trouble_of_ours_with_a_wide_fixture_is_none_of_the_fixture(
    serial: Inner, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Nor does it take the place of the user's own exception."""

    def raise_trouble(*_: object) -> None:
        raise LookupError("our own")

    monkeypatch.setattr(f"pytest_memalert.plugin.measuring.{part}", raise_trouble)
    serial.write(
        """
        import pytest

        @pytest.fixture(scope="module")
        def wide(): yield 1

        @pytest.fixture(scope="module")
        def broken(wide): raise RuntimeError("the user's own")

        def test_it(wide): assert wide == 1
        def test_broken(broken): pass
        """
    )
    done = serial.run()
    done.assert_outcomes(passed=1, errors=1, warnings=1)
    done.stdout.fnmatch_lines(["*the user's own", "*memalert could not judge a test (LookupError: our own)*"])


def test_trouble_of_ours_with_the_start_costs_the_first_test_alone(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told of once, and no later test was measured or judged, without a word."""
    troubles = [LookupError("our own")]

    class Troubled(Judge):
        def __init__(self, *args: Any, **options: Any) -> None:
            if troubles:
                raise troubles.pop()
            super().__init__(*args, **options)

    closed: list[Sampler] = []

    class Watched(Sampler):
        def close(self) -> None:
            closed.append(self)
            super().close()

    monkeypatch.setattr("pytest_memalert.plugin.bench.Judge", Troubled)
    monkeypatch.setattr("pytest_memalert.plugin.bench.Sampler", Watched)
    serial.write("def test_first(): pass\ndef test_second(): pass\n")
    done = serial.run()
    done.assert_outcomes(passed=2, warnings=1)
    done.stdout.fnmatch_lines(["*memalert could not judge a test (LookupError: our own)*"])
    assert list(serial.tests()) == ["test_second"]
    failed, used = closed
    assert failed is not used


@pytest.mark.parametrize("owner", [["-p", "pytest_rerunfailures"], ["--setup-show"]])
def test_trouble_of_ours_with_the_start_hides_no_failure(
    serial: Inner, monkeypatch: pytest.MonkeyPatch, owner: list[str]
) -> None:
    """Beside others that run the phases its call was taken for that of a subtest, and lost."""

    def fail(*args: object, **options: object) -> None:
        raise LookupError("our own")

    monkeypatch.setattr("pytest_memalert.plugin.bench._open_sampler", fail)
    serial.write("def test_fails(): assert False\ndef test_passes(): pass\n")
    done = serial.run(*owner)
    done.assert_outcomes(passed=1, failed=1, warnings=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED


def test_directory_of_the_suites_outlives_the_re_runs(serial: Inner) -> None:
    """On Python 3.12 theirs had a name that a suite might give, too: the next test missed its files."""
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.fixture(scope="session")
        def shared(tmp_path_factory):
            folder = tmp_path_factory.mktemp("rerun", numbered=False)
            (folder / "data").write_text("text")
            return folder

        def test_leaks(shared, tmp_path):
            KEPT.extend(bytearray(600) for _ in range(400))

        def test_uses_it(shared):
            assert (shared / "data").exists()
        """
    )
    serial.run_apart("--memalert-fail-on=never", leaks="suspects").assert_outcomes(passed=2)
    assert serial.tests()["test_leaks"]["leak"]["status"] == "leaking"
