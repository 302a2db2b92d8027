"""Holds ``[tool.memalert.notify]`` to what it says: where alerts go, and what is refused."""

from __future__ import annotations

import pytest

from pytest_memalert.errors import ConfigurationError
from pytest_memalert.model import AlertCategory, AlertSeverity, PerformanceAlert
from pytest_memalert.routes import Notify, Route, read_notify, takes
from pytest_memalert.settings import read_settings
from tests.makers import make_alert

PLACE = "pyproject.toml: tool.memalert.notify"


def an_alert(
    *nodeids: str,
    severity: AlertSeverity = AlertSeverity.WARNING,
    category: AlertCategory = AlertCategory.MEMORY_LEAK,
) -> PerformanceAlert:
    return make_alert(nodeids=nodeids, severity=severity, category=category)


def notify_of(
    table: dict[str, object], *, ini: dict[str, str] | None = None, command_line: object = None
) -> Notify:
    settings, problems = read_settings(
        pyproject={"notify": table},
        pyproject_name="pyproject.toml",
        ini=ini or {},
        ini_name="pytest.ini",
        command_line={"notify": command_line},
    )
    if problems:
        raise ConfigurationError(problems)
    assert settings.notify is not None
    return settings.notify


def test_route_takes_what_is_severe_enough() -> None:
    critical = Route(channel="terminal", severity=AlertSeverity.CRITICAL)
    assert takes(critical, an_alert(severity=AlertSeverity.CRITICAL))
    assert not takes(critical, an_alert(severity=AlertSeverity.WARNING))


def test_route_takes_its_categories_alone() -> None:
    leaks = Route(channel="terminal", categories=(AlertCategory.MEMORY_LEAK,))
    assert takes(leaks, an_alert())
    assert not takes(leaks, an_alert(category=AlertCategory.CPU_USAGE))


def test_route_takes_alerts_of_any_of_its_tests() -> None:
    """As a leak that shows in several tests is one alert."""
    io = Route(channel="terminal", tests=("tests/io", "tests/test_*.py::test_load"))
    assert takes(io, an_alert("tests/net/test_a.py::test_b", "tests/io/test_a.py::test_b"))
    assert takes(io, an_alert("tests/test_z.py::test_load"))
    assert not takes(io, an_alert("tests/net/test_a.py::test_b"))
    assert not takes(io, an_alert())


def test_every_problem_of_the_table_is_listed_at_once() -> None:
    """Each with its place and what to write instead."""
    _, _, problems = read_notify(
        {
            "url": ["x"],
            "urls": [1],
            "remind_every": "soon",
            "worse_by": "a lot",
            "max_per_hour": 0,
            "timeout": "0 s",
            "routes": [
                {"severity": "bad"},
                {"channel": "", "categories": ["leak"], "tests": "tests/io"},
                {"channel": "terminal", "severities": ["critical"]},
                "terminal",
            ],
        },
        place=PLACE,
    )
    assert problems == [
        f"{PLACE}: unknown key 'url'; did you mean 'urls'?",
        f"{PLACE}.remind_every: 'soon' is not a duration; write it as '1.5 s' or 1.5",
        f"{PLACE}.worse_by: 'a lot' is not a share; write it as 0.5 or '50 %'",
        f"{PLACE}.max_per_hour: 0 is not a count of 1 or more; write a whole number such as 3",
        f"{PLACE}.timeout: '0 s' leaves no time to deliver anything; write it as '10 s'",
        f"{PLACE}.urls: what is written is not a list of addresses; write it as ['${{SLACK_URL}}']",
        f"{PLACE}.routes[0]: a channel is missing; write channel = '${{SLACK_URL}}'",
        f"{PLACE}.routes[0].severity: 'bad' is not one of 'info', 'warning', 'critical'",
        f"{PLACE}.routes[1].channel: what is written is not an address; write one between quotes",
        (
            f"{PLACE}.routes[1].categories: 'leak' is not one of "
            + ", ".join(repr(category.value) for category in AlertCategory)
        ),
        f"{PLACE}.routes[1].tests: 'tests/io' is not a list; write it as ['tests/io']",
        f"{PLACE}.routes[2]: unknown key 'severities'; did you mean 'severity'?",
        (
            f"{PLACE}.routes[3]: what is written is not a table; "
            "write [[tool.memalert.notify.routes]] above each route"
        ),
    ]


@pytest.mark.parametrize("table", ["https://s3cr3t.example/x", ["https://s3cr3t.example/x"]])
def test_table_that_is_none_is_refused_unseen(table: object) -> None:
    _, _, problems = read_notify(table, place=PLACE)
    assert len(problems) == 1
    assert "s3cr3t" not in problems[0]


def test_addresses_and_routes_of_a_file_are_all_in_force() -> None:
    notify = notify_of(
        {
            "urls": ["jsonl:a.jsonl", "terminal"],
            "remind_every": "2 days",
            "max_shown": 3,
            "routes": [{"channel": "logging:x", "severity": "critical"}],
        }
    )
    assert [(route.shown, route.origin) for route in notify.routes] == [
        ("jsonl:a.jsonl", f"{PLACE}.urls[0]"),
        ("terminal", f"{PLACE}.urls[1]"),
        ("logging:x", f"{PLACE}.routes[0]"),
    ]
    assert notify.remind_every_s == 2 * 86400
    assert notify.max_shown == 3


def test_later_layer_replaces_the_addresses_and_leaves_the_routes() -> None:
    table: dict[str, object] = {"urls": ["terminal"], "routes": [{"channel": "logging:x"}]}
    by_ini = notify_of(table, ini={"memalert_notify": "jsonl:b.jsonl\nlogging:y"})
    assert [route.shown for route in by_ini.routes] == ["jsonl:b.jsonl", "logging:y", "logging:x"]
    by_hand = notify_of(table, ini={"memalert_notify": "logging:y"}, command_line=["jsonl:c.jsonl"])
    assert by_hand.routes[0].origin == "--memalert-notify[0]"
    assert [route.shown for route in by_hand.routes] == ["jsonl:c.jsonl", "logging:x"]


def test_none_sends_nothing_anywhere() -> None:
    """Routes included: whoever runs tests at home wants no message in the team's channel."""
    table: dict[str, object] = {"urls": ["terminal"], "routes": [{"channel": "logging:x"}]}
    assert notify_of(table, command_line=["none"]).routes == ()


def test_nothing_is_sent_unless_somebody_says_where() -> None:
    assert notify_of({}) == Notify()


def test_problems_of_notifications_are_told_with_all_others() -> None:
    _, problems = read_settings(
        pyproject={"notify": {"timeout": "x"}, "leaks": "x"},
        pyproject_name="pyproject.toml",
        ini={},
        ini_name="",
        command_line={},
    )
    assert len(problems) == 2
