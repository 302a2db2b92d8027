"""Tracing of allocations that we begin: off before a sub-interpreter is made, which would hang."""

from __future__ import annotations

import sys
import tracemalloc

__all__ = ["begin_tracing", "interruptions"]

# While tracemalloc traces, making one deadlocks in CPython 3.11.7 and aborts in 3.12.1; 3.13 is sound.
_IS_SOUND = sys.version_info >= (3, 13)
# Who makes them in Python has loaded one of these. Only then is there a hook: it is called for each ``id()``
# and each file that is opened, and nothing takes it back.
_MAKERS = ("_xxsubinterpreters", "_interpreters", "_testcapi", "_testinternalcapi")
_MAKES_INTERPRETER = "cpython.PyInterpreterState_New"

_interruptions = 0
_is_hooked = False
_is_ours = False


def begin_tracing(frames: int = 1) -> None:
    """Begin to trace allocations, ``frames`` of each; whoever does so calls ``tracemalloc.stop``."""
    global _is_hooked, _is_ours
    _is_ours = True
    if not _is_hooked and not _IS_SOUND and any(name in sys.modules for name in _MAKERS):
        _is_hooked = True
        sys.addaudithook(_stop_before_interpreter)
    tracemalloc.start(frames)


def interruptions() -> int:
    """Return how often tracing was stopped for a sub-interpreter so far."""
    return _interruptions


def _stop_before_interpreter(event: str, _: tuple[object, ...]) -> None:
    global _interruptions, _is_ours
    if event == _MAKES_INTERPRETER and _is_ours and tracemalloc.is_tracing():
        _is_ours = False
        _interruptions += 1
        tracemalloc.stop()
