"""A session tells its channels what is news, once, from the controller, whatever they do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Inner

GROWING = """
    import pytest, pathlib

    KEPT = []
    SIZE = int(pathlib.Path("size").read_text()) if pathlib.Path("size").exists() else 4

    @pytest.mark.memalert(growth="1 MiB")
    def test_growing():
        KEPT.append(b"x" * SIZE * 2**20)

    def test_still(): pass
"""
NOTHING = """
    import pytest

    @pytest.mark.memalert(growth="1 MiB")
    def test_growing(): pass

    def test_still(): pass
"""


def sent_lines(inner: Inner) -> list[dict[str, Any]]:
    """Return what the file of JSON lines has."""
    path = inner.pytester.path / "alerts.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def kinds(inner: Inner) -> list[str]:
    return [line["kind"] for line in sent_lines(inner)]


def test_alert_is_told_once_and_its_end_is_told_once(inner: Inner) -> None:
    """New; silent while it stays; worse; gone; back."""
    inner.write(GROWING)
    size = inner.pytester.path / "size"
    inner.run("--memalert-notify=jsonl:alerts.jsonl").stdout.fnmatch_lines(
        ["memalert: sent to jsonl:alerts.jsonl: 1 new"]
    )
    assert kinds(inner) == ["new"]
    inner.run("--memalert-notify=jsonl:alerts.jsonl").stdout.no_fnmatch_line("memalert: sent to*")
    size.write_text("8")
    inner.run("--memalert-notify=jsonl:alerts.jsonl")
    assert kinds(inner) == ["new", "worse"]
    inner.write(NOTHING)
    inner.run("--memalert-notify=jsonl:alerts.jsonl").stdout.fnmatch_lines(
        ["memalert: sent to jsonl:alerts.jsonl: 1 resolved"]
    )
    inner.run("--memalert-notify=jsonl:alerts.jsonl")
    assert kinds(inner) == ["new", "worse", "resolved"]
    inner.write(GROWING)
    inner.run("--memalert-notify=jsonl:alerts.jsonl")
    assert kinds(inner)[3:] == ["new"]
    assert sent_lines(inner)[3]["returned"] is True


def test_without_a_history_every_alert_is_new(serial: Inner) -> None:
    serial.write(GROWING)
    for _ in range(2):
        serial.run("--memalert-history=none", "--memalert-notify=jsonl:alerts.jsonl")
    assert kinds(serial) == ["new", "new"]


def test_session_without_news_writes_nothing(serial: Inner) -> None:
    serial.write(NOTHING)
    done = serial.run("--memalert-notify=jsonl:alerts.jsonl")
    assert done.ret == pytest.ExitCode.OK
    assert not (serial.pytester.path / "alerts.jsonl").exists()


def test_routes_decide_what_goes_where(serial: Inner) -> None:
    """By severity, category and test."""
    serial.write(GROWING)
    serial.configure(
        """
        [[tool.memalert.notify.routes]]
        channel = "jsonl:critical.jsonl"
        severity = "critical"
        categories = ["memory_growth"]
        tests = ["test_a.py"]

        [[tool.memalert.notify.routes]]
        channel = "jsonl:leaks.jsonl"
        categories = ["memory_leak"]

        [[tool.memalert.notify.routes]]
        channel = "jsonl:others.jsonl"
        tests = ["test_b.py"]
        """
    )
    done = serial.run()
    done.stdout.fnmatch_lines(["memalert: sent to jsonl:critical.jsonl: 1 new"])
    assert [path.name for path in serial.pytester.path.glob("*.jsonl")] == ["critical.jsonl"]


def test_terminal_can_be_told_as_well(serial: Inner) -> None:
    serial.write(GROWING)
    done = serial.run("--memalert-notify=terminal")
    done.stdout.fnmatch_lines(["NEW critical memory_growth: test_a.py::test_growing: growth*"])
    serial.run("--memalert-notify=terminal").stdout.no_fnmatch_line("NEW *")


def test_digests_of_an_hour_are_counted_over_sessions(serial: Inner) -> None:
    """What is held back goes out when there is room again, and isn't lost."""
    serial.write(GROWING)
    serial.configure("[tool.memalert.notify]\nurls = ['jsonl:alerts.jsonl']\nmax_per_hour = 1")
    serial.run()
    serial.pytester.path.joinpath("size").write_text("9")
    done = serial.run()
    done.stdout.fnmatch_lines(
        ["memalert: held back for jsonl:alerts.jsonl: 1 worse; it got 1 messages within an hour"]
    )
    assert kinds(serial) == ["new"]
    serial.configure("[tool.memalert.notify]\nurls = ['jsonl:alerts.jsonl']\nmax_per_hour = 2")
    serial.run()
    assert kinds(serial) == ["new", "worse"]


def test_what_could_not_be_sent_is_sent_by_the_next_session(serial: Inner) -> None:
    serial.write(GROWING)
    folder = serial.pytester.path / "kept"
    folder.touch()
    (serial.pytester.path / "alerts.jsonl").symlink_to(folder / "alerts.jsonl")
    done = serial.run("--memalert-notify=jsonl:alerts.jsonl")
    done.stdout.fnmatch_lines(
        ["*MemalertWarning: jsonl:alerts.jsonl could not be told of 1 new (Not a directory)*not affected"]
    )
    folder.unlink()
    folder.mkdir()
    serial.run("--memalert-notify=jsonl:alerts.jsonl")
    assert kinds(serial) == ["new"]


def test_acknowledged_alert_is_told_to_nobody(serial: Inner) -> None:
    serial.write(GROWING)
    serial.run()
    fingerprint = serial.report()["alerts"][0]["fingerprint"]
    serial.pytester.path.joinpath("memalert.acks.toml").write_text(
        f"""
        [[acknowledged]]
        fingerprint = "{fingerprint}"
        reason = "the cache is meant"
        until = 2999-01-01
        """
    )
    done = serial.run("--memalert-notify=jsonl:alerts.jsonl")
    done.assert_outcomes(passed=2)
    assert kinds(serial) == []


# --------------------------------------------------------------------- trouble


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[Any], list[str]]]:
    """Serve a webhook that behaves as its list of ways says: 200, 500 or hang."""
    bodies: list[Any] = []
    ways: list[str] = ["200"]
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if ways[0] == "hang":
                released.wait(60)
                return
            self.send_response(int(ways[0]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://me:w0rd@127.0.0.1:{server.server_address[1]}/s3cr3t?token=s3cr3t", bodies, ways
        released.set()
        server.shutdown()
        thread.join()


def all_text(inner: Inner, done: pytest.RunResult) -> str:
    """Return everything that a run printed or left in a file."""
    files = [
        path for path in inner.pytester.path.rglob("*") if path.is_file() and path.name != "pyproject.toml"
    ]
    texts = [path.read_bytes().decode("latin-1") for path in files]
    return "\n".join([*texts, done.stdout.str(), done.stderr.str()])


@pytest.mark.parametrize("way", ["200", "401", "hang"])
def test_secret_is_in_nothing_that_a_run_prints_or_writes(
    serial: Inner, webhook: tuple[str, list[Any], list[str]], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Reports, history, warnings and caches included, whether it works or not."""
    url, bodies, ways = webhook
    ways[0] = way
    monkeypatch.setenv("HOOK", url)
    serial.write(GROWING)
    serial.configure("[tool.memalert.notify]\nurls = ['${HOOK}']\ntimeout = '0.3 s'")
    done = serial.run("-v", "-v", "--showlocals", "-rA", "--junitxml=junit.xml")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert len(bodies) == 1
    said = all_text(serial, done)
    assert (serial.pytester.path / ".memalert" / "history.sqlite3").exists()
    assert "http://127.0.0.1" in said
    assert "s3cr3t" not in said
    assert "w0rd" not in said


@pytest.mark.parametrize("way", ["404", "hang"])
def test_delivery_trouble_is_a_warning_and_changes_no_exit_status(
    serial: Inner, webhook: tuple[str, list[Any], list[str]], way: str
) -> None:
    """Even where warnings are errors; and a hanging channel costs its time limit."""
    url, _, ways = webhook
    ways[0] = way
    serial.write(GROWING)
    serial.configure("[tool.memalert.notify]\ntimeout = '0.3 s'", options="fail_on = 'never'")
    done = serial.run(f"--memalert-notify={url}", "-W", "error::pytest_memalert.MemalertWarning")
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["*MemalertWarning: http://127.0.0.1:*/... could not be told of 1 new (*"])
    assert serial.report()["totals"]["tests"] == 2


def test_time_that_a_channel_takes_is_told(serial: Inner, webhook: tuple[str, list[Any], list[str]]) -> None:
    """It belongs to what memalert added to the session."""
    url, _, ways = webhook
    ways[0] = "hang"
    serial.write(GROWING)
    serial.configure("[tool.memalert.notify]\ntimeout = '0.6 s'")
    serial.run(f"--memalert-notify={url}")
    assert serial.report()["overhead"]["reporting_s"] > 0.5


def test_workers_tell_nobody(distributed: Inner, webhook: tuple[str, list[Any], list[str]]) -> None:
    """One session is one digest, however many processes run it."""
    url, bodies, _ = webhook
    distributed.write(GROWING, test_b=GROWING)
    distributed.run(f"--memalert-notify={url}")
    (sent,) = bodies
    assert [alert["labels"]["test"].rpartition("::")[2] for alert in sent["alerts"]] == ["test_growing"] * 2


def test_first_failure_that_ends_the_session_is_told(
    serial: Inner, webhook: tuple[str, list[Any], list[str]]
) -> None:
    """Under -x what was found is as true as ever."""
    url, bodies, _ = webhook
    serial.write(GROWING)
    done = serial.run("-x", f"--memalert-notify={url}")
    assert done.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    assert len(bodies) == 1


def test_interrupted_session_tells_nobody(serial: Inner, webhook: tuple[str, list[Any], list[str]]) -> None:
    """Whoever pressed Ctrl-C is there and wants to leave; the next session tells what is still so."""
    url, bodies, _ = webhook
    serial.write(GROWING, test_b="def test_stopped(): raise KeyboardInterrupt")
    done = serial.run_apart(f"--memalert-notify={url}")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert bodies == []
    serial.run("test_a.py", f"--memalert-notify={url}")
    assert len(bodies) == 1


# ------------------------------------------------------------------ configuration


def test_address_that_can_not_be_used_is_refused_before_the_first_test(serial: Inner) -> None:
    """With all the others, and without showing what may be secret."""
    serial.write("def test_it(): open('ran', 'w').close()")
    serial.configure(
        """
        [tool.memalert.notify]
        urls = ["${MEMALERT_NOPE}", "s3cr3t"]
        max_shown = 0

        [[tool.memalert.notify.routes]]
        channel = "jsonl:"
        """
    )
    done = serial.run()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    told = done.errlines + done.outlines
    for problem in (
        "tool.memalert.notify.urls[0]: '${MEMALERT_NOPE}' is not set in the environment; export ",
        "tool.memalert.notify.urls[1]: '...' is not an address; write one such as ",
        "tool.memalert.notify.routes[0]: 'jsonl:' names no file; write it as 'jsonl:alerts.jsonl'",
        "tool.memalert.notify.max_shown: 0 is not a count of 1 or more",
    ):
        assert any(problem in line for line in told), problem
    assert not any("s3cr3t" in line for line in told)
    assert not serial.pytester.path.joinpath("ran").exists()


def test_ini_file_can_name_several_addresses(serial: Inner) -> None:
    serial.write(GROWING)
    serial.configure(pytest_options='memalert_notify = "jsonl:alerts.jsonl logging:memory"')
    serial.run().stdout.fnmatch_lines(
        ["memalert: sent to jsonl:alerts.jsonl: 1 new", "memalert: sent to logging:memory: 1 new"]
    )


def test_notifications_can_be_switched_off_by_hand(serial: Inner) -> None:
    serial.write(GROWING)
    serial.configure("[tool.memalert.notify]\nurls = ['jsonl:alerts.jsonl', '${MEMALERT_NOPE}']")
    done = serial.run("--memalert-notify=none")
    done.assert_outcomes(passed=1, failed=1)
    assert kinds(serial) == []


# -------------------------------------------------------------------- the fixture


def test_fixture_has_a_manager_with_the_rules_of_the_session(inner: Inner) -> None:
    """Of this test's own: what it finds neither fails the test nor outlives it."""
    inner.write(
        """
        def test_it(memalert):
            manager = memalert.manager
            assert manager is memalert.manager
            with manager.measure("load") as measured:
                table = bytearray(8 * 2**20)
            (alert,) = manager.check_memory(measured)
            assert alert.rule == "growth" and alert.nodeids == ("load",)
            assert {rule.name for rule in manager.rules} >= {"growth", "rss"}
            assert not {rule.name for rule in manager.rules} & {"elsewhere", "session"}

        def test_other(memalert):
            assert memalert.manager.recent() == ()
        """
    )
    inner.configure(
        """
        [[tool.memalert.rules]]
        name = "growth"
        metric = "growth_bytes"
        threshold = "1 MiB"
        severity = "warning"
        tests = ["test_a.py"]

        [[tool.memalert.rules]]
        name = "elsewhere"
        metric = "growth_bytes"
        threshold = "1 MiB"
        tests = ["test_b.py"]

        [[tool.memalert.rules]]
        name = "session"
        metric = "growth_bytes"
        threshold = "1 GiB"
        scope = "session"
        """
    )
    done = inner.run()
    done.assert_outcomes(passed=2)


def test_fixture_has_a_manager_with_the_limits_of_the_test(serial: Inner) -> None:
    """The rules for its component too, whatever the blocks are called."""
    serial.pytester.makeconftest("def pytest_memalert_component(item): return 'storage'")
    serial.write(
        """
        import pytest

        @pytest.mark.memalert(growth="16 MiB")
        def test_it(memalert):
            with memalert.manager.measure("load") as measured:
                table = [bytearray(32 * 2**20), *(object() for _ in range(200_000))]
            alerts = memalert.manager.check_memory(measured)
            assert {alert.rule for alert in alerts} == {"limit-growth", "storage-blocks"}
            assert "growth" not in {rule.name for rule in memalert.manager.rules}
        """
    )
    serial.configure(
        """
        [[tool.memalert.rules]]
        name = "storage-blocks"
        metric = "blocks_growth"
        threshold = 100_000
        component = "storage"
        """
    )
    serial.run().assert_outcomes(passed=1)


def test_fixture_has_a_manager_without_the_option_too(serial: Inner) -> None:
    serial.write(
        """
        def test_it(memalert):
            assert memalert.manager.check_leaks(memalert.find_leaks(sum, [1, 2])) == ()
        """
    )
    serial.run(memalert=False).assert_outcomes(passed=1)
