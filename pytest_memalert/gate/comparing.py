"""The gate: figures held against a baseline.

Everything here is pure: figures in, comparisons out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from pytest_memalert.comparisons import is_whole
from pytest_memalert.gate.allowances import ALLOWANCES, UNTRACED_PEAK, Allowance, Allowances
from pytest_memalert.gate.baseline import (
    COMPILED,
    IMPORTED,
    SETUP_METRICS,
    WHOLE_METRICS,
    Baseline,
    Entry,
    Figure,
)
from pytest_memalert.gate.fragments import LARGEST_BLOCK_BYTES, without_session_fragments
from pytest_memalert.metrics import PEAKS, RETAINED
from pytest_memalert.model import (
    Comparison,
    ComparisonStatus,
    GateResult,
    LeakAnalysis,
    Measurement,
)

__all__ = [
    "allowances_of",
    "allowed",
    "compare",
    "compare_figure",
    "compare_whole",
    "decide_peaks",
    "figures_of_leak",
    "find_excesses",
    "has_leak",
    "is_peak_odd",
    "is_unsteady",
    "keep_written",
    "retains_less",
    "settle",
    "why_unlike",
]

# A test whose runs differ by so much is hardly held to anything.
_UNSTEADY_SHARE, _UNSTEADY_BYTES = 0.5, 2**20
# A recorded spread is of two or three runs: twenty lie further apart.
_SPREADS = 2
# What a run leaves behind is not written where it is less than this part of the allowance.
_TOO_LITTLE = 16
# What Python allocates takes so much more than was asked for: blocks of 24 bytes take 32.
_ROUNDED_UP = 4 / 3
# A leak is the one that the figures showed while it is no larger by more than this.
_KNOWN_SHARE = 1.1
# What is written only to tell whether two sessions are alike.
_ALIKE = Allowance(share=0.05)
# So many modules that were compiled or not make no difference to what is allowed.
_ALIKE_MODULES = 3
# A first run is looked at again when its peak is off by this much, either way. Looking costs a few
# runs of the test and accuses nobody, so this is below what is allowed, and below a tenth of a mebibyte.
_ODD_SHARE = 0.03
_ODD_BYTES = 80 * 1024
# Nearly every test takes some of what is free and resident, and would do so again: more than 128 KiB of it
# three of four of anyio's, more than this one of 27.
_HIDDEN_BYTES = 256 * 1024
# A report whose run did not confirm anything has first runs only: their imports and caches count,
# so that only a rise beyond these is told.
_UNCONFIRMED = {
    "peak_bytes": Allowance(share=0.5, floor=8 * 2**20),
    "traced_peak_bytes": Allowance(share=0.5, floor=8 * 2**20),
}


def allowed(figure: Figure, allowance: Allowance) -> float:
    """Return how far a value may lie from the baseline's: the most of share, floor and recorded noise."""
    return max(allowance.share * figure.median, allowance.floor, _SPREADS * figure.spread)


def allowances_of(entry: Entry, allowances: Mapping[str, Allowance]) -> Mapping[str, Allowance]:
    """Return the allowances as they hold for a test with this entry: its peak may not have been traced."""
    is_default = allowances.get("peak_bytes") == ALLOWANCES.of_tests["peak_bytes"]
    if not is_default or entry.figure("traced_peak_bytes") is not None:
        return allowances
    return {**allowances, "peak_bytes": UNTRACED_PEAK}


def compare_figure(
    nodeid: str,
    metric: str,
    figure: Figure,
    allowance: Allowance,
    *,
    observed: float,
    further: Iterable[float] = (),
) -> Comparison:
    """Return one metric beside the baseline's; ``further`` are the runs that confirmed ``observed``.

    What these runs differ by among themselves is noise as well, whatever the baseline recorded.
    """
    further = tuple(further)
    noise = max(further) - min(further) if further else 0.0
    room = max(allowed(figure, allowance), noise)
    status: ComparisonStatus = "within"
    if allowance.enabled and observed > figure.median + room:
        status = "regression"
    elif allowance.enabled and observed < figure.median - room:
        status = "improvement"
    return Comparison(
        nodeid=nodeid,
        metric=metric,
        baseline=figure.median,
        observed=observed,
        allowance=room,
        status=status,
        further=further,
    )


def keep_written(written: Entry, measured: Entry, allowances: Mapping[str, Allowance]) -> Entry:
    """Return the entry to be saved: what is still within its allowance stays as it is written.

    So that a review shows what changed, not the noise of measuring again; and since each figure is
    held against the one that was reviewed, small steps don't add up unseen.
    """
    if written.once != measured.once:
        return measured
    allowances = allowances_of(written, allowances)
    figures = dict(measured.figures)
    for metric in written.figures.keys() | measured.figures.keys():
        before, now = written.figure(metric), measured.figure(metric)
        if before is None or now is None:
            continue
        allowance = allowances.get(metric, _ALIKE)
        if compare_figure("", metric, before, allowance, observed=now.median).status != "within":
            continue
        if metric in written.figures:
            figures[metric] = before
        else:  # nothing, or too little to be written
            del figures[metric]
    return replace(measured, figures=figures)


def settle(entry: Entry, allowances: Mapping[str, Allowance]) -> Entry:
    """Return the entry without what is too little to count: a few blocks that the measuring itself leaves."""
    figures = {
        metric: figure
        for metric, figure in entry.figures.items()
        if metric not in (*RETAINED, *SETUP_METRICS)
        or max(figure.median, figure.spread) > _unwritten(allowances[metric])
    }
    return replace(entry, figures=figures)


def _unwritten(allowance: Allowance) -> float:
    """Return up to how much of what a test retains is too little to be written."""
    return allowance.floor / _TOO_LITTLE


# ----------------------------------------------------------------- one test


def is_peak_odd(entry: Entry, values: Mapping[str, float]) -> bool:
    """Return whether a first run's peak is far enough from the baseline's to be looked at again.

    A rise can hide: memory that an allocator holds free is not resident anew. Where the baseline's own
    resident peak shows much less than what tracing saw, the test is always looked at.
    """
    resident, traced = entry.figure("peak_bytes"), entry.figure("traced_peak_bytes")
    if traced is not None and "traced_peak_bytes" in values:
        return _is_off(values["traced_peak_bytes"], traced)
    if resident is None or "peak_bytes" not in values:
        return traced is not None
    if traced is not None and traced.median - resident.median > _odd(traced, _HIDDEN_BYTES):
        return True
    return _is_off(values["peak_bytes"], resident)


def _is_off(value: float, figure: Figure) -> bool:
    return abs(value - figure.median) > _odd(figure, _ODD_BYTES)


def _odd(figure: Figure, least_bytes: int) -> float:
    return max(_ODD_SHARE * figure.median, least_bytes) + figure.spread


def decide_peaks(
    nodeid: str,
    entry: Entry,
    allowances: Mapping[str, Allowance],
    *,
    resident: Sequence[float],
    traced: Sequence[float],
) -> tuple[Comparison, ...]:
    """Return what further runs say of a test's peak: one comparison, or none where nothing can be compared.

    ``resident`` and ``traced`` are the peaks of runs with and without tracing. What Python allocated
    is exact, so where the baseline has it, it decides about Python's part. A resident peak speaks only
    for memory beyond that: more of it for the same allocations means that an allocator had less to
    spare, which is not the test's doing.
    """
    comparisons = []
    figure = entry.figure("traced_peak_bytes")
    if figure is not None and traced:
        comparisons.append(_compare_runs(nodeid, "traced_peak_bytes", figure, allowances, traced))
    figure = entry.figure("peak_bytes")
    if figure is not None and resident:
        seen = _compare_runs(nodeid, "peak_bytes", figure, allowances, resident)
        is_over = seen.status == "regression"
        if is_over and traced and seen.observed <= _ROUNDED_UP * min(traced) + seen.allowance:
            seen = replace(seen, status="within")
        if not comparisons or (seen.status == "regression" and comparisons[0].status != "regression"):
            comparisons.insert(0, seen)
    return tuple(comparisons[:1])


def _compare_runs(
    nodeid: str,
    metric: str,
    figure: Figure,
    allowances: Mapping[str, Allowance],
    runs: Sequence[float],
) -> Comparison:
    """Return the comparison with the run nearest to the baseline: what is claimed holds for every run."""
    nearest = min(runs, key=lambda value: abs(value - figure.median))
    return compare_figure(nodeid, metric, figure, allowances[metric], observed=nearest, further=runs)


def find_excesses(
    nodeid: str, entry: Entry, allowances: Mapping[str, Allowance], values: Mapping[str, float]
) -> tuple[Comparison, ...]:
    """Return the comparisons of what a test retains in which ``values`` are over what is allowed."""
    found = []
    for metric in RETAINED:
        figure = entry.figure(metric)
        if figure is not None and metric in values:
            seen = compare_figure(nodeid, metric, figure, allowances[metric], observed=values[metric])
            if seen.status == "regression":
                found.append(seen)
    return tuple(found)


def is_unsteady(entry: Entry) -> bool:
    """Return whether the noise that was saved of a test lets it need half as much again, and a mebibyte."""
    figure = entry.figure("traced_peak_bytes") or entry.figure("peak_bytes")
    if figure is None:
        return False
    return _SPREADS * figure.spread > max(_UNSTEADY_SHARE * figure.median, _UNSTEADY_BYTES)


def has_leak(entry: Entry, leak: LeakAnalysis) -> bool:
    """Return whether the baseline has a leak as large: recorded as one, or seen in what each run left.

    Which suspects are searched for leaks depends on the time there is: a leak may have been there all
    along, though nobody had proven it. Then its heap was growth, and its small objects were blocks; each
    must have been as much, or within what its runs differed by. A leak of descriptors or threads takes no
    bytes, and no baseline has it.
    """
    bytes_per_run, recorded = leak.bytes_per_run or 0.0, entry.figure("leak_bytes_per_run")
    if recorded is not None and 0 < bytes_per_run <= recorded.median * _KNOWN_SHARE:
        return True
    grown = {each.signal: each.per_run for each in leak.growth}
    if grown.keys() & {"descriptors", "threads"}:
        return False
    blocks = leak.blocks_per_run or 0.0
    heap = grown.get("heap", max(0.0, bytes_per_run - LARGEST_BLOCK_BYTES * blocks))
    was_there = False
    for metric, per_run in (("growth_bytes", heap), ("blocks_growth", blocks)):
        figure = entry.figure(metric) or Figure(median=0)
        unwritten = _unwritten(ALLOWANCES.of_tests[metric])
        if per_run > max(unwritten, _KNOWN_SHARE * figure.median + _SPREADS * figure.spread):
            return False
        was_there |= per_run > 0 and (figure.median > 0 or figure.spread >= per_run)
    return was_there


def figures_of_leak(leak: LeakAnalysis, entry: Entry) -> dict[str, float]:
    """Return what a search for leaks says a test retains, as the figures of a run.

    Of a leak that the baseline has, its blocks alone: its bytes include small objects, which the growth of
    a run doesn't show where an arena had room for them.
    """
    figures = {"blocks_growth": leak.blocks_per_run or 0.0}
    if not has_leak(entry, leak):
        figures |= dict.fromkeys(("growth_bytes", "leak_bytes_per_run"), leak.bytes_per_run or 0.0)
    return figures


def retains_less(
    nodeid: str, entry: Entry, allowances: Mapping[str, Allowance], values: Mapping[str, float]
) -> tuple[Comparison, ...]:
    """Return the improvements in what a test retains: even its first run, when caches fill, shows less."""
    found = []
    for metric in RETAINED[1:]:
        figure = entry.figure(metric)
        if figure is not None and figure.median > 0 and metric in values:
            seen = compare_figure(
                nodeid, metric, figure, allowances[metric], observed=max(0.0, values[metric])
            )
            if seen.status == "improvement":
                found.append(seen)
    return tuple(found)


# --------------------------------------------------------------- whole sessions


def compare_whole(
    nodeid: str, entry: Entry, allowances: Allowances, values: Mapping[str, float]
) -> tuple[Comparison, ...]:
    """Return the regressions and improvements of a whole session, a collection or a wider fixture."""
    values = without_session_fragments(entry, values)
    found = []
    for metric in WHOLE_METRICS:
        figure = entry.figure(metric)
        if figure is not None and metric in values and metric in allowances.of_session:
            allowance = allowances.of_session[metric]
            seen = compare_figure(nodeid, metric, figure, allowance, observed=values[metric])
            if seen.status != "within":
                found.append(seen)
    return tuple(found)


def why_unlike(entry: Entry, values: Mapping[str, float]) -> str | None:
    """Return why a whole can't be compared with the baseline's; None where it can."""
    then, now = _counts(entry, values, IMPORTED)
    if then != now:
        return f"modules that its set-up imported: {now}, when saved: {then}; who needs one first pays for it"
    then, now = _counts(entry, values, COMPILED)
    if abs(then - now) <= _ALIKE_MODULES:
        return None
    return (
        f"{now} modules were compiled in this run, and {then} in the one that was saved (the others came "
        "from __pycache__), which takes memory of its own"
    )


def _counts(entry: Entry, values: Mapping[str, float], metric: str) -> tuple[int, int]:
    """Return how many there were then and are now; none where nothing is said of it."""
    figure = entry.figure(metric)
    return (0 if figure is None else figure.median), int(values.get(metric, 0))


def compare(
    tests: Sequence[Measurement],
    baseline: Baseline,
    *,
    key: str,
    path: str,
    allowances: Allowances = ALLOWANCES,
    strict: bool = False,
    partial: bool = False,
    confirmed: Collection[Comparison] | None = None,
    renamed: Collection[tuple[str, str]] = (),
    uncompared: Collection[str] = (),
) -> GateResult:
    """Return how a run compares with a baseline.

    ``key`` is the run's environment, ``confirmed`` what its own confirming runs gave, ``uncompared`` the
    tests that were collected and not measured (skipped, failed by themselves). Where nothing was
    confirmed (a report of a run without the gate), only first runs are known: a leak that was proven
    counts in full, and a peak only where it is beyond what a first run may bring.
    """
    entries = baseline.environments.get(key)
    if not entries:
        others = ", ".join(sorted(baseline.environments)) or "none at all"
        return GateResult(
            path=path,
            environment=key,
            strict=strict,
            partial=partial,
            new=tuple(sorted(test.nodeid for test in tests)) if strict else (),
            refusal=f"it has no entries for this environment ({key}), only for: {others}; "
            "save them here with: pytest --memalert --memalert-save",
        )
    old_ids = {new: old for old, new in renamed}
    measured = {test.nodeid: entries.get(old_ids.get(test.nodeid, test.nodeid)) for test in tests}
    unheld = {nodeid for nodeid in uncompared if old_ids.get(nodeid, nodeid) in entries}
    if confirmed is None:
        confirmed = [
            comparison
            for test in tests
            if test.outcome == "passed" and (entry := measured[test.nodeid]) is not None
            for comparison in _compare_first_run(test, entry, allowances)
        ]
    seen = {*measured, *uncompared, *old_ids.values(), *filter(is_whole, entries)}
    return GateResult(
        path=path,
        environment=key,
        compared=sum(entry is not None and nodeid not in unheld for nodeid, entry in measured.items()),
        comparisons=tuple(confirmed),
        # What failed, or was expected to, is saved by no session: it would be new for ever.
        new=tuple(
            sorted(
                test.nodeid
                for test in tests
                if measured[test.nodeid] is None
                and test.nodeid not in uncompared
                and test.outcome != "xfailed"
            )
        ),
        missing=() if partial else tuple(sorted(nodeid for nodeid in entries if nodeid not in seen)),
        renamed=tuple(sorted(renamed)),
        uncompared=tuple(sorted(unheld)),
        strict=strict,
        partial=partial,
    )


def _compare_first_run(test: Measurement, entry: Entry, allowances: Allowances) -> list[Comparison]:
    found = []
    for metric in (*PEAKS, "leak_bytes_per_run"):
        figure, allowance = entry.figure(metric), allowances.for_test(test.nodeid)[metric]
        if figure is None or metric not in test.values:
            continue
        if metric in _UNCONFIRMED and allowance.enabled:
            least = _UNCONFIRMED[metric]
            allowance = replace(
                allowance, share=max(allowance.share, least.share), floor=max(allowance.floor, least.floor)
            )
        seen = compare_figure(test.nodeid, metric, figure, allowance, observed=test.values[metric])
        if seen.status == "regression":
            found.append(seen)
    return found
