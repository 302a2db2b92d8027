"""Investigate an operation: hunt its leak, ask what excuses it, explain it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memalert.attribution.composition import Composition, compose, is_like
from pytest_memalert.hunting.batches import Operation
from pytest_memalert.hunting.excuses import Excuse
from pytest_memalert.hunting.hunt import hunt
from pytest_memalert.hunting.patience import Patience
from pytest_memalert.hunting.questions import IN_MOST_RUNS, Known, Left, Questions, SeenRuns
from pytest_memalert.hunting.recognition import (
    Explained,
    Proof,
    is_alike,
    is_as_large,
    is_its_pace,
    is_kept_alike,
    is_left_again,
    remember,
    scaled,
    times_of,
    to_recognize,
)
from pytest_memalert.hunting.under_way import searching
from pytest_memalert.leaks.policy import Policy
from pytest_memalert.leaks.readings import SMALL_BLOCK_BYTES
from pytest_memalert.leaks.words import describe_growth
from pytest_memalert.model import LeakAnalysis, Signal, Survivor
from pytest_memalert.probes.memory import free_bytes
from pytest_memalert.tracing import interruptions
from pytest_memalert.units import format_size

if TYPE_CHECKING:
    from pytest_memalert.attribution.bounding.bounds import Bound
    from pytest_memalert.attribution.explanation import Explanation

__all__ = ["investigate"]

# Survivors must be at least this share of what is lost to speak for it; an object is one to
# four blocks: itself, its attributes, its buffer, its spare room.
_MOST = 0.5
_BLOCKS_PER_OBJECT = 4
# To know a leak again by its named objects they may be fewer: cheroot's workers keep seven functions each,
# 464 blocks to 79 objects in all. As many blocks are asked for as well, and the same container.
_BLOCKS_BESIDE = 8

_IN_EVERY_RUN = 0.9
#: The share of what each run makes that must stay, for it to be what leaks.
_TURNED_OVER = 0.25
#: What caches took in beside a leak is not counted where it is more than the rest of this share.
_MOSTLY_OWN = 0.95
_SEEN_IN_PART = 3.0
# After so many runs for each entry that they keep, they are full for most of the time.
_LONG_FULL = 4
#: A container that evicts may have been emptied before, or hold half as much again.
_TIMES_FILLED = 2
# Of two generations of a cache that take turns a third stayed, over 1,500 runs; of a leak beside a cache that
# fills, more.
_MOSTLY_STAYS = 0.6
# To explain a leak takes about so many runs, and none that begins later than this; those that then measure it
# have a time of their own. Where each leaves so much, they may take this share of what is free.
_EXPLAINING_S, _MEASURING_S = 30.0, 5.0
_EXPLAINING_RUNS, _DEAR_BYTES, _ROOM_SHARE = 16, 16 * 2**20, 0.5
# What shows in fewer runs is watched for as many more, in batches: for so long in all, and so much memory. By
# chance it shows in six of seven batches of two periods. Traced, a
# quick run takes 3 ms more.
_RAREST, _TIMES = 100, 4
_RARELY_S, _RARELY_BYTES, _TRACED_S = 5.0, 64 * 2**20, 0.003
_BY_WAY_OF_A_LEAK = (
    "it is kept by what repetitions of another test left, whose leak is told of: mend that first"
)
_UNTRACED = (
    "where it was allocated can not be told: it makes a sub-interpreter, which hangs up to Python 3.12 while"
    " allocations are traced"
)


def investigate(
    run: Operation,
    *,
    warmups: int | None = None,
    runs: int | None = None,
    budget_s: float | None = None,
    policy: Policy | None = None,
    explained: Explained | None = None,
    before: Proof | None = None,
    root: Path | None = None,
) -> LeakAnalysis:
    """Return whether an operation leaks, with the explanation where it does.

    ``explained`` has the leaks explained before, and takes this one in: a leak that is
    recognized costs fewer runs. ``before`` is what the same code was found to leak in an earlier session.
    Its signature names files from ``root``. The other parameters are those of ``hunting.hunt``.
    """
    patient = Patience(run)
    interrupted = interruptions()
    search = _Search(
        patient,
        explained,
        before=before,
        filled_runs=(policy or Policy()).filled_runs,
        explaining_s=_EXPLAINING_S if budget_s is None else min(budget_s, _EXPLAINING_S),
        root=root,
    )
    with searching():
        analysis = hunt(
            patient,
            warmups=warmups,
            runs=runs,
            budget_s=budget_s,
            policy=policy,
            questions=Questions(
                recognize=search.recognize if explained is not None else None,
                is_known=search.is_known if search.known.by_composition else None,
                filling=search.find_filling_cache,
                bounded=search.find_excuse,
            ),
        )
    search.known.latest = None
    explanation = search.explanation
    if before is not None and search.is_left_again:
        if analysis.status != "leaking":
            return analysis
        known = before.analysis
        return _told(analysis, known, survivors=known.survivors, recommendations=known.recommendations)
    if explanation is None:
        return analysis
    if search.left is not None:
        remember(search.known, analysis, explanation, search.left)
    if analysis.status != "leaking":
        return analysis
    search.known.leaked_into |= {key: count for key, count in explanation.keepers.items() if count}
    is_untraced = interruptions() > interrupted
    told = _told(
        _with_native(_without_caches(analysis, explanation, search.runs), explanation),
        explanation,
        survivors=scaled(explanation, analysis.blocks_per_run),
        recommendations=(*_with_reason(explanation), *([_UNTRACED] if is_untraced else [])),
    )
    if is_untraced:
        told = _sized_by_survivors(told)
    if search.seen is not None and told.survivors and is_its_pace(search.seen, told):
        search.known.latest = Proof(left=search.seen, analysis=told)
    return told


class _Search:
    """Answer what a hunt asks of what an operation leaves behind: is it a known leak, is there an excuse?

    ``explanation`` is what is known of it by then, after which ``runs``; ``left`` what one run left, by which
    it is recognized.
    ``seen`` is that as well where it was recognized, ``is_left_again`` whether by an earlier session's proof.
    """

    def __init__(
        self,
        run: Patience,
        explained: Explained | None,
        *,
        before: Proof | None,
        filled_runs: int,
        explaining_s: float,
        root: Path | None,
    ) -> None:
        self.known = Explained() if explained is None else explained
        self.explanation: Explanation | None = None
        self.left: Left | None = None
        self.runs: SeenRuns | None = None
        self.seen: Left | None = None
        self.is_left_again = False
        self._before = before
        self._run = run
        self._is_shared = explained is not None
        self._filled_runs = filled_runs
        self._explaining_s = explaining_s
        self._root = root
        self._composition: Composition = frozenset()

    def recognize(self, left: Left, find_keepers: Callable[[], Mapping[int, int]]) -> Known | None:
        """Return the leak that was explained before and leaves the same types, and as much."""
        self.seen = left
        if self._before is not None and is_left_again(left, self._before.left):
            self.is_left_again = True
            return Known(bytes_per_run=self._before.analysis.bytes_per_run)
        if left.blocks > _BLOCKS_BESIDE * left.times * sum(count for _, count in left.kinds):
            return None  # what has a name of its own is the lesser part of it
        alike = [familiar for familiar in self.known.by_kinds.get(left.kinds, ()) if is_alike(left, familiar)]
        keepers: Mapping[int, int] = find_keepers() if alike else {}
        for familiar in alike:
            # What a plugin leaves for a test doesn't multiply.
            is_harmless = familiar.harmless is not None and left.times == familiar.times
            is_leak = familiar.harmless is None and is_kept_alike(familiar.explanation, keepers)
            if is_harmless or is_leak:
                self.explanation = familiar.explanation
                size_bytes = None if familiar.bytes is None else left.times * familiar.bytes
                return Known(bytes_per_run=size_bytes, harmless=familiar.harmless)
        self.left = left
        return None

    def is_known(self) -> bool:
        """Return whether what a run leaves is that of a leak that was explained, with its places."""
        explanations = [each for alike in self.known.by_composition.values() for each in alike]
        keys = {key for each in explanations for key in each.keepers}
        self._composition, keepers = compose(self._run, containers=keys)
        alike = (
            each
            for composition, known in self.known.by_composition.items()
            if is_like(self._composition, composition)
            for each in known
        )
        self.explanation = next((each for each in alike if is_kept_alike(each, keepers)), None)
        return self.explanation is not None

    def find_filling_cache(self, lost: Mapping[Signal, float], runs_left: int) -> Excuse | None:
        """Return that growth of so much per run goes into a cache which so many further runs don't fill."""
        if not _can_speak_for(lost) or (bound := self._filling_cache(lost)) is None:
            return None
        if bound.limit is not None and bound.limit - (bound.count or 0) <= runs_left:
            return None
        return _lets_go(bound)

    def find_excuse(self, lost: Mapping[Signal, float], seen: SeenRuns) -> Excuse | None:
        """Return why growth of so much per run, over such runs, is no leak, or not surely one."""
        self._run.limit(self._explaining_s)
        self.runs = seen
        excuse = self._excuse_by_explanation(lost, seen)
        # What is explained by now is measured next, however long that took.
        self._run.limit(min(self._explaining_s, _MEASURING_S))
        return excuse

    def _excuse_by_explanation(self, lost: Mapping[Signal, float], seen: SeenRuns) -> Excuse | None:
        if self.explanation is not None and not is_as_large(lost, self.explanation.lost):
            self.explanation = None  # it does what is known, and leaks something else as well
        if self.explanation is None:
            if (reason := _why_too_large(lost)) is not None:
                self.explanation = _unexplained(reason)
                return None
            # Before the explanation, which traces: a slow run may take 25 times as long then.
            is_asked = seen.count < self._filled_runs and _can_speak_for(lost)
            if is_asked and (bound := self._filling_cache(lost)) is not None:
                return _lets_go(bound)
            self.explanation = self._explain(lost, seen.share)
        explanation, blocks = self.explanation, lost.get("blocks", 0.0)
        if self._comes_by_way_of_a_leak(explanation):
            return Excuse(status="unclear", reason=_BY_WAY_OF_A_LEAK)
        # What a single run leaves may be let go of by a later one, if it is no cache's beside that fills.
        stays = blocks / max(1.0, blocks, seen.usual_blocks)
        filled = seen.count * (stays if stays < _MOSTLY_STAYS else min(1.0, blocks))
        if (excuse := _excuse_of(explanation, lost, filled=filled)) is not None:
            return excuse
        if explanation.bounded is None:
            return None
        if _is_passed_on(explanation.bounded, filled):
            told = f"what holds it lets go of it ({explanation.bounded.text}), and yet it stays"
            advice = (f"{told}: look for where it goes from there",)
            self.explanation = replace(explanation, recommendations=advice)
            return None
        holds_files = explanation.has_files and "descriptors" in lost
        # Plain values within entries of lru_cache() are no survivors: two runs tell what they take.
        if (
            holds_files
            or _accounts_for(explanation.survivors, lost)
            or (_can_speak_for(lost) and self._filling_cache(lost))
        ):
            is_known = explanation.bounded.is_known and explanation.is_whole
            return Excuse(status="clean" if is_known else "unclear", reason=explanation.bounded.text)
        return None

    def _comes_by_way_of_a_leak(self, explanation: Explanation) -> bool:
        """Return whether all that survives is kept by what hangs on a container that another test leaks into.

        The repetitions of that test left a thousand there, each of which may take in what this one makes.
        """
        known = self.known.leaked_into
        return bool(explanation.by_way_of) and all(
            any(count >= known.get(key, count + 1) for key, count in way.items())
            for way in explanation.by_way_of
        )

    def _filling_cache(self, lost: Mapping[Signal, float]) -> Bound | None:
        from pytest_memalert.attribution.bounding.bounds import filling_cache

        return filling_cache(
            self._run,
            heap_bytes=lost.get("heap", 0.0),
            blocks=lost.get("blocks", 0.0),
            lasted_s=self._run.age_s(),
        )

    def _explain(self, lost: Mapping[Signal, float], share: float) -> Explanation:
        # Most suspects are clean, and all that explains takes as long to load as the rest of the engine.
        from pytest_memalert.attribution.explain import explain

        period, times = _watched_together(lost, share, run_s=self._run.run_s())
        explanation = explain(self._run, lost=lost, root=self._root, period=period, times=times)
        is_missed = share < IN_MOST_RUNS and period == 1
        if is_missed and not (explanation.survivors or explanation.grown_at or explanation.framework):
            reason = f"it shows in about 1 of {1 / share:,.0f} runs, more than can be watched"
            explanation = replace(explanation, recommendations=(), reason=reason)
        # What has an excuse here may have none in another test: not kept. Nor is what no survivor stands for:
        # all that is left to know it by is what is there anyway.
        has_excuse = explanation.bounded or explanation.full or explanation.let_go
        if self._is_shared and explanation.survivors and not has_excuse:
            left_behind = self._composition or compose(self._run)[0]
            if left_behind:
                recognized = to_recognize(explanation, lost)
                self.known.by_composition.setdefault(left_behind, []).append(recognized)
        return explanation


def _lets_go(bound: Bound) -> Excuse:
    return Excuse(status="unclear", reason=f"what keeps most of it lets go again ({bound.text})")


def _why_too_large(lost: Mapping[Signal, float]) -> str | None:
    """Return why there is no room for the runs that explain a leak; None where there is."""
    size_bytes = max(lost.get("heap", 0.0), lost.get("resident", 0.0))
    if size_bytes < _DEAR_BYTES:
        return None
    free = free_bytes()
    if free is None:
        return f"that takes {_EXPLAINING_RUNS} runs, and how much memory is free is not known"
    if _EXPLAINING_RUNS * size_bytes <= _ROOM_SHARE * free:
        return None
    return f"that takes {_EXPLAINING_RUNS} runs, and {format_size(free)} of memory are free"


def _watched_together(lost: Mapping[Signal, float], share: float, *, run_s: float) -> tuple[int, int]:
    """Return in how many runs a leak shows once, where that can be watched, and how many times that it is."""
    period = round(1 / share) if 0 < share < IN_MOST_RUNS else 1
    size_bytes = max(lost.get("heap", 0.0), lost.get("resident", 0.0), 1.0)
    most = min(_RARELY_S / (run_s + _TRACED_S), _RARELY_BYTES / size_bytes) / _EXPLAINING_RUNS
    if period == 1 or period > min(most, _RAREST):
        return 1, 1
    return period, min(_TIMES, int(most / period))


def _unexplained(reason: str) -> Explanation:
    from pytest_memalert.attribution.explanation import Explanation

    return Explanation(reason=reason)


def _excuse_of(explanation: Explanation, lost: Mapping[Signal, float], *, filled: float) -> Excuse | None:
    """Return the excuse that an explanation is by itself, the most certain first.

    What so many runs leave has ``filled`` the place where it stays.
    """
    blocks = lost.get("blocks", 0.0)
    if explanation.framework and _accounts_for(explanation.framework_survivors, lost):
        reason = "what remains was made by pytest or a plugin, not by the test"
        return Excuse(status="clean" if explanation.is_whole else "unclear", reason=reason)
    if explanation.in_parameter and _can_speak_for(lost):
        reason = "a value that it is parametrized with keeps it, which a session uses once"
        return Excuse(status="unclear", reason=reason)
    if _are_turned_over(explanation, blocks):
        return Excuse(status="unclear", reason="nearly as much of it is let go of as is made anew")
    if explanation.let_go and _can_speak_for(lost):
        return Excuse(status="unclear", reason="what kept it has let go of it a moment later")
    if explanation.full and not _is_passed_on(explanation.full, filled):
        return Excuse(status="unclear", reason=explanation.full.text)
    return None


def _without_caches(analysis: LeakAnalysis, explanation: Explanation, runs: SeenRuns | None) -> LeakAnalysis:
    """Return the analysis without what caches took in meanwhile: they have let go of as much, or will.

    Not all that they took in is seen, so it is reckoned to be as large a part of what was lost as of what was
    seen: unless most of that is neither. A leak may hold what the caches hold as well: what runs leave
    just as well when these are full is the leak's.
    """
    size_bytes, own, cached = analysis.bytes_per_run, explanation.own, explanation.cached
    if not size_bytes or not cached.bytes or analysis.runs > _LONG_FULL * cached.limit:
        return analysis
    if runs is not None and runs.has_outlasted(cached.limit) and analysis.blocks_per_run:
        return analysis
    own_bytes = size_bytes - cached.bytes
    if size_bytes <= _SEEN_IN_PART * (own.bytes + cached.bytes):
        own_bytes = min(own_bytes, size_bytes * own.bytes / (own.bytes + cached.bytes))
    own_bytes = max(own_bytes, own.bytes)
    if own_bytes > _MOSTLY_OWN * size_bytes:
        return analysis
    handles = tuple(item for item in analysis.growth if item.signal in ("descriptors", "threads"))
    if own_bytes == 0.0 and handles:
        return replace(
            analysis,
            bytes_per_run=0.0,
            blocks_per_run=0.0,
            rate_bytes_per_hour=0.0,
            growth=handles,
            reason=describe_growth(handles),
        )
    share, blocks, rate = own_bytes / size_bytes, analysis.blocks_per_run, analysis.rate_bytes_per_hour
    if blocks is not None:
        blocks = min(blocks, max(own.objects, blocks * own.objects / (own.objects + cached.objects)))
    return replace(
        analysis,
        bytes_per_run=own_bytes,
        blocks_per_run=blocks,
        rate_bytes_per_hour=None if rate is None else share * rate,
        reason=f"{analysis.reason}, with what caches took in",
    )


def _with_native(analysis: LeakAnalysis, explanation: Explanation) -> LeakAnalysis:
    """Return the analysis with how much of it is native memory, where objects are the lesser part."""
    native_bytes = times_of(explanation, analysis.blocks_per_run) * explanation.native_bytes
    if not native_bytes:
        return analysis
    return replace(analysis, reason=f"{analysis.reason}, {format_size(native_bytes)} of it native memory")


def _told(
    analysis: LeakAnalysis,
    known: Explanation | LeakAnalysis,
    *,
    survivors: tuple[Survivor, ...],
    recommendations: tuple[str, ...],
) -> LeakAnalysis:
    """Return the analysis with what is known of the leak, from now or from an earlier session."""
    return replace(
        analysis,
        survivors=survivors,
        component=known.component,
        confidence=known.confidence,
        signature=known.signature,
        grown_at=known.grown_at,
        recommendations=recommendations,
    )


def _sized_by_survivors(analysis: LeakAnalysis) -> LeakAnalysis:
    """Return the analysis with the size of what survives: no traced run could tell that of small objects."""
    size_bytes = sum(survivor.bytes_per_run for survivor in analysis.survivors)
    if size_bytes <= (analysis.bytes_per_run or 0.0):
        return analysis
    rate = size_bytes / analysis.duration_s * 3600 if analysis.duration_s else None
    return replace(analysis, bytes_per_run=size_bytes, rate_bytes_per_hour=rate)


def _with_reason(explanation: Explanation) -> tuple[str, ...]:
    """Return the advice; where there is none, why what survives is not known."""
    if explanation.reason is None or explanation.survivors or explanation.recommendations:
        return explanation.recommendations
    return (f"what survives could not be told: {explanation.reason}",)


def _are_turned_over(explanation: Explanation, blocks: float) -> bool:
    """Return whether each run leaves many more objects than there are more of in the end.

    Those that it leaves replace others, as what is kept for 50 ms does: they don't explain the growth.
    """
    # What a container got longer by takes a block now and then.
    kinds = [kind for kind in explanation.survivors if " of " not in kind.type]
    # Of types with a name of their own only what stays was left; of lists and the like, all that is new.
    made = sum(kind.count for kind in [kind for kind in kinds if "." in kind.type] or kinds)
    return explanation.confidence >= _IN_EVERY_RUN and 0 < blocks < _TURNED_OVER * made


def _is_passed_on(bound: Bound, filled: float) -> bool:
    """Return whether what stays would fill what is bounded more than once: then that isn't what grows."""
    return bound.limit is not None and filled > _TIMES_FILLED * bound.limit


def _accounts_for(survivors: Sequence[Survivor], lost: Mapping[Signal, float]) -> bool:
    """Return whether these survivors are most of what each run leaves, and can speak for it."""
    if not _can_speak_for(lost):
        return False
    count = sum(survivor.per_run for survivor in survivors)
    size_bytes = sum(survivor.bytes_per_run for survivor in survivors)
    blocks, heap_bytes = lost.get("blocks", 0.0), lost.get("heap", 0.0)
    # What survivors are made of isn't among them: a list of texts is one, of the size of all.
    is_all = size_bytes >= _MOST * (heap_bytes + SMALL_BLOCK_BYTES * blocks)
    return is_all or (count >= _MOST * blocks / _BLOCKS_PER_OBJECT and size_bytes >= _MOST * heap_bytes)


def _can_speak_for(lost: Mapping[Signal, float]) -> bool:
    """Return whether Python objects can account for what is lost: memory alone."""
    return bool(lost.keys() & {"blocks", "heap"}) and not lost.keys() & {"descriptors", "threads"}
