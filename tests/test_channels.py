"""Holds the channels to what they carry, over real loopback servers, and to what trouble may cost."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from pytest_memalert.channels import AlertChannel, DigestChannel, opening, send_each
from pytest_memalert.channels.bounded import complete, explain, gather_troubles, run_within
from pytest_memalert.channels.jsonl import JsonLinesChannel
from pytest_memalert.channels.logger import LoggingChannel
from pytest_memalert.channels.opening import open_channel
from pytest_memalert.channels.services import AppriseChannel
from pytest_memalert.channels.terminal import TerminalChannel
from pytest_memalert.channels.webhook import WebhookChannel
from pytest_memalert.channels.wording import body, headline, title
from pytest_memalert.delivery import deliver, open_routes
from pytest_memalert.digest import Digest, Message
from pytest_memalert.errors import DeliveryError
from pytest_memalert.model import AlertCategory, AlertSeverity, PerformanceAlert, Survivor
from pytest_memalert.notify import address
from pytest_memalert.routes import Notify, Route
from pytest_memalert.targets import read_target
from tests.makers import NOON, make_alert

# Longer than any of these tests takes: what costs as much has hung.
LIMIT_S = 20.0


def an_alert(**changes: Any) -> PerformanceAlert:
    leak = make_alert(
        rule="leak",
        category=AlertCategory.MEMORY_LEAK,
        component="shop",
        nodeids=("tests/test_a.py::test_b",),
        metric="leak_bytes_per_run",
        observed=4096.0,
        limit=0.0,
        message="tests/test_a.py::test_b: leaks 4 KiB per run\n+3 blocks in each of 13 runs",
        recommendations=("bound or clear `shop.ITEMS`",),
        survivors=(Survivor(type="shop.Item", count=2, size_bytes=64, allocated_at=("shop.py:3 in add",)),),
    )
    return replace(leak, **changes)


def a_digest(*messages: Message, more: int = 0) -> Digest:
    messages = messages or (Message(kind="new", alert=an_alert()),)
    return Digest(messages=messages, more=more, sent_at=NOON, run_id="r1")


GONE = Message(
    kind="resolved",
    alert=an_alert(fingerprint="f2"),
    first_seen=NOON - timedelta(days=2),
    times=3,
    before=4096.0,
)
WORSE = Message(kind="worse", alert=an_alert(), first_seen=NOON - timedelta(days=1), times=2, before=1024.0)


# --------------------------------------------------------------------- in words


def test_headline_stands_alone() -> None:
    """What is the case, how bad, which test, how much."""
    said = "critical memory_leak: tests/test_a.py::test_b: leaks 4 KiB per run"
    new = Message(kind="new", alert=an_alert())
    assert headline(new) == f"NEW {said}"
    assert headline(replace(new, returned=True)) == f"BACK {said}"
    assert headline(WORSE) == f"WORSE {said} (was 1 KiB)"
    assert headline(replace(new, kind="reminder")) == f"STILL THERE {said}"
    assert headline(GONE) == f"RESOLVED {said}"


def test_digest_says_all_that_it_takes_to_act() -> None:
    digest = a_digest(WORSE, GONE, more=7)
    assert title(digest) == "memalert: 1 worse, 1 resolved"
    assert body(digest).splitlines() == [
        "WORSE critical memory_leak: tests/test_a.py::test_b: leaks 4 KiB per run (was 1 KiB)",
        "  first seen 2026-11-22 12:00 UTC, seen 2 times",
        "  +3 blocks in each of 13 runs",
        "  each run leaves 2 shop.Item, allocated at shop.py:3 in add",
        "  -> bound or clear `shop.ITEMS`",
        "",
        "RESOLVED critical memory_leak: tests/test_a.py::test_b: leaks 4 KiB per run",
        "  first seen 2026-11-21 12:00 UTC, seen 3 times",
        "",
        "and 7 more",
    ]


def test_words_of_an_alert_steer_no_terminal() -> None:
    nasty = "\x1b[2Jx\u202e"
    alert = an_alert(
        message=f"{nasty}\n{nasty}",
        nodeids=(nasty, nasty),
        recommendations=(nasty,),
        survivors=(Survivor(type=nasty, count=1, size_bytes=1, allocated_at=(nasty,)),),
    )
    said = body(a_digest(Message(kind="new", alert=alert)))
    assert "\x1b" not in said
    assert "\u202e" not in said


# ---------------------------------------------------------------- local channels


def test_terminal_gets_the_digest_at_once() -> None:
    stream = io.StringIO()
    TerminalChannel(stream).send_digest(a_digest())
    assert stream.getvalue().startswith("NEW critical memory_leak: ")
    assert stream.getvalue().endswith("`shop.ITEMS`\n")


def test_terminal_without_the_letters_gets_them_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    TerminalChannel(stream).send(an_alert(message="tests/täst.py: leaks"))
    stream.seek(0)
    assert "t\\xe4st.py" in stream.read()


def test_terminal_is_standard_error_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalChannel().send(an_alert())
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.startswith("NEW critical")


def test_json_lines_are_appended_one_for_each_message(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "alerts.jsonl"
    channel = JsonLinesChannel(path)
    channel.send(an_alert())
    channel.send_digest(a_digest(WORSE, GONE))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["kind"], line["before"], line["run_id"]) for line in lines] == [
        ("new", None, None),
        ("worse", 1024.0, "r1"),
        ("resolved", 4096.0, "r1"),
    ]
    assert lines[0]["format"] == 1
    assert lines[0]["alert"]["nodeids"] == ["tests/test_a.py::test_b"]


def test_json_lines_that_can_not_be_written_say_why(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="Is a directory"):
        JsonLinesChannel(tmp_path).send(an_alert())


def append_many(path: str, writer: int) -> None:
    channel = JsonLinesChannel(Path(path))
    for number in range(50):
        alert = an_alert(fingerprint=f"{writer}.{number}", message="x" * 5000)
        channel.send_digest(a_digest(*[Message(kind="new", alert=alert)] * 3))


def test_json_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    """Each digest is one write to the end of the file."""
    path = tmp_path / "alerts.jsonl"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=append_many, args=(str(path), writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = [json.loads(line)["alert"]["fingerprint"] for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted([f"{writer}.{number}" for writer in range(3) for number in range(50)] * 3)
    # The three lines of a digest stand together.
    assert all(lines[at] == lines[at + 1] == lines[at + 2] for at in range(0, len(lines), 3))


def test_logging_channel_logs_at_the_level_of_the_severity(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="shop.memory")
    channel = LoggingChannel("shop.memory")
    for severity in AlertSeverity:
        channel.send(an_alert(severity=severity))
    channel.send_digest(a_digest(GONE))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "CRITICAL", "INFO"]
    assert caplog.records[2].message.startswith("NEW critical memory_leak: tests/test_a.py::test_b")
    assert caplog.records[2].memalert_alert == an_alert()  # type: ignore[attr-defined]


# --------------------------------------------------------------------- a webhook


@dataclass
class Server:
    """Hold a web server, what it was sent, and how it answers the n-th request."""

    url: str = ""
    answers: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


def answering(status: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            server.bodies.append(json.loads(self.rfile.read(length)))
            server.headers.append(dict(self.headers.items()))
            server.answers[min(len(server.bodies), len(server.answers)) - 1](self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server.url = f"http://127.0.0.1:{listening.server_address[1]}/s3cr3t"
        server.answers = [answering(200)]
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            listening.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


def webhook(url: str, *, limit_s: float = LIMIT_S, pauses: list[float] | None = None) -> WebhookChannel:
    """Return a webhook that doesn't really wait between its attempts."""
    seen = [] if pauses is None else pauses
    return WebhookChannel(url, limit_s=limit_s, pause=seen.append)


def trouble_of(channel: AlertChannel) -> str:
    with pytest.raises(DeliveryError) as refused:
        channel.send(an_alert())
    return str(refused.value)


def test_webhook_posts_what_alertmanager_posts(server: Server) -> None:
    """Version 4: every receiver of Alertmanager's webhooks can read it."""
    webhook(server.url).send_digest(a_digest(WORSE, GONE, more=2))
    (sent,) = server.bodies
    assert server.headers[0]["Content-Type"] == "application/json"
    assert {key: sent[key] for key in sent if key not in ("alerts", "commonAnnotations")} == {
        "version": "4",
        "groupKey": '{}:{source="pytest-memalert"}',
        "truncatedAlerts": 2,
        "status": "firing",
        "receiver": server.url.replace("/s3cr3t", "/..."),
        "groupLabels": {"source": "pytest-memalert"},
        "commonLabels": {
            "alertname": "leak",
            "source": "pytest-memalert",
            "severity": "critical",
            "category": "memory_leak",
            "component": "shop",
            "metric": "leak_bytes_per_run",
            "test": "tests/test_a.py::test_b",
        },
        "externalURL": "",
    }
    firing, resolved = sent["alerts"]
    assert firing["status"] == "firing"
    assert firing["startsAt"] == "2026-11-22T12:00:00+00:00"
    assert firing["endsAt"] == "0001-01-01T00:00:00Z"
    assert firing["fingerprint"] == "f1"
    assert firing["annotations"]["observed"] == "4096"
    assert firing["annotations"]["summary"].startswith("WORSE critical memory_leak")
    assert resolved["status"] == "resolved"
    assert resolved["endsAt"] == "2026-11-23T12:00:00+00:00"
    labels = [value for alert in sent["alerts"] for value in alert["labels"].values()]
    annotations = [value for alert in sent["alerts"] for value in alert["annotations"].values()]
    assert all(isinstance(value, str) for value in labels + annotations)


def test_group_in_which_all_is_resolved_is_resolved(server: Server) -> None:
    webhook(server.url).send_digest(a_digest(GONE))
    assert server.bodies[0]["status"] == "resolved"


def test_user_and_password_of_a_webhook_become_a_header(server: Server) -> None:
    webhook(server.url.replace("http://", "http://me:w%40rd@")).send(an_alert())
    assert server.headers[0]["Authorization"] == "Basic bWU6d0ByZA=="


@pytest.mark.parametrize("status", [500, 503, 429])
def test_server_in_trouble_is_asked_again_with_longer_and_longer_pauses(server: Server, status: int) -> None:
    server.answers = [answering(status), answering(status), answering(200)]
    pauses: list[float] = []
    webhook(server.url, pauses=pauses).send(an_alert())
    assert len(server.bodies) == 3
    assert pauses == [0.5, 1.0]


def test_server_that_stays_in_trouble_is_asked_three_times(server: Server) -> None:
    server.answers = [answering(500)]
    assert trouble_of(webhook(server.url)) == "the server answered 500"
    assert len(server.bodies) == 3


@pytest.mark.parametrize("status", [400, 401, 404])
def test_refusal_is_not_argued_with(server: Server, status: int) -> None:
    server.answers = [answering(status)]
    assert trouble_of(webhook(server.url)) == f"the server answered {status}"
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_refused_and_leads_nowhere(server: Server, status: int) -> None:
    """Neither the alerts nor the secret in the address get to another host, by any method."""
    with serving() as other:
        server.answers = [answering(status, Location=f"{other.url}/{status}")]
        said = trouble_of(webhook(server.url))
        assert other.bodies == []
    told = (
        f"the server answered {status}, a redirect, which is not followed; write the address that it leads to"
    )
    assert said == told
    assert len(server.bodies) == 1


def close_early(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def test_server_that_closes_early_is_asked_again(server: Server) -> None:
    server.answers = [close_early, answering(200)]
    webhook(server.url).send(an_alert())
    assert len(server.bodies) == 2


def test_server_that_always_closes_early_is_given_up(server: Server) -> None:
    server.answers = [close_early]
    assert trouble_of(webhook(server.url)) == "RemoteDisconnected"
    assert len(server.bodies) == 3


def answer_in_garbage(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\x00\xff garbage s3cr3t\r\n\r\n")
    request.close_connection = True


def test_answer_that_is_no_http_is_not_repeated_to_the_user(server: Server) -> None:
    server.answers = [answer_in_garbage]
    assert trouble_of(webhook(server.url)) == "BadStatusLine"


def test_nobody_listening_is_said_so() -> None:
    with serving() as closed:
        url = closed.url
    assert trouble_of(webhook(url)) == "ConnectionRefusedError: Connection refused"


def test_webhook_that_hangs_costs_its_time_limit_and_no_more(server: Server) -> None:
    def hang(request: BaseHTTPRequestHandler) -> None:
        server.released.wait(LIMIT_S)

    server.answers = [hang]
    began_s = time.perf_counter()
    assert trouble_of(webhook(server.url, limit_s=0.2)) == "no answer within 0.2 s"
    assert time.perf_counter() - began_s < LIMIT_S / 2


def test_webhook_that_drips_costs_its_time_limit_and_no_more(server: Server) -> None:
    """Each byte comes in time, the answer never ends: a time limit for each read wouldn't help."""

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not server.released.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    server.answers = [drip]
    began_s = time.perf_counter()
    assert trouble_of(webhook(server.url, limit_s=0.3)) == "no answer within 0.3 s"
    assert time.perf_counter() - began_s < LIMIT_S / 2


def test_head_of_an_answer_is_enough(server: Server) -> None:
    """A body of any length isn't waited for."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000000")
        request.end_headers()

    server.answers = [answer]
    webhook(server.url).send(an_alert())
    assert len(server.bodies) == 1


def test_webhook_shows_its_secret_nowhere(server: Server) -> None:
    channel = webhook(server.url)
    server.answers = [answering(500)]
    assert "s3cr3t" not in channel.name + repr(channel) + trouble_of(channel)
    assert "s3cr3t" not in json.dumps(server.bodies)


# ---------------------------------------------------------------------- services


@dataclass
class Mailbox:
    """Hold a mail server and what it was sent."""

    port: int = 0
    mails: list[str] = field(default_factory=list)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    controller = pytest.importorskip("aiosmtpd.controller")
    box = Mailbox()

    class Handler:
        async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802
            box.mails.append(envelope.content.decode())
            return "250 OK"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        running = controller.Controller(Handler(), hostname="127.0.0.1", port=0)
        # It knows no port 0, under which the system chooses a free one: so one is chosen for it.
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            running.port = free.getsockname()[1]
        running.start()
    box.port = running.port
    try:
        yield box
    finally:
        running.stop()


def mail_url(port: int) -> str:
    return f"mailto://me:s3cr3t@127.0.0.1:{port}?from=me@example.com&to=you@example.com&mode=insecure"


def test_digest_goes_out_as_one_mail(mailbox: Mailbox) -> None:
    """Through apprise, to a real server of SMTP."""
    pytest.importorskip("apprise")
    import email
    import email.policy

    # The server offers no login, and none is tried.
    url = mail_url(mailbox.port).replace("me:s3cr3t@", "")
    AppriseChannel(url, limit_s=LIMIT_S).send_digest(a_digest(WORSE, GONE))
    (text,) = mailbox.mails
    mail = email.message_from_string(text, policy=email.policy.default)
    assert mail["Subject"] == "memalert: 1 worse, 1 resolved"
    part = mail.get_body(("plain", "html"))
    assert part is not None
    assert "WORSE critical memory_leak: tests/test_a.py::test_b: leaks 4 KiB per run" in part.get_content()


def test_service_that_refuses_is_told_without_its_secret(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither by us nor by apprise's own log."""
    pytest.importorskip("apprise")
    caplog.set_level(logging.DEBUG)
    with serving() as server:
        server.answers = [answering(500)]
        channel = AppriseChannel(server.url.replace("http://", "json://me:w0rd@"), limit_s=LIMIT_S)
        said = trouble_of(channel)
        assert len(server.bodies) == 1
    assert said == "the service didn't take it"
    seen = caplog.text + "".join(capfd.readouterr()) + channel.name + said
    assert "s3cr3t" not in seen
    assert "w0rd" not in seen


def test_url_that_apprise_does_not_take_is_refused_without_showing_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("apprise")
    with pytest.raises(ValueError, match=r"'nosuch://...': apprise doesn't take this URL"):
        open_channel(read_target("nosuch://s3cr3t/x", {}), base=Path())
    assert "s3cr3t" not in caplog.text


def test_test_names_call_nobody() -> None:
    """A node id may hold any text, and a room of people may be called by it."""
    apprise = pytest.importorskip("apprise")
    alert = an_alert(message="tests/test_a.py::test[@everyone <!channel> <@U1>]: leaks")
    with serving() as server:
        channel = AppriseChannel(server.url.replace("http://", "json://"), limit_s=LIMIT_S)
        channel.send(alert)
        (sent,) = server.bodies
    assert apprise
    assert "leaks" in sent["message"]
    for call in ("@everyone", "<!channel>", "<@U1>"):
        assert call not in sent["message"]


def test_missing_apprise_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    monkeypatch.setattr("pytest_memalert.channels.services.is_installed", lambda: False)
    with pytest.raises(ValueError, match=r".") as refused:
        open_channel(read_target("slack://A/B/C", {}), base=Path())
    assert str(refused.value) == (
        "'slack://...' needs apprise; install it with: pip install 'pytest-memalert[notify]'"
    )


# ---------------------------------------------------------------- other channels


class Letters:
    """Be another package's channel: with send alone."""

    def __init__(self, url: str) -> None:
        if "broken" in url:
            raise RuntimeError(url)
        self.name = "letters"
        self.url = url
        self.sent: list[PerformanceAlert] = []

    def send(self, alert: PerformanceAlert) -> None:
        self.sent.append(alert)


@pytest.fixture
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with two channels, one of which is none."""
    found = EntryPoints(
        [
            EntryPoint("letters", f"{__name__}:Letters", opening.GROUP),
            EntryPoint("nothing", "builtins:str", opening.GROUP),
        ]
    )
    monkeypatch.setattr(opening, "entry_points", lambda group: found.select(group=group))


@pytest.mark.usefixtures("_letters")
def test_channel_of_another_package_is_found_by_its_scheme() -> None:
    channel = open_channel(read_target("letters:town/s3cr3t", {}), base=Path())
    assert isinstance(channel, Letters)
    assert channel.url == "letters:town/s3cr3t"


@pytest.mark.usefixtures("_letters")
def test_channel_of_another_package_that_fails_is_a_clear_problem() -> None:
    for url, problem in (
        (
            "letters:broken-s3cr3t",
            f"'letters:...': the channel of {__name__}:Letters can't be opened (RuntimeError)",
        ),
        ("nothing:x", "'nothing:...': what builtins:str returns is no channel: name, send(alert)"),
        ("nobody:x", "no channel takes 'nobody:...'; write 'terminal', 'jsonl:PATH', 'logging:NAME', "),
    ):
        with pytest.raises(ValueError, match=r".") as refused:
            open_channel(read_target(url, {}), base=Path())
        assert problem in str(refused.value)


def test_channel_with_send_alone_gets_each_alert_that_is_there() -> None:
    """It has no words for one that is gone."""
    letters = Letters("x")
    send_each(letters, a_digest(WORSE, GONE))
    assert letters.sent == [WORSE.alert]
    assert not isinstance(letters, DigestChannel)
    assert isinstance(TerminalChannel(), DigestChannel)


# ------------------------------------------------------------------- the delivery


def test_call_that_takes_too_long_is_left_behind() -> None:
    released = threading.Event()
    with pytest.raises(DeliveryError, match="no answer within 0.05 s"):
        run_within(lambda: released.wait(LIMIT_S), 0.05)
    released.set()
    assert run_within(lambda: 3, LIMIT_S) == 3


def test_what_is_not_awaitable_is_done_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread and no event loop is begun for it."""
    begun: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", begun.append)
    complete(None, LIMIT_S)
    complete("x", LIMIT_S)
    assert begun == []


def test_all_calls_together_take_the_limit_at_most() -> None:
    released = threading.Event()
    done: list[str] = []
    began_s = time.perf_counter()
    calls: dict[str, Callable[[], object]] = {
        f"hanging {number}": lambda: released.wait(LIMIT_S) for number in range(5)
    }
    troubles = gather_troubles(
        {**calls, "quick": lambda: done.append("x"), "wrong": lambda: 1 / 0}, limit_s=0.1
    )
    assert time.perf_counter() - began_s < LIMIT_S / 2
    released.set()
    assert done == ["x"]
    assert {key: explain(trouble) for key, trouble in troubles.items()} == {
        "wrong": "ZeroDivisionError",
        **dict.fromkeys(calls, "no answer within 0.1 s"),
    }


def test_text_of_a_foreign_exception_is_not_shown() -> None:
    assert explain(ValueError("https://example.com/s3cr3t")) == "ValueError"
    assert explain(OSError(2, "No such file", "/s3cr3t")) == "FileNotFoundError: No such file"
    assert explain(OSError("s3cr3t")) == "OSError"
    assert explain(DeliveryError("no paper")) == "no paper"


def test_delivery_says_what_went_where_and_what_did_not(tmp_path: Path) -> None:
    with serving() as closed:
        url = closed.url
    pace = Notify(
        routes=tuple(
            Route(channel=channel, origin=f"urls[{number}]")
            for number, channel in enumerate(("jsonl:a.jsonl", "terminal", url))
        ),
        timeout_s=LIMIT_S,
    )
    stream = io.StringIO()
    opened, problems = open_routes(pace, {}, base=tmp_path, terminal=stream)
    assert problems == []
    dispatches = address([WORSE, GONE], pace.routes, pace=pace, now=NOON)
    # The pauses between attempts aren't what is tested.
    opened[2].channel.__dict__["_pause"] = lambda seconds: None
    delivery = deliver(dispatches, opened, pace=pace)
    assert delivery.lines == ("sent to jsonl:a.jsonl: 1 worse, 1 resolved",)
    assert delivery.troubles == (
        url.replace("s3cr3t", "...")
        + " could not be told of 1 worse, 1 resolved (ConnectionRefusedError: Connection refused)",
    )
    assert delivery.told == {"f1", "f2"}
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2
    assert stream.getvalue().startswith("WORSE")


def test_what_a_route_s_pace_holds_back_is_said_and_not_sent(tmp_path: Path) -> None:
    pace = Notify(routes=(Route(channel="jsonl:a.jsonl"),))
    opened, _ = open_routes(pace, {}, base=tmp_path)
    (dispatch,) = address([WORSE], pace.routes, pace=pace, now=NOON)
    delivery = deliver([replace(dispatch, held_back=True)], opened, pace=pace)
    assert delivery.lines == ("held back for jsonl:a.jsonl: 1 worse; it got 12 messages within an hour",)
    assert not delivery.told
    assert delivery.sent == ()
    assert not (tmp_path / "a.jsonl").exists()


def test_every_address_that_can_not_be_used_is_listed_at_once() -> None:
    pace = Notify(
        routes=(
            Route(channel="${NOPE}", origin="a"),
            Route(channel="terminl", origin="b"),
            Route(channel="terminal", origin="c"),
            Route(channel="nobody:x", origin="d"),
        )
    )
    opened, problems = open_routes(pace, {}, base=Path())
    assert len(opened) == 1
    assert [problem.partition(":")[0] for problem in problems] == ["a", "b", "d"]
