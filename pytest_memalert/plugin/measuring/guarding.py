"""Guard what is measured around the tests: trouble of our own is told, and breaks nothing of theirs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

__all__ = ["guarded"]


class _GivesUp(Protocol):
    def give_up(self, trouble: Exception) -> None:
        """Forget what is under way, and tell of the trouble."""


_Owner = TypeVar("_Owner", bound=_GivesUp)
_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


def guarded(
    step: Callable[Concatenate[_Owner, _Arguments], _Answer],
) -> Callable[Concatenate[_Owner, _Arguments], _Answer | None]:
    """Return a method that gives up where it fails, and answers None."""

    @wraps(step)
    def guarded_step(owner: _Owner, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer | None:
        try:
            return step(owner, *args, **kwargs)
        except Exception as trouble:
            owner.give_up(trouble)
            return None

    return guarded_step
