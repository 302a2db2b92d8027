"""One repetition of a test: the only place here that calls what is being explained.

A module of its own, so that what was allocated right under the call is told from what we
allocate ourselves.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_memalert.attribution.objects import type_name

__all__ = ["attempt", "in_batches"]


def attempt(run: Callable[[], str | None]) -> str | None:
    """Run the test once; return None, or the reason why that is no evidence."""
    try:
        return run()
    except Exception as error:  # ours to bear: explaining never fails a test
        return f"the re-run raised {type_name(type(error))}"


def in_batches(run: Callable[[], str | None], runs: int) -> Callable[[], str | None]:
    """Return what runs the test so many times for each of its calls."""

    def run_all() -> str | None:
        for _ in range(runs):
            reason = run()
            if reason is not None:
                return reason
        return None

    return run_all
