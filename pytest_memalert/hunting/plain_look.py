"""Look at a suspect as its own run was looked at: most leave nothing again, and need no exact search."""

from __future__ import annotations

from collections.abc import Callable

from pytest_memalert.collector import kept_young
from pytest_memalert.hunting.batches import Batches, Operation
from pytest_memalert.hunting.under_way import searching
from pytest_memalert.leaks.dismissal import look_on
from pytest_memalert.leaks.policy import Policy, Step
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.probes.exact import ExactReader, refusal

__all__ = ["look_plainly"]


def look_plainly(run: Operation, policy: Policy, *, let_go: Callable[[], None]) -> LeakAnalysis | None:
    """Return the verdict where further runs leave too little to be pursued; None where they don't.

    Nothing is frozen, and ``let_go`` is all that is done before a reading, as around the tests of the suite.
    A full collection makes the interpreter forget how many old objects there are, so that the next ones come
    too soon, and empties its free lists, which the tests after it fill again.
    """
    if refusal() is not None:
        return None

    def run_young() -> str | None:
        with kept_young():
            return run()

    reader = ExactReader(freezing=False, let_go=let_go)
    batches = Batches(run_young, reader)
    with searching(), reader:
        step: Step | None = Step(action="run", runs=1)
        while step is not None and step.action == "run":
            problem = batches.perform(step)
            if problem is not None:
                return batches.dismiss("unclear", reason=problem)
            step = look_on(batches.rows.readings(), policy, run_s=batches.rows.duration_s() or 0.0)
    if step is not None and (step.action == "clean" or step.action == "unclear"):
        return batches.dismiss(step.action, reason=step.reason, left=step.left)
    return None
