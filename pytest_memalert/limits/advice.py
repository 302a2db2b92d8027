"""What a rule recommends that has no recommendations of its own."""

from __future__ import annotations

from dataclasses import replace

from pytest_memalert.limits.keywords import MARKER_KEYS
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertCategory, AlertRule

__all__ = ["advised", "general_advice"]

# Where to look.
_ADVICE: dict[AlertCategory, tuple[str, ...]] = {
    AlertCategory.MEMORY_LEAK: (
        (
            "Look at what survives and at what holds it: bound or clear that container, "
            "or release the object in the teardown of the test or fixture that made it."
        ),
    ),
    AlertCategory.MEMORY_GROWTH: (
        (
            "Look for what the test adds to each time: a module-level list or dict, a cache without a bound, "
            "a handler, thread or file that stays open; undo it in teardown."
        ),
    ),
    AlertCategory.MEMORY_EFFICIENCY: (
        (
            "Lower the spike: read, parse or build in chunks rather than all at once, "
            "and drop each intermediate copy (del, a generator) before the next is made."
        ),
        "Run with --memalert-trace to see how much of the spike Python objects make up.",
    ),
    AlertCategory.MEMORY_THRESHOLD: (
        (
            "See which tests and fixtures brought the most memory; make their test data smaller "
            "or give large fixtures a narrower scope, so that they are torn down sooner."
        ),
    ),
    AlertCategory.CPU_USAGE: (
        "Profile this test alone (python -m cProfile -m pytest ...) and start with the costliest function.",
    ),
    AlertCategory.DISK_IO: (
        "Use smaller files or keep them in memory (io.BytesIO), and write each of them once.",
    ),
    AlertCategory.NETWORK_IO: (
        (
            "Replace the remote end by a local fake; the figure is the whole machine's, "
            "so repeat with nothing else running before looking further."
        ),
    ),
    AlertCategory.APPLICATION_LATENCY: (
        (
            "Run pytest --durations=10 to see whether set-up or the test itself takes the time, "
            "and repeat on an idle machine."
        ),
    ),
}
# The same of a session, where that is something else.
_ADVICE_OF_SESSION: dict[AlertCategory, tuple[str, ...]] = {
    AlertCategory.MEMORY_GROWTH: (
        (
            "Look for what tests add to each time: a module-level list or dict, a cache without a bound, "
            "a handler, thread or file that stays open; undo it in teardown."
        ),
        "The JSON report (--memalert-json PATH) says what each test added.",
    ),
    AlertCategory.CPU_USAGE: (
        "Profile the suite (python -m cProfile -m pytest ...) and start with the costliest function.",
    ),
    AlertCategory.APPLICATION_LATENCY: (
        "Run pytest --durations=10 to see which tests take the time, and repeat on an idle machine.",
    ),
}
# And how to allow what is meant: by a test's marker, and of a session, or where the marker has no keyword for
# the metric, by the rule.
_ALLOWING: dict[AlertCategory, tuple[str, str]] = {
    AlertCategory.MEMORY_LEAK: (
        "If it is meant to stay, allow it: @pytest.mark.memalert(leak='SIZE', reason='...').",
        "If it is meant to stay, raise the rule's limit.",
    ),
    AlertCategory.MEMORY_GROWTH: (
        "If the growth is meant, give the test its own limit: @pytest.mark.memalert(growth='N MiB').",
        "If the growth is meant, raise the rule's limit.",
    ),
    AlertCategory.MEMORY_THRESHOLD: (
        "If this much is needed, raise the limit, for all tests by a rule or for this one by its marker.",
        "If this much is needed, raise the rule's limit.",
    ),
}


def general_advice(rule: AlertRule) -> tuple[str, ...]:
    """Return what a rule recommends that has no recommendations of its own."""
    advice = _ADVICE.get(rule.category, ())
    if rule.scope == "session":
        advice = _ADVICE_OF_SESSION.get(rule.category, advice)
    if rule.category not in _ALLOWING:
        return advice
    by_marker, by_rule = _ALLOWING[rule.category]
    metric = METRICS.get(rule.metric)
    # A limit on the bytes of a leak covers the other metrics of leaks.
    has_keyword = rule.metric in MARKER_KEYS.values() or (metric is not None and metric.reading == "leak")
    return (*advice, by_marker if rule.scope == "test" and has_keyword else by_rule)


def advised(rule: AlertRule) -> AlertRule:
    """Return the rule with that advice."""
    return replace(rule, recommendations=general_advice(rule))
