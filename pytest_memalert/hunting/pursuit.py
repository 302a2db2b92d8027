"""Pursue one operation: run it again and again, read the process, ask ``leaks`` what next."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from statistics import median

from pytest_memalert.attribution.composition import count_kinds, keepers_of, kinds_of_run
from pytest_memalert.hunting.batches import Batches, Operation
from pytest_memalert.hunting.excuses import (
    Excuse,
    excuse_of_heap,
    excuse_of_resident,
    excuse_of_tracing,
)
from pytest_memalert.hunting.other_threads import OtherThreads, read_least
from pytest_memalert.hunting.questions import (
    IN_MOST_RUNS,
    Bounded,
    Filling,
    Known,
    Left,
    Questions,
    Recognize,
    SeenRuns,
)
from pytest_memalert.hunting.rows import differences
from pytest_memalert.hunting.traced_runs import run_traced
from pytest_memalert.leaks.noise import is_regular, surviving
from pytest_memalert.leaks.policy import Policy, Step
from pytest_memalert.leaks.readings import (
    SIGNALS,
    alike_from,
    points_of,
    rises,
    single_increments,
    stands_out,
)
from pytest_memalert.leaks.sizes import TracedGrowth, bytes_per_run, growth_of
from pytest_memalert.leaks.verdict import next_step, runs_left
from pytest_memalert.leaks.words import describe_growth
from pytest_memalert.model import LeakAnalysis, Signal
from pytest_memalert.probes.exact import ExactReader
from pytest_memalert.probes.opcaches import HAS_OPCACHES, without_opcaches

__all__ = ["DIES", "DIES_IN_PART", "Pursuit"]

DIES = "what it leaves behind dies in a full collection"
DIES_IN_PART = "most of what it leaves behind dies in a full collection"
# Blocks per run that are still there after a full collection: less is what a cache takes meanwhile.
_LEFT_PER_RUN = 0.5
_LEAST_RUN_S = 1e-6
_TAKES_NO_MORE = "later runs took no more"
_THREADS_END = "the threads that it leaves running end by themselves later"
_OTHER_THREADS = "other threads leave as much behind while it is not run"
_THREADS_AT_WORK = "other threads are at work, and it grows in some runs only: they may be late to let go"


class Pursuit:
    """Run one operation and read the process, until there is a verdict."""

    def __init__(
        self,
        run: Operation,
        policy: Policy,
        *,
        freezing: bool = True,
        lists: Callable[[], float] | None = None,
    ) -> None:
        self._run = run
        self._policy = policy
        self._reader = ExactReader(freezing=freezing, lists=lists)
        self._batches = Batches(run, self._reader)
        self._others = OtherThreads()
        self._kinds: dict[str, int] | None = None
        # The runs when growth was suspected, and the levels then, without what was dead.
        self._proof_from = 0
        self._proof_start: array[float] | None = None
        #: Whether the leak was confirmed before.
        self._met_before = False
        #: Whether the last run was no evidence.
        self.refused = False
        #: Whether there is more to the verdict than that no signal rises steadily.
        self.has_witness = True

    def follow(self, questions: Questions) -> LeakAnalysis:
        """Run, read and decide until there is a verdict."""
        with self._reader:
            found = self._run_on(questions)
            return found if isinstance(found, LeakAnalysis) else self._prove(found, questions.bounded)

    def _run_on(self, questions: Questions) -> Step | LeakAnalysis:
        """Run until growth must be a leak, and return the step that says so; or a verdict before that."""
        policy = self._policy
        recognize, is_known, filling = questions.recognize, questions.is_known, questions.filling
        doubted = False
        while True:
            # The readings aren't kept: what is counted next must not contain them.
            step = next_step(self._batches.rows.readings(), policy)
            if step.action == "leaking":
                return step
            if step.action != "run":
                # Two full collections, which elsewhere only make clean what is unclear.
                is_asked = HAS_OPCACHES and step.action == "unclear" and self._proof_start is not None
                if is_asked and (died := self._has_died()):
                    return died
                self.has_witness = False
                return self._batches.dismiss(step.action, reason=step.reason, left=step.left)
            if step.suspected and self._proof_start is None:
                # Before a slow test is run a dozen times for nothing.
                if traces := excuse_of_tracing(self._risen_per_run(), run=self._run):
                    return self._batches.dismiss(traces.status, reason=traces.reason)
                self._proof_from = self._batches.runs
                # Unfrozen, each reading is of what a full collection left; threads may have ended since.
                self._proof_start = self._count_unfrozen()
            enough = step.suspected and self._batches.runs - self._proof_from >= policy.leak_runs
            if enough and not doubted:
                doubted = True
                # What dies is known to by now: no need to follow it for 1,300 runs.
                if died := self._has_died():
                    return died
                continue
            if is_known is not None and enough:
                with self._reader.thawed():
                    self._met_before = is_known()
                if self._met_before:
                    policy = replace(policy, shape_runs=self._runs_to_measure(), shape_s=0.0)
                is_known = None
                continue
            if filling is not None and enough and not self._met_before:
                if (cache := self._filling_cache(filling, policy)) is not None:
                    return self._batches.dismiss(cache.status, reason=cache.reason)
                filling = None
                continue
            problem = self._batches.perform(step)
            if problem is not None:
                self.refused = True
                return self._batches.dismiss("unclear", reason=problem)
            if recognize is not None and self._batches.runs <= 2 and (known := self._recognize(recognize)):
                return self._conclude_known(known)
            if self._batches.rows.is_full:
                policy = replace(policy, most_runs=self._batches.runs)

    def _filling_cache(self, filling: Filling, policy: Policy) -> Excuse | None:
        """Return that it is a cache's growth, where there is no time to see it full."""
        last = self._batches.rows.readings()[-1]
        # That of a run that waits counts for less than its duration.
        run_s = min(self._batches.rows.duration_s() or 0.0, last.elapsed_s / last.runs)
        left = runs_left(last, max(run_s, _LEAST_RUN_S), policy)
        if last.runs + left >= policy.filled_runs:
            return None
        seen = rises(self._batches.rows.readings(), since_run=self._proof_from)
        runs = last.runs - self._proof_from
        with self._reader.thawed():
            return filling({name: rise / runs for name, rise in seen.items() if stands_out(name, rise)}, left)

    def _prove(self, step: Step, bounded: Bounded | None) -> LeakAnalysis:
        """Return the verdict on growth that must be a leak: of what stays, and has no excuse."""
        # Of a leak that is known both were asked before: each time, it would take seconds.
        threads_ended = not self._met_before and self._others.end_by_themselves(
            were_left=self._leave_threads()
        )
        proven = self._proven()
        seen = rises(self._batches.rows.readings(), since_run=self._proof_from)
        runs, run_s = self._batches.runs - self._proof_from, self._batches.rows.duration_s() or 0.0
        # What threads do that the runs left is the runs' doing, be it while there is none.
        are_meant = self._met_before or ("threads" in step.signals and not threads_ended)
        if not are_meant and self._others.leave_as_much(self._reader, seen, runs=runs, run_s=run_s):
            return self._batches.dismiss("unclear", reason=_OTHER_THREADS)
        if (
            not are_meant
            and not self._is_regular(step.signals)
            and self._others.are_at_work(self._batches.runs)
        ):
            return self._batches.dismiss("unclear", reason=_THREADS_AT_WORK)
        signals = surviving(step.signals, seen=seen, proven=proven)
        if threads_ended:
            # Their stacks are mapped for the next ones, and what they freed is free in their arenas.
            signals = tuple(name for name in signals if name in ("blocks", "descriptors"))
            if not signals or not proven:
                return self._batches.dismiss("unclear", reason=_THREADS_END)
        if not signals:
            return self._conclude_died(proven)
        lost = self._per_run(signals)
        blocks = seen.get("blocks", 0.0) / max(1, runs)
        readings = self._batches.rows.readings()
        excuse = excuse_of_resident(lost, readings, blocks=blocks, runs=runs, run=self._run)
        if excuse is None and not self._met_before:
            excuse = excuse_of_heap(lost, run=self._run, runs=self._batches.runs, others=self._others)
        if excuse is None and bounded is not None:
            with self._reader.thawed():
                excuse = bounded(lost, self._describe_runs(lost))
        if excuse is not None:
            return self._batches.dismiss(excuse.status, reason=excuse.reason)
        if self._batches.runs < self._policy.leak_runs and not self._goes_on(lost):
            return self._batches.dismiss("unclear", reason=_TAKES_NO_MORE)
        traced = self._trace() if "blocks" in signals else None
        return self._conclude_leak(signals, traced=traced, since_run=self._proof_from)

    def _leave_threads(self) -> bool:
        """Return whether there were more threads after most of the runs than before them."""
        points = points_of(self._batches.rows.readings(), "threads")
        return 2 * sum(level > 0 for _, level in points) > len(points)

    def _goes_on(self, lost: Mapping[Signal, float]) -> bool:
        """Return whether another run takes as much as the few before: many took place to explain them."""
        if self._batches.perform(Step(action="run", runs=1)) is not None:
            return False
        before, after = (reading.levels for reading in self._batches.rows.readings()[-2:])
        return any(after[name] - before[name] >= pace / 2 for name, pace in lost.items() if name in after)

    def _trace(self) -> TracedGrowth | None:
        """Return the sizes of what Python allocates and never frees, from further runs."""
        readings = self._batches.rows.readings()
        blocks = growth_of(readings, "blocks").per_run
        share = self._share_of_runs({"blocks": blocks})
        return run_traced(self._run, self._reader, blocks_per_run=blocks, events_per_run=share)

    def _describe_runs(self, lost: Mapping[Signal, float]) -> SeenRuns:
        """Return what is known of the runs, of which each left so much."""
        risen = [step for step in self._steps_of_blocks() if step > 0]
        return SeenRuns(
            count=self._batches.runs,
            share=self._share_of_runs(lost),
            usual_blocks=median(risen or [0.0]),
            alike_from=alike_from(points_of(self._batches.rows.readings(), "blocks")),
        )

    def _steps_of_blocks(self) -> list[float]:
        """Return how many blocks each of the runs added that were read by themselves."""
        return single_increments(points_of(self._batches.rows.readings(), "blocks"))

    def _share_of_runs(self, lost: Mapping[Signal, float]) -> float:
        """Return the share of the runs that leave something, of several blocks each or of one."""
        if "blocks" not in lost:
            return 1.0
        single = self._steps_of_blocks()
        risen = [step for step in single if step > 0]
        share = len(risen) / len(single) if single else 1.0
        if 0 < share < IN_MOST_RUNS:
            # All the runs tell more than the few that were read by themselves: how much one leaves is known.
            by_size = lost["blocks"] / median(risen)
            share = by_size if share / 2 <= by_size <= 2 * share else share
        return min(lost["blocks"], share)

    def _proven(self) -> dict[Signal, float]:
        """Return how far each signal rose since growth was suspected, by what full collections leave."""
        return {} if self._proof_start is None else differences(self._proof_start, self._count_unfrozen())

    def _risen_per_run(self) -> dict[Signal, float]:
        """Return what each run so far has added to the signals that stand out."""
        seen = rises(self._batches.rows.readings(), since_run=0)
        return {name: rise / self._batches.runs for name, rise in seen.items() if stands_out(name, rise)}

    def _per_run(self, signals: Sequence[Signal]) -> dict[Signal, float]:
        """Return what each run adds to some signals, since growth was suspected."""
        readings = self._batches.rows.readings()
        return {name: growth_of(readings, name, since_run=self._proof_from).per_run for name in signals}

    def _is_regular(self, signals: Sequence[Signal]) -> bool:
        """Return whether one of these rises in so many runs that no thread that is late explains it."""
        readings = self._batches.rows.readings()
        return any(is_regular(points_of(readings, signal)) for signal in signals)

    def _has_died(self) -> LeakAnalysis | None:
        """Return the verdict if blocks were left, and what was is gone after a full collection; else None."""
        seen = rises(self._batches.rows.readings(), since_run=self._proof_from)
        left = [name for name in SIGNALS if stands_out(name, seen.get(name, 0.0))]
        proven = self._proven()
        if "blocks" not in left or surviving(left, seen=seen, proven=proven):
            return None
        return self._conclude_died(proven)

    def _conclude_died(self, proven: Mapping[Signal, float]) -> LeakAnalysis:
        """Return the verdict on what is mostly gone after a full collection."""
        if proven.get("blocks", 0.0) >= _LEFT_PER_RUN * (self._batches.runs - self._proof_from):
            return self._batches.dismiss("unclear", reason=DIES_IN_PART)
        return self._batches.dismiss("clean", reason=DIES)

    def _runs_to_measure(self) -> int:
        """Return how many runs tell the size of a known leak: all there are, unless it shows in few."""
        events = growth_of(self._batches.rows.readings(), "blocks").per_run
        # A hundred events at random are known to 10 %.
        wanted = ceil(100 / events) if 0 < events < 0.9 else 0
        return max(self._batches.runs, min(wanted, self._policy.shape_runs))

    def _recognize(self, recognize: Recognize) -> Known | None:
        """Return what is known of what the last run left; asked after the first run and the second."""
        before, after = (reading.levels for reading in self._batches.rows.readings()[-2:])
        steps = {name: level - before.get(name, level) for name, level in after.items()}
        del before, after
        blocks, heap_bytes = steps["blocks"], steps.get("heap", 0.0)
        # No type tells of descriptors and threads.
        others = any(steps.get(name) for name in ("descriptors", "threads"))
        del steps
        if blocks <= 0 or others or not self._reader.freezing:
            self._kinds = None
            return None
        earlier, self._kinds = self._kinds, count_kinds()
        if self._batches.runs != 2 or earlier is None:
            return None
        kinds, times = kinds_of_run(earlier, self._kinds)
        self._kinds = None
        left = Left(kinds=kinds, times=times, blocks=blocks, heap_bytes=heap_bytes)
        return recognize(left, lambda: self._find_keepers({name for name, _ in kinds}))

    def _find_keepers(self, names: set[str]) -> dict[int, int]:
        """Return what keeps objects of these types that the runs left behind, as ``keepers_of`` does."""
        new = gc.get_objects()
        with self._reader.thawed():
            return keepers_of(new, names)

    def _conclude_known(self, known: Known) -> LeakAnalysis:
        """Return the verdict on what was recognized."""
        if known.harmless is not None:
            return self._batches.dismiss("clean", reason=known.harmless)
        readings = self._batches.rows.readings()
        blocks, size_bytes = growth_of(readings[1:], "blocks").per_run, known.bytes_per_run
        if blocks < self._policy.weak_blocks and (size_bytes or 0.0) < self._policy.weak_bytes:
            # By default it is chance whether a test that leaks so little is a suspect: none is told of.
            reason = f"+{blocks:,.0f} blocks per run of a leak found in another test; that one is told of"
            return self._batches.dismiss("unclear", reason=reason)
        # The first run may have filled a cache as well: what the last one left is what was recognized.
        found = self._conclude_leak(("blocks",), since_run=self._batches.runs - 1)
        return replace(
            found,
            reason=f"{found.reason}, of a leak that was confirmed before",
            bytes_per_run=size_bytes,
            rate_bytes_per_hour=_rate_per_hour(size_bytes, found.duration_s),
        )

    def _count_unfrozen(self) -> array[float]:
        """Return the levels after a full collection of the whole heap.

        What another thread holds for a moment would make all that the runs leave look as if it had died.
        """
        with self._reader.thawed():
            self._reader.settle()
            return without_opcaches(read_least(self._reader))

    def _conclude_leak(
        self, signals: Sequence[Signal], *, traced: TracedGrowth | None = None, since_run: int
    ) -> LeakAnalysis:
        """Return the verdict that these signals leak, with how much since a run."""
        readings, duration_s = self._batches.rows.readings(), self._batches.rows.duration_s()
        growth = tuple(growth_of(readings, signal, since_run=since_run) for signal in signals)
        size_bytes = bytes_per_run(readings, signals, traced, since_run=since_run)
        return LeakAnalysis(
            status="leaking",
            reason=describe_growth(growth),
            bytes_per_run=size_bytes,
            blocks_per_run=next((item.per_run for item in growth if item.signal == "blocks"), 0.0),
            runs=self._batches.runs,
            duration_s=duration_s,
            rate_bytes_per_hour=_rate_per_hour(size_bytes, duration_s),
            growth=growth,
        )


def _rate_per_hour(size_bytes: float | None, duration_s: float | None) -> float | None:
    return None if not duration_s or size_bytes is None else size_bytes / duration_s * 3600
