"""What Python 3.10 keeps for functions that were called 1,024 times, which no test leaks.

Until 3.10 the interpreter gave the code of each function two arrays at its 1,024th call, to find globals and
attributes faster. Of some hundred functions that take part in each run of a test, most reach it in the
same few runs. Later versions specialize the code in place. To be removed with the support of 3.10.
"""

from __future__ import annotations

import gc
import sys
from array import array
from types import CodeType, FunctionType

__all__ = ["HAS_OPCACHES", "opcache_size", "without_opcaches"]

#: Whether the interpreter keeps such arrays.
HAS_OPCACHES = sys.version_info < (3, 11)

# The largest request that Python's own allocator serves; each instruction takes two bytes of code, and
# a place in the first array.
_SMALL_BYTES, _INSTRUCTION_BYTES = 512, 2


def without_opcaches(levels: array[float]) -> array[float]:
    """Return levels, blocks and bytes of the heap first, without what the interpreter keeps for functions."""
    if HAS_OPCACHES:
        for index, size in enumerate(opcache_size()):
            levels[index] -= size
    return levels


def opcache_size() -> tuple[int, int]:
    """Return the blocks that Python 3.10 keeps for the functions alive now, and the bytes in larger ones."""
    blocks = heap_bytes = 0
    seen: set[int] = set()
    codes = [obj.__code__ for obj in gc.get_objects() if type(obj) is FunctionType]
    while codes:
        code = codes.pop()
        if id(code) in seen:
            continue
        seen.add(id(code))
        codes += [const for const in code.co_consts if type(const) is CodeType]
        # The kinds of its cells take one number each, if it has any.
        cells_bytes = 8 * len(code.co_cellvars) if set(code.co_cellvars) & set(_arguments(code)) else 0
        kept = code.__sizeof__() - CodeType.__basicsize__ - cells_bytes
        if kept <= 0:
            continue
        places = len(code.co_code) // _INSTRUCTION_BYTES
        for size in (places, kept - places):
            blocks += 0 < size <= _SMALL_BYTES
            heap_bytes += size if size > _SMALL_BYTES else 0
    return blocks, heap_bytes


def _arguments(code: CodeType) -> tuple[str, ...]:
    count = code.co_argcount + code.co_kwonlyargcount
    flags = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return code.co_varnames[: count + flags]
