"""Lines of resident memory: which the tests of one process have crossed, and who grew most until then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_memalert.collector import collect_all
from pytest_memalert.limits.marker import MarkerLimits
from pytest_memalert.model import AlertRule, Measurement, Note
from pytest_memalert.plugin.judging.rerun_costs import RerunCosts
from pytest_memalert.probes.malloc import trim_heap
from pytest_memalert.probes.sampler import Sampler
from pytest_memalert.rules import REARM_SHARE, already_above, tell_crossing
from pytest_memalert.units import format_limit

__all__ = ["MUCH_BYTES", "ResidentLines"]

#: Who brought this much may be named when a line is crossed.
MUCH_BYTES = 2**20


class ResidentLines:
    """Remember which lines were crossed: each speaks once, until the process is well below it again."""

    def __init__(self, sampler: Sampler, costs: RerunCosts) -> None:
        self._sampler = sampler
        self._costs = costs
        #: The lines that were crossed and have spoken, by their rules' names and severities.
        self.crossed: set[tuple[str, str]] = set()
        self._told: set[tuple[str, str]] = set()
        self._growers: list[Measurement] = []

    def has_crossed(self, rule: AlertRule) -> bool:
        """Return whether the rule's line was crossed, and has spoken."""
        return _key(rule) in self.crossed

    def learn(self, measurement: Measurement) -> None:
        """Keep the three tests that brought most to this process."""
        growth_bytes = measurement.values.get("rss_growth_bytes", 0)
        if growth_bytes < MUCH_BYTES:
            return
        self._growers.append(measurement)
        self._growers.sort(key=lambda test: -test.values["rss_growth_bytes"])
        del self._growers[3:]

    def name_growers(self) -> list[str]:
        """Return the advice to look at those who brought most, if any brought much."""
        return [tell_crossing(self._growers)] if self._growers else []

    def cross(self, rule: AlertRule) -> bool:
        """Take note that the rule's line was crossed; return False where that was garbage alone.

        The reading can be repeated: garbage that no one collected yet is no one's limit.
        """
        collect_all()
        trim_heap()
        again = self._sampler.read_rss()
        if again is not None and not rule.condition.holds(self._costs.residue.less(again), rule.threshold):
            return False
        self.crossed.add(_key(rule))
        return True

    def rearm(self, rules: Sequence[AlertRule], values: Mapping[str, float]) -> None:
        """Let a line that was crossed speak again, once the process is well below it."""
        if not self.crossed:
            return
        for rule in rules:
            if _key(rule) in self.crossed and values.get(rule.metric, 0) < rule.threshold * REARM_SHARE:
                self.crossed.discard(_key(rule))

    def note_crossed_before(
        self, rules: Sequence[AlertRule], measurement: Measurement, limits: MarkerLimits
    ) -> list[Note]:
        """Return a note for each line that was crossed before the test began: once for a rule."""
        notes = []
        for rule in rules:
            key = _key(rule)
            if not already_above(rule, measurement.rss_before_bytes) or key in self.crossed:
                continue
            own = rule in limits.rules
            if not own and key in self._told:
                continue
            about = rule.origin if own else f"rule {rule.name!r} ({rule.severity.value})"
            limit = format_limit(rule.threshold, "bytes")
            text = (
                f"resident memory was already over the limit of {limit} ({about}) "
                f"before {measurement.nodeid} began: it is not blamed"
            )
            notes.append(Note(kind="already_above", nodeid=measurement.nodeid if own else None, text=text))
            if not own:
                self._told.add(key)
        return notes


def _key(rule: AlertRule) -> tuple[str, str]:
    return (rule.name, rule.severity.value)
