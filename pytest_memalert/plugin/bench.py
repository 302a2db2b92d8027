"""The bench: what each test of a process is measured and judged with, set up as one for the first of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.metrics import readings_for
from pytest_memalert.model import AlertRule
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.plugin.judging.judge import Judge
from pytest_memalert.plugin.measuring.letting_go import LettingGo
from pytest_memalert.plugin.measuring.meter import Meter
from pytest_memalert.plugin.measuring.scopes import WiderFixtures
from pytest_memalert.probes.malloc import trim_heap
from pytest_memalert.probes.sampler import Sampler
from pytest_memalert.records import record

if TYPE_CHECKING:
    from pytest_memalert.plugin.measuring.whole import WholeProcess

__all__ = ["Bench", "set_up_bench"]


@record(frozen=True, slots=True, kw_only=True)
class Bench:
    """Hold what reads the process, what measures fixtures and tests with it, and what judges the tests."""

    sampler: Sampler
    fixtures: WiderFixtures
    meter: Meter
    judge: Judge


def set_up_bench(
    config: pytest.Config,
    given: Given,
    rules: Sequence[AlertRule],
    *,
    worker: str,
    whole: WholeProcess | None,
    turns: frozenset[str] | None,
    report_trouble: Callable[[Exception], None],
    warn: Callable[[str], None],
) -> Bench:
    """Open the probes that the rules in force need; where it fails, none is left open.

    ``worker`` names the process. What goes wrong later is given to ``report_trouble``, and a history that
    can't be read to ``warn``.
    """
    # What malloc holds free would hide the peaks of the first tests.
    trim_heap()
    sampler = _open_sampler(given, rules, has_whole=whole is not None)
    letting_go = LettingGo()
    try:
        fixtures = WiderFixtures(
            sampler,
            letting_go,
            worker=worker,
            rootpath=config.rootpath,
            report_trouble=report_trouble,
            note=None if whole is None else whole.note_fixture,
        )
        past = None
        if any(rule.against is not None for rule in rules):
            from pytest_memalert.plugin.judging.past import read_past_of_tests

            past = read_past_of_tests(config, given, rules, warn=warn)
        before = None
        # What a gate says must not depend on what this machine remembers.
        if given.gate is None and given.settings.leaks != "off":
            from pytest_memalert.plugin.leak_checks.checked_before import read_checked_before

            before = read_checked_before(config, given, warn=warn)
        judge = Judge(
            given, sampler, fixtures, turns=turns, past=past, before=before, let_go=letting_go.after_span
        )
        if whole is not None:
            judge.learn_collected(whole.nodeids)
        meter = Meter(given, sampler, fixtures, letting_go, keeps_peaks=whole is not None)
    except BaseException:
        sampler.close()
        raise
    return Bench(sampler=sampler, fixtures=fixtures, meter=meter, judge=judge)


def _open_sampler(given: Given, rules: Sequence[AlertRule], *, has_whole: bool) -> Sampler:
    """Return the sampler with the readings that rules, suspicion and gate need."""
    settings = given.settings
    readings = set(readings_for(rule.metric for rule in rules))
    # For suspicion alone a few blocks more or less don't matter: it learns what the suite keeps anyway.
    exact = "blocks" in readings or has_whole
    if settings.leaks != "off":
        readings.add("blocks")
    if has_whole:
        readings.update(("blocks", "peak"))
    if settings.trace:
        readings.add("traced")
    else:
        readings.discard("traced")
    return Sampler(
        readings,
        interval_s=settings.sample_interval_s,
        probes=given.probes,
        exact=exact,
        # Without the heap, what a test keeps doesn't show where freed memory is resident for it.
        rationed=not has_whole,
    )
