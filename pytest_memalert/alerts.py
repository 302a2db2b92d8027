"""The alert manager: rules, what they found, and where it is told; works in any Python program."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from pytest_memalert.acknowledgments import most_accepted
from pytest_memalert.channels import AlertChannel
from pytest_memalert.channels.bounded import complete, explain
from pytest_memalert.clock import utc_now
from pytest_memalert.errors import ConfigurationError, MemalertError, nearest, warn_of_trouble
from pytest_memalert.limits.defaults import DEFAULT_RULES
from pytest_memalert.metrics import METRICS, Metric, unknown_metric
from pytest_memalert.model import (
    AlertCategory,
    AlertCondition,
    AlertLife,
    AlertRule,
    AlertSeverity,
    LeakAnalysis,
    Measurement,
    PerformanceAlert,
    make_id,
)
from pytest_memalert.notify import find_due
from pytest_memalert.records import record
from pytest_memalert.routes import Notify
from pytest_memalert.rules import (
    LEAK_METRICS,
    Breach,
    find_breaches,
    judge_leak,
    leak_figures,
    make_alert,
    rules_for_test,
)
from pytest_memalert.speaking import inhibit

if TYPE_CHECKING:
    from pytest_memalert.measuring import MemoryReport

__all__ = ["AlertManager"]

_PACE = Notify()


class Measured(Protocol):
    """What ``check_memory`` judges: a ``MemoryReport``, or any object with a name and metrics."""

    @property
    def name(self) -> str:
        """Return what was measured; alerts are about it."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """Return each metric by name, in its base unit."""
        ...


@record(frozen=True, slots=True, kw_only=True)
class _Acknowledgment:
    """Say that alerts of a fingerprint are known, up to a value and until a time."""

    reason: str
    accepted: float
    until: datetime | None


class AlertManager:
    """Hold rules against what was measured, remember the alerts, and tell channels what is news.

    ``rules`` are the default ones unless given. ``remembered`` bounds the alerts that are kept. A channel
    is told of an alert when it is new, worse than when it was told last, or after ``remind_every_s``; what
    one does too slowly (an awaitable: ``timeout_s``) or wrongly is a MemalertWarning. ``warn`` takes the
    text of such trouble instead. All methods may be called from several threads.
    """

    def __init__(
        self,
        rules: Iterable[AlertRule] = DEFAULT_RULES,
        *,
        channels: Iterable[AlertChannel] = (),
        remembered: int = 1000,
        remind_every_s: float = _PACE.remind_every_s,
        worse_by: float = _PACE.worse_by,
        timeout_s: float = _PACE.timeout_s,
        warn: Callable[[str], object] | None = None,
        metrics: Mapping[str, Metric] = METRICS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._lock = threading.RLock()
        self._rules: dict[tuple[str, AlertSeverity], AlertRule] = {}
        self._channels: list[AlertChannel] = []
        self._alerts: deque[PerformanceAlert] = deque(maxlen=remembered)
        # By fingerprint; as many as alerts, since a program may name its blocks without end.
        self._lives: OrderedDict[str, AlertLife] = OrderedDict()
        self._acknowledged: OrderedDict[str, _Acknowledgment] = OrderedDict()
        self._grown: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._without_data: set[tuple[str, str]] = set()
        self._remembered = remembered
        self._pace = Notify(remind_every_s=remind_every_s, worse_by=worse_by)
        self._timeout_s = timeout_s
        self._warn = warn or warn_of_trouble
        self._metrics = metrics
        self._clock = clock
        for rule in rules:
            self.add_rule(rule)
        for channel in channels:
            self.add_channel(channel)

    # --------------------------------------------------------------- the rules

    @property
    def rules(self) -> tuple[AlertRule, ...]:
        """Return all rules, disabled ones included, in the order in which they were added."""
        with self._lock:
            return tuple(self._rules.values())

    def add_rule(self, rule: AlertRule) -> None:
        """Add a rule, or replace the one of its name and severity.

        Raises ConfigurationError for a rule of scope ``session`` (only a test session has an end), and for
        one whose severity, category, condition or threshold is none.
        """
        if problems := [f"AlertManager.add_rule({rule.name!r}): {each}" for each in _problems_of(rule)]:
            raise ConfigurationError(problems)
        # Where it was written says that it is the user's own: a default rule has that origin alone.
        if rule.origin == "default" and rule not in DEFAULT_RULES:
            rule = replace(rule, origin="add_rule")
        with self._lock:
            self._rules[rule.name, rule.severity] = rule

    def remove_rule(self, name: str, *, severity: AlertSeverity | None = None) -> None:
        """Remove the rules of a name, or that of one severity; raises MemalertError where there is none."""
        with self._lock:
            for key in self._keys(name, severity):
                del self._rules[key]

    def enable(self, name: str, *, severity: AlertSeverity | None = None) -> None:
        """Put the rules of a name in force again; raises MemalertError where there is none."""
        self._switch(name, severity, enabled=True)

    def disable(self, name: str, *, severity: AlertSeverity | None = None) -> None:
        """Keep the rules of a name, but don't judge by them; raises MemalertError where there is none."""
        self._switch(name, severity, enabled=False)

    # -------------------------------------------------------------- the checks

    def measure(self, name: str = "block") -> MemoryReport:
        """Return a context manager that measures the block under it, with every metric that a rule names."""
        from pytest_memalert.measuring import measure

        return measure(name, metrics={rule.metric for rule in self.rules if rule.enabled})

    def check_memory(self, report: Measured, *, component: str = "") -> tuple[PerformanceAlert, ...]:
        """Return the alerts that a finished report raises, having told the channels what is news of them.

        Acknowledged and inhibited ones are remembered and not returned. Every enabled rule is judged whose
        metric the report has; a rule of your own on one that it lacks is a warning, once. The default
        growth rates speak when the block of a name grew in two checks in a row: growth that happens once
        (an import, a cache) has no pace.
        """
        values = dict(report.metrics)
        with self._lock:
            rules = rules_for_test(self._rules.values(), (), nodeid=report.name, component=component)
            # As a marker's limit does: who allows 5 MiB allows them at any pace.
            limited = any(rule.metric == "growth_bytes" and rule.origin != "default" for rule in rules)
            rules = tuple(
                rule
                for rule in rules
                if rule.metric not in LEAK_METRICS and not (limited and _is_default_pace(rule))
            )
            unjudged = [rule for rule in rules if self._lacks(rule, values)]
            breaches = self._repeated(rules, find_breaches(rules, values), report.name)
        for rule in unjudged:
            self._warn(
                f"rule {rule.name!r} was not judged: {report.name!r} has no data for {rule.metric}; measure "
                "it with AlertManager.measure, which takes what the rules name"
            )
        measurement = _measurement(report.name, component, values)
        return self._raise(
            make_alert(
                breach,
                id=make_id(),
                measurement=measurement,
                raised_at=self._clock(),
                evidence=("the check before showed such growth as well",) if breach.repeated else (),
                metrics=self._known(breach.rule.metric),
            )
            for breach in breaches
        )

    def check_leaks(
        self, analysis: LeakAnalysis, *, name: str = "", component: str = ""
    ) -> tuple[PerformanceAlert, ...]:
        """Return the alerts that an analysis of ``find_leaks`` raises, and tell the channels as above.

        ``name`` says what was looked at. Only a proven leak raises any: "unclear" is no alert.
        """
        if analysis.status != "leaking":
            return ()
        component = component or analysis.component
        name = name or component or "the function"
        with self._lock:
            rules = rules_for_test(self._rules.values(), (), nodeid=name, component=component)
        figures = leak_figures(analysis)
        measurement = replace(_measurement(name, component, figures), leak=analysis.verdict)
        return self._raise(
            judge_leak(analysis, rules, measurement=measurement, raised_at=self._clock(), make_id=make_id)
        )

    # -------------------------------------------------------------- the alerts

    def recent(self, n: int = 10) -> tuple[PerformanceAlert, ...]:
        """Return the last ``n`` alerts, the newest first, with those acknowledged or inhibited."""
        with self._lock:
            return tuple(reversed(self._alerts))[: max(n, 0)]

    def by_category(self, category: AlertCategory | str) -> tuple[PerformanceAlert, ...]:
        """Return the alerts of a category that are remembered, the newest first; raises ValueError."""
        wanted = AlertCategory(category)
        return tuple(alert for alert in self.recent(self._remembered) if alert.category is wanted)

    def unacknowledged(self) -> tuple[PerformanceAlert, ...]:
        """Return the alerts that somebody should look at, the newest first."""
        return tuple(alert for alert in self.recent(self._remembered) if alert.speaks)

    def acknowledge(self, id: str, *, reason: str, until: datetime | None = None) -> PerformanceAlert:
        """Take note that an alert, by id or fingerprint, is known; return it, acknowledged.

        What is alike is acknowledged from now on: it is remembered, and neither returned nor told, until
        the time comes, or the value grows beyond what it is now. Raises MemalertError for an id that isn't
        remembered, a blank reason, or a time without a zone.
        """
        if not reason.strip():
            raise MemalertError("acknowledge: a reason is missing; write reason='...'")
        if until is not None and not isinstance(until, datetime):
            raise MemalertError(
                f"acknowledge: until={until!r} is no time; write a datetime, such as "
                "datetime(2026, 12, 31, tzinfo=timezone.utc)"
            )
        if until is not None and until.tzinfo is None:
            raise MemalertError(
                f"acknowledge: until={until!r} has no zone; write it with tzinfo=timezone.utc"
            )
        with self._lock:
            meant = next((a for a in reversed(self._alerts) if id in (a.id, a.fingerprint)), None)
            if meant is None:
                raise MemalertError(
                    f"acknowledge: no alert {id!r} is remembered; recent() lists those that are"
                )
            self._acknowledged[meant.fingerprint] = _Acknowledgment(
                reason=reason, accepted=meant.observed, until=until
            )
            _bound(self._acknowledged, self._remembered)
            for index, alert in enumerate(self._alerts):
                if alert.fingerprint == meant.fingerprint and self._is_accepted(alert):
                    self._alerts[index] = replace(alert, acknowledged=reason)
            return replace(meant, acknowledged=reason)

    def clear(self) -> int:
        """Forget all alerts and what was told of them; return how many there were.

        Rules, channels and acknowledgments stay.
        """
        with self._lock:
            count = len(self._alerts)
            self._alerts.clear()
            self._lives.clear()
            self._grown.clear()
            return count

    def add_channel(self, channel: AlertChannel) -> None:
        """Tell this channel, too, what is news; raises MemalertError for what is no channel."""
        if not isinstance(channel, AlertChannel):
            raise MemalertError(
                f"add_channel: a {type(channel).__name__} is no channel: it needs name and send(alert)"
            )
        with self._lock:
            self._channels.append(channel)

    # --------------------------------------------------------------- the steps

    def _raise(self, raised: Iterable[PerformanceAlert]) -> tuple[PerformanceAlert, ...]:
        """Remember alerts, and tell the channels what is news; return those that speak."""
        with self._lock:
            alerts = tuple(
                replace(alert, acknowledged=self._acknowledged[alert.fingerprint].reason)
                if self._is_accepted(alert)
                else alert
                for alert in raised
            )
            # What is acknowledged is silent, so it must not silence another.
            speaking = inhibit([alert for alert in alerts if alert.acknowledged is None])
            self._alerts += (alert for alert in alerts if alert.acknowledged is not None)
            self._alerts += speaking
            speaking = tuple(alert for alert in speaking if alert.inhibited_by is None)
            news = self._news_of(speaking)
            channels = tuple(self._channels)
        # Not under the lock: a channel may take its time, or call the manager.
        for alert in news:
            for channel in channels:
                self._send(channel, alert)
        return speaking

    def _news_of(self, alerts: Iterable[PerformanceAlert]) -> tuple[PerformanceAlert, ...]:
        """Return the alerts that are worth telling now, and remember that they were told."""
        now = self._clock()
        news = []
        for alert in alerts:
            known = self._lives.get(alert.fingerprint)
            life = AlertLife(
                fingerprint=alert.fingerprint,
                alert=alert,
                first_seen=known.first_seen if known else now,
                last_seen=now,
                times=known.times + 1 if known else 1,
                worst=alert.observed,
                notified=known.notified if known else None,
                notified_at=known.notified_at if known else None,
            )
            if find_due([life], seen={alert.fingerprint}, pace=self._pace, now=now):
                news.append(alert)
                life = replace(life, notified=alert.observed, notified_at=now)
            self._lives[alert.fingerprint] = life
            self._lives.move_to_end(alert.fingerprint)
        _bound(self._lives, self._remembered)
        return tuple(news)

    def _send(self, channel: AlertChannel, alert: PerformanceAlert) -> None:
        try:
            complete(channel.send(alert), self._timeout_s)
        except Exception as trouble:
            self._warn(f"channel {_name_of(channel)} could not send alert {alert.id}: {explain(trouble)}")

    def _is_accepted(self, alert: PerformanceAlert) -> bool:
        known = self._acknowledged.get(alert.fingerprint)
        if known is None or (known.until is not None and self._clock() >= known.until):
            return False
        unit = self._known(alert.metric)[alert.metric].unit
        most = most_accepted(known.accepted, alert.metric, unit, condition=alert.condition)
        if alert.condition is AlertCondition.LESS_THAN:
            return alert.observed >= most
        return alert.condition is not AlertCondition.GREATER_THAN or alert.observed <= most

    def _repeated(
        self, rules: Iterable[AlertRule], breaches: Iterable[Breach], name: str
    ) -> tuple[Breach, ...]:
        """Return the breaches, those of default rates only where the check before had one as well."""
        kept = []
        broken = {(breach.rule.name, breach.rule.severity): breach for breach in breaches}
        for rule in rules:
            breach = broken.get((rule.name, rule.severity))
            if not _is_default_pace(rule):
                kept += [breach] if breach else []
                continue
            key = (rule.name, rule.severity.value, name)
            before = self._grown.pop(key, None)
            if breach is None:
                continue
            self._grown[key] = breach.observed
            _bound(self._grown, self._remembered)
            if before is not None:
                kept.append(replace(breach, observed=min(before, breach.observed), repeated=1))
        return tuple(kept)

    def _lacks(self, rule: AlertRule, values: Mapping[str, float]) -> bool:
        """Return whether a rule of the user's own finds nothing to judge, for the first time."""
        key = (rule.name, rule.metric)
        if rule.origin == "default" or rule.metric in values or key in self._without_data:
            return False
        self._without_data.add(key)
        return True

    def _known(self, metric: str) -> Mapping[str, Metric]:
        """Return the metrics, with one that only the report knows: a plain number."""
        if metric in self._metrics:
            return self._metrics
        return {**self._metrics, metric: unknown_metric(metric)}

    def _keys(self, name: str, severity: AlertSeverity | None) -> list[tuple[str, AlertSeverity]]:
        keys = [key for key in self._rules if key[0] == name and severity in (None, key[1])]
        if not keys:
            names = sorted({key[0] for key in self._rules})
            near = nearest(name, names, cutoff=0.5)
            of = f" of severity {severity.value!r}" if severity else ""
            hint = f"did you mean {near!r}?" if near and near != name else f"there are {names}"
            raise MemalertError(f"no rule {name!r}{of}; {hint}")
        return keys

    def _switch(self, name: str, severity: AlertSeverity | None, *, enabled: bool) -> None:
        with self._lock:
            for key in self._keys(name, severity):
                self._rules[key] = replace(self._rules[key], enabled=enabled)


def _problems_of(rule: AlertRule) -> list[str]:
    """Return what is wrong with a rule that is made in code: no type checker may have seen it."""
    problems = []
    if rule.scope != "test":
        problems.append(
            f"scope {rule.scope!r} is judged at the end of a test session, which a manager doesn't see; "
            "write scope='test'"
        )
    enums: dict[str, type[AlertSeverity | AlertCategory | AlertCondition]] = {
        "severity": AlertSeverity,
        "category": AlertCategory,
        "condition": AlertCondition,
    }
    for name, enum in enums.items():
        value: object = getattr(rule, name)
        if not isinstance(value, enum):
            known = [member.value for member in enum]
            meant = value if value in known else known[0]
            problems.append(f"{name}={value!r} is no {enum.__name__}; write {enum.__name__}({meant!r})")
    threshold: object = rule.threshold
    is_number = isinstance(threshold, int | float) and (threshold == threshold or rule.against is not None)
    if not is_number:
        problems.append(
            f"threshold={threshold!r} is no number; write it in the metric's base unit: 10 * 2**20 for 10 MiB"
        )
    return problems


def _is_default_pace(rule: AlertRule) -> bool:
    """Return whether a rule is a default one on growth over time, which says something if it comes back."""
    return rule.origin == "default" and rule.metric == "growth_rate_bytes_per_s"


def _measurement(name: str, component: str, values: Mapping[str, float]) -> Measurement:
    return Measurement(
        nodeid=name, worker="", outcome="", component=component, rss_before_bytes=None, values=values
    )


def _bound(remembered: OrderedDict[Any, Any], most: int) -> None:
    while len(remembered) > most:
        remembered.popitem(last=False)


def _name_of(channel: AlertChannel) -> str:
    try:
        return str(channel.name)
    except Exception:
        return type(channel).__name__
