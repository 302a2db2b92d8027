"""Leaks of tests, from pytest's command line to the alert: each kind found, no clean test accused."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert import find_leaks
from pytest_memalert.model import OUT_OF_TURN
from tests.conftest import FEW

if TYPE_CHECKING:
    from tests.conftest import Inner

FEW_RUNS = f"import pytest\npytestmark = pytest.mark.memalert(runs={FEW})\n"

LEAKING = (
    FEW_RUNS
    + """
import asyncio, ctypes, gc, os, threading

KEPT = []
COUNTS = [0]
LOOP = asyncio.new_event_loop()

class Cyclic:
    def __init__(self): self.me = self

@pytest.fixture
def leaks_in_setup(): KEPT.append(object())

@pytest.fixture
def leaks_in_teardown():
    yield
    KEPT.append(object())

@pytest.fixture(scope="class")
def of_class(): return []

@pytest.fixture(scope="module")
def of_module(): return {}

def test_in_setup(leaks_in_setup): pass
def test_in_teardown(leaks_in_teardown): pass
def test_16_bytes(): KEPT.append(object())
def test_1_mib(): KEPT.append(bytes(2**20))
def test_into_a_module_fixture(of_module): of_module[len(of_module)] = object()

class TestClass:
    def test_into_a_class_fixture(self, of_class): of_class.append(object())

@pytest.mark.parametrize("case", ["clean", "leaking"])
def test_case(case):
    if case == "leaking":
        KEPT.append(object())

@pytest.mark.memalert(runs=200)
def test_every_second_run():
    COUNTS[0] += 1
    if COUNTS[0] % 2:
        KEPT.append(object())

def test_thread_left(): threading.Thread(target=threading.Event().wait, daemon=True).start()
def test_garbage(): gc.garbage.append(Cyclic())

def test_incref_without_decref():
    ctypes.pythonapi.Py_IncRef(ctypes.py_object([]))

def test_task_left_pending():
    async def start():
        KEPT.append(asyncio.ensure_future(asyncio.Event().wait()))
        await asyncio.sleep(0)
    LOOP.run_until_complete(start())

def test_descriptor(): os.dup(1)
"""
)

CLEAN = """
import pytest
import functools, gc, logging, warnings

@functools.lru_cache(maxsize=8)
def cached(n): return [n]

@pytest.fixture(scope="module")
def of_module(): return []

def test_cached():
    for n in range(16):
        cached(n)

def test_cycle():
    cycle = []
    cycle.append(cycle)

def test_fixtures(tmp_path, monkeypatch, caplog, capsys, of_module):
    logging.getLogger().warning("noted")
    print("said")
    (tmp_path / "file").write_text("x")

def test_warns():
    warnings.warn("noted")

def test_inspects_the_collector():
    # Python 3.12 keeps objects that never die there: some hundred.
    assert gc.get_freeze_count() < 5000 and len(gc.get_objects()) > 1000
"""

#: Leak rules are on, as they are by default.
NO_RULES = "[tool.memalert]\nfail_on = 'never'\n"


def test_each_kind_of_leak_is_found(inner: Inner) -> None:
    """In set-up, in teardown, in one case of several, in a wider fixture; of any size, by any holder."""
    inner.pytester.makepyprojecttoml(NO_RULES)
    inner.write(LEAKING)
    # The descriptors that pytest's own capturing opens are no part of it.
    done = inner.run_apart("--capture=sys", leaks="all")
    verdicts = {name: test["leak"]["status"] for name, test in inner.tests().items()}
    assert verdicts.pop("test_case[clean]") == "clean"
    missed = {name: inner.tests()[name]["leak"] for name, verdict in verdicts.items() if verdict != "leaking"}
    assert not missed
    done.assert_outcomes(passed=len(inner.tests()), warnings=len(verdicts))
    for name in ("test_in_setup", "test_in_teardown", "test_16_bytes", "test_case[leaking]"):
        assert (inner.tests()[name]["leak"]["blocks_per_run"], name) == (1, name)
    size_bytes = inner.tests()["test_1_mib"]["leak"]["bytes_per_run"]
    assert size_bytes == pytest.approx(2**20, rel=0.01)
    (descriptor,) = [a for a in inner.report()["alerts"] if a["nodeids"][0].endswith("test_descriptor")]
    told = r"test_a\.py::test_descriptor: leaks 1 open descriptor (in each of|per run, over) [\d,]+ runs"
    assert re.fullmatch(told, descriptor["message"])
    assert inner.tests()["test_every_second_run"]["leak"]["blocks_per_run"] == pytest.approx(0.5, rel=0.1)


def test_clean_tests_are_not_accused(inner: Inner) -> None:
    """What pytest keeps of a run isn't theirs; what behaves otherwise while frozen is run unfrozen."""
    inner.pytester.makepyprojecttoml(NO_RULES)
    inner.write(CLEAN)
    inner.run_apart("-Wignore", leaks="all").assert_outcomes(passed=5)
    verdicts = {name: test["leak"]["status"] for name, test in inner.tests().items()}
    assert set(verdicts.values()) == {"clean"}, verdicts
    assert inner.report()["alerts"] == []


def test_class_scoped_fixture_of_a_test_in_no_class_is_the_tests_own(serial: Inner) -> None:
    """Each run sets it up anew, as pytest-django's is for each test: what we measure of it is no leak."""
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.write(
        """
import pytest

KEPT = []

@pytest.fixture(scope="class", autouse=True)
def of_class(request):
    if "leaking" in request.node.name:
        KEPT.append(object())
    yield

def test_clean(): pass

@pytest.mark.memalert(runs=40)
def test_leaking(): pass

class TestClass:
    def test_clean_in_class(self): pass
"""
    )
    serial.run_apart("-Wignore", leaks="all").assert_outcomes(passed=3)
    verdicts = {name: test["leak"]["status"] for name, test in serial.tests().items()}
    assert verdicts == {"test_clean": "clean", "test_leaking": "leaking", "test_clean_in_class": "clean"}
    assert [fixture["nodeid"] for fixture in serial.report()["fixtures"]] == ["test_a.py::TestClass"]


def test_arguments_of_a_kept_exception_are_no_missing_decref(serial: Inner) -> None:
    """What an exception was raised with is a tuple that the collector has no referrer of."""
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.write(
        FEW_RUNS
        + """
ERRORS = []

def test_error():
    try:
        int("x" * 3)
    except ValueError as error:
        ERRORS.append(error)
"""
    )
    serial.run(leaks="all")
    advice = [line for alert in serial.report()["alerts"] for line in alert["recommendations"]]
    assert "test_a.ERRORS" in " ".join(advice)
    assert "decref" not in " ".join(advice)


def test_default_finds_a_leak_of_300_blocks_and_runs_no_other_test_again(inner: Inner) -> None:
    """The first run's figures say who is suspect."""
    inner.pytester.makepyprojecttoml(NO_RULES)
    inner.write(
        FEW_RUNS
        + """
KEPT = []

@pytest.mark.parametrize("n", range(10))
def test_clean(n): pass

def test_leaking(): KEPT.append([object() for _ in range(300)])

def test_last(): pass
"""
    )
    inner.run_apart(leaks=None).assert_outcomes(passed=12, warnings=1)
    tests = inner.tests()
    assert tests.pop("test_leaking")["leak"]["status"] == "leaking"
    reruns = {test["leak"]["runs"] for test in tests.values()}
    # Until 3.10 the interpreter keeps 12 KB of its own in the first test of a process: a few runs dismiss it.
    assert reruns == {0} if sys.version_info >= (3, 11) else reruns <= {0, 2, 4}


def test_free_lists_that_a_check_has_emptied_make_no_suspects_of_later_tests(serial: Inner) -> None:
    """To fill them again takes as many blocks as a leak; one that comes beside it is found."""
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.write(
        """
        import pytest
        CACHE, KEPT = [], []
        def use_lists(): return [(n, n) for n in range(300)] + [[] for _ in range(80)]
        def test_fills_a_cache():  # for so long that nothing but an exact check can tell
            if len(CACHE) < 12:
                CACHE.append([object() for _ in range(2000)])
        @pytest.mark.parametrize("n", range(5))
        def test_clean(n):
            pass
        @pytest.mark.parametrize("n", range(5))
        def test_uses_them(n):
            use_lists()
        def test_leaking():
            use_lists()
            KEPT.append([object() for _ in range(300)])
        """
    )
    serial.run_apart(leaks=None)
    tests = serial.tests()
    assert tests.pop("test_fills_a_cache")["leak"]["runs"] > 0
    assert tests.pop("test_leaking")["leak"]["status"] == "leaking"
    if sys.version_info < (3, 11):  # which keeps 12 KB of its own in the first test or two
        tests = {name: test for name, test in tests.items() if "uses" in name}
    assert {name: test["leak"]["runs"] for name, test in tests.items()} == dict.fromkeys(tests, 0)


@pytest.mark.parametrize("limit", ["", '@pytest.mark.memalert(growth="1 MiB")'])
def test_suspect_that_leaves_nothing_again_costs_a_full_collection_only_under_a_limit_set_by_hand(
    serial: Inner, limit: str
) -> None:
    """After one the heap is collected too soon, and tests fill free lists. A limit asks for exact figures."""
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.write(
        f"""
        import gc, pytest
        CACHE, COUNTS = [], []
        def count():
            COUNTS.append(gc.get_stats()[2]["collections"])
        def test_first():  # after which what searches is loaded
            CACHE or CACHE.append([object() for _ in range(2000)])
        def test_before():
            count()
        {limit}
        def test_fills_a_cache():
            len(CACHE) > 1 or CACHE.append([object() for _ in range(2000)])
        def test_after():
            count()
            assert (COUNTS[0] == COUNTS[-1]) == {not limit}
        """
    )
    serial.run_apart(leaks=None).assert_outcomes(passed=4)
    leak = serial.tests()["test_fills_a_cache"]["leak"]
    assert leak["status"] != "unchecked"
    assert leak["runs"] == 2


def test_a_suspect_that_grew_again_says_so_where_there_is_no_time_to_follow_it(serial: Inner) -> None:
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.pytester.makeconftest(
        """
        from pytest_memalert.plugin.leak_checks import purses

        purses._DOUBT_S, purses._DOUBT_SHARE = -1.0, 0.0
        """
    )
    serial.write(
        """
        KEPT, CACHE = [], []
        def test_once():
            CACHE or CACHE.append([object() for _ in range(2000)])
        def test_growing():
            KEPT.append([object() for _ in range(2000)])
        """
    )
    done = serial.run_apart(leaks=None)
    leaks = {name: test["leak"] for name, test in serial.tests().items()}
    assert leaks["test_once"]["status"] != "unchecked"
    assert leaks["test_growing"]["status"] == "unchecked"
    assert leaks["test_growing"]["runs"] == 2
    told = "a suspect that grew again, but suspects that grew for a while took"
    assert leaks["test_growing"]["reason"].startswith(told)
    done.stdout.fnmatch_lines(["memalert: *1 suspect unchecked (test_growing)*"])


def test_what_a_wider_fixture_fills_free_lists_with_hides_no_leak_of_its_first_test(serial: Inner) -> None:
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.write(
        """
        import pytest
        CACHE, KEPT = [], []
        def test_fills_a_cache():  # for so long that nothing but an exact check can tell
            if len(CACHE) < 12:
                CACHE.append([object() for _ in range(2000)])
        class TestWithFixture:
            @pytest.fixture(scope="class")
            def uses_lists(self):
                [(n, n) for n in range(600)] + [[] for _ in range(80)]
            def test_leaking(self, uses_lists):
                KEPT.append([object() for _ in range(300)])
            def test_other(self): pass
        """
    )
    serial.run_apart(leaks=None)
    assert serial.tests()["test_leaking"]["leak"]["status"] == "leaking"


def test_tests_that_there_is_no_time_to_run_for_long_are_told_as_checked_briefly(serial: Inner) -> None:
    serial.write(
        """
        import pytest
        from pytest_memalert.plugin.leak_checks import purses

        purses._LOOKING_S = 0.0

        @pytest.mark.parametrize("number", range(3))
        def test_clean(number): pass

        @pytest.mark.memalert(leaks="all")
        def test_clean_by_name(): pass
        """
    )
    done = serial.run_apart(leaks="all")
    leaks = {name: test["leak"] for name, test in serial.tests().items()}
    assert {leak["status"] for leak in leaks.values()} == {"clean"}
    assert [name for name, leak in leaks.items() if leak["brief"]] == ["test_clean[1]", "test_clean[2]"]
    done.stdout.fnmatch_lines(["memalert: 4 tests measured, *, 2 checked briefly, added *"])


def test_slow_suspects_leave_quick_ones_their_time(serial: Inner) -> None:
    """How many suspects were left unchecked is told."""
    serial.write(
        """
        import pytest, time

        KEPT = []

        @pytest.mark.parametrize("number", range(3))
        def test_slow(number):
            until_s = time.process_time() + 0.25
            while time.process_time() < until_s:
                pass
            if len(KEPT) <= number:
                KEPT.append([object() for _ in range(1000)])

        def test_leaking():
            KEPT.append([object() for _ in range(300)])
        """
    )
    done = serial.run(leaks="suspects")
    leaks = {name: test["leak"]["status"] for name, test in serial.tests().items()}
    assert leaks.pop("test_slow[0]") != "unchecked"
    assert leaks == {"test_slow[1]": "unchecked", "test_slow[2]": "unchecked", "test_leaking": "leaking"}
    done.stdout.fnmatch_lines(
        ["memalert: 4 tests measured, *, 2 suspects unchecked (test_slow*1*, test_slow*2*), added *"]
    )


def test_runs_that_explain_a_leak_are_counted_as_re_runs(serial: Inner) -> None:
    """Whatever a test does, it does as often as is told, and once for itself."""
    serial.write(
        FEW_RUNS
        + """
KEPT = []

def test_leaking():
    KEPT.append([object() for _ in range(300)])
    with open("times", "a") as file:
        file.write("x")
"""
    )
    serial.run(leaks="suspects")
    times = len((serial.pytester.path / "times").read_text())
    assert serial.report()["totals"]["reruns"] == times - 1 > serial.tests()["test_leaking"]["leak"]["runs"]


def test_memo_that_fills_leaves_a_large_leak_its_time(serial: Inner) -> None:
    """A hunt under way isn't ended by its share: the memo takes some hundred runs of 10 ms."""
    serial.write(
        """
        import pytest, time

        MEMO, KEPT, RUNS = {}, [], []

        def test_memo():
            RUNS.append(1)
            MEMO.setdefault(len(RUNS) % 100, bytes(20_000))
            until_s = time.process_time() + 0.01
            while time.process_time() < until_s:
                pass

        @pytest.mark.memalert(runs=40)
        def test_leaking():
            KEPT.append(bytes(1_000_000))
        """
    )
    serial.run(leaks="suspects")
    assert serial.tests()["test_leaking"]["leak"]["status"] == "leaking"


@pytest.mark.parametrize(("finding_s", "pursuit_s"), [(0.0, 0.5), (0.05, 0.0)])
def test_leaks_found_by_default_take_no_more_than_their_share(
    serial: Inner, finding_s: float, pursuit_s: float
) -> None:
    """After the first, which took more than all may here, further suspects say why they weren't checked.

    So it is where small leaks are pursued as well, which has a purse of its own.
    """
    serial.pytester.makeconftest(
        f"""
        from pytest_memalert.plugin.leak_checks import purses

        purses._PURSUIT_COST_S = {pursuit_s}
        purses._FINDING_S = {finding_s}
        purses._FINDING_SHARE = 0.0
        """
    )
    serial.write(
        FEW_RUNS
        + """
KEPT = []
def test_first(): KEPT.append([[] for _ in range(500)])
def test_like_the_first(): KEPT.append([[] for _ in range(500)])
def test_second(): KEPT.append([{} for _ in range(500)])
"""
    )
    serial.run_apart(leaks="suspects")
    leaks = {name: test["leak"] for name, test in serial.tests().items()}
    assert leaks["test_first"]["status"] == "leaking"
    assert leaks["test_second"]["status"] == "unchecked"
    assert "the leaks found before took" in leaks["test_second"]["reason"]


def test_test_that_looks_for_leaks_itself_is_not_searched_by_its_own_search(serial: Inner) -> None:
    """Each of our runs would take thousands of its own; what that search leaves would be the test's leak."""
    serial.write(
        """
        CALLS, KEPT = [0], {}

        def leak():
            CALLS[0] += 1
            KEPT[len(KEPT)] = [bytearray(1000) for _ in range(5)]

        def test_searching(memalert):
            memalert.find_leaks(leak, runs=40)
            KEPT.clear()
            with open("calls", "a") as file:
                file.write(f"{CALLS[0]} ")
        """
    )
    serial.run_apart(leaks="all").assert_outcomes(passed=1)
    assert serial.tests()["test_searching"]["leak"]["status"] in ("clean", "unclear")
    first, *others = map(int, (serial.pytester.path / "calls").read_text().split())
    assert others == list(range(first + 1, first + 1 + serial.report()["totals"]["reruns"]))


def test_session_within_a_search_does_not_search(serial: Inner) -> None:
    """Each run of a test that runs pytest in this process would take a thousand runs of that one's tests."""
    serial.write(
        """
        def test_a():
            with open("runs.txt", "a") as file:
                file.write("x")
        """
    )
    sessions: list[object] = []

    def run_session() -> None:
        sessions.append(serial.run(leaks="all").ret)

    find_leaks(run_session, runs=2)
    assert (serial.pytester.path / "runs.txt").read_text() == "x" * len(sessions)
    leak = serial.tests()["test_a"]["leak"]
    assert (leak["status"], leak["runs"]) == ("unclear", 0)
    assert leak["reason"] == "another search for leaks is under way in this process"
    serial.run(leaks="all")
    assert serial.tests()["test_a"]["leak"]["status"] == "clean"


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted there")
def test_thread_that_ends_by_itself_is_no_leak(serial: Inner) -> None:
    """Runs follow one another faster than that: for a second there are ever more of them."""
    serial.write(
        """
        import threading

        def test_saves_later():
            timer = threading.Timer(0.8, print)
            timer.daemon = True
            timer.start()
        """
    )
    serial.run_apart(leaks="suspects").assert_outcomes(passed=1)
    leak = serial.tests()["test_saves_later"]["leak"]
    assert leak["status"] == "unclear"
    assert leak["reason"] == "the threads that it leaves running end by themselves later"


def test_growth_of_another_thread_is_no_leak_of_a_slow_test(serial: Inner) -> None:
    serial.write(
        """
        import collections, pytest, threading, time

        @pytest.fixture(scope="session", autouse=True)
        def sampler():
            ring, stop = collections.deque(maxlen=100_000), threading.Event()

            def sample():
                while not stop.wait(0.001):
                    ring.append((time.time(), object()))

            thread = threading.Thread(target=sample, daemon=True)
            thread.start()
            yield
            stop.set()
            thread.join()

        @pytest.mark.memalert(leaks="all", runs=12)
        def test_waiting():
            time.sleep(0.05)
        """
    )
    serial.run_apart(leaks="suspects").assert_outcomes(passed=1)
    leak = serial.tests()["test_waiting"]["leak"]
    assert (leak["status"], leak["reason"]) == (
        "unclear",
        "other threads leave as much behind while it is not run",
    )


def test_leak_after_a_cache_that_filled_for_long_is_found(serial: Inner) -> None:
    """What the cache took is charged to others than the next suspect."""
    serial.write(
        """
        import functools, itertools

        numbers, LEAKED = itertools.count(1), []

        @functools.lru_cache(maxsize=600)
        def page(number):
            return [[number] for _ in range(300)]

        def test_cache():
            page(next(numbers))

        def test_leaking():
            LEAKED.append([[] for _ in range(1000)])
        """
    )
    serial.run_apart(leaks="suspects")
    statuses = {name: test["leak"]["status"] for name, test in serial.tests().items()}
    assert statuses == {"test_cache": "clean", "test_leaking": "leaking"}


@pytest.mark.parametrize(
    ("leak", "size_bytes"),
    [
        # Beside a last result of another size each time; in every second run.
        (
            "KEPT.extend(bytes(40) for _ in range(400)); LAST[0] = [{} for _ in range(DICE.randrange(3000))]",
            400 * 81,
        ),
        ("KEPT.append(bytes(15_360)); LAST[0] = bytes(DICE.randrange(60_000))", 15_401),
        ("RUNS.append(1); KEPT.extend([bytes(40) for _ in range(2000)] if len(RUNS) % 2 else ())", 1000 * 81),
    ],
)
def test_leak_of_a_suspect_is_found_beside_noise(serial: Inner, leak: str, size_bytes: int) -> None:
    """And its size, though explaining it has taken long."""
    serial.write(
        f"""
        import random

        KEPT, LAST, RUNS, DICE = [], {{}}, [], random.Random(1)

        def test_leaking():
            {leak}
        """
    )
    serial.run_apart(leaks="suspects")
    found = serial.tests()["test_leaking"]["leak"]
    assert found["status"] == "leaking"
    assert found["bytes_per_run"] == pytest.approx(size_bytes, rel=0.1)


def test_one_leak_in_several_tests_is_one_alert(serial: Inner) -> None:
    """It lists them, and says where it was made, what holds it, and what to do."""
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.write(
        FEW_RUNS
        + """
class Order: pass

ORDERS = []

def place(): ORDERS.append(Order())

def test_one(): place()
def test_two(): place()
def test_other(): pass
"""
    )
    done = serial.run_apart(leaks="all")
    (alert,) = [alert for alert in serial.report()["alerts"] if alert["inhibited_by"] is None]
    assert alert["nodeids"] == ["test_a.py::test_one", "test_a.py::test_two"]
    (survivor,) = alert["survivors"]
    assert (survivor["type"], survivor["count"]) == ("test_a.Order", 1)
    assert survivor["allocated_at"][0].endswith("in place")
    assert survivor["held_by"][0] == "module test_a"
    done.stdout.fnmatch_lines(["*bound or clear `test_a.ORDERS` (list)*"])


def test_leak_that_a_marker_allows_is_allowed_at_any_pace(serial: Inner) -> None:
    """A limit on growth allows as much, and leaves the leak a warning."""
    serial.pytester.makepyprojecttoml("")
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.mark.memalert(leak="10 MiB")
        def test_meant():
            KEPT.append(b"x" * 2**20)

        @pytest.mark.memalert(growth="10 MiB")
        def test_not_meant():
            KEPT.append(b"x" * 3 * 2**20)
        """
    )
    serial.run_apart(leaks=None).assert_outcomes(passed=2, warnings=1)
    (alert,) = [alert for alert in serial.report()["alerts"] if alert["inhibited_by"] is None]
    assert (alert["nodeids"], alert["rule"]) == (["test_a.py::test_not_meant"], "leak")


def test_marker_opts_a_test_out(inner: Inner) -> None:
    """It is never run again, even where all others are."""
    inner.write(
        """
        import pytest

        RUNS = []

        @pytest.mark.memalert(leaks="off", reason="writes rows")
        def test_once():
            RUNS.append(1)
            assert len(RUNS) == 1

        def test_it_ran_once():
            assert len(RUNS) <= 1
        """
    )
    done = inner.run("--dist=loadfile" if inner.distributed else "-v", "-v", leaks="all")
    done.assert_outcomes(passed=2)
    leak = inner.tests()["test_once"]["leak"]
    assert (leak["status"], leak["reason"]) == ("unchecked", "its marker opts out: writes rows")
    done.stdout.fnmatch_lines(["  test_a.py::test_once: unchecked: its marker opts out: writes rows"])
    done.stdout.no_fnmatch_line("memalert: *unchecked*")


def test_tests_that_do_not_pass_are_not_run_again(serial: Inner) -> None:
    """Nor is one that is skipped, or expected to fail."""
    serial.write(
        """
        import pytest

        RUNS = []

        def test_failing():
            RUNS.append("failing")
            assert RUNS.count("failing") > 1

        def test_skipping():
            RUNS.append("skipping")
            if RUNS.count("skipping") == 1:
                pytest.skip("not now")

        @pytest.mark.xfail
        def test_xfailing():
            RUNS.append("xfailing")
            assert RUNS.count("xfailing") > 1
        """
    )
    done = serial.run(leaks="all")
    done.assert_outcomes(failed=1, skipped=1, xfailed=1)
    assert serial.report()["totals"]["reruns"] == 0


def test_rerun_that_ends_otherwise_is_unclear_and_changes_nothing(inner: Inner) -> None:
    """The test passed, the session goes on; the reason is in the report."""
    inner.write(
        """
        import pytest

        RUNS = []

        def is_run_again(name):
            RUNS.append(name)
            return RUNS.count(name) > 1

        def test_fails():
            assert not is_run_again("fails")

        def test_skips():
            if is_run_again("skips"):
                pytest.skip("used up")

        def test_exits():
            if is_run_again("exits"):
                pytest.exit("enough")

        def test_after(): pass
        """
    )
    done = inner.run(leaks="all")
    done.assert_outcomes(passed=4, warnings=0)
    assert done.ret == pytest.ExitCode.OK
    for name, told in (
        ("test_fails", "call: AssertionError"),
        ("test_skips", "call: Skipped: used up"),
        ("test_exits", "call: Exit: enough"),
    ):
        leak = inner.tests()[name]["leak"]
        assert leak["status"] == "unclear"
        assert told in leak["reason"]


def test_interrupt_in_a_rerun_keeps_the_tests_own_outcome(serial: Inner) -> None:
    """Ctrl-C while a test is repeated: it passed, and that is reported, with all before it.

    Its fixtures are torn down while what they left on the item is there (caplog's handlers).
    """
    serial.write(
        """
        import pytest

        RUNS = []

        @pytest.fixture(autouse=True)
        def levels(caplog):
            caplog.set_level(10)
            yield

        def test_before(): pass

        def test_interrupted():
            RUNS.append(1)
            if len(RUNS) == 5:
                raise KeyboardInterrupt

        def test_never(): pass
        """
    )
    done = serial.run_apart(leaks="all")
    done.assert_outcomes(passed=2)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in done.stderr.str()
    tests = serial.tests()
    assert set(tests) == {"test_before", "test_interrupted"}
    leak = tests["test_interrupted"]["leak"]
    assert (leak["status"], leak["reason"]) == ("unchecked", "its check did not come to an end")


def test_thread_that_a_test_leaves_running_is_found_by_default(serial: Inner) -> None:
    """It takes few blocks; a pool that is started once is no leak, nor a thread that is about to end."""
    serial.write(
        """
        import threading
        from concurrent.futures import ThreadPoolExecutor

        POOL = ThreadPoolExecutor(2)

        def test_pool():
            POOL.submit(len, "").result()

        def test_ending():
            threading.Thread(target=threading.Event().wait, args=(0.0001,)).start()

        def test_left():
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        """
    )
    serial.run_apart(leaks=None)
    found = {name: test["leak"]["status"] for name, test in serial.tests().items()}
    assert found.pop("test_ending") != "leaking"
    assert found == {"test_pool": "clean", "test_left": "leaking"}


def test_thread_that_ends_late_does_not_hide_one_that_the_next_test_leaves(serial: Inner) -> None:
    serial.write(
        """
        import threading
        import time

        ONCE = []

        def test_suspect():  # what checks it takes a while to load
            if not ONCE:
                ONCE.extend([number] for number in range(500))

        def test_ending():
            threading.Thread(target=threading.Event().wait, args=(0.008,)).start()

        def test_left():
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            time.sleep(0.02)
        """
    )
    serial.run_apart("-p", "no:randomly", leaks=None)
    assert serial.tests()["test_ending"]["leak"]["status"] != "leaking"
    assert serial.tests()["test_left"]["leak"]["status"] == "leaking"


def test_what_died_old_does_not_pile_up_where_every_test_is_checked(serial: Inner) -> None:
    """Each collection of what isn't frozen put off the one of everything: it never came."""
    serial.write(
        """
        import gc
        import weakref

        import pytest

        class Node:
            pass

        ALIVE = weakref.WeakSet()

        @pytest.mark.parametrize("number", range(60))
        def test_ring(number):
            nodes = [Node() for _ in range(2000)]
            for node in nodes:
                node.ring = nodes
            ALIVE.add(nodes[0])
            gc.collect(1)

        def test_last():
            assert len(ALIVE) < 30
        """
    )
    serial.run_apart("-p", "no:randomly", leaks="all").assert_outcomes(passed=61)


def test_budget_gives_every_test_its_turn_over_several_sessions(serial: Inner) -> None:
    """Never checked goes first; what was checked is remembered in pytest's cache."""
    serial.write(
        """
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_it(n):
            sum(range(20_000))
        """
    )
    sessions: list[list[str]] = []
    while len(sessions) < 6 and len({name for names in sessions for name in names}) < 3:
        serial.run_apart("--memalert-budget=10ms", leaks="all")
        sessions.append([name for name, test in serial.tests().items() if test["leak"]["runs"]])
    assert len(sessions) > 1
    checked = [name for names in sessions for name in names]
    assert checked == ["test_it[0]", "test_it[1]", "test_it[2]"]


def test_exception_that_a_test_is_parametrized_with_is_no_leak(serial: Inner) -> None:
    """It keeps the traceback of each run, and a session raises it once."""
    serial.pytester.makepyprojecttoml("")
    serial.write(
        FEW_RUNS
        + """
class Refused(Exception): pass

@pytest.mark.parametrize("error", [Refused("no"), OSError(2, "no")])
def test_it(error):
    with pytest.raises(type(error)):
        raise error
"""
    )
    serial.run_apart(leaks="all").assert_outcomes(passed=2)
    assert {test["leak"]["status"] for test in serial.tests().values()} == {"unclear"}


def test_suspect_out_of_turn_is_checked_with_what_is_left_of_a_budget(serial: Inner) -> None:
    """The turns of tests before it used all of the budget up, and nothing was said of it."""
    serial.write(
        """
        import pytest, time

        KEPT = []

        @pytest.mark.parametrize("n", range(200))
        def test_it(n):
            time.sleep(0.004)

        def test_leaks(): KEPT.append(bytearray(2**20))
        """,
        # What is left for suspects is much more than the last turn can take beyond its share.
        conftest="""
        from pytest_memalert.leaks import turns
        from pytest_memalert.plugin.judging import judge as judging

        turns.SHARE_OF_TURNS = judging.SHARE_OF_TURNS = 0.05
        """,
    )
    done = serial.run_apart("--memalert-budget=10s", leaks="all")
    assert serial.tests()["test_leaks"]["leak"]["status"] == "leaking"
    waiting = [test for test in serial.tests().values() if test["leak"]["status"] == "unchecked"]
    assert len(waiting) > 20
    assert {test["leak"]["reason"] for test in waiting} == {OUT_OF_TURN}
    told = " ".join(done.outlines)
    assert f"{len(waiting)} not checked until it is their turn" in re.sub(r"\s+", " ", told)


def test_leaks_in_most_tests_do_not_become_what_is_normal(inner: Inner) -> None:
    """What a leaking test retains isn't learnt from; a leak of bytes alone is recognized in the next one."""
    inner.pytester.makepyprojecttoml("")
    inner.write(
        """
        import pytest

        KEPT = []

        @pytest.fixture(autouse=True)
        def client():
            KEPT.append(bytearray(16 * 1024))

        @pytest.mark.parametrize("n", range(20))
        def test_it(n): pass

        def test_another(): KEPT.append([object() for _ in range(400)])
        """
    )
    done = inner.run_apart(leaks=None)
    done.assert_outcomes(failed=21)
    report = inner.report()
    assert {test["leak"]["status"] for test in report["tests"]} == {"leaking"}
    # The first is followed to the end, in each process; the others are recognized.
    followed = [test for test in report["tests"] if test["leak"]["runs"] > 100]
    assert 2 <= len(followed) <= 4


def test_what_pytest_made_is_the_users_where_the_user_keeps_it(serial: Inner) -> None:
    """A request, a path; what a plugin keeps by itself is nobody's leak."""
    serial.pytester.makepyprojecttoml("")
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.fixture
        def asking(request):
            KEPT.append(request)

        def test_request(asking): pass
        def test_path(tmp_path): KEPT.append(tmp_path)
        """
    )
    serial.run_apart(leaks="all").assert_outcomes(failed=2)
    for alert in serial.report()["alerts"]:
        assert "`test_a.KEPT.clear()`" in alert["recommendations"][0]


def test_leaks_of_which_nothing_is_known_are_an_alert_each(serial: Inner) -> None:
    """One in which two tests were listed would say that they show the same leak."""
    serial.pytester.makepyprojecttoml("")
    serial.write(
        """
        FIRST, SECOND = bytearray(), bytearray()
        def test_first(): FIRST.extend(bytes(20_000))
        def test_second(): SECOND.extend(bytes(20_000))
        """
    )
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.run_apart(leaks="all").assert_outcomes(passed=2)
    assert {test["leak"]["status"] for test in serial.tests().values()} == {"leaking"}
    alerts = [alert for alert in serial.report()["alerts"] if alert["inhibited_by"] is None]
    assert [alert["nodeids"] for alert in alerts] == [["test_a.py::test_first"], ["test_a.py::test_second"]]


def test_leak_of_a_test_that_stops_tracing_is_found(serial: Inner) -> None:
    """Its small objects have no size then; what malloc gave has."""
    serial.pytester.makepyprojecttoml("")
    serial.write(
        """
        import tracemalloc

        KEPT = []

        def test_traces():
            tracemalloc.start()
            KEPT.append(bytearray(2**20))
            tracemalloc.stop()
        """
    )
    done = serial.run(leaks=None)
    done.assert_outcomes(failed=1, warnings=0)
    assert serial.tests()["test_traces"]["leak"]["bytes_per_run"] == pytest.approx(2**20, rel=0.01)


def test_leak_of_a_test_that_makes_a_sub_interpreter_is_told_without_its_place(serial: Inner) -> None:
    """Up to Python 3.12 making one hung, or ended the process, while its allocations were traced."""
    serial.pytester.makepyprojecttoml("")
    serial.write(
        """
        import sys

        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters

        KEPT = []

        def test_makes_one():
            KEPT.append([[] for _ in range(500)])
            interpreters.destroy(interpreters.create())
        """
    )
    done = serial.run_apart(leaks="suspects")
    done.assert_outcomes(failed=1)
    told = "where it was allocated can not be told: it makes a sub-interpreter"
    assert (told in done.stdout.str()) is (sys.version_info < (3, 13))
    assert serial.tests()["test_makes_one"]["leak"]["bytes_per_run"] > 500 * sys.getsizeof([])


def test_next_test_finds_the_environment_as_without_a_search(serial: Inner) -> None:
    """And what a test adds to it each time is a leak all the same."""
    serial.write(
        """
        import os, sys, pytest

        DIRECTORY, PATH = os.getcwd(), sys.path

        @pytest.mark.memalert(leaks="all")
        def test_leaking():
            os.environ["COUNT"] = str(int(os.environ.get("COUNT", "0")) + 1)
            sys.path.append("src")

        @pytest.mark.memalert(leaks="all")
        def test_variables():
            os.environ[f"VARIABLE_{len(os.environ)}"] = "is new"

        @pytest.mark.memalert(leaks="all")
        def test_directory(tmp_path):
            assert os.getcwd()
            os.chdir(tmp_path)

        def test_after():
            assert os.environ["COUNT"] == "1"
            assert sum(name.startswith("VARIABLE_") for name in os.environ) == 1
            assert sys.path is PATH
            assert sys.path.count("src") == 1
            assert os.getcwd() != DIRECTORY
        """
    )
    serial.run_apart(leaks="suspects").assert_outcomes(passed=4)
    statuses = {name: test["leak"]["status"] for name, test in serial.tests().items()}
    assert statuses == {
        "test_leaking": "leaking",
        "test_variables": "leaking",
        "test_directory": "clean",
        "test_after": "unchecked",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_search_for_a_leak_leaves_descriptors_for_others(serial: Inner) -> None:
    """One test leaks a file; the next needs many at once, and gets them."""
    serial.pytester.makepyprojecttoml("")
    serial.pytester.makeconftest(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        """
    )
    serial.write(
        """
        KEPT = []

        def test_leaking(): KEPT.append(open(__file__, "rb", buffering=12000))

        def test_opens_many():
            files = [open(__file__) for _ in range(200)]
            for file in files:
                file.close()
        """
    )
    done = serial.run_apart(leaks=None)
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*test_leaking: leaks *", "*KEPT*"])


def test_lost_tuples_are_not_pytests_own_nor_taken_for_one_another(serial: Inner) -> None:
    """They lie where pytest's were, and are told by no place."""
    serial.write(
        """
        import ctypes, json

        def lose(obj):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(obj))

        def test_pair():
            lose(tuple(json.loads('["a", {"k": 7.5}]')))

        def test_nested():
            lose(tuple([tuple(json.loads("[1.5]")), tuple(json.loads("[2, 3]"))]))
        """
    )
    serial.pytester.makepyprojecttoml(NO_RULES)
    serial.run_apart(leaks="all").assert_outcomes(passed=2)
    assert {test["leak"]["status"] for test in serial.tests().values()} == {"leaking"}
    alerts = [alert for alert in serial.report()["alerts"] if not alert["inhibited_by"]]
    assert len({alert["fingerprint"] for alert in alerts}) == len(alerts) == 2


def test_a_list_that_lies_where_a_known_one_did_is_another_one(serial: Inner) -> None:
    """A module's fixture is gone, and its list's place taken by one that is kept short."""
    serial.pytester.makepyfile(
        things="""
        class Thing:
            def __init__(self): self.values = [1, 2]

        PLACES = []
        """,
        test_a="""
        import pytest, things

        @pytest.fixture(scope="module")
        def log():
            made = []
            things.PLACES.append(id(made))
            return made

        def test_leaks(log):
            log.append(things.Thing())
        """,
        test_b="""
        import pytest, things

        @pytest.fixture(scope="module")
        def log():
            many = [[] for _ in range(30_000)]
            return next((each for each in many if id(each) == things.PLACES[0]), many[0])

        def test_kept_short(log):
            log.append(things.Thing())
            if len(log) > 30:
                del log[:-5]
        """,
    )
    serial.run_apart(leaks="all").assert_outcomes(passed=2)
    leaks = {name: test["leak"]["status"] for name, test in serial.tests().items()}
    assert leaks == {"test_leaks": "leaking", "test_kept_short": "clean"}


def test_value_that_a_test_is_parametrized_with_and_changes_is_no_leak(serial: Inner) -> None:
    """Its item runs once in a session; that it is changed again is the repetition's doing."""
    serial.write(
        FEW_RUNS
        + """
class Recorder:
    def __init__(self):
        self.calls = []

def record(recorder):
    recorder.calls.append([[object()] for _ in range(200)])

@pytest.mark.parametrize("recorder", [Recorder()])
def test_records(recorder):
    record(recorder)

@pytest.mark.parametrize("recorder", [Recorder()])
@pytest.mark.parametrize("size", [1])
def test_records_by_two_marks(recorder, size):
    record(recorder)

@pytest.fixture(params=[Recorder()])
def recorder(request):
    return request.param

def test_records_by_a_fixture(recorder):
    record(recorder)

LOST = []

@pytest.mark.parametrize("recorder", [Recorder()])
def test_leaks_beside(recorder):
    record(recorder)
    LOST.append(bytearray(40_000))
"""
    )
    serial.run_apart(leaks="all")
    leaks = {name.partition("[")[0]: test["leak"] for name, test in serial.tests().items()}
    assert leaks.pop("test_leaks_beside")["status"] == "leaking"
    told = "a value that it is parametrized with keeps it, which a session uses once"
    assert {(leak["status"], leak["reason"]) for leak in leaks.values()} == {("unclear", told)}


def test_what_coverage_keeps_of_each_thread_is_no_leak_of_the_test(serial: Inner) -> None:
    """Its collector has a tracer for every thread that was ever started: such tests failed for it."""
    pytest.importorskip("pytest_cov")
    serial.write(
        """
        import threading
        import pytest

        @pytest.mark.memalert(runs=40)
        def test_threads():
            threads = [threading.Thread(target=int) for _ in range(20)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        """
    )
    serial.pytester.makefile(".coveragerc", "[run]\ncore = ctrace\n")
    done = serial.run_apart("-p", "pytest_cov", "--cov=test_a", "--cov-config=.coveragerc", leaks="all")
    done.assert_outcomes(passed=1)
    verdict = serial.tests()["test_threads"]["leak"]
    assert (verdict["status"], verdict["reason"]) == (
        "clean",
        "what remains was made by pytest or a plugin, not by the test",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists descriptors")
def test_descriptors_that_are_opened_at_different_places_are_different_leaks(serial: Inner) -> None:
    """Each is told with its place; they were one alert without any."""
    serial.write(
        FEW_RUNS
        + """
import os

def leave_a_pipe():
    read, write = os.pipe()
    os.close(read)

def test_one(): leave_a_pipe()
def test_same(): leave_a_pipe()
def test_other(): os.close(os.pipe()[1])
"""
    )
    serial.run_apart(leaks="all")
    alerts = {tuple(name.rpartition("::")[2] for name in each["nodeids"]): each for each in leaks_of(serial)}
    assert sorted(alerts) == [("test_one", "test_same"), ("test_other",)]
    (advice,) = alerts["test_other",]["recommendations"]
    assert advice.startswith("close what is opened at test_a.py:12 in test_other, by a context manager")
    assert "leads to pipe" in advice


def leaks_of(inner: Inner) -> list[dict[str, Any]]:
    """Return the alerts of the last report that speak."""
    return [alert for alert in inner.report()["alerts"] if alert["inhibited_by"] is None]


def test_callbacks_of_the_collector_are_told_by_their_name_though_kept_apart(serial: Inner) -> None:
    """Between re-runs they are in a list of ours, which had no name."""
    serial.pytester.makepyprojecttoml("")
    serial.write(
        FEW_RUNS
        + """
import gc

class Shop:
    def __init__(self): gc.callbacks.append(self.hear)
    def hear(self, phase, info): pass

def test_listens(): Shop()
"""
    )
    serial.run_apart(leaks="all").assert_outcomes(failed=1)
    alert = next(alert for alert in serial.report()["alerts"] if alert["category"] == "memory_leak")
    assert alert["survivors"][0]["held_by"][0] == "module gc"
    assert alert["survivors"][0]["held_by"][1].startswith("callbacks: list of ")
    assert alert["recommendations"] == [
        "undo in teardown what the test adds to `gc.callbacks` (test_a.py:7 in Shop.__init__)"
    ]
