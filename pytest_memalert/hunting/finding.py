"""Find out whether an operation leaks, and explain the leak: ``find_leaks``, ``assert_no_leaks``."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CoroutineType
from typing import Any

from pytest_memalert.errors import warn_of_trouble
from pytest_memalert.escaping import escape_controls
from pytest_memalert.hunting.batches import Operation
from pytest_memalert.hunting.investigation import investigate
from pytest_memalert.hunting.under_way import is_searching
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.units import format_size

__all__ = ["assert_no_leaks", "describe_analysis", "find_leaks"]

_WITHIN = "it was called once, while another search for leaks was under way"


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
    from pytest_memalert.attribution.bounding.eviction import running

    with _operation(func, args, kwargs) as run, running(func):
        if is_searching():
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

    Where nothing can be said of it (its ``status`` is unclear), a ``MemalertWarning`` says why; where
    warnings are errors, a log record does.
    """
    __tracebackhide__ = True
    analysis = find_leaks(func, *args, warmups=warmups, runs=runs, **kwargs)
    name = getattr(func, "__qualname__", "the function")
    if analysis.status == "leaking":
        raise AssertionError(describe_analysis(analysis, name))
    if analysis.status != "clean" and analysis.reason is not _WITHIN:
        text = f"whether {name} leaks is {analysis.status}: {analysis.reason or 'no reason is known'}"
        warn_of_trouble(escape_controls(text))
    return analysis


def describe_analysis(analysis: LeakAnalysis, name: str) -> str:
    """Return a leak in words, over several lines, the first of which stands alone."""
    size = format_size(analysis.bytes_per_run or 0.0)
    lines = [f"{name} leaks {size} per run: {analysis.reason}"]
    for survivor in analysis.survivors:
        where = f", allocated at {', '.join(survivor.allocated_at)}" if survivor.allocated_at else ""
        held = f"; held by {', '.join(survivor.held_by)}" if survivor.held_by else ""
        often = f" in {survivor.runs:,} runs" if survivor.runs > 1 else ""
        lines.append(f"  {survivor.told}, {format_size(survivor.size_bytes)}{often}{where}{held}")
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
