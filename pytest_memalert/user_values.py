"""Values that people wrote: each is read, or refused with what to write instead."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pytest_memalert.errors import WrongValueError, nearest, show_toml

__all__ = [
    "collecting",
    "read_choice",
    "read_count",
    "read_flag",
    "read_member",
    "read_text",
    "read_texts",
    "refuse_unknown",
]


@contextmanager
def collecting(
    problems: list[str], place: str, *, show: Callable[[object], str] = show_toml
) -> Iterator[None]:
    """Add a ValueError of the block to ``problems``, headed by ``place``, so that reading goes on.

    A value is told by ``show``: as a file has it, unless it was written in code.
    """
    try:
        yield
    except WrongValueError as error:
        problems.append(f"{place}: {show(error.value)} {error.problem}")
    except ValueError as error:
        problems.append(f"{place}: {error}")


def refuse_unknown(noun: str, word: str, known: Collection[str], *, prefix: str = "") -> ValueError:
    """Return the error for a ``word`` that isn't known, naming the nearest that is.

    The ``prefix`` that all of them have makes none the nearer.
    """
    own = [each.removeprefix(prefix) for each in known]
    # "rss", of which "rss_bytes" is meant, is half of it.
    near = nearest(word.removeprefix(prefix), own, cutoff=0.5 if noun == "metric" else 0.6)
    advice = f"did you mean {prefix + near!r}?" if near else f"write one of {', '.join(map(repr, known))}"
    return ValueError(f"unknown {noun} {word!r}; {advice}")


def read_choice(value: object, choices: Collection[str]) -> str:
    """Return ``value`` if it is one of ``choices``; raises ValueError, naming them, if not."""
    if isinstance(value, str) and value in choices:
        return value
    near = nearest(value.lower(), choices) if isinstance(value, str) else None
    hint = f"; did you mean {near!r}?" if near else ""
    raise WrongValueError(value, f"is not one of {', '.join(map(repr, choices))}{hint}")


def read_flag(value: object) -> bool:
    """Return ``value`` if it is true or false; raises ValueError if not."""
    if isinstance(value, bool):
        return value
    raise WrongValueError(value, "is neither true nor false; write it as true or false, without quotes")


def read_text(value: object) -> str:
    """Return ``value`` if it is text and not blank; raises ValueError if not."""
    if not isinstance(value, str):
        raise WrongValueError(value, "is not a text; write one between quotes")
    if not value.strip():
        raise WrongValueError(value, "is empty; write a text")
    return value


def read_count(value: object, *, least: int = 1) -> int:
    """Return ``value`` if it is a whole number of ``least`` or more; raises ValueError if not."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise WrongValueError(value, f"is not a count of {least} or more; write a whole number such as 3")


def read_texts(value: object) -> tuple[str, ...]:
    """Return ``value`` if it is a list of texts, none of them blank; raises ValueError if not."""
    if isinstance(value, list | tuple) and all(isinstance(text, str) and text.strip() for text in value):
        return tuple(value)
    example = [value] if isinstance(value, str) and value.strip() else ["...", "..."]
    raise WrongValueError(value, f"is not a list of texts; write it as {example!r}")


_Member = TypeVar("_Member", bound=enum.Enum)


def read_member(kind: type[_Member]) -> Callable[[object], _Member]:
    """Return what reads a member of an enumeration; it raises ValueError, naming all, where it isn't one."""

    def read(value: object) -> _Member:
        try:
            return kind(value)
        except ValueError:
            # Raises, since every value of the enumeration was tried: this is for its wording.
            return kind(read_choice(value, [member.value for member in kind]))

    return read
