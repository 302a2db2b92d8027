"""A call that costs at most its time limit, whatever the other end does."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from pytest_memalert.clock import elapsed_s
from pytest_memalert.errors import DeliveryError

__all__ = ["complete", "explain", "gather_troubles", "run_within"]

_T = TypeVar("_T")


def run_within(call: Callable[[], _T], limit_s: float) -> _T:
    """Return what ``call`` returns; raise what it raises, and DeliveryError once ``limit_s`` are over.

    It runs in a thread of its own, which is left behind when time is up: name resolution, or a server
    that sends a byte now and then, can't be stopped from outside. The thread doesn't keep the program alive.
    """
    results: list[_T] = []
    troubles: list[BaseException] = []

    def attempt() -> None:
        try:
            results.append(call())
        except BaseException as trouble:
            troubles.append(trouble)

    thread = threading.Thread(target=attempt, name="memalert delivery", daemon=True)
    thread.start()
    thread.join(limit_s)
    if troubles:
        # An exit, or a task that was cancelled, is the end of that thread and not of the program.
        raise troubles[0] if isinstance(troubles[0], Exception) else DeliveryError(type(troubles[0]).__name__)
    if not results:
        raise DeliveryError(f"no answer within {limit_s:g} s")
    return results[0]


def complete(answer: object, limit_s: float) -> None:
    """Run an awaitable to its end, whether or not an event loop is running here; ignore anything else."""
    if not inspect.isawaitable(answer):
        return
    import asyncio

    async def finish(awaitable: Awaitable[object]) -> None:
        await asyncio.wait_for(awaitable, limit_s)

    def run() -> None:
        try:
            asyncio.run(finish(answer))
        except (asyncio.TimeoutError, TimeoutError):
            raise DeliveryError(f"not finished within {limit_s:g} s") from None

    # In a thread of its own: a loop can't run where another one does. A little more, so that the
    # loop can say itself what it waited for too long.
    run_within(run, limit_s + 0.5)


def gather_troubles(calls: Mapping[str, Callable[[], object]], *, limit_s: float) -> dict[str, BaseException]:
    """Make all calls at the same time; return what went wrong, by key.

    None of them stops another, and together they take no more than ``limit_s``. A Ctrl-C ends the waiting.
    """
    began_s = elapsed_s()
    troubles: dict[str, BaseException] = {}
    ended: set[str] = set()

    def attempt(key: str, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as trouble:
            troubles[key] = trouble
        ended.add(key)

    threads = [
        threading.Thread(target=attempt, args=(key, call), name="memalert delivery", daemon=True)
        for key, call in calls.items()
    ]
    why = f"no answer within {limit_s:g} s"
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, limit_s - (elapsed_s() - began_s)))
    except KeyboardInterrupt:
        why = "interrupted"
    late = {key: DeliveryError(why) for key in calls if key not in ended}
    return {**troubles, **late}


def explain(trouble: BaseException) -> str:
    """Return what went wrong, with nothing in it that may be secret.

    Only our own exceptions are quoted: the texts of others like to hold whole URLs.
    """
    if isinstance(trouble, DeliveryError):
        return str(trouble)
    if isinstance(trouble, OSError) and isinstance(trouble.strerror, str) and "/" not in trouble.strerror:
        return f"{type(trouble).__name__}: {trouble.strerror}"
    return type(trouble).__name__
