"""What one more run calls: which C extensions, and where it registers something for the exit.

An object without a referrer is kept from C, and by whom can't be seen. Those that can are the ones that
were called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from weakref import ReferenceType, ref

from pytest_memalert.attribution.allocation.packages import Package, compiled_module
from pytest_memalert.attribution.allocation.sites import Frame, is_framework, origin_of, stack_of, useful
from pytest_memalert.attribution.objects import (
    bases_of,
    class_attribute,
    has_attribute,
    is_exactly,
    is_heap_type,
    is_kind,
    module_dict,
    type_module,
    type_name,
)
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.clock import Stopwatch
from pytest_memalert.collector import collect

__all__ = ["Calls", "watch_calls"]

#: Each event takes some microseconds, and a run may have millions.
_WATCHED_S = 1.0
_EVENTS_BETWEEN_LOOKS = 256
_MOST_OBJECTS = 64
#: What keeps what it is given where no referrer leads to it: by module and name, and as people know it.
_KEEPING = {
    ("atexit", "register"): "atexit.register",
    ("_codecs", "register"): "codecs.register",
    ("posix", "register_at_fork"): "os.register_at_fork",
    ("sys", "addaudithook"): "sys.addaudithook",
    ("posix", "putenv"): "os.putenv",
    ("nt", "putenv"): "os.putenv",
}
#: The same of methods: by the module of their type.
_KEEPING_METHODS = {
    ("sqlite3", name): "sqlite3.Connection"
    for name in (
        *("create_function", "create_aggregate", "create_window_function", "create_collation"),
        *("set_authorizer", "set_progress_handler", "set_trace_callback"),
    )
}
#: The calls of these are events.
_SEEN = (FunctionType, MethodType, BuiltinFunctionType, MethodDescriptorType)
#: What Cython's functions are called; calls of them are no events.
_OF_CYTHON = frozenset({"cython_function_or_method", "fused_cython_function"})


class Calls:
    """Notice what is called while a test is run once.

    ``by_ctypes`` is where the user's code, or a library's, goes by way of ctypes, ``registered_at`` where
    functions that keep what they are given, such as ``atexit.register``, were called first.
    """

    def __init__(self, closing: Iterable[tuple[type, str]] = ()) -> None:
        self.by_ctypes: Frame | None = None
        self.registered_at: dict[str, tuple[Frame, ...]] = {}
        # The packages, with whether code of the user's own called them.
        self._extensions: dict[Package, bool] = {}
        self._codes: dict[int, CodeType] = {}
        # The methods that are looked for, by their code or by the name, and what they were called for.
        self._sought: set[object] = {_key_of_method(kind, name) for kind, name in closing}
        self._called_for: list[tuple[object, ReferenceType[object]]] = []
        self._modules: set[tuple[str, int, bool]] = set()
        self._stopwatch = Stopwatch()
        self._events = 0

    @property
    def extensions(self) -> tuple[Package, ...]:
        """Return the packages, and modules of the user's own, whose functions in C were called.

        Those first that the user's own code calls.
        """
        return tuple(sorted(self._extensions, key=lambda package: not self._extensions[package]))

    def survives(self, kind: type, name: str) -> bool:
        """Return whether an object is there still of which this method, one of those sought, was called."""
        key = _key_of_method(kind, name)
        return any(known == key and reference() is not None for known, reference in self._called_for)

    def see(self, frame: FrameType, event: str, arg: object) -> None:
        """Take note of a call, as ``sys.setprofile`` tells of it."""
        self._events += 1
        if self._events % _EVENTS_BETWEEN_LOOKS == 0 and self._stopwatch.worked_s() > _WATCHED_S:
            sys.setprofile(None)
            return
        if event == "call":
            key = id(frame.f_code)
            if key in self._sought and frame.f_code.co_argcount:
                self._note_object(key, frame.f_locals.get(frame.f_code.co_varnames[0]))
            if key not in self._codes:
                self._codes[key] = frame.f_code
                self._read(frame)
        elif event == "c_call" and is_kind(arg, BuiltinFunctionType):
            self._note_call(frame, arg)

    def _note_call(self, frame: FrameType, function: object) -> None:
        name: object = function.__name__  # type: ignore[attr-defined]
        owner: object = function.__self__  # type: ignore[attr-defined]
        module: object
        if owner is None or is_kind(owner, ModuleType):
            # Some have their module itself for its name.
            module = owner if owner is not None else function.__module__
            if is_kind(module, ModuleType):
                module = module_dict(module).get("__name__")  # type: ignore[arg-type]
            if type(module) is str and type(name) is str and (module, name) in _KEEPING:
                self._note_keeping(_KEEPING[module, name], frame)
        else:
            kind: type = owner if is_kind(owner, type) else type(owner)  # type: ignore[assignment]
            if (type_name(kind), name) in self._sought:
                self._note_object((type_name(kind), name), owner)
            # One that derives from it is not of C.
            module = next((type_module(base) for base in bases_of(kind) if has_attribute(base, name)), None)
            if type(module) is str and type(name) is str and (module, name) in _KEEPING_METHODS:
                self._note_keeping(_KEEPING_METHODS[module, name], frame)
        if type(module) is str:
            self._note_module(module, frame, is_shown=True)

    def _note_keeping(self, function: str, frame: FrameType) -> None:
        if function not in self.registered_at and not is_framework(stack := stack_of(frame)):
            self.registered_at[function] = useful(stack)

    def _note_object(self, method: object, obj: object) -> None:
        if len(self._called_for) < _MOST_OBJECTS:
            with suppress(TypeError):  # nobody refers weakly to such
                self._called_for.append((method, ref(obj)))

    def _note_module(self, module: str, frame: FrameType, *, is_shown: bool = False) -> None:
        """Take note of a module, if it is compiled and not the interpreter's, and of who calls it."""
        key = (module, id(frame.f_code), is_shown)
        if key in self._modules:
            return
        self._modules.add(key)
        self._codes.setdefault(id(frame.f_code), frame.f_code)  # so that the number stays its own
        caller = origin_of(frame.f_code.co_filename)
        if caller in ("own", "framework") or (package := compiled_module(module, is_shown=is_shown)) is None:
            return
        self._extensions[package] = self._extensions.get(package, False) or caller == "user"

    def _read(self, frame: FrameType) -> None:
        """Take note of what a function names that is compiled: not every call of such is an event."""
        if origin_of(frame.f_code.co_filename) not in ("user", "library"):
            return
        names, known = frame.f_code.co_names, frame.f_globals
        for name in names:
            value = known.get(name)
            if is_kind(value, ModuleType):
                attributes = module_dict(value)  # type: ignore[arg-type]
                module = attributes.get("__name__")
                if type(module) is str and module == "ctypes" and self.by_ctypes is None:
                    self.by_ctypes = (frame.f_code.co_filename, frame.f_code.co_firstlineno)
                for attribute in names:
                    self._note_value(attributes.get(attribute), frame)
                    if type(module) is str and _is_of_c(attributes.get(attribute)):
                        self._note_module(module, frame, is_shown=True)
            else:
                self._note_value(value, frame)

    def _note_value(self, value: object, frame: FrameType) -> None:
        if value is None or is_exactly(value, (FunctionType, MethodType, MethodDescriptorType)):
            return
        kind = value if is_kind(value, type) else type(value)
        if type_name(type(value)).rpartition(".")[2] in _OF_CYTHON:
            module: object = value.__module__
        else:
            module = type_module(kind)  # type: ignore[arg-type]
        if type(module) is str and not is_kind(value, (BuiltinFunctionType, ModuleType)):
            self._note_module(module, frame)


def watch_calls(run: Callable[[], str | None], closing: Iterable[tuple[type, str]] = ()) -> Calls:
    """Run the test once more and return what it called; nothing where somebody else profiles.

    ``closing`` are methods of types: it is noted for which objects they were called.
    """
    calls = Calls(closing)
    if sys.getprofile() is None:
        sys.setprofile(calls.see)
        try:
            attempt(run)
        finally:
            sys.setprofile(None)
        collect()
    return calls


def _is_of_c(value: object) -> bool:
    """Return whether an object is called in C without an event, as a ufunc is."""
    is_known = is_heap_type(type(value)) or is_exactly(value, _SEEN) or is_kind(value, type)
    return callable(value) and not is_known


def _key_of_method(kind: type, name: str) -> object:
    method = class_attribute(kind, name)
    return id(method.__code__) if type(method) is FunctionType else (type_name(kind), name)
