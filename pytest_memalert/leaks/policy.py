"""How much evidence to gather of a leak, and what may be done after each reading."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pytest_memalert.model import Signal
from pytest_memalert.records import record

__all__ = ["SLOW_RUN_S", "Policy", "Step"]

#: A test whose runs take this long is slow.
SLOW_RUN_S = 0.005


@record(frozen=True, slots=True, kw_only=True)
class Policy:
    """Say how much evidence to gather, and what it may cost.

    A hunt is flat no sooner than after ``quick_s`` of runs; where it is ``brief``, two runs that leave
    nothing on top of what those before them left are enough, and one of a slow suspect. ``follows_creep``
    asks to go on while the heap rises by less than its noise. A leak must grow for ``leak_runs`` runs at
    least, and for ``shape_runs`` where ``budget_s`` and ``most_growth_bytes`` allow it: 1,300 is beyond
    ``re``'s cache of 512 and the customary ring buffer of 1,000; with fewer than ``filled_runs``, a cache
    that is seen to fill excuses growth. ``shape_s`` is spent even when those took less. A test too slow
    for ``leak_runs`` in the budget may have ``slow_runs``, within ``slow_budget_s``; one that it would
    cut short of ``wide_runs``, beyond the caches of 128 and 256 that ``typing`` and others keep, may have
    those within ``wide_budget_s``. No more than ``most_left`` descriptors, or threads, are left open:
    other tests need some as well. Growth of less than ``weak_blocks`` and ``weak_bytes`` per run isn't
    pursued. ``looks_at_lists`` asks for those that become longer, though nothing else grows.
    """

    quick_s: float = 0.02
    brief: bool = False
    follows_creep: bool = True
    budget_s: float = 2.0
    slow_budget_s: float = 60.0
    slow_runs: int = 14
    wide_budget_s: float = 6.0
    wide_runs: int = 300
    leak_runs: int = 8
    shape_runs: int = 1300
    filled_runs: int = 1300
    shape_s: float = 0.1
    most_runs: int = 20_000
    most_growth_bytes: int = 64 * 2**20
    most_left: int = 48
    weak_blocks: float = 0.0
    weak_bytes: float = 0.0
    looks_at_lists: bool = True

    def bounded_by(self, *, runs: int | None, budget_s: float | None) -> Policy:
        """Return the policy with at most so many runs, and so much time for each of its budgets."""
        policy = self
        if budget_s is not None:
            policy = replace(
                policy,
                budget_s=min(policy.budget_s, budget_s),
                wide_budget_s=min(policy.wide_budget_s, budget_s),
                slow_budget_s=min(policy.slow_budget_s, budget_s),
            )
        if runs is not None:
            policy = replace(
                policy,
                most_runs=runs,
                shape_runs=min(policy.shape_runs, runs),
                leak_runs=max(1, min(policy.leak_runs, runs)),
            )
        return policy

    def left_after(self, *, runs: int, spent_s: float) -> Policy:
        """Return the policy for what is left of the runs and the time.

        Each reading takes full collections then, and the time may be over soon: a leak must show in as many
        runs as take it beyond a cache that is filling.
        """
        most_runs = max(0, self.most_runs - runs)
        return replace(
            self,
            most_runs=most_runs,
            shape_runs=min(self.shape_runs, most_runs),
            leak_runs=min(max(self.leak_runs, self.wide_runs), most_runs),
            budget_s=max(0.0, self.budget_s - spent_s),
            slow_budget_s=max(0.0, self.slow_budget_s - spent_s),
            wide_budget_s=max(0.0, self.wide_budget_s - spent_s),
        )


@record(frozen=True, slots=True, kw_only=True)
class Step:
    """Say what to do next: ``run`` so many times, or the verdict.

    ``each`` asks for a reading after each run, else there is one after the last.
    ``suspected`` says that growth has been seen which must be proven. ``signals`` are
    those that leak. ``left`` has the blocks and bytes per run of growth that isn't pursued.
    """

    action: Literal["run", "clean", "leaking", "unclear"]
    runs: int = 0
    each: bool = True
    suspected: bool = False
    reason: str | None = None
    signals: tuple[Signal, ...] = ()
    left: tuple[float, float] | None = None
