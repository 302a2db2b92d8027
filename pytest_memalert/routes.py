"""Routes: which alerts go to which channel, and at what pace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from pytest_memalert.errors import WrongValueError, show_toml
from pytest_memalert.model import AlertCategory, AlertSeverity, PerformanceAlert
from pytest_memalert.records import record
from pytest_memalert.rules import matches
from pytest_memalert.targets import redact
from pytest_memalert.units import parse_duration, parse_ratio
from pytest_memalert.user_values import collecting, read_choice, read_count, read_text, refuse_unknown

__all__ = ["NOTIFY_KEYS", "ROUTE_KEYS", "Notify", "Route", "read_notify", "read_urls", "takes", "with_urls"]


@record(frozen=True, slots=True, kw_only=True)
class Route:
    """Say which alerts go to one channel; ``channel`` is its address as written, secrets and all.

    ``severity`` is the least that goes there. Without ``categories`` or ``tests`` all do.
    """

    channel: str = field(repr=False)
    severity: AlertSeverity = AlertSeverity.INFO
    categories: tuple[AlertCategory, ...] = ()
    tests: tuple[str, ...] = ()
    origin: str = ""

    @property
    def shown(self) -> str:
        """Return what of the address may be shown."""
        return redact(self.channel)

    @property
    def key(self) -> str:
        """Return what the route is known by from one session to the next."""
        return f"{self.origin} {self.shown}"


@record(frozen=True, slots=True, kw_only=True)
class Notify:
    """Hold where notifications go, and when something is worth one.

    An alert is told again once its value is ``worse_by`` of itself over what was told last, or when it is
    still there after ``remind_every_s``. A channel gets ``max_per_hour`` digests, each of ``max_shown``
    messages. ``timeout_s`` bounds all deliveries of a session together.
    """

    routes: tuple[Route, ...] = ()
    remind_every_s: float = 7 * 24 * 3600.0
    worse_by: float = 0.2
    max_per_hour: int = 12
    max_shown: int = 10
    timeout_s: float = 10.0


def takes(route: Route, alert: PerformanceAlert) -> bool:
    """Return whether an alert is for this route."""
    return (
        alert.severity >= route.severity
        and (not route.categories or alert.category in route.categories)
        and (
            not route.tests
            or any(matches(nodeid, pattern) for nodeid in alert.nodeids for pattern in route.tests)
        )
    )


# ----------------------------------------------------------------- from a file


def read_notify(table: object, *, place: str) -> tuple[Notify, tuple[str, ...] | None, list[str]]:
    """Return what a file has under ``notify``, the ``urls`` it has there, and everything wrong with it.

    ``urls`` is None where they aren't written. No problem shows more of an address than ``redact`` does.
    """
    if not isinstance(table, Mapping):
        what = "is not a table; write [tool.memalert.notify] with urls = ['...']"
        return Notify(), None, [f"{place}: what is written {what}"]
    problems = [
        f"{place}: {refuse_unknown('key', key, NOTIFY_KEYS)}" for key in table if key not in NOTIFY_KEYS
    ]
    values: dict[str, Any] = {}
    for key, (name, read) in _READERS.items():
        if key in table:
            with collecting(problems, f"{place}.{key}"):
                values[name] = read(table[key])
    urls = None
    if "urls" in table:
        with collecting(problems, f"{place}.urls"):
            urls = read_urls(table["urls"])
    routes, wrong = _read_routes(table.get("routes", []), f"{place}.routes")
    return Notify(routes=routes, **values), urls, problems + wrong


def read_urls(value: object) -> tuple[str, ...]:
    """Return addresses from a list, or from text with one in each line; raises ValueError."""
    if isinstance(value, str):
        value = value.split()
    if isinstance(value, list | tuple) and all(isinstance(url, str) and url.strip() for url in value):
        return tuple(url.strip() for url in value)
    # Whatever is there may be a secret: it isn't shown.
    raise ValueError("what is written is not a list of addresses; write it as ['${SLACK_URL}']")


def with_urls(notify: Notify | None, urls: Sequence[str], origin: str) -> Notify:
    """Return what a file says about notifications, with the addresses that ``origin``, the last layer, names.

    Where one of them is "none", nobody is told of anything.
    """
    notify = notify or Notify()
    if "none" in urls:
        return replace(notify, routes=())
    place = f"{origin}.urls" if origin.endswith(".notify") else origin
    numbered = (Route(channel=url, origin=f"{place}[{index}]") for index, url in enumerate(urls))
    return replace(notify, routes=(*numbered, *notify.routes))


def _read_limit(value: object) -> float:
    limit_s = parse_duration(value)
    if limit_s <= 0:
        raise WrongValueError(value, "leaves no time to deliver anything; write it as '10 s'")
    return limit_s


_READERS: dict[str, tuple[str, Callable[[object], object]]] = {
    "remind_every": ("remind_every_s", parse_duration),
    "worse_by": ("worse_by", parse_ratio),
    "max_per_hour": ("max_per_hour", read_count),
    "max_shown": ("max_shown", read_count),
    "timeout": ("timeout_s", _read_limit),
}

#: The keys of ``[tool.memalert.notify]`` and of each ``[[tool.memalert.notify.routes]]``.
NOTIFY_KEYS = ("urls", "routes", *_READERS)
ROUTE_KEYS = ("channel", "severity", "categories", "tests")


def _read_routes(tables: object, place: str) -> tuple[tuple[Route, ...], list[str]]:
    if not isinstance(tables, list | tuple):
        what = "is not a list of tables; write [[tool.memalert.notify.routes]] above each route"
        return (), [f"{place}: what is written {what}"]
    routes: list[Route] = []
    problems: list[str] = []
    for index, table in enumerate(tables):
        route, wrong = _read_route(table, f"{place}[{index}]")
        routes += [route] if route else []
        problems += wrong
    return tuple(routes), problems


def _read_route(table: object, place: str) -> tuple[Route | None, list[str]]:
    if not isinstance(table, Mapping):
        what = "is not a table; write [[tool.memalert.notify.routes]] above each route"
        return None, [f"{place}: what is written {what}"]
    problems = [
        f"{place}: {refuse_unknown('key', key, ROUTE_KEYS)}" for key in table if key not in ROUTE_KEYS
    ]
    values: dict[str, Any] = {}
    if "channel" not in table:
        problems.append(f"{place}: a channel is missing; write channel = '${{SLACK_URL}}'")
    elif isinstance(channel := table["channel"], str) and channel.strip():
        values["channel"] = channel.strip()
    else:
        problems.append(f"{place}.channel: what is written is not an address; write one between quotes")
    if "severity" in table:
        with collecting(problems, f"{place}.severity"):
            words = [severity.value for severity in AlertSeverity]
            values["severity"] = AlertSeverity(read_choice(table["severity"], words))
    for key, read in (("categories", _read_category), ("tests", read_text)):
        if key in table:
            with collecting(problems, f"{place}.{key}"):
                values[key] = _read_list(table[key], read)
    if problems:
        return None, problems
    return Route(**values, origin=place), []


def _read_category(value: object) -> AlertCategory:
    return AlertCategory(read_choice(value, [category.value for category in AlertCategory]))


def _read_list(value: object, read: Callable[[object], object]) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise WrongValueError(value, f"is not a list; write it as {show_toml([value])}")
    return tuple(read(each) for each in value)
