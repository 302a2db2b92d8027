"""Holds the alert manager to its calls: in any program, from threads, with and without an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_memalert import (
    AlertCategory,
    AlertChannel,
    AlertCondition,
    AlertManager,
    AlertRule,
    AlertSeverity,
    ConfigurationError,
    DeliveryError,
    LeakAnalysis,
    MemalertError,
    MemalertWarning,
    PerformanceAlert,
    Survivor,
    measure,
)
from pytest_memalert.limits.defaults import DEFAULT_RULES
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import SignalGrowth

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
WARNING, CRITICAL = AlertSeverity.WARNING, AlertSeverity.CRITICAL


@dataclass
class Report:
    """Stand for a measured block."""

    name: str = "load"
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Recorder:
    """Keep what it is sent."""

    name: str = "recorder"
    sent: list[PerformanceAlert] = field(default_factory=list)

    def send(self, alert: PerformanceAlert) -> None:
        self.sent.append(alert)


@dataclass
class Clock:
    """Tell the time that the test says it is."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


def a_rule(name: str = "growth", **changes: Any) -> AlertRule:
    rule = AlertRule(
        name=name,
        category=AlertCategory.MEMORY_GROWTH,
        severity=WARNING,
        metric="growth_bytes",
        threshold=100,
    )
    return replace(rule, **changes)


def growth(value: float, name: str = "load") -> Report:
    return Report(name=name, metrics={"growth_bytes": value})


LEAKING = LeakAnalysis(
    status="leaking",
    reason="+3 blocks in each of 13 runs",
    bytes_per_run=4096.0,
    blocks_per_run=3.0,
    runs=13,
    rate_bytes_per_hour=1e6,
    survivors=(Survivor(type="shop.Item", count=1, size_bytes=4096),),
    component="shop",
    signature="sig",
    recommendations=("bound or clear `shop.ITEMS`",),
)


# ------------------------------------------------------------------ the rules


def test_manager_has_the_default_rules_unless_told_otherwise() -> None:
    """Those that are judged at the end of a session are not among them."""
    assert AlertManager().rules == DEFAULT_RULES
    assert AlertManager(rules=()).rules == ()


def test_default_rules_that_all_managers_share_can_not_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        AlertManager().rules[0].threshold = 1.0  # type: ignore[misc]


def test_rule_of_a_known_name_and_severity_replaces_it() -> None:
    manager = AlertManager(rules=[a_rule(), a_rule(severity=CRITICAL, threshold=1000)])
    manager.add_rule(a_rule(threshold=5))
    assert [(rule.severity, rule.threshold) for rule in manager.rules] == [(WARNING, 5), (CRITICAL, 1000)]


def test_removed_rule_is_gone_and_a_disabled_one_waits() -> None:
    manager = AlertManager(rules=[a_rule(), a_rule("other")])
    manager.disable("growth")
    assert [alert.rule for alert in manager.check_memory(growth(200))] == ["other"]
    manager.enable("growth")
    manager.remove_rule("other")
    assert [alert.rule for alert in manager.check_memory(growth(200))] == ["growth"]
    assert [rule.name for rule in manager.rules] == ["growth"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"threshold": "10 MiB"}, r"threshold='10 MiB' is no number; write it in the metric's base unit"),
        ({"threshold": None}, "threshold=None is no number"),
        ({"threshold": float("nan")}, "threshold=nan is no number"),
        (
            {"severity": "warning"},
            r"severity='warning' is no AlertSeverity; write AlertSeverity\('warning'\)",
        ),
        ({"category": "zz"}, "category='zz' is no AlertCategory"),
        ({"condition": ">"}, r"condition='>' is no AlertCondition; write AlertCondition\('>'\)"),
    ],
)
def test_rule_of_wrong_types_is_refused_when_it_is_added(changes: dict[str, Any], told: str) -> None:
    """And not when it is judged, or never."""
    with pytest.raises(ConfigurationError, match=told):
        AlertManager().add_rule(a_rule(**changes))


@pytest.mark.parametrize("until", ["30 days", timedelta(days=30)])
def test_acknowledgment_until_something_that_is_no_time_is_refused(until: Any) -> None:
    manager = AlertManager(rules=[a_rule()])
    (alert,) = manager.check_memory(growth(200))
    with pytest.raises(MemalertError, match="is no time; write a datetime"):
        manager.acknowledge(alert.id, reason="known", until=until)


def test_one_severity_of_a_pair_can_be_meant_alone() -> None:
    manager = AlertManager()
    manager.disable("rss", severity=WARNING)
    manager.remove_rule("rss", severity=CRITICAL)
    assert [(rule.severity, rule.enabled) for rule in manager.rules if rule.name == "rss"] == [
        (WARNING, False)
    ]


@pytest.mark.parametrize("call", ["remove_rule", "enable", "disable"])
def test_unknown_rule_is_refused_with_the_nearest_known(call: str) -> None:
    with pytest.raises(MemalertError, match="no rule 'grwth'; did you mean 'growth'\\?"):
        getattr(AlertManager(rules=[a_rule()]), call)("grwth")


def test_rule_of_the_session_is_refused_since_a_program_has_none() -> None:
    with pytest.raises(ConfigurationError, match="scope 'session' is judged at the end of a test session"):
        AlertManager().add_rule(a_rule(scope="session"))


# ----------------------------------------------------------------- the checks


@pytest.mark.parametrize("category", AlertCategory)
def test_rule_of_every_category_is_judged(category: AlertCategory) -> None:
    """A category is a label: what is held against the limit is the metric."""
    manager = AlertManager(rules=[a_rule(category=category)])
    (alert,) = manager.check_memory(growth(101))
    assert alert.category is category
    assert manager.by_category(category) == (alert,)
    assert manager.by_category(category.value) == (alert,)


@pytest.mark.parametrize(
    ("condition", "fires", "passes"),
    [
        (AlertCondition.GREATER_THAN, 101, 100),
        (AlertCondition.LESS_THAN, 99, 100),
        (AlertCondition.EQUALS, 100, 101),
        (AlertCondition.NOT_EQUALS, 101, 100),
    ],
)
def test_every_condition_is_judged(condition: AlertCondition, fires: float, passes: float) -> None:
    manager = AlertManager(rules=[a_rule(condition=condition)])
    assert manager.check_memory(growth(passes)) == ()
    (alert,) = manager.check_memory(growth(fires))
    assert (alert.observed, alert.limit, alert.condition) == (fires, 100, condition)


@pytest.mark.parametrize("metric", [name for name, m in METRICS.items() if m.reading != "leak"])
def test_every_metric_that_a_report_has_is_judged(metric: str) -> None:
    """By its own words, in its own unit."""
    manager = AlertManager(rules=[a_rule(metric=metric, threshold=0.25)])
    (alert,) = manager.check_memory(Report(metrics={metric: 0.5}))
    assert METRICS[metric].label in alert.message


def test_metric_of_the_program_s_own_is_judged() -> None:
    manager = AlertManager(rules=[a_rule("queue", metric="queue_length", category=AlertCategory.GENERAL)])
    (alert,) = manager.check_memory(Report(name="worker", metrics={"queue_length": 250}))
    assert alert.message == "worker: queue_length 250 is over the limit of 100"


def test_rule_without_data_warns_once() -> None:
    """A limit is never passed in silence for want of a number."""
    manager = AlertManager(rules=[a_rule(metric="cpu_s", threshold=1)])
    with pytest.warns(MemalertWarning, match="rule 'growth' was not judged: 'load' has no data for cpu_s"):
        manager.check_memory(growth(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.check_memory(growth(1))


def test_manager_measures_what_its_rules_name() -> None:
    """Processor time isn't measured otherwise."""
    manager = AlertManager(
        rules=[
            a_rule("cpu", metric="cpu_s", threshold=0, condition=AlertCondition.GREATER_THAN),
            a_rule("slow", metric="duration_s", threshold=0),
            a_rule("fds", metric="open_fds_growth", threshold=0, condition=AlertCondition.EQUALS),
        ]
    )
    with manager.measure("sum") as measured:
        sum(range(200_000))
    assert {alert.rule for alert in manager.check_memory(measured)} == {"cpu", "slow", "fds"}


def test_report_of_measure_is_judged() -> None:
    kept = []
    with measure("build") as measured:
        kept.append(bytearray(8 * 2**20))
    manager = AlertManager(rules=[a_rule(threshold=2**20)])
    (alert,) = manager.check_memory(measured)
    assert alert.nodeids == ("build",)
    assert "build: growth 8 MiB is over the limit of 1 MiB" in alert.message
    assert kept


def test_component_of_a_check_is_the_alert_s_and_chooses_the_rules() -> None:
    manager = AlertManager(rules=[a_rule("shop", component="shop"), a_rule("any")])
    assert [alert.component for alert in manager.check_memory(growth(200), component="shop")] == [
        "shop",
        "shop",
    ]
    assert [alert.rule for alert in manager.check_memory(growth(200), component="till")] == ["any"]


def test_higher_severity_of_a_pair_speaks_and_the_other_is_remembered() -> None:
    manager = AlertManager(rules=[a_rule(), a_rule(severity=CRITICAL, threshold=1000)])
    (alert,) = manager.check_memory(growth(2000))
    assert alert.severity is CRITICAL
    assert {(each.severity, each.inhibited_by) for each in manager.recent()} == {
        (CRITICAL, None),
        (WARNING, "critical of the same rule"),
    }
    assert manager.unacknowledged() == (alert,)


def test_default_growth_rate_speaks_of_growth_that_comes_back() -> None:
    """A first import grows fast and is no finding; the milder of two is what is claimed."""
    manager = AlertManager()
    fast = {"growth_bytes": 20e6, "growth_rate_bytes_per_s": 20e6}
    slower = {"growth_bytes": 20e6, "growth_rate_bytes_per_s": 9e6}
    assert manager.check_memory(Report(metrics=fast)) == ()
    assert manager.check_memory(Report(name="another", metrics=fast)) == ()
    (alert,) = manager.check_memory(Report(metrics=slower))
    assert (alert.rule, alert.severity, alert.observed) == ("growth-rate", CRITICAL, 9e6)
    assert manager.check_memory(Report(metrics={"growth_bytes": 0, "growth_rate_bytes_per_s": 0})) == ()
    assert manager.check_memory(Report(metrics=fast)) == ()


def test_limit_on_growth_speaks_in_place_of_the_default_rates() -> None:
    """Who allows so much allows it at any pace."""
    manager = AlertManager()
    manager.add_rule(a_rule(threshold=10e6))
    fast = {"growth_bytes": 20e6, "growth_rate_bytes_per_s": 20e6}
    for _ in range(2):
        assert [alert.rule for alert in manager.check_memory(Report(metrics=fast))] == ["growth"]


def test_proven_leak_raises_alerts_with_its_evidence() -> None:
    manager = AlertManager()
    (alert,) = manager.check_leaks(LEAKING, name="checkout")
    assert (alert.rule, alert.category) == ("leak", AlertCategory.MEMORY_LEAK)
    assert alert.message.splitlines() == [
        "checkout: leaks 4 KiB in 3 blocks per run",
        "+3 blocks in each of 13 runs",
    ]
    assert alert.survivors == LEAKING.survivors
    assert alert.recommendations == LEAKING.recommendations
    assert alert.component == "shop"


@pytest.mark.parametrize(
    ("blocks", "told"), [(1.83768, "1.84 blocks"), (1, "1 block"), (5120.4, "5,120 blocks")]
)
def test_blocks_of_a_leak_are_told_as_exactly_as_they_are_known(blocks: float, told: str) -> None:
    (alert,) = AlertManager().check_leaks(replace(LEAKING, blocks_per_run=blocks), name="checkout")
    assert alert.message.splitlines()[0] == f"checkout: leaks 4 KiB in {told} per run"


def test_leak_is_known_by_its_signature_wherever_it_shows() -> None:
    manager = AlertManager()
    (first,) = manager.check_leaks(LEAKING, name="checkout")
    (second,) = manager.check_leaks(LEAKING, name="refund")
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize("status", ["clean", "unclear"])
def test_what_is_not_proven_raises_nothing(status: Any) -> None:
    assert AlertManager().check_leaks(replace(LEAKING, status=status)) == ()


def test_leak_of_descriptors_alone_is_an_alert_too() -> None:
    """It takes no bytes of the process."""
    opened = SignalGrowth(signal="descriptors", per_run=1, runs=5, every_run=True)
    reason = "+1 open descriptor in each of 5 runs"
    fds = LeakAnalysis(status="leaking", reason=reason, runs=5, growth=(opened,))
    (alert,) = AlertManager().check_leaks(fds, name="connect")
    assert alert.message == "connect: leaks 1 open descriptor in each of 5 runs"
    assert (alert.rule, alert.observed, alert.limit) == ("leak-handles", 1, 0)


@pytest.mark.parametrize(
    ("signal", "told"), [("blocks", "1 block"), ("heap", "1 byte of heap in each of 8 runs")]
)
def test_leak_whose_size_is_not_known_is_an_alert_too(signal: str, told: str) -> None:
    growth = SignalGrowth(signal=signal, per_run=1, runs=8, every_run=True)
    unsized = LeakAnalysis(
        status="leaking",
        reason="+1 byte of heap in each of 8 runs",
        blocks_per_run=float(signal == "blocks"),
        growth=(growth,),
    )
    (alert,) = AlertManager().check_leaks(unsized, name="load")
    assert f"load: leaks {told}" in alert.message


def test_limit_on_the_bytes_of_a_leak_allows_no_descriptor() -> None:
    rule = a_rule("leak", metric="leak_bytes_per_run", threshold=1024, category=AlertCategory.MEMORY_LEAK)
    opened = SignalGrowth(signal="descriptors", per_run=1, runs=5, every_run=True)
    fds = LeakAnalysis(status="leaking", reason="+1 open descriptor in each of 5 runs", growth=(opened,))
    (alert,) = AlertManager(rules=[*DEFAULT_RULES, rule]).check_leaks(fds)
    assert alert.rule == "leak-handles"


def test_one_alert_speaks_for_a_leak_of_memory_and_descriptors() -> None:
    opened = SignalGrowth(signal="descriptors", per_run=1, runs=13, every_run=True)
    running = SignalGrowth(signal="threads", per_run=2, runs=13, every_run=True)
    alerts = AlertManager().check_leaks(replace(LEAKING, growth=(opened, running)), name="connect")
    assert [(alert.rule, alert.inhibited_by) for alert in alerts if alert.speaks] == [("leak", None)]
    told = alerts[0].message.split("\n")[0]
    assert told == "connect: leaks 1 open descriptor, 2 threads and 4 KiB in 3 blocks per run"


def test_custom_rule_of_a_leak_is_judged() -> None:
    rule = a_rule("blocks", metric="leak_blocks_per_run", threshold=2, category=AlertCategory.MEMORY_LEAK)
    (alert,) = AlertManager(rules=[rule]).check_leaks(LEAKING)
    assert (alert.rule, alert.observed, alert.nodeids) == ("blocks", 3.0, ("shop",))


# ----------------------------------------------------------------- the alerts


def test_alert_can_be_given_a_component_and_recommendations() -> None:
    """Each call returns another alert."""
    (alert,) = AlertManager(rules=[a_rule()]).check_memory(growth(200))
    changed = alert.with_component("shop").with_recommendations("empty the cart", "twice")
    assert (changed.component, changed.recommendations) == ("shop", ("empty the cart", "twice"))
    assert (alert.component, alert.recommendations) == ("", ())


def test_recent_alerts_come_newest_first() -> None:
    manager = AlertManager(rules=[a_rule()])
    for number in range(15):
        manager.check_memory(growth(200, f"block {number}"))
    assert [alert.nodeids[0] for alert in manager.recent(2)] == ["block 14", "block 13"]
    assert len(manager.recent()) == 10
    assert manager.recent(0) == manager.recent(-1) == ()


def test_memory_of_the_manager_is_bounded() -> None:
    """A memory tool that grows without end would be a poor joke."""
    manager = AlertManager(rules=[a_rule()], remembered=50)
    for number in range(1000):
        manager.check_memory(growth(200, f"block {number}"))
        manager.acknowledge(manager.recent(1)[0].id, reason="known")
    assert len(manager.recent(10_000)) == 50
    for held in (manager._lives, manager._acknowledged, manager._grown):
        assert len(held) <= 50


def test_acknowledged_alert_is_remembered_and_silent() -> None:
    recorder = Recorder()
    manager = AlertManager(rules=[a_rule()], channels=[recorder])
    (alert,) = manager.check_memory(growth(200))
    assert manager.acknowledge(alert.id, reason="the cache is meant").acknowledged == "the cache is meant"
    assert manager.check_memory(growth(200)) == ()
    assert manager.unacknowledged() == ()
    assert [each.acknowledged for each in manager.recent()] == ["the cache is meant"] * 2
    assert len(recorder.sent) == 1


def test_acknowledged_alert_speaks_again_when_it_grows() -> None:
    """Beyond the value that it had, and beyond what differs from one measurement to the next."""
    recorder = Recorder()
    manager = AlertManager(rules=[a_rule()], channels=[recorder])
    (alert,) = manager.check_memory(growth(10 * 2**20))
    manager.acknowledge(alert.id, reason="known")
    assert manager.check_memory(growth(10.5 * 2**20)) == ()
    (worse,) = manager.check_memory(growth(12.5 * 2**20))
    assert worse.acknowledged is None
    assert recorder.sent == [alert, worse]


def test_acknowledged_alert_speaks_again_when_its_time_is_over() -> None:
    clock = Clock()
    manager = AlertManager(rules=[a_rule()], clock=clock)
    (alert,) = manager.check_memory(growth(200))
    manager.acknowledge(alert.fingerprint, reason="until the fix", until=NOON + timedelta(days=1))
    assert manager.check_memory(growth(200)) == ()
    clock.now += timedelta(days=1)
    assert len(manager.check_memory(growth(200))) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"id": "nope", "reason": "x"}, "no alert 'nope' is remembered"),
        ({"reason": " "}, "a reason is missing"),
        ({"reason": "x", "until": datetime(2030, 1, 1)}, "has no zone"),  # noqa: DTZ001
    ],
)
def test_acknowledgment_that_means_nothing_is_refused(arguments: dict[str, Any], problem: str) -> None:
    manager = AlertManager(rules=[a_rule()])
    (alert,) = manager.check_memory(growth(200))
    with pytest.raises(MemalertError, match=problem):
        manager.acknowledge(**{"id": alert.id, **arguments})


def test_cleared_alerts_are_forgotten_and_news_again() -> None:
    recorder = Recorder()
    manager = AlertManager(rules=[a_rule()], channels=[recorder])
    manager.check_memory(growth(200))
    assert manager.clear() == 1
    assert manager.recent() == ()
    manager.check_memory(growth(200))
    assert len(recorder.sent) == 2
    assert len(manager.rules) == 1


# --------------------------------------------------------------- the channels


def test_channel_is_told_of_what_is_new_worse_or_due() -> None:
    """And not each time that a loop checks the same thing."""
    clock, recorder = Clock(), Recorder()
    manager = AlertManager(rules=[a_rule()], channels=[recorder], clock=clock, remind_every_s=3600)
    for value in (200, 200, 210, 500, 500):
        manager.check_memory(growth(value))
    assert [alert.observed for alert in recorder.sent] == [200, 500]
    clock.now += timedelta(hours=1)
    manager.check_memory(growth(500))
    assert len(recorder.sent) == 3


def test_what_is_no_channel_is_refused() -> None:
    with pytest.raises(MemalertError, match="a str is no channel: it needs name and send"):
        AlertManager().add_channel("slack")  # type: ignore[arg-type]
    assert isinstance(Recorder(), AlertChannel)


class Failing:
    """Fail as something with a secret does."""

    name = "failing"

    def __init__(self, trouble: BaseException) -> None:
        self.trouble = trouble

    def send(self, alert: PerformanceAlert) -> None:
        raise self.trouble


def test_failing_channel_is_a_warning_and_stops_no_other() -> None:
    """Of a foreign exception only the type is told: its text may hold a whole URL."""
    recorder = Recorder()
    failing = Failing(RuntimeError("https://example.com/s3cr3t"))
    manager = AlertManager(rules=[a_rule()], channels=[failing, recorder, failing])
    with pytest.warns(MemalertWarning) as seen:
        (alert,) = manager.check_memory(growth(200))
    assert recorder.sent == [alert]
    assert [str(each.message) for each in seen] == [
        f"channel failing could not send alert {alert.id}: RuntimeError"
    ] * 2
    assert {each.filename for each in seen} == {__file__}


def test_channel_says_itself_why_it_could_not_deliver() -> None:
    told: list[str] = []
    manager = AlertManager(rules=[a_rule()], channels=[Failing(DeliveryError("no paper"))], warn=told.append)
    (alert,) = manager.check_memory(growth(200))
    assert told == [f"channel failing could not send alert {alert.id}: no paper"]


def test_failing_channel_does_not_break_a_program_whose_warnings_are_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = AlertManager(rules=[a_rule()], channels=[Failing(ValueError("x"))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(manager.check_memory(growth(200))) == 1
    assert "could not send alert" in caplog.text


class Asynchronous:
    """Take a turn of the event loop to send."""

    name = "asynchronous"

    def __init__(self, trouble: type[BaseException] | None = None) -> None:
        self.sent: list[PerformanceAlert] = []
        self.trouble = trouble

    async def send(self, alert: PerformanceAlert) -> None:
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        self.sent.append(alert)


def test_asynchronous_channel_runs_to_its_end_without_a_loop() -> None:
    channel = Asynchronous()
    alerts = AlertManager(rules=[a_rule()], channels=[channel]).check_memory(growth(200))
    assert tuple(channel.sent) == alerts


def test_asynchronous_channel_runs_to_its_end_inside_a_running_loop() -> None:
    """It is done when the check returns; no task is left that the end of the loop would cancel."""
    channel = Asynchronous()
    manager = AlertManager(rules=[a_rule()], channels=[channel])

    async def program() -> tuple[PerformanceAlert, ...]:
        alerts = manager.check_memory(growth(200))
        assert tuple(channel.sent) == alerts
        assert len(asyncio.all_tasks()) == 1
        return alerts + await asyncio.to_thread(manager.check_memory, growth(200, "another"))

    assert asyncio.run(program()) == tuple(channel.sent)
    assert len(channel.sent) == 2


@pytest.mark.parametrize("trouble", [ValueError, asyncio.CancelledError, SystemExit])
def test_asynchronous_channel_that_fails_is_a_warning(trouble: type[BaseException]) -> None:
    recorder = Recorder()
    manager = AlertManager(rules=[a_rule()], channels=[Asynchronous(trouble), recorder])
    with pytest.warns(MemalertWarning, match=f"channel asynchronous could not send .*: {trouble.__name__}"):
        manager.check_memory(growth(200))
    assert len(recorder.sent) == 1


def test_asynchronous_channel_that_never_ends_costs_its_time_limit() -> None:
    class Stuck:
        name = "stuck"

        async def send(self, alert: PerformanceAlert) -> None:
            await asyncio.Event().wait()

    recorder = Recorder()
    manager = AlertManager(rules=[a_rule()], channels=[Stuck(), recorder], timeout_s=0.05)
    began_s = time.perf_counter()
    with pytest.warns(MemalertWarning, match="channel stuck could not send .*: not finished within 0.05 s"):
        manager.check_memory(growth(200))
    assert time.perf_counter() - began_s < 5
    assert len(recorder.sent) == 1


def test_channel_may_call_the_manager() -> None:
    class Curious:
        name = "curious"

        def send(self, alert: PerformanceAlert) -> None:
            manager.acknowledge(alert.id, reason="seen")

    manager = AlertManager(rules=[a_rule()], channels=[Curious()])
    manager.check_memory(growth(200))
    assert manager.unacknowledged() == ()


def test_threads_that_hammer_the_manager_lose_nothing() -> None:
    """Checks, rules, acknowledgments and readers at once: every alert is raised, kept and sent once."""
    recorder = Recorder()
    manager = AlertManager(rules=[a_rule()], channels=[recorder], remembered=10_000)
    threads, checks = 8, 100
    troubles: list[BaseException] = []
    start = threading.Barrier(threads)

    def work(thread: int) -> None:
        try:
            start.wait()
            for number in range(checks):
                (alert,) = manager.check_memory(growth(200, f"{thread}.{number}"))
                manager.add_rule(a_rule(f"rule {thread}", threshold=1e9))
                manager.disable(f"rule {thread}")
                manager.acknowledge(alert.id, reason="known")
                assert manager.recent(5)
                manager.by_category("memory_growth")
                manager.remove_rule(f"rule {thread}")
        except BaseException as trouble:
            troubles.append(trouble)

    working = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    assert troubles == []
    everything = manager.recent(10_000)
    names = {f"{thread}.{number}" for thread in range(threads) for number in range(checks)}
    assert len(everything) == threads * checks
    assert {alert.nodeids[0] for alert in everything} == names
    assert sorted(alert.nodeids[0] for alert in recorder.sent) == sorted(names)
    assert manager.unacknowledged() == ()


def test_same_news_from_many_threads_is_sent_once() -> None:
    recorder = Recorder()
    manager = AlertManager(rules=[a_rule()], channels=[recorder])
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        manager.check_memory(growth(200))

    working = [threading.Thread(target=work) for _ in range(8)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    assert len(manager.recent()) == 8
    assert len(recorder.sent) == 1
