"""Records: dataclasses that cost little to define."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

__all__ = ["record"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:

    def record(*, slots, frozen=False, kw_only=False):
        """Return a decorator that makes a dataclass in a third of the time that ``dataclass`` takes.

        A frozen dataclass compiles six methods of its own, in 0.9 ms, and a session loads some forty of
        them; to make one takes three times as long as if it were not frozen (benchmarks/records.py).
        Here ``__init__`` alone is compiled, and the others are the same for all. That what is frozen isn't
        changed is seen to by mypy alone, which takes this for ``dataclass``: what others are given to share
        is a real one.
        """

        def decorate(cls):
            made = dataclass(slots=slots, kw_only=kw_only, repr=False, eq=False)(cls)
            shared = {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash if frozen else None}
            for name, method in shared.items():
                if name not in cls.__dict__:
                    setattr(made, name, method)
            return made

        return decorate


def _repr(self: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({shown})"


def _eq(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, each.name) for each in fields(self) if each.compare)
