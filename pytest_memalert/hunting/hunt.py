"""Hunt a leak: pursue an operation until there is a verdict, once more where what it leaves hides it."""

from __future__ import annotations

import gc
from dataclasses import replace

from pytest_memalert.clock import Stopwatch
from pytest_memalert.hunting.batches import Operation
from pytest_memalert.hunting.pursuit import DIES, DIES_IN_PART, Pursuit
from pytest_memalert.hunting.questions import Questions
from pytest_memalert.leaks.policy import Policy
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.probes.exact import refusal

__all__ = ["hunt"]


def hunt(
    run: Operation,
    *,
    warmups: int | None = None,
    runs: int | None = None,
    budget_s: float | None = None,
    policy: Policy | None = None,
    questions: Questions | None = None,
) -> LeakAnalysis:
    """Return whether ``run`` leaks, how much per run, and how that is known.

    ``run`` performs one repetition and returns None, or why it is no evidence (then the
    verdict is "unclear"). What it raises passes through. ``warmups`` runs come first and
    don't count, one by default; none is needed where a run already took place. ``runs`` is the most
    repetitions that are read, ``budget_s`` the most time for all of them (by default what
    ``Policy`` says: 2 s, more for a suspect that is slow).
    """
    problem = refusal()
    if problem is not None:
        return LeakAnalysis(status="unclear", reason=problem)
    policy = (policy or Policy()).bounded_by(runs=runs, budget_s=budget_s)
    asked = questions or Questions()
    was_enabled = gc.isenabled()
    try:
        for _ in range(1 if warmups is None else warmups):
            problem = run()
            if problem is not None:
                return LeakAnalysis(status="unclear", reason=problem, runs=1)
        if not policy.looks_at_lists:
            return _search(run, policy, asked)[0]
        # Loaded where it is asked for: it reads code, too, which most suspects don't come to.
        from pytest_memalert.attribution.bounding.lengths import Lengths, growing_buffers, used_bytes

        lengths = Lengths.taken()
        found, has_witness = _search(run, policy, asked)
        if has_witness or lengths is None:
            return found
        growing = lengths.longer(runs=found.runs)
        if not growing and found.status == "unclear":
            growing = growing_buffers(run)
        if not growing:
            return found
        unrecognized = replace(asked, recognize=None)
        again = Pursuit(run, policy, lists=lambda: sum(map(used_bytes, growing))).follow(unrecognized)
        return replace(again, runs=again.runs + found.runs) if again.status == "leaking" else found
    finally:
        # The operation may have switched the collector off, or on.
        if was_enabled:
            gc.enable()
        else:
            gc.disable()


def _search(run: Operation, policy: Policy, asked: Questions) -> tuple[LeakAnalysis, bool]:
    """Return the verdict, and whether a signal was seen to rise, or the operation refused to be run again."""
    stopwatch = Stopwatch()
    first = Pursuit(run, policy)
    found = first.follow(asked)
    is_in_doubt = found.reason == DIES_IN_PART
    is_refused = first.refused and found.runs == 1
    if (is_in_doubt or is_refused) and policy.most_runs > found.runs:
        # Frozen, what dies late hides what stays, and what inspects the collector may behave
        # differently: once more without.
        if is_in_doubt:
            policy = policy.left_after(runs=found.runs, spent_s=stopwatch.worked_s())
        again = Pursuit(run, policy, freezing=False).follow(replace(asked, recognize=None))
        found = replace(again, runs=again.runs + found.runs)
    if is_in_doubt and found.status != "leaking":
        found = replace(found, status="clean", reason=DIES, bytes_per_run=0.0, blocks_per_run=0.0)
    return found, first.has_witness
