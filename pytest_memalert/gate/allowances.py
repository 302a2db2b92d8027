"""How far a test may lie above its baseline: by default, by the file, by a marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from pytest_memalert.comparisons import unit_of
from pytest_memalert.errors import WrongValueError, show_toml
from pytest_memalert.limits.marker import MarkerLimits
from pytest_memalert.metrics import PEAKS
from pytest_memalert.records import record
from pytest_memalert.rules import matches
from pytest_memalert.units import UNIT_EXAMPLES, Unit, parse_quantity, parse_ratio
from pytest_memalert.user_values import collecting, refuse_unknown

__all__ = [
    "ALLOWANCES",
    "ALLOWANCE_KEYS",
    "UNTRACED_PEAK",
    "Allowance",
    "Allowances",
    "read_allowances",
    "widen_for_children",
    "widen_for_marker",
    "widen_for_new_tests",
    "widen_for_order",
]


@record(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Hold how much more is allowed: the larger of a ``share`` of the baseline and a ``floor``.

    The floor is in the metric's base unit. What is not ``enabled`` is not compared.
    """

    share: float = 0.0
    floor: float = 0.0
    enabled: bool = True


_KIB = 2**10

# Chosen by repeated runs of real suites (docs/reference/gate.md). Traced peaks of a test lay within 5 KiB
# in 489 of 489 tests, so that a few KiB would do for them. The resident peak of a session lay up to 22 %
# apart (anyio), its heap by 3 to 5 MiB of 20: saving runs each test five times more, of which tracing alone
# leaves hundreds of megabytes, to be deducted, and the memory in pieces that this leaves, others use.
_OF_TESTS: dict[str, Allowance] = {
    "peak_bytes": Allowance(share=0.05, floor=512 * _KIB),
    # More than the 64 KiB that one read from a socket takes: where a server runs in a thread, it is chance
    # whether its buffer and the client's are there at once. And less than 10 % of 1 MiB.
    "traced_peak_bytes": Allowance(share=0.02, floor=96 * _KIB),
    "growth_bytes": Allowance(share=0.10, floor=16 * _KIB),
    "blocks_growth": Allowance(share=0.10, floor=200),
    "leak_bytes_per_run": Allowance(share=0.10, floor=1 * _KIB),
}

#: Of the resident peak of a test that the baseline has no traced peak of, where nobody set another. In one
#: process it hardly differs; from process to process by 6 % (more-itertools), with what is free to reuse.
UNTRACED_PEAK = Allowance(share=0.10, floor=2048 * _KIB)
_OF_SESSION: dict[str, Allowance] = {
    "rss_peak_bytes": Allowance(share=0.30, floor=16384 * _KIB),
    "rss_bytes": Allowance(share=0.15, floor=8192 * _KIB),
    "heap_bytes": Allowance(share=0.30, floor=4096 * _KIB),
    "heap_growth_bytes": Allowance(share=0.01, floor=32 * _KIB),
    "setup_bytes": Allowance(share=0.01, floor=32 * _KIB),
    "setup_blocks": Allowance(share=0.10, floor=500),
}
# What a fixture may bring more where tests come in another order: who does a thing first fills its caches.
_ROOM_FOR_ORDER = {"setup_bytes": 1024 * _KIB, "setup_blocks": 10_000}

# What a child process writes comes in pieces whose number is chance: uvloop reads 256 KiB at once, and in one
# process of ten two of them were there together, run after run.
_ROOM_FOR_CHILDREN = 512 * _KIB

# How much more a session may need beside new tests.
_ROOM_FOR_NEW_TESTS = {"heap_bytes": 16384 * _KIB, "heap_growth_bytes": 1024 * _KIB}

#: The keys of ``[tool.memalert.gate]``, and the metrics that each speaks of.
#: Tracing decides about peaks, so a word on peaks is one on both; ``traced_peak`` has the last.
ALLOWANCE_KEYS: dict[str, tuple[str, ...]] = {
    "peak": PEAKS,
    "traced_peak": ("traced_peak_bytes",),
    "growth": ("growth_bytes",),
    "blocks": ("blocks_growth",),
    "leak": ("leak_bytes_per_run",),
    "session_peak": ("rss_peak_bytes",),
    "session_rss": ("rss_bytes",),
    "session_heap": ("heap_bytes",),
    "collection": ("heap_growth_bytes",),
    "fixture": ("setup_bytes",),
    "fixture_blocks": ("setup_blocks",),
}
_SESSION_KEYS = tuple(key for key, metrics in ALLOWANCE_KEYS.items() if metrics[0] in _OF_SESSION)


@record(frozen=True, slots=True, kw_only=True)
class Allowances:
    """Hold every allowance, by metric; of ``by_tests`` the last whose patterns fit a test wins."""

    of_tests: Mapping[str, Allowance] = field(default_factory=lambda: _OF_TESTS)
    of_session: Mapping[str, Allowance] = field(default_factory=lambda: _OF_SESSION)
    by_tests: tuple[tuple[tuple[str, ...], Mapping[str, Allowance]], ...] = ()

    def for_test(self, nodeid: str) -> Mapping[str, Allowance]:
        """Return the allowances of one test, by metric."""
        found = self.of_tests
        for patterns, changes in self.by_tests:
            if any(matches(nodeid, pattern) for pattern in patterns):
                found = {**found, **changes}
        return found


#: The allowances of a project that says nothing.
ALLOWANCES = Allowances()


def widen_for_marker(
    allowances: Mapping[str, Allowance], limits: MarkerLimits, baselines: Mapping[str, float]
) -> Mapping[str, Allowance]:
    """Return the allowances of a test whose marker sets limits: up to its limit, the gate has no say.

    The limit was written for this test by hand, and is held against it with or without a baseline.
    """
    if not limits.rules:
        return allowances
    widened = dict(allowances)
    for rule in limits.rules:
        metrics = PEAKS if rule.metric == "peak_bytes" else (rule.metric,)
        for metric in metrics:
            if metric in widened and metric in baselines:
                floor = max(widened[metric].floor, rule.threshold - baselines[metric])
                widened[metric] = replace(widened[metric], floor=floor)
    return widened


def widen_for_children(allowances: Mapping[str, Allowance]) -> Mapping[str, Allowance]:
    """Return the allowances of a test that runs other processes: its peak depends on when they write.

    Not where somebody set another.
    """
    traced = allowances["traced_peak_bytes"]
    if traced != _OF_TESTS["traced_peak_bytes"]:
        return allowances
    return {**allowances, "traced_peak_bytes": replace(traced, floor=_ROOM_FOR_CHILDREN)}


def widen_for_new_tests(allowances: Allowances) -> Allowances:
    """Return the allowances of a session with tests that the baseline lacks.

    Their peaks and caches are nobody's fault; what they import, the suite imports from now on.
    """
    of_session = _with_room(allowances, _ROOM_FOR_NEW_TESTS)
    for metric in ("rss_bytes", "rss_peak_bytes"):
        of_session[metric] = replace(of_session[metric], enabled=False)
    return replace(allowances, of_session=of_session)


def widen_for_order(allowances: Allowances) -> Allowances:
    """Return the allowances of a session whose tests don't come in the baseline's order."""
    return replace(allowances, of_session=_with_room(allowances, _ROOM_FOR_ORDER))


def _with_room(allowances: Allowances, room: Mapping[str, float]) -> dict[str, Allowance]:
    of_session = dict(allowances.of_session)
    for metric, more in room.items():
        of_session[metric] = replace(of_session[metric], floor=of_session[metric].floor + more)
    return of_session


# ------------------------------------------------------------------ from a file


def read_allowances(table: object, *, place: str) -> tuple[Allowances, list[str]]:
    """Return the allowances that ``[tool.memalert.gate]`` sets, and everything wrong with it."""
    if not isinstance(table, Mapping):
        return ALLOWANCES, [f"{place}: {show_toml(table)} is not a table; write [tool.memalert.gate]"]
    problems: list[str] = []
    by_tests = []
    layers = table.get("tests", ())
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        problems.append(
            f"{place}.tests: {show_toml(layers)} is not a list of tables; write [[tool.memalert.gate.tests]]"
        )
        layers = ()
    whole = {key: value for key, value in table.items() if key != "tests"}
    changes = _read_changes(whole, place, [*ALLOWANCE_KEYS, "tests"], problems)
    for index, layer in enumerate(layers):
        where = f"{place}.tests[{index}]"
        if not isinstance(layer, Mapping):
            what = "is not a table; write [[tool.memalert.gate.tests]]"
            problems.append(f"{where}: {show_toml(layer)} {what}")
            continue
        patterns = layer.get("tests")
        if "tests" not in layer:
            problems.append(f"{where}: tests is missing; say of which, as in tests = ['tests/io/*']")
            patterns = []
        elif not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) for p in patterns):
            what = "is not a list of patterns; write tests = ['tests/io/*']"
            problems.append(f"{where}.tests: {show_toml(patterns)} {what}")
            patterns = []
        known = [key for key in ALLOWANCE_KEYS if key not in _SESSION_KEYS]
        own = {key: value for key, value in layer.items() if key != "tests"}
        by_tests.append((tuple(patterns), _read_changes(own, where, [*known, "tests"], problems)))
    return (
        Allowances(
            of_tests={metric: changes.get(metric, each) for metric, each in _OF_TESTS.items()},
            of_session={metric: changes.get(metric, each) for metric, each in _OF_SESSION.items()},
            by_tests=tuple(by_tests),
        ),
        problems,
    )


def _read_changes(
    table: Mapping[str, object], place: str, known: Sequence[str], problems: list[str]
) -> dict[str, Allowance]:
    problems += [f"{place}: {refuse_unknown('key', key, known)}" for key in table if key not in known]
    changes: dict[str, Allowance] = {}
    for key in ALLOWANCE_KEYS:  # in this order: what is more particular comes later
        if key in table and key in known:
            with collecting(problems, f"{place}.{key}"):
                for metric in ALLOWANCE_KEYS[key]:
                    changes[metric] = _read_allowance(table[key], metric)
    return changes


def _read_allowance(value: object, metric: str) -> Allowance:
    """Return the allowance that a value means: a share, an amount, the larger of both, or "off"."""
    default = {**_OF_TESTS, **_OF_SESSION}[metric]
    if value == "off":
        return replace(default, enabled=False)
    unit = unit_of(metric)
    if isinstance(value, list) and value:
        shares = [each for each in value if _is_share(each)]
        amounts = [each for each in value if not _is_share(each)]
        if len(shares) > 1 or len(amounts) > 1:
            raise WrongValueError(value, f"is not one share and one amount; write {_example(unit)}")
        return Allowance(
            share=parse_ratio(shares[0]) if shares else 0.0,
            floor=parse_quantity(amounts[0], unit) if amounts else 0.0,
        )
    if _is_share(value):
        # A share alone would allow a small test nothing: the floor stays.
        return replace(default, share=parse_ratio(value))
    return Allowance(floor=parse_quantity(value, unit))


def _is_share(value: object) -> bool:
    return isinstance(value, str) and value.rstrip().endswith("%")


def _example(unit: Unit) -> str:
    amount = UNIT_EXAMPLES[unit].partition(" or ")[0] if unit == "bytes" else "500"
    return f"['10 %', {amount}]"
