"""Find out whether an operation leaks, and explain the leak: ``find_leaks``, ``assert_no_leaks``."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from pytest_memalert.attribution.composition import Composition, Kinds, compose
from pytest_memalert.errors import MemalertWarning
from pytest_memalert.escaping import escape_controls
from pytest_memalert.hunting.batches import Operation
from pytest_memalert.hunting.excuses import Excuse
from pytest_memalert.hunting.hunt import Known, Left, hunt
from pytest_memalert.hunting.patience import Patience
from pytest_memalert.leaks.policy import Policy
from pytest_memalert.leaks.readings import SMALL_BLOCK_BYTES
from pytest_memalert.leaks.words import describe_growth
from pytest_memalert.model import LeakAnalysis, Signal, Survivor
from pytest_memalert.probes.memory import free_bytes
from pytest_memalert.records import record
from pytest_memalert.units import format_size

if TYPE_CHECKING:
    from pytest_memalert.attribution.bounds import Bound
    from pytest_memalert.attribution.explanation import Explanation

__all__ = ["Explained", "assert_no_leaks", "describe_analysis", "find_leaks", "investigate"]

# Survivors must be at least this share of what is lost to speak for it; an object is one to
# four blocks: itself, its attributes, its buffer, its spare room.
_MOST = 0.5
_BLOCKS_PER_OBJECT = 4
# How much more than the objects with a name of their own a leak may take, to be known by them.
_MOST_BESIDE = 4.0
_LEAST_NAMED_BYTES = 512
# How far the blocks of a run may be off those of the leak that it is recognised as, and the heap, whose
# chunks come and go.
_SAME = 0.1
_SAME_BYTES, _SAME_SHARE = 4096.0, 0.25

# The threads in which a search is under way. Another one meanwhile, begun by what the first runs, would take
# thousands of runs for each of its runs, and what it leaves behind, as traces, be the outer one's finding.
_searching: set[int] = set()
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
# To explain a leak takes about so many runs, and none that begins later than this. Where each leaves so much,
# they may take this share of what is free.
_EXPLAINING_S = 30.0
_EXPLAINING_RUNS, _DEAR_BYTES, _ROOM_SHARE = 16, 16 * 2**20, 0.5
_BY_WAY_OF_A_LEAK = (
    "it is kept by what repetitions of another test left, whose leak is told of: mend that first"
)
_WITHIN = "it was called once, while another search for leaks was under way"


@record(frozen=True, slots=True, kw_only=True)
class _Familiar:
    """Hold what a leak costs each time that a test does what leaks; the one explained ``times`` times."""

    explanation: Explanation
    blocks: float
    heap_bytes: float
    bytes: float | None
    times: int
    harmless: str | None


@record(slots=True)
class Explained:
    """Hold the leaks explained so far, by what they leave behind: with its places, or by types alone.

    ``leaked_into`` has the containers that took them in, by identity, with their lengths; ``times`` counts
    the explanations.
    """

    by_composition: dict[Composition, list[Explanation]] = field(default_factory=dict)
    by_kinds: dict[Kinds, list[_Familiar]] = field(default_factory=dict)
    leaked_into: dict[int, int] = field(default_factory=dict)
    times: int = 0


def find_leaks(
    func: Callable[..., object],
    /,
    *args: Any,
    warmups: int | None = None,
    runs: int | None = None,
    **kwargs: Any,
) -> LeakAnalysis:
    """Return whether ``func(*args, **kwargs)`` leaks, how much per call, from where, and what to do.

    It is called as often as the evidence takes: a few times where it is clean, up to some
    thousand times, or about two seconds, where it grows. ``warmups`` calls come first (one by
    default), ``runs`` bounds the calls that are counted. An async function is awaited in an
    event loop that lives as long as the search. An exception that it raises passes through; a generator
    function, whose call runs nothing, is a TypeError.
    Don't use it while other threads allocate: what they do can't be told apart. While another search
    is under way, such as that of the test that calls it, it calls the function once: unclear.
    """
    from pytest_memalert.attribution.eviction import running

    with _operation(func, args, kwargs) as run, running(func):
        if _searching:
            run()
            return LeakAnalysis(status="unclear", reason=_WITHIN, runs=1)
        return investigate(run, warmups=warmups, runs=runs)


def assert_no_leaks(
    func: Callable[..., object],
    /,
    *args: Any,
    warmups: int | None = None,
    runs: int | None = None,
    **kwargs: Any,
) -> LeakAnalysis:
    """Return the analysis of ``find_leaks``; raise AssertionError, with the explanation, where it leaks.

    Where nothing can be said of it (its ``status`` is unclear), a ``MemalertWarning`` says why.
    """
    __tracebackhide__ = True
    analysis = find_leaks(func, *args, warmups=warmups, runs=runs, **kwargs)
    name = getattr(func, "__qualname__", "the function")
    if analysis.status == "leaking":
        raise AssertionError(describe_analysis(analysis, name))
    if analysis.status != "clean" and analysis.reason is not _WITHIN:
        text = f"whether {name} leaks is {analysis.status}: {analysis.reason or 'no reason is known'}"
        warnings.warn(MemalertWarning(escape_controls(text)), stacklevel=2)
    return analysis


def investigate(
    run: Operation,
    *,
    warmups: int | None = None,
    runs: int | None = None,
    budget_s: float | None = None,
    policy: Policy | None = None,
    explained: Explained | None = None,
    root: Path | None = None,
) -> LeakAnalysis:
    """Return whether an operation leaks, with the explanation where it does.

    ``explained`` has the leaks explained before, and takes this one in: a leak that is
    recognised costs fewer runs. Its signature names files from ``root``. The other parameters
    are those of ``hunting.hunt``.
    """
    run = patience = Patience(run)
    search = _Search(
        patience,
        explained,
        filled_runs=(policy or Policy()).filled_runs,
        explaining_s=_EXPLAINING_S if budget_s is None else min(budget_s, _EXPLAINING_S),
        root=root,
    )
    _searching.add(threading.get_ident())
    try:
        analysis = hunt(
            run,
            warmups=warmups,
            runs=runs,
            budget_s=budget_s,
            policy=policy,
            recognise=search.recognise if explained is not None else None,
            is_known=search.is_known if search.known.by_composition else None,
            bounded=search.find_excuse,
        )
    finally:
        _searching.discard(threading.get_ident())
    explanation = search.explanation
    if explanation is None:
        return analysis
    if search.left is not None:
        _remember(search.known, analysis, explanation, search.left)
    if analysis.status != "leaking":
        return analysis
    search.known.leaked_into |= {key: count for key, count in explanation.keepers.items() if count}
    return replace(
        _without_caches(analysis, explanation),
        survivors=_scaled(explanation, analysis.blocks_per_run),
        component=explanation.component,
        confidence=explanation.confidence,
        signature=explanation.signature,
        grown_at=explanation.grown_at,
        recommendations=_with_reason(explanation),
    )


class _Search:
    """Answer what a hunt asks of what an operation leaves behind: is it a known leak, is there an excuse?

    ``explanation`` is what is known of it by then; ``left`` what one run left, by which it is recognised.
    """

    def __init__(
        self,
        run: Patience,
        explained: Explained | None,
        *,
        filled_runs: int,
        explaining_s: float,
        root: Path | None,
    ) -> None:
        self.known = Explained() if explained is None else explained
        self.explanation: Explanation | None = None
        self.left: Left | None = None
        self._run = run
        self._is_shared = explained is not None
        self._filled_runs = filled_runs
        self._explaining_s = explaining_s
        self._root = root
        self._composition: Composition = frozenset()

    def recognise(self, left: Left, find_keepers: Callable[[], Mapping[int, int]]) -> Known | None:
        """Return the leak that was explained before and leaves the same types, and as much."""
        if left.blocks > _BLOCKS_PER_OBJECT * left.times * sum(count for _, count in left.kinds):
            return None  # what has a name of its own is the lesser part of it
        alike = [
            familiar for familiar in self.known.by_kinds.get(left.kinds, ()) if _is_alike(left, familiar)
        ]
        keepers: Mapping[int, int] = find_keepers() if alike else {}
        for familiar in alike:
            # What a plugin leaves for a test doesn't multiply.
            is_harmless = familiar.harmless is not None and left.times == familiar.times
            is_leak = familiar.harmless is None and _is_kept_alike(familiar.explanation, keepers)
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
        alike = self.known.by_composition.get(self._composition, ())
        self.explanation = next((each for each in alike if _is_kept_alike(each, keepers)), None)
        return self.explanation is not None

    def find_excuse(self, lost: Mapping[Signal, float], runs: int) -> Excuse | None:
        """Return why growth of so much per run, over so many runs, is no leak, or not surely one."""
        self._run.limit(self._explaining_s)
        if self.explanation is not None and not _is_as_large(lost, self.explanation.lost):
            self.explanation = None  # it does what is known, and leaks something else as well
        if self.explanation is None and (reason := _why_too_large(lost)) is not None:
            self.explanation = _unexplained(reason)
            return None
        if self.explanation is None and runs < self._filled_runs and _can_speak_for(lost):
            # Before the explanation, which traces: a slow run may take 25 times as long then.
            bound = self._filling_cache(lost)
            if bound is not None:
                reason = f"what keeps most of it lets go again ({bound.text})"
                return Excuse(status="unclear", reason=reason)
        if self.explanation is None:
            self.explanation = self._explain(lost)
        explanation, blocks = self.explanation, lost.get("blocks", 0.0)
        if self._comes_by_way_of_a_leak(explanation):
            return Excuse(status="unclear", reason=_BY_WAY_OF_A_LEAK)
        if (excuse := _excuse_of(explanation, lost, runs)) is not None:
            return excuse
        if explanation.bounded is None:
            return None
        if _is_passed_on(explanation.bounded, blocks, runs):
            told = f"what holds it lets go of it ({explanation.bounded.text}), and yet it stays"
            advice = (f"{told}: look for where it goes from there",)
            self.explanation = replace(explanation, recommendations=advice)
            return None
        # Plain values within entries of lru_cache() are no survivors: it is asked what they take.
        holds_files = explanation.has_files and "descriptors" in lost
        is_filling = holds_files or (_can_speak_for(lost) and self._filling_cache(lost))
        if is_filling or _accounts_for(explanation.survivors, lost):
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
        from pytest_memalert.attribution.bounds import filling_cache

        return filling_cache(
            self._run,
            heap_bytes=lost.get("heap", 0.0),
            blocks=lost.get("blocks", 0.0),
            lasted_s=self._run.age_s(),
        )

    def _explain(self, lost: Mapping[Signal, float]) -> Explanation:
        # Most suspects are clean, and all that explains takes as long to load as the rest of the engine.
        from pytest_memalert.attribution.explanation import explain

        self.known.times += 1
        explanation = explain(self._run, lost=lost, root=self._root)
        # What has an excuse here may have none in another test: not kept. Nor is what no survivor stands for:
        # all that is left to know it by is what is there anyway.
        has_excuse = explanation.bounded or explanation.full or explanation.let_go
        if self._is_shared and explanation.survivors and not has_excuse:
            left_behind = self._composition or compose(self._run)[0]
            if left_behind:
                recognised = _to_recognise(explanation, lost)
                self.known.by_composition.setdefault(left_behind, []).append(recognised)
        return explanation


def _why_too_large(lost: Mapping[Signal, float]) -> str | None:
    """Return why there is no room for the runs that explain a leak; None where there is."""
    size_bytes = max(lost.get("heap", 0.0), lost.get("resident", 0.0))
    if size_bytes < _DEAR_BYTES or _EXPLAINING_RUNS * size_bytes <= _ROOM_SHARE * (free := free_bytes()):
        return None
    return f"that takes {_EXPLAINING_RUNS} runs, and {format_size(free)} of memory are free"


def _unexplained(reason: str) -> Explanation:
    from pytest_memalert.attribution.explanation import Explanation

    return Explanation(reason=reason)


def _excuse_of(explanation: Explanation, lost: Mapping[Signal, float], runs: int) -> Excuse | None:
    """Return the excuse that an explanation is by itself, the most certain first."""
    blocks = lost.get("blocks", 0.0)
    if explanation.framework and _accounts_for(explanation.framework_survivors, lost):
        reason = "what remains was made by pytest or a plugin, not by the test"
        return Excuse(status="clean" if explanation.is_whole else "unclear", reason=reason)
    if explanation.in_parameter and _can_speak_for(lost):
        reason = "a value that it is parametrised with keeps it, which a session uses once"
        return Excuse(status="unclear", reason=reason)
    if _are_turned_over(explanation, blocks):
        return Excuse(status="unclear", reason="nearly as much of it is let go of as is made anew")
    if explanation.let_go and _can_speak_for(lost):
        return Excuse(status="unclear", reason="what kept it has let go of it a moment later")
    if explanation.full and not _is_passed_on(explanation.full, blocks, runs):
        return Excuse(status="unclear", reason=explanation.full.text)
    return None


def _without_caches(analysis: LeakAnalysis, explanation: Explanation) -> LeakAnalysis:
    """Return the analysis without what caches took in meanwhile: they have let go of as much, or will.

    Not all that they took in is seen, so it is reckoned to be as large a part of what was lost as of what was
    seen: unless most of that is neither.
    """
    size_bytes, own, cached = analysis.bytes_per_run, explanation.own, explanation.cached
    if not size_bytes or not cached.bytes or analysis.runs > _LONG_FULL * cached.limit:
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


def _with_reason(explanation: Explanation) -> tuple[str, ...]:
    """Return the advice; where there is none, why what survives is not known."""
    if explanation.reason is None or explanation.survivors or explanation.recommendations:
        return explanation.recommendations
    return (f"what survives could not be told: {explanation.reason}",)


def _remember(known: Explained, analysis: LeakAnalysis, explanation: Explanation, left: Left) -> None:
    """Keep a leak, or what pytest itself leaves behind, so that it is recognised after two runs."""
    leaks = analysis.status == "leaking" and explanation.survivors
    harmless = analysis.status == "clean" and explanation.framework
    found = analysis.blocks_per_run
    paces = found is not None and abs(found - left.blocks) <= _SAME * left.blocks
    if not left.kinds or not (harmless or (leaks and paces)):
        return
    # A large buffer lost beside them has no type that tells: by these alone it would be charged to all
    # who leave such objects behind.
    named = {name for name, _ in left.kinds}
    named_bytes = sum(survivor.size_bytes for survivor in explanation.survivors if survivor.type in named)
    if leaks and (analysis.bytes_per_run or 0.0) > _MOST_BESIDE * max(named_bytes, _LEAST_NAMED_BYTES):
        return
    size_bytes = None if analysis.bytes_per_run is None else analysis.bytes_per_run / left.times
    familiar = _Familiar(
        explanation=_to_recognise(explanation, {"blocks": left.blocks, "heap": left.heap_bytes}),
        blocks=left.blocks / left.times,
        heap_bytes=left.heap_bytes / left.times,
        bytes=size_bytes,
        times=left.times,
        harmless=analysis.reason if harmless else None,
    )
    # A fixture's container is another one in each module: the latest is the one to be met again.
    others = [
        each
        for each in known.by_kinds.get(left.kinds, ())
        if each.explanation.signature != explanation.signature
    ]
    known.by_kinds[left.kinds] = [*others, familiar]


def _is_as_large(lost: Mapping[Signal, float], known: Mapping[Signal, float]) -> bool:
    """Return whether a test loses what is known of another one, be it several times, and nothing besides."""
    if any((name in lost) != (name in known) for name in ("descriptors", "threads")):
        return False
    blocks, known_blocks = lost.get("blocks", 0.0), known.get("blocks", 0.0)
    times = blocks / known_blocks if blocks and known_blocks else 1.0
    heap_bytes = lost.get("heap", 0.0)
    off_bytes = abs(heap_bytes - times * known.get("heap", 0.0))
    return off_bytes <= max(_SAME_BYTES, _SAME_SHARE * heap_bytes)


def _is_alike(left: Left, familiar: _Familiar) -> bool:
    """Return whether what a run left takes as many blocks, and bytes of the heap, as a known leak."""
    off_blocks = abs(left.blocks - left.times * familiar.blocks)
    off_bytes = abs(left.heap_bytes - left.times * familiar.heap_bytes)
    most_off_bytes = max(_SAME_BYTES, _SAME_SHARE * abs(left.heap_bytes))
    return off_blocks <= max(1.0, _SAME * left.blocks) and off_bytes <= most_off_bytes


def _is_kept_alike(familiar: Explanation, keepers: Mapping[int, int]) -> bool:
    """Return whether what keeps some objects is what keeps a known leak's: the same container, or nothing.

    The like of what leaks may fill a cache elsewhere, or leak there. A container that is shorter than the one
    that was known is another one, where that was.
    """
    alike = (keepers.get(key, -1) >= count for key, count in familiar.keepers.items())
    return any(alike) or not (keepers or familiar.keepers)


def _to_recognise(explanation: Explanation, lost: Mapping[Signal, float]) -> Explanation:
    """Return an explanation as it holds for other tests, which come to the same place by other ways.

    ``lost`` is what the explained test leaves in each run; one that is known from another test keeps that
    one's.
    """
    shown = (replace(kind, allocated_at=kind.allocated_at[:1]) for kind in explanation.survivors)
    return replace(explanation, survivors=tuple(shown), lost=explanation.lost or dict(lost))


def _scaled(explanation: Explanation, blocks: float | None) -> tuple[Survivor, ...]:
    """Return the survivors of a known leak, as many as a test leaves that does more of it, or less."""
    known = explanation.lost.get("blocks", 0.0)
    if not blocks or not known:
        return explanation.survivors
    times = blocks / known
    return tuple(
        replace(kind, count=max(1, round(times * kind.count)), size_bytes=round(times * kind.size_bytes))
        for kind in explanation.survivors
    )


def _are_turned_over(explanation: Explanation, blocks: float) -> bool:
    """Return whether each run leaves many more objects than there are more of in the end.

    Those that it leaves replace others, as what is kept for 50 ms does: they don't explain the growth.
    """
    # What a container got longer by takes a block now and then.
    kinds = [kind for kind in explanation.survivors if " of " not in kind.type]
    # Of types with a name of their own only what stays was left; of lists and the like, all that is new.
    made = sum(kind.count for kind in [kind for kind in kinds if "." in kind.type] or kinds)
    return explanation.confidence >= _IN_EVERY_RUN and 0 < blocks < _TURNED_OVER * made


def _is_passed_on(bound: Bound, blocks: float, runs: int) -> bool:
    """Return whether what is below a bound has been filled more than once: then it isn't what grows."""
    return bound.limit is not None and min(1.0, blocks) * runs > _TIMES_FILLED * bound.limit


def _accounts_for(survivors: Sequence[Survivor], lost: Mapping[Signal, float]) -> bool:
    """Return whether these survivors are most of what each run leaves, and can speak for it."""
    if not _can_speak_for(lost):
        return False
    count = sum(survivor.count for survivor in survivors)
    size_bytes = sum(survivor.size_bytes for survivor in survivors)
    blocks, heap_bytes = lost.get("blocks", 0.0), lost.get("heap", 0.0)
    # What survivors are made of isn't among them: a list of texts is one, of the size of all.
    is_all = size_bytes >= _MOST * (heap_bytes + SMALL_BLOCK_BYTES * blocks)
    return is_all or (count >= _MOST * blocks / _BLOCKS_PER_OBJECT and size_bytes >= _MOST * heap_bytes)


def _can_speak_for(lost: Mapping[Signal, float]) -> bool:
    """Return whether Python objects can account for what is lost: memory alone."""
    return bool(lost.keys() & {"blocks", "heap"}) and not lost.keys() & {"descriptors", "threads"}


def describe_analysis(analysis: LeakAnalysis, name: str) -> str:
    """Return a leak in words, over several lines, the first of which stands alone."""
    size = format_size(analysis.bytes_per_run or 0.0)
    lines = [f"{name} leaks {size} per run: {analysis.reason}"]
    for survivor in analysis.survivors:
        where = f", allocated at {', '.join(survivor.allocated_at)}" if survivor.allocated_at else ""
        held = f"; held by {', '.join(survivor.held_by)}" if survivor.held_by else ""
        lines.append(f"  {survivor.told}, {format_size(survivor.size_bytes)}{where}{held}")
    lines += [f"  grown at {place}" for place in analysis.grown_at[:1]]
    lines += [f"  -> {advice}" for advice in analysis.recommendations]
    return "\n".join(escape_controls(line) for line in lines)


# ------------------------------------------------------------ sync and async


@contextmanager
def _operation(
    func: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Operation]:
    """Provide one call of ``func`` as an operation to repeat."""
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise TypeError("calling a generator function runs nothing: pass a function that goes through it")
    if not _is_async(func):

        def call() -> None:
            answer = func(*args, **kwargs)
            if type(answer) is CoroutineType:
                answer.close()
                raise TypeError("a coroutine was returned, and not awaited: pass the async function itself")

        yield call
        return
    import asyncio  # 20 ms that most sessions don't need

    loop = asyncio.new_event_loop()

    def run_in_loop() -> None:
        answer: Any = func(*args, **kwargs)
        loop.run_until_complete(answer)

    def close() -> None:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    is_apart = _is_loop_running()
    try:
        yield _in_thread(run_in_loop) if is_apart else run_in_loop
    finally:
        (_in_thread(close) if is_apart else close)()


def _is_async(func: Callable[..., object]) -> bool:
    """Return whether a call has to be awaited, that of an object with an async ``__call__`` too."""
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)


def _is_loop_running() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_thread(call: Callable[[], None]) -> Operation:
    """Return ``call`` made in a thread of its own: a loop can't run where another one does."""

    def call_in_thread() -> None:
        trouble: list[BaseException] = []

        def attempt() -> None:
            try:
                call()
            except BaseException as problem:
                trouble.append(problem)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        if trouble:
            raise trouble.pop()

    return call_in_thread
