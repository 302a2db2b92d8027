"""Allocation sites: where in the user's code an object was made, from tracemalloc's frames.

A site is a tuple of (file, line), the most recent call first, cut to what a reader can act
on: the user's frames, and before them the library's that they called into.
"""

from __future__ import annotations

import ast
import functools
import gc
import os
import sys
import sysconfig
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from inspect import CO_OPTIMIZED, getmodulename
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Literal

from pytest_memalert.attribution.objects import type_module
from pytest_memalert.tracing import begin_tracing

__all__ = [
    "FRAMES",
    "OWN_DIRECTORY",
    "Frame",
    "Origin",
    "compile_file",
    "component_of",
    "describe",
    "frames_of",
    "is_framework",
    "is_ours",
    "is_traced",
    "is_within",
    "origin_of",
    "place",
    "ranges_of_callbacks",
    "stack_of",
    "start_tracing",
    "traceback_of",
    "useful",
]

Frame = tuple[str, int]
Origin = Literal["user", "library", "stdlib", "framework", "generated", "own"]

#: Frames that tracemalloc keeps of each allocation. Between a test and what its library
#: allocates lie seldom more than ten; pytest's own dozen below the test is not needed. Each frame is
#: looked at for each allocation: with 25, a leak of click's takes 1.4 times as long to explain.
FRAMES = 16

_ATTRIBUTION = Path(__file__).resolve().parents[1]

#: The directory of this package; frames and containers of ours are never evidence.
OWN_DIRECTORY = f"{_ATTRIBUTION.parent}{os.sep}"

#: All files of attribution but the one that runs the test: what that one allocates, the test did.
_OWN_FILES = frozenset(
    [
        *(str(path) for path in _ATTRIBUTION.rglob("*.py") if path.name != "repetition.py"),
        tracemalloc.__file__,
    ]
)

_SITE_DIRECTORIES = ("site-packages", "dist-packages")
_FRAMEWORK_PACKAGES = frozenset({"_pytest", "pytest", "pluggy", "iniconfig", "execnet", "xdist", "py"})
_KEPT_FRAMES = 25
_SHOWN_USER_FRAMES = 4
# Py_TPFLAGS_MANAGED_DICT of 3.11, and the size of a pointer.
_MANAGED_DICT = 1 << 4
_WORD_BYTES = 8 if sys.maxsize > 2**32 else 4
_SHOWN_OTHER_FRAMES = 3
_LARGEST_SOURCE_BYTES = 2 * 2**20


def start_tracing(frames: int = FRAMES) -> bool:
    """Start tracing allocations, ``frames`` of each; return whether it was this call that started it."""
    # What these import and keep must not be born while the test is watched.
    _stdlib_directories()
    _plugin_files()
    _tracers()
    if sys.version_info[:2] == (3, 11):
        _traceback_at()
    if tracemalloc.is_tracing():
        return False
    begin_tracing(frames)
    return True


def is_ours(traceback: tracemalloc.Traceback | None) -> bool:
    """Return whether an allocation is the bookkeeping of the explanation itself."""
    return traceback is not None and traceback[-1].filename in _OWN_FILES


def ranges_of_callbacks() -> list[tuple[str, range]]:
    """Return the files and lines of the functions that the collector calls: what they make is no test's."""
    functions = [getattr(each, "__func__", each) for each in gc.callbacks]
    codes = [function.__code__ for function in functions if type(function) is FunctionType]
    return [
        (code.co_filename, range(code.co_firstlineno, 1 + max(line or 0 for *_, line in code.co_lines())))
        for code in codes
    ]


def is_within(traceback: tracemalloc.Traceback, ranges: Sequence[tuple[str, range]]) -> bool:
    """Return whether an allocation was made by, or for, the code in one of these ranges."""
    return any(
        frame.filename == filename and frame.lineno in lines
        for frame in traceback
        for filename, lines in ranges
    )


def traceback_of(obj: object) -> tracemalloc.Traceback | None:
    """Return where ``obj`` was allocated, or None where that wasn't traced.

    Python 3.11 asks tracemalloc for the wrong address where an instance has a ``__dict__``: it
    leaves out the two words before it that hold the attributes. 3.10 has no such words, 3.12 counts them.
    """
    found = tracemalloc.get_object_traceback(obj)
    if found is not None or sys.version_info[:2] != (3, 11) or not tracemalloc.is_tracing():
        return found
    if not type.__dict__["__flags__"].__get__(type(obj)) & _MANAGED_DICT:
        return None
    frames = _traceback_at()(0, id(obj) - 4 * _WORD_BYTES)
    return None if frames is None else tracemalloc.Traceback(frames)


@functools.lru_cache(maxsize=1)
def _traceback_at() -> Callable[[int, int], Any]:
    """Return CPython's own look-up by domain and address, of which ``get_object_traceback`` is made."""
    import ctypes

    look_up = ctypes.pythonapi._PyTraceMalloc_GetTraceback
    look_up.restype, look_up.argtypes = ctypes.py_object, [ctypes.c_uint, ctypes.c_size_t]
    return look_up


def is_traced(obj: object) -> bool:
    """Return whether ``obj`` was allocated since tracing started."""
    return traceback_of(obj) is not None


def frames_of(traceback: tracemalloc.Traceback | None) -> tuple[Frame, ...]:
    """Return the frames of a traceback, the most recent first, down to the call of ours."""
    if traceback is None:
        return ()
    frames = []
    for frame in reversed(traceback):
        if origin_of(frame.filename) == "own":
            break  # everything below called us
        frames.append((frame.filename, frame.lineno))
    return tuple(frames)


def stack_of(frame: FrameType | None) -> tuple[Frame, ...]:
    """Return a frame and those that called it, up to where we called the test."""
    frames: list[Frame] = []
    while frame is not None and len(frames) < _KEPT_FRAMES:
        if origin_of(frame.f_code.co_filename) == "own":
            break
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(frames)


def useful(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Return the frames to show: the library's that allocated, then the user's that called it."""
    origins = [origin_of(filename) for filename, _ in frames]
    # The same line may come twice: up to 3.11 a comprehension is a call of its own.
    users = [frame for frame, origin in dict.fromkeys(zip(frames, origins, strict=True)) if origin == "user"]
    libraries = [frame for frame, origin in zip(frames, origins, strict=True) if origin == "library"]
    if users:
        first_user = frames.index(users[0])
        deepest = next((frame for frame in libraries if frames.index(frame) < first_user), None)
        return ((deepest,) if deepest else ()) + tuple(users[:_SHOWN_USER_FRAMES])
    if libraries:
        return tuple(libraries[:_SHOWN_OTHER_FRAMES])
    others = [f for f, origin in zip(frames, origins, strict=True) if origin in ("stdlib", "framework")]
    return tuple(others[:_SHOWN_OTHER_FRAMES])


def is_framework(frames: tuple[Frame, ...]) -> bool:
    """Return whether an allocation lies wholly within pytest, pluggy or a plugin of pytest.

    The standard library is neutral: it counts for whoever called it.
    """
    origins = {origin_of(filename) for filename, _ in frames}
    return "framework" in origins and not origins & {"user", "library"}


@functools.lru_cache(maxsize=4096)
def origin_of(filename: str) -> Origin:
    """Return whose code a file is."""
    if filename.startswith(OWN_DIRECTORY):
        return "own"
    if filename.startswith("<doctest "):
        return "user"
    if filename.startswith("<"):
        return "generated" if filename not in ("<stdin>", "<string>") else "stdlib"
    if (inside := _inside_site(filename)) is not None:
        top = inside.split("/", 1)[0].removesuffix(".py")
        if top in _FRAMEWORK_PACKAGES or top.startswith(("pytest_", "_pytest")) or top in _tracers():
            return "framework"
        return "framework" if filename in _plugin_files() else "library"
    if any(filename.startswith(directory) for directory in _stdlib_directories()):
        return "stdlib"
    return "framework" if filename in _plugin_files() else "user"


def describe(frame: Frame) -> str:
    """Return ``file:line in function``."""
    filename, line = frame
    function = _function_at(filename, line)
    return f"{_short(filename)}:{line}" + (f" in {function}" if function else "")


def place(frame: Frame, root: Path | None = None) -> str:
    """Return ``file in function``: what stays the same when lines are added above.

    Files below ``root`` are named from there, not from the current directory, which a test may change.
    """
    filename, line = frame
    return f"{_short(filename, root)} in {_function_at(filename, line) or '?'}"


def component_of(frames: tuple[Frame, ...]) -> str:
    """Return the package, or the file, in which the most recent of these frames lies."""
    if not frames:
        return ""
    short = _short(frames[0][0])
    first, slash, _ = short.strip("/").partition("/")
    if slash and not short.startswith("/"):
        return first
    # A compiled one has the interpreter in its suffix.
    return getmodulename(short) or Path(short).stem


def _inside_site(filename: str) -> str | None:
    """Return the path below site-packages, with forward slashes."""
    path = filename.replace("\\", "/")
    for name in _SITE_DIRECTORIES:
        _, found, inside = path.rpartition(f"/{name}/")
        if found:
            return inside
    return None


def _short(filename: str, root: Path | None = None) -> str:
    """Return a path as a reader knows it: below site-packages, below ``root`` or the current directory."""
    inside = _inside_site(filename)
    if inside is not None:
        return inside
    try:
        return Path(filename).relative_to(root or Path.cwd()).as_posix()
    except (OSError, ValueError, TypeError):
        pass  # the test may have patched os.getcwd
    for directory in _stdlib_directories():
        if filename.startswith(directory):
            return filename[len(directory) :].lstrip("/\\").replace("\\", "/")
    return filename


@functools.lru_cache(maxsize=1)
def _stdlib_directories() -> tuple[str, ...]:
    paths = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(ast.__file__).parent))
    return tuple(dict.fromkeys(str(path) for path in paths if path))


@functools.lru_cache(maxsize=1)
def _tracers() -> frozenset[str]:
    """Return the packages whose functions trace the tests: what coverage.py, say, keeps of each thread."""
    owners = [getattr(function, "__self__", function) for function in (sys.gettrace(), threading.gettrace())]
    modules = [
        owner.__module__ if isinstance(owner, FunctionType) else type_module(type(owner))
        for owner in owners
        if owner is not None
    ]
    return frozenset(module.partition(".")[0] for module in modules)


@functools.lru_cache(maxsize=1)
def _plugin_files() -> frozenset[str]:
    """Return the files of pytest plugins that a package brings beside other code."""
    from importlib.metadata import entry_points

    files = set()
    try:
        for entry in entry_points(group="pytest11"):
            module = sys.modules.get(entry.module)
            filename = vars(module).get("__file__") if module is not None else None
            if isinstance(filename, str):
                files.add(filename)
    except Exception:
        return frozenset()  # broken metadata of some package: its plugin is taken for a library
    return frozenset(files)


def _function_at(filename: str, line: int) -> str | None:
    """Return the dotted name of the function around a line; tracemalloc keeps no names."""
    try:
        written_ns = Path(filename).stat().st_mtime_ns
    except (OSError, ValueError):
        return None
    for start, end, name in _functions_in(filename, written_ns):
        if start <= line <= end:
            return name
    return None


def compile_file(filename: str, *, flags: int = 0) -> Any:
    """Return the code of a source file, or its syntax tree (``ast.PyCF_ONLY_AST``); None where it has none.

    Read from the file and not through linecache, which would keep the text: we would grow what we measure.
    """
    try:
        path = Path(filename)
        if path.stat().st_size > _LARGEST_SOURCE_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes and the like: not ours to tell
            return compile(path.read_bytes(), filename, "exec", flags, dont_inherit=True, optimize=0)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


@functools.lru_cache(maxsize=64)
def _functions_in(filename: str, written_ns: int) -> tuple[tuple[int, int, str], ...]:
    """Return (first line, last line, dotted name) of every function in a file, innermost first.

    ``written_ns`` is when it was: edited since, it is another file.

    Compiling is done in C: 20 ms for the 4,000 lines of a large module, where walking its syntax tree
    takes 200.
    """
    module = compile_file(filename)
    if module is None:
        return ()
    found: list[tuple[int, int, str]] = [(1, sys.maxsize, "<module>")]
    _collect_functions(module, "", found)
    return tuple(sorted(found, key=lambda entry: entry[1] - entry[0]))


def _collect_functions(code: CodeType, prefix: str, found: list[tuple[int, int, str]]) -> int:
    """Add the functions defined within ``code``; return its last line."""
    last = max((line for _, _, line in code.co_lines() if line), default=code.co_firstlineno)
    for child in code.co_consts:
        if type(child) is not CodeType:
            continue
        # Comprehensions, lambdas and type parameters are told as part of what they stand in.
        name = prefix if child.co_name.startswith("<") else f"{prefix}{child.co_name}."
        child_last = _collect_functions(child, name, found)
        if name != prefix and child.co_flags & CO_OPTIMIZED:  # a class body isn't
            found.append((child.co_firstlineno, child_last, name[:-1]))
        last = max(last, child_last)
    return last
