"""Tests that a re-run is exact, and that it leaves nothing behind.

Each inner project has a conftest that owns the protocol, as the worker does: it runs the item, then runs it
again three times, and writes down how each re-run ended and what a watched expression was before and after.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tests.heap import set_aside

RUNS = 3

DRIVER = """
import gc
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from pytest_memalert.plugin.rerun import Rerunner, can_rerun

TOLD = Path(__file__).parent / "told.jsonl"
runs = {}


@pytest.fixture
def run_number(request):
    \"\"\"Return 1 in the item's own run, 2 in the first re-run, and so on.\"\"\"
    runs[request.node.nodeid] = runs.get(request.node.nodeid, 0) + 1
    return runs[request.node.nodeid]


def watched(item):
    session, config = item.session, item.config
    return WATCHED


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    runtestprotocol(item, nextitem=item.parent)
    refused = can_rerun(item)
    before, after_each, outcomes, reasons = watched(item), [], [], []
    if refused is None:
        with Rerunner(item) as rerunner:
            for _ in range(RUNS):
                outcome = rerunner.run()
                gc.collect()
                outcomes.append(outcome.outcome)
                reasons.append(outcome.reason)
                after_each.append(watched(item))
    told = {"nodeid": item.nodeid, "refused": refused, "outcomes": outcomes, "reasons": reasons,
            "before": before, "after_each": after_each, "after": watched(item)}
    with TOLD.open("a") as lines:
        lines.write(json.dumps(told) + "\\n")
    item.session._setupstate.teardown_exact(nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the driver wrote of one item."""

    nodeid: str
    refused: str | None
    outcomes: list[str]
    reasons: list[str | None]
    before: Any
    after_each: list[Any]
    after: Any


@dataclass(frozen=True, slots=True)
class Project:
    """An inner project whose tests are run again."""

    pytester: pytest.Pytester

    def run(
        self,
        source: str,
        *args: str,
        watched: str = "None",
        conftest: str = "",
        in_process: bool = True,
    ) -> tuple[pytest.RunResult, list[Told]]:
        """Run the tests of ``source``, each again, and return the result with what was told of each."""
        driver = DRIVER.replace("WATCHED", watched).replace("RUNS", str(RUNS))
        self.pytester.makeconftest(f"{driver}\n{conftest}")
        if source:
            self.pytester.makepyfile(test_it=source)
        run = self.pytester.runpytest if in_process else self.pytester.runpytest_subprocess
        with set_aside():
            result = run("-p", "no:cacheprovider", "-W", "always", *args)
        told = self.pytester.path / "told.jsonl"
        return result, [Told(**json.loads(line)) for line in told.read_text().splitlines()]

    def run_one(
        self, source: str, *args: str, watched: str = "None", conftest: str = ""
    ) -> tuple[pytest.RunResult, Told]:
        """Run the one test of ``source``, and return the result with what was told of it."""
        result, (told,) = self.run(source, *args, watched=watched, conftest=conftest)
        return result, told


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return an inner project that has only the plugins which a test asks for."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Project(pytester)


def assert_same_before_and_after(told: Told) -> None:
    assert told.after_each == [told.before] * RUNS
    assert told.after == told.before


PASSED = ["passed"] * RUNS

# ------------------------------------------------------- what can be run again


def test_function_passes_again_and_is_reported_once(project: Project) -> None:
    result, told = project.run_one("def test_it(): pass")
    assert told.outcomes == PASSED
    assert told.reasons == [None] * RUNS
    result.assert_outcomes(passed=1)


def test_each_parametrized_case_runs_again_with_its_own_parameter(project: Project) -> None:
    _, told = project.run(
        """
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        @pytest.mark.parametrize("word", ["a"], scope="module")
        def test_it(request, number, word):
            assert request.node.name == f"test_it[{word}-{number}]"
        """
    )
    assert [each.outcomes for each in told] == [PASSED, PASSED]


def test_what_the_collector_calls_is_called_in_re_runs_and_what_they_add_is_dropped(project: Project) -> None:
    """Between them it works for us: a thousand callbacks, each of which raised, were called in our stead."""
    _, told = project.run_one(
        """
        import gc

        calls = []
        gc.callbacks.append(lambda phase, info: calls.append(phase))

        def test_adds_a_callback():
            before = len(calls)
            gc.collect()
            assert len(calls) == before + 2
            gc.callbacks.append(lambda phase, info: None)
        """,
        watched="len(__import__('gc').callbacks)",
    )
    assert set(told.outcomes) == {"passed"}
    assert set(told.after_each) == {0}
    assert told.after == told.before


def test_method_gets_a_new_instance_in_each_re_run(project: Project) -> None:
    _, told = project.run_one(
        """
        class TestIt:
            def setup_method(self):
                self.prepared = True

            def test_it(self, request):
                assert self.prepared
                assert request.instance is self
                assert not hasattr(self, "seen")
                self.seen = True
        """
    )
    assert told.outcomes == PASSED


def test_instance_of_the_last_re_run_is_not_kept(project: Project) -> None:
    _, told = project.run_one(
        """
        import gc

        alive = []

        class TestIt:
            def test_it(self):
                alive.append(len([each for each in gc.get_objects() if type(each) is TestIt]))
                # The own run's stays on the item; the last re-run's would be one more each time.
                assert alive[-1] <= alive[0] + 1
        """
    )
    assert told.outcomes == PASSED


def test_static_method_and_class_method_run_again(project: Project) -> None:
    _, told = project.run(
        """
        class TestIt:
            @staticmethod
            def test_static():
                pass

            @classmethod
            def test_class(cls):
                assert cls is TestIt
        """
    )
    assert [each.outcomes for each in told] == [PASSED, PASSED]


def test_what_a_plugin_put_in_the_place_of_a_method_stays(project: Project) -> None:
    _, told = project.run_one(
        "class TestIt:\n    def test_it(self): raise AssertionError('not to be called')",
        conftest="def pytest_collection_modifyitems(items): items[0].obj = lambda: None",
    )
    assert told.outcomes == PASSED


def test_unittest_case_is_set_up_and_torn_down_in_each_re_run(project: Project) -> None:
    _, told = project.run_one(
        """
        import unittest

        events = []

        class TestIt(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                events.append("class")

            def setUp(self):
                events.append("up")

            def test_it(self):
                assert events[0] == "class"
                assert events.count("class") == 1
                assert events.count("up") == events.count("down") + 1

            def tearDown(self):
                events.append("down")
        """
    )
    assert told.outcomes == PASSED


def test_doctests_of_a_module_see_its_names_again(project: Project) -> None:
    project.pytester.makepyfile(
        documented="""
        '''The module's.

        >>> double(LIMIT)
        8
        '''
        LIMIT = 4

        def double(number):
            '''
            >>> LIMIT = double(3)
            >>> LIMIT
            6
            '''
            return 2 * number
        """
    )
    _, told = project.run("", "--doctest-modules", "documented.py")
    assert [each.outcomes for each in told] == [PASSED, PASSED]


def test_doctest_in_a_text_file_runs_again(project: Project) -> None:
    project.pytester.maketxtfile(test_words=">>> word = 'a' * 3\n>>> word\n'aaa'\n>>> __name__\n'__main__'")
    _, told = project.run_one("", "test_words.txt")
    assert told.outcomes == PASSED


def test_fixtures_above_the_function_are_set_up_once(project: Project) -> None:
    _, told = project.run(
        """
        import pytest

        events = []

        def make(scope):
            @pytest.fixture(scope=scope, name=scope)
            def fixture():
                events.append(f"+{scope}")
                yield
                events.append(f"-{scope}")
            return fixture

        for_session, for_package, for_module, for_class = map(make, ["session", "package", "module", "class"])
        for_function = make("function")

        class TestIt:
            def test_first(self, session, package, module, request, function):
                request.getfixturevalue("class")
                assert events[:5] == ["+session", "+package", "+module", "+function", "+class"]
                assert set(events[5:]) <= {"+function", "-function"}

        class TestNext:
            def test_next(self):
                assert events.count("-class") == 1
                assert "-module" not in events
        """
    )
    assert [each.outcomes for each in told] == [PASSED, PASSED]


def test_async_test_of_pytest_asyncio_runs_again(project: Project) -> None:
    _, told = project.run(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio
        async def test_it(tmp_path):
            await asyncio.sleep(0)

        class TestIt:
            @pytest.mark.asyncio
            async def test_method(self):
                await asyncio.sleep(0)
        """,
        "-p",
        "asyncio",
        "-W",
        "ignore::pytest.PytestDeprecationWarning",
    )
    assert [each.outcomes for each in told] == [PASSED, PASSED]


def test_hypothesis_test_runs_again(project: Project) -> None:
    _, told = project.run_one(
        """
        from hypothesis import given, settings, strategies as st

        @settings(max_examples=5, database=None)
        @given(number=st.integers())
        def test_it(number):
            assert number == number
        """
    )
    assert told.outcomes == PASSED


def test_hypothesis_method_runs_again_on_another_instance(project: Project) -> None:
    """It fails a health check of hypothesis' where a method runs on two; that is put back afterwards."""
    _, told = project.run_one(
        """
        from hypothesis import HealthCheck, given, settings, strategies as st

        class TestIt:
            @settings(max_examples=5, database=None)
            @given(number=st.integers())
            def test_it(self, number):
                assert number == number

        def is_checked():
            used = TestIt.test_it._hypothesis_internal_use_settings
            return HealthCheck.differing_executors not in used.suppress_health_check
        """,
        watched="item.module.is_checked()",
    )
    assert told.outcomes == PASSED
    assert (told.before, told.after) == (True, True)


# ------------------------------------------------------------ how a re-run ends


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("raise ValueError('first\\nsecond')", "failed", "call: ValueError: first"),
        ("raise SystemExit(3)", "failed", "call: SystemExit: 3"),
        ("raise Mute", "failed", "call: Mute: (its message can't be read)"),
        ("pytest.skip('not now')", "skipped", "call: Skipped: not now"),
        ("pytest.xfail('known')", "skipped", "call: XFailed: known"),
        ("raise unittest.SkipTest('later')", "skipped", "call: SkipTest: later"),
    ],
)
def test_outcome_of_a_re_run_is_what_its_report_would_say(
    project: Project, body: str, outcome: str, reason: str
) -> None:
    result, told = project.run_one(
        f"""
        import pytest
        import unittest

        class Mute(Exception):
            def __str__(self):
                raise RuntimeError

        def test_it(run_number):
            if run_number > 1:
                {body}
        """
    )
    assert told.outcomes == [outcome] * RUNS
    assert told.reasons == [reason] * RUNS
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("phase", ["setup", "teardown"])
def test_error_in_a_fixture_is_a_failed_re_run_and_no_error_of_the_session(
    project: Project, phase: str
) -> None:
    result, told = project.run_one(
        f"""
        import pytest

        @pytest.fixture
        def fragile(run_number):
            assert run_number == 1 or "{phase}" != "setup"
            yield
            assert run_number == 1 or "{phase}" != "teardown"

        def test_it(fragile):
            pass
        """
    )
    assert told.outcomes == ["failed"] * RUNS
    assert str(told.reasons[0]).startswith(f"{phase}: AssertionError: ")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("mark", "body", "outcome"),
    [
        ("xfail", "assert False", "skipped"),
        ("xfail(raises=ValueError)", "raise ValueError", "skipped"),
        ("xfail(raises=ValueError)", "raise KeyError", "failed"),
        ("xfail(strict=False)", "pass", "passed"),
        ("xfail(strict=True)", "pass", "failed"),
    ],
)
def test_marks_that_expect_failure_hold_in_re_runs(
    project: Project, mark: str, body: str, outcome: str
) -> None:
    _, told = project.run_one(f"import pytest\n\n@pytest.mark.{mark}\ndef test_it(): {body}")
    assert told.outcomes == [outcome] * RUNS


def test_unittest_failure_in_a_re_run_is_told_and_forgotten(project: Project) -> None:
    result, told = project.run_one(
        """
        import unittest

        runs = []

        class TestIt(unittest.TestCase):
            def test_it(self):
                runs.append(1)
                self.assertEqual(len(runs) % 2, 1)
        """,
        watched="len(item._excinfo or [])",
    )
    assert told.outcomes == ["failed", "passed", "failed"]
    assert_same_before_and_after(told)
    result.assert_outcomes(passed=1)


def test_expected_failure_of_unittest_is_expected_again(project: Project) -> None:
    _, told = project.run_one(
        """
        import unittest

        class TestIt(unittest.TestCase):
            @unittest.expectedFailure
            def test_it(self):
                self.fail()
        """
    )
    assert told.outcomes == ["skipped"] * RUNS


def test_keyboard_interrupt_in_a_re_run_ends_the_session(project: Project) -> None:
    project.pytester.makeconftest(DRIVER.replace("WATCHED", "None").replace("RUNS", "1"))
    project.pytester.makepyfile(
        """
        def test_it(run_number):
            if run_number > 1:
                raise KeyboardInterrupt
        """
    )
    result = project.pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])


@pytest.mark.parametrize("body", ["pytest.xfail('known')", "assert False"])
def test_runxfail_turns_expected_failures_into_failures_in_re_runs(project: Project, body: str) -> None:
    _, told = project.run_one(
        f"""
        import pytest

        @pytest.mark.xfail
        def test_it(run_number):
            if run_number > 1:
                {body}
        """,
        "--runxfail",
    )
    # pytest.xfail does nothing at all under --runxfail.
    assert told.outcomes == (PASSED if "xfail" in body else ["failed"] * RUNS)


# ------------------------------------------------------------- what is undone


def test_failed_re_run_stops_nothing_and_counts_as_nothing(project: Project) -> None:
    result, told = project.run(
        """
        def test_first(run_number, request):
            if run_number > 1:
                request.session.shouldstop = "a re-run said so"
                request.session.shouldfail = "a re-run said so"
                request.session.testsfailed += 1
                assert False

        def test_second():
            pass
        """,
        "-x",
        watched="[session.testsfailed, session.shouldstop, session.shouldfail]",
    )
    assert [each.outcomes for each in told] == [["failed"] * RUNS, PASSED]
    assert_same_before_and_after(told[0])
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("statement", "watched"),
    [
        ("request.node.add_marker('slow')", "[mark.name for mark in item.own_markers]"),
        ("request.node.add_marker(f'slow_{run_number}')", "list(item.keywords)"),
        ("request.node.extra_keyword_matches.add(f'{run_number}')", "sorted(item.extra_keyword_matches)"),
        ("record_property('run', run_number)", "item.user_properties"),
        ("print('seen')", "item._report_sections"),
        ("logging.warning('seen')", "item._report_sections"),
        ("request.node.stash[pytest.StashKey()] = 1", "len(item.stash)"),
        ("request.node.seen = run_number", "item.seen"),
        ("request.node.fixturenames.append('request')", "item.fixturenames"),
    ],
)
def test_what_a_run_leaves_on_the_item_is_taken_off(project: Project, statement: str, watched: str) -> None:
    _, told = project.run_one(
        f"""
        import logging
        import pytest

        def test_it(request, record_property, run_number):
            {statement}
        """,
        watched=watched,
    )
    assert told.outcomes == PASSED
    assert_same_before_and_after(told)


def test_request_and_arguments_are_gone_after_a_re_run(project: Project) -> None:
    _, told = project.run_one(
        "def test_it(tmp_path): pass", watched="[bool(item._request), item.funcargs is None]"
    )
    assert told.after_each == [[False, True]] * RUNS


def test_last_exception_of_a_re_run_is_not_kept(project: Project) -> None:
    _, told = project.run_one(
        "def test_it(run_number): assert run_number == 1",
        watched="[name for name in vars(sys) if name.startswith('last_')]",
    )
    assert told.outcomes == ["failed"] * RUNS
    assert_same_before_and_after(told)


def test_last_exception_of_another_test_is_still_there_after_re_runs(project: Project) -> None:
    _, told = project.run_one(
        "import sys\n\ndef test_it(): sys.last_value = ValueError()",
        watched="hasattr(sys, 'last_value')",
    )
    assert_same_before_and_after(told)
    assert told.before is True


def test_warnings_of_re_runs_are_not_reported(project: Project) -> None:
    result, told = project.run_one(
        """
        import warnings

        def test_it(run_number):
            warnings.warn(UserWarning(f"in run {run_number}"))
        """
    )
    assert told.outcomes == PASSED
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*in run 1*"])


def test_warning_filters_of_the_test_hold_in_re_runs(project: Project) -> None:
    _, told = project.run_one(
        """
        import warnings
        import pytest

        @pytest.mark.filterwarnings("error::UserWarning")
        def test_it():
            with pytest.raises(UserWarning):
                warnings.warn("as an error")
        """
    )
    assert told.outcomes == PASSED


FINALIZERS = (
    "[[len(each._finalizers) for name in ('base', 'middle')"
    " for each in item._fixtureinfo.name2fixturedefs[name]],"
    " [len(finalizers) for finalizers, _ in session._setupstate.stack.values()]]"
)


def test_finalizers_added_to_higher_scoped_fixtures_are_dropped(project: Project) -> None:
    _, told = project.run_one(
        """
        import pytest

        @pytest.fixture(scope="session")
        def base():
            pass

        @pytest.fixture(scope="module")
        def middle(base):
            pass

        @pytest.fixture
        def top(middle, request):
            request.getfixturevalue("base")

        def test_it(top, middle):
            pass
        """,
        watched=FINALIZERS,
    )
    assert told.outcomes == PASSED
    assert_same_before_and_after(told)


def test_finalizers_added_to_a_fixture_asked_for_by_name_are_dropped(project: Project) -> None:
    _, told = project.run_one(
        """
        import pytest

        @pytest.fixture(scope="session")
        def base():
            pass

        @pytest.fixture
        def top(base):
            pass

        def test_it(request):
            request.getfixturevalue("top")
            request.session.base = request._fixture_defs["base"]
        """,
        watched="len(session.base._finalizers)",
    )
    assert_same_before_and_after(told)


def test_finalizers_that_a_higher_scoped_fixture_asks_for_are_kept(project: Project) -> None:
    project.run_one(
        """
        import pytest
        from pathlib import Path

        @pytest.fixture(scope="session")
        def opened(request):
            def open_one():
                request.addfinalizer(lambda: Path("closed").open("a").write("x"))
            return open_one

        def test_it(opened):
            opened()
        """
    )
    assert (project.pytester.path / "closed").read_text() == "x" * (1 + RUNS)


def test_subtest_failing_in_a_re_run_is_told_and_never_reported(project: Project) -> None:
    result, told = project.run_one(
        """
        import unittest

        runs = []

        class TestIt(unittest.TestCase):
            def test_it(self):
                runs.append(1)
                with self.subTest("part"):
                    self.assertEqual(len(runs), 1)
        """,
        watched="heard",
        conftest="""
heard = []

def pytest_runtest_logreport(report):
    heard.append(report.outcome)

def pytest_exception_interact(node):
    heard.append("interact")
""",
    )
    assert told.outcomes == ["failed"] * RUNS
    assert_same_before_and_after(told)
    assert result.ret == pytest.ExitCode.OK


if hasattr(pytest, "Subtests"):  # since 9.0

    def test_failures_of_the_subtests_fixture_are_not_counted(project: Project) -> None:
        result, told = project.run_one(
            """
            def test_it(subtests, run_number):
                with subtests.test("part"):
                    assert run_number == 1
            """,
            watched="sum(config.stash[failed_subtests_key].values())",
            conftest="from _pytest.subtests import failed_subtests_key",
        )
        assert told.outcomes == ["failed"] * RUNS
        assert "call: a subtest failed" in told.reasons
        assert_same_before_and_after(told)
        assert result.ret == pytest.ExitCode.OK


def test_current_test_variable_is_gone_where_a_teardown_fails(project: Project) -> None:
    _, told = project.run_one(
        """
        import pytest

        @pytest.fixture
        def fragile(run_number):
            yield
            assert run_number == 1

        def test_it(fragile):
            pass
        """,
        watched="os.environ.get('PYTEST_CURRENT_TEST')",
    )
    assert told.outcomes == ["failed"] * RUNS
    assert_same_before_and_after(told)


def test_live_log_shows_the_own_run_only(project: Project) -> None:
    result, told = project.run_one(
        """
        import logging

        def test_it(caplog):
            logging.info("once upon a time")
            assert len(caplog.records) == 1
        """,
        "--log-cli-level=INFO",
        "--log-file=log.txt",
        "--log-file-level=INFO",
    )
    assert told.outcomes == PASSED
    assert result.stdout.str().count("once upon a time") == 1
    assert (project.pytester.path / "log.txt").read_text().count("once upon a time") == 1


def test_log_records_of_a_teardown_are_let_go(project: Project) -> None:
    _, told = project.run_one(
        """
        import logging
        import pytest

        @pytest.fixture
        def told_at_end():
            yield
            logging.warning("at the end")

        def test_it(told_at_end):
            pass
        """,
        watched="len(config.pluginmanager.get_plugin('logging-plugin').caplog_handler.records)",
    )
    assert told.after_each == [0] * RUNS


@pytest.mark.parametrize("policy", ["all", "failed", "none"])
@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="pathlib interns each name for ever there")
def test_temporary_directories_of_re_runs_are_new_and_removed(project: Project, policy: str) -> None:
    project.pytester.makeini(f"[pytest]\ntmp_path_retention_policy = {policy}")
    _, told = project.run_one(
        """
        paths = set()

        def test_it(tmp_path, tmp_path_factory):
            (tmp_path / "file").write_text("text")
            tmp_path_factory.mktemp("other", numbered=False)
            assert tmp_path not in paths
            paths.add(tmp_path)
        """,
        watched="[sorted(each.name for each in Path(config.option.basetemp).iterdir()),"
        " vars(config._tmp_path_factory).get('_next_number')]",
    )
    assert told.outcomes == PASSED
    assert told.after == told.before


def test_removed_directories_of_re_runs_do_not_pile_up_until_the_end(project: Project) -> None:
    _, told = project.run_one(
        "def test_it(tmp_path): (tmp_path / 'file').write_text('text')",
        watched="len(list(Path(config.option.basetemp).rglob('file')))",
    )
    assert_same_before_and_after(told)


def test_next_test_draws_the_random_numbers_it_would_have_drawn(project: Project) -> None:
    source = """
        import random

        random.seed(1)

        def test_first():
            random.random()

        def test_second():
            print("drawn:", random.random())
        """
    plain = project.pytester.makepyfile(test_plain=source)
    expected = project.pytester.runpytest("-s", plain).stdout
    (line,) = [line for line in expected.lines if "drawn:" in line]
    plain.unlink()
    result, _ = project.run(source, "-s")
    first = next(each for each in result.stdout.lines if "drawn:" in each)
    assert first.partition("drawn:")[2] == line.partition("drawn:")[2]


def test_next_test_finds_the_process_as_the_own_run_left_it(project: Project) -> None:
    _, (told,) = project.run(
        """
        import os
        import sys

        def test_it(run_number, tmp_path):
            os.getcwd()
            os.environ["COUNT"] = str(run_number)
            os.environ[f"RUN_{run_number}"] = "was here"
            os.environ.pop("GONE_IN_RE_RUNS" if run_number > 1 else "", None)
            sys.path = [*sys.path, "src"]
            os.chdir(tmp_path)
        """,
        watched="[dict(os.environ), sys.path, id(sys.path), str(Path.cwd())]",
        conftest="os.environ['GONE_IN_RE_RUNS'] = 'there'",
        in_process=False,
    )
    assert told.outcomes == PASSED
    assert told.after == told.before
    assert [directory for *_, directory in told.after_each] == [told.before[-1]] * RUNS
    # These are not put back between them: what grows there is to be seen growing.
    assert [environ["COUNT"] for environ, *_ in told.after_each] == ["2", "3", "4"]
    assert [path.count("src") for _, path, *_ in told.after_each] == [2, 3, 4]


def test_next_test_begins_where_the_directory_of_the_own_run_is_gone(project: Project) -> None:
    _, told = project.run(
        """
        import os

        def test_first(tmp_path):
            os.chdir(tmp_path)
            tmp_path.rmdir()

        def test_second():
            pass
        """,
        in_process=False,
    )
    assert [each.outcomes for each in told] == [PASSED, PASSED]


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are listed there")
@pytest.mark.parametrize("capture", ["no", "fd"])
def test_descriptors_are_as_before_after_re_runs(project: Project, capture: str) -> None:
    _, (told,) = project.run(
        """
        import sys
        import pytest

        def test_it(run_number):
            if run_number > 1:
                sys.stdout = None
                pytest.exit("in a re-run")
        """,
        f"--capture={capture}",
        watched="[[each, os.readlink(f'/proc/self/fd/{each}'), os.get_inheritable(int(each))]"
        " for each in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{each}')]",
        in_process=False,
    )
    assert told.outcomes == ["failed"] * RUNS
    assert told.after == told.before


def test_junit_entries_are_those_of_the_own_run(project: Project) -> None:
    result, told = project.run_one(
        """
        def test_it(record_testsuite_property, record_property, run_number, request):
            record_testsuite_property("run", run_number)
            record_property("own", run_number)
            from _pytest.junitxml import xml_key
            request.config.stash[xml_key].node_reporter(f"another {run_number}")
            request.config.stash[xml_key].node_reporter("another 1").add_property("p", "1")
        """,
        "--junitxml=junit.xml",
        "-o",
        "junit_family=xunit1",
        watched="[len(xml.global_properties), len(xml.node_reporters), len(xml.node_reporters_ordered),"
        " [len(each.properties) for each in xml.node_reporters.values()]]"
        " if (xml := config.stash[xml_key]) else None",
        conftest="from _pytest.junitxml import xml_key",
    )
    assert told.outcomes == PASSED
    assert_same_before_and_after(told)
    result.assert_outcomes(passed=1)


def test_exception_nobody_could_catch_does_not_reach_the_next_test(project: Project) -> None:
    result, told = project.run(
        """
        class Fragile:
            def __del__(self):
                raise ValueError("in a finalizer")

        def test_first(run_number):
            if run_number > 1:
                cycle = Fragile()
                cycle.itself = cycle

        def test_second():
            pass
        """,
        "-W",
        "error",
    )
    assert [each.outcomes for each in told] == [PASSED, PASSED]
    result.assert_outcomes(passed=2)
    assert "in a finalizer" not in result.stderr.str()


def test_exception_of_the_own_run_that_nobody_could_catch_is_still_told(project: Project) -> None:
    result, _ = project.run(
        """
        import gc
        import sys

        class Fragile:
            def __del__(self):
                raise ValueError("in a finalizer")

        def test_first(run_number):
            if run_number == 1:
                cycle = Fragile()
                cycle.itself = cycle

        def test_second():
            pass
        """,
        conftest="""
@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    if report.when == "teardown":
        gc.collect()
""",
        in_process=False,
    )
    assert "in a finalizer" in result.stdout.str() + result.stderr.str()


def test_each_re_run_has_the_whole_timeout_for_itself(project: Project) -> None:
    # The test uses up its time itself: what a slow one would leave of it is 20 s.
    _, told = project.run_one(
        """
        import signal

        def test_it():
            assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
            signal.setitimer(signal.ITIMER_REAL, 20)
        """,
        "-p",
        "timeout",
        "--timeout=60",
        "--timeout-method=signal",
        watched="signal.getitimer(signal.ITIMER_REAL)[0] > 50",
    )
    assert told.outcomes == PASSED
    assert told.before is False
    assert told.after is True


def test_timer_threads_of_pytest_timeout_are_all_stopped(project: Project) -> None:
    result, told = project.run_one(
        "def test_it(): pass",
        "-p",
        "timeout",
        "--timeout=60",
        "--timeout-method=thread",
        watched="[each.name for each in threading.enumerate() if 'pytest_timeout' in each.name]",
        conftest="""
import threading

def pytest_unconfigure():
    names = [each.name for each in threading.enumerate() if "pytest_timeout" in each.name]
    print("timers left:", len(names))
""",
    )
    assert told.outcomes == PASSED
    assert told.after_each == [[]] * RUNS
    assert len(told.after) == 1
    result.stdout.fnmatch_lines(["timers left: 0"])


def test_faulthandler_starts_its_clock_for_each_re_run(project: Project) -> None:
    _, told = project.run_one(
        "def test_it(): pass",
        "-o",
        "faulthandler_timeout=60",
        watched="''.join(clock)",
        conftest="""
import faulthandler

clock = []

@pytest.fixture(autouse=True, scope="session")
def fake_clock():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faulthandler, "dump_traceback_later", lambda *args, **kwargs: clock.append("+"))
        patch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: clock.append("-"))
        yield
""",
    )
    assert told.before == ""
    assert told.after == "+-" * (1 + RUNS)


def test_hooks_are_heard_again_when_the_re_runs_are_over(project: Project) -> None:
    _, told = project.run_one(
        "def test_it(): pass",
        watched="'gethookproxy' in vars(session)",
    )
    assert told.before is False
    assert told.after is False


# ------------------------------------------------------ what can't be run again


def test_item_is_refused_when_the_session_is_stopping(project: Project) -> None:
    _, told = project.run_one("def test_it(request): request.session.shouldstop = 'enough'")
    assert told.refused == "the session is stopping"
    assert told.outcomes == []


def test_item_that_was_skipped_before_its_module_was_set_up_is_refused(project: Project) -> None:
    _, told = project.run_one("import pytest\n\n@pytest.mark.skip\ndef test_it(): pass")
    assert told.refused == (
        "it is the last of all, and stood out only once the session's fixtures were torn down; "
        "--memalert-leaks=all looks at such a test in time"
    )


def test_item_is_refused_when_each_test_opens_the_debugger(project: Project) -> None:
    _, told = project.run_one(
        "def test_it(): pass", conftest="def pytest_runtest_teardown(item): item.config.option.trace = True"
    )
    assert told.refused == "each test opens the debugger (--trace)"


def test_item_is_refused_when_only_fixtures_are_set_up(project: Project) -> None:
    _, told = project.run_one("def test_it(): pass", "--setup-only")
    assert told.refused == "only fixtures are set up (--setup-only, --setup-plan)"


def test_benchmark_is_refused(project: Project) -> None:
    _, told = project.run_one(
        "def test_it(benchmark): benchmark.pedantic(lambda: None, rounds=1)",
        "-p",
        "benchmark",
    )
    assert told.refused == "pytest-benchmark would record its benchmark again"


def test_doctest_whose_module_is_gone_is_refused(project: Project) -> None:
    project.pytester.makepyfile(
        documented="""
        '''
        >>> import sys
        >>> del sys.modules["documented"]
        '''
        """
    )
    _, told = project.run_one("", "--doctest-modules", "documented.py")
    assert told.refused == "the module of its doctest is not imported any more"


# ----------------------------------------------------------- exact to the block

EXACT_DRIVER = """
import array
import gc
import sys

import pytest
from _pytest.runner import runtestprotocol
from pytest_memalert.plugin.rerun import Rerunner

clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    runtestprotocol(item, nextitem=item.parent)
    # The interpreter may settle once more in the second or third re-run: what counts is what goes on.
    blocks = array.array("q", [0] * 8)
    with Rerunner(item) as rerunner:
        for index in range(len(blocks)):
            gc.freeze()
            rerunner.run()
            gc.collect()
            gc.unfreeze()
            clear_caches()
            blocks[index] = sys.getallocatedblocks()
    item.session._setupstate.teardown_exact(nextitem)
    growth = [after - before for before, after in zip(blocks[3:], blocks[4:])]
    print("growth of", item.name, growth)
    return True
"""


def test_clean_tests_grow_by_no_block_and_a_leak_by_its_own(project: Project) -> None:
    project.pytester.makeconftest(EXACT_DRIVER)
    project.pytester.makepyfile(
        """
        import logging
        import unittest
        import warnings
        import pytest

        KEPT = [None] * 100

        @pytest.fixture(scope="module")
        def base():
            return object()

        @pytest.fixture
        def top(base, tmp_path):
            yield tmp_path

        def test_function():
            pass

        def test_busy(top, capsys, caplog, monkeypatch, record_property, request):
            print("words")
            logging.warning("words")
            warnings.warn("words")
            record_property("key", "value")
            request.node.add_marker("slow")
            monkeypatch.setenv("KEY", "value")
            with pytest.raises(ValueError, match="word"):
                raise ValueError("words")

        class TestMethod:
            def test_method(self):
                self.held = [object() for _ in range(10)]

        class TestCase(unittest.TestCase):
            def test_case(self):
                with self.subTest("part"):
                    self.held = [object() for _ in range(10)]

        def test_leaking():
            KEPT[KEPT.index(None)] = object()
        """
    )
    result = project.pytester.runpytest_subprocess("-s", "-p", "no:cacheprovider")
    clean = ["test_function", "test_busy", "test_method", "test_case"]
    # Python 3.10 allocates for each function that was called 1,024 times, pytest's own included.
    none, one = ("0", "1") if sys.version_info >= (3, 11) else ("[0-2]", "[1-3]")
    result.stdout.fnmatch_lines([f"*growth of {name} [[]{', '.join([none] * 4)}]" for name in clean])
    result.stdout.fnmatch_lines([f"*growth of test_leaking [[]{', '.join([one] * 4)}]"])
