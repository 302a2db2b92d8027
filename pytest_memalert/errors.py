"""Every exception and warning of the package, and what they suggest."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from datetime import date, time
from pathlib import Path

__all__ = [
    "ConfigurationError",
    "DeliveryError",
    "HistoryError",
    "MemalertError",
    "MemalertWarning",
    "MemoryAlertWarning",
    "WrongValueError",
    "describe_exception",
    "nearest",
    "show_code",
    "show_toml",
    "warn_of_trouble",
]

_PACKAGE = f"{Path(__file__).parent}{os.sep}"


class MemalertError(Exception):
    """Be the base of all exceptions that the package raises on purpose."""


class ConfigurationError(MemalertError):
    """List everything that is wrong with the configuration, one problem a line.

    ``problems`` holds the lines: each says where, what, and what to write instead.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class WrongValueError(ValueError):
    """Say what is wrong with a value that somebody wrote, and what to write instead.

    The text begins with the value as code writes it; ``problem`` is the rest, to be shown otherwise.
    """

    def __init__(self, value: object, problem: str) -> None:
        self.value = value
        self.problem = problem
        super().__init__(f"{show_code(value)} {problem}")


class DeliveryError(MemalertError):
    """Say why a channel couldn't deliver.

    Its text is shown in warnings, so it must hold nothing secret: of other exceptions only the
    type is shown, since their texts like to quote whole URLs.
    """


class HistoryError(MemalertError):
    """Say why the history can't be read or written, and what to do about it."""


class MemalertWarning(UserWarning):
    """Tell of our own trouble, which never fails or breaks a test of the user's."""


class MemoryAlertWarning(UserWarning):
    """Carry a memory alert that doesn't fail its test."""


def warn_of_trouble(text: str) -> None:
    """Issue a ``MemalertWarning`` at the line that called us; where warnings are errors, log it instead.

    Our trouble must not stop the program.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    try:
        warnings.warn(MemalertWarning(text), stacklevel=level)
    except MemalertWarning:
        logging.getLogger("memalert").warning("%s", text)


def describe_exception(problem: BaseException) -> str:
    """Return an exception's type and the first line of its text, which code of anybody's may make.

    Where that raises itself, this says so.
    """
    try:
        first_line = next(iter(str(problem).splitlines()), "")
    except Exception:
        first_line = "(its message can't be read)"
    return f"{type(problem).__name__}: {first_line}"


def show_code(value: object) -> str:
    """Return a value as code writes it; where its ``repr`` raises, which may be anybody's, what it is."""
    try:
        return repr(value)
    except Exception:
        return f"<a {type(value).__name__} whose repr() raises>"


def show_toml(value: object) -> str:
    """Return a value as a TOML file has it: ``true``, ``2027-01-31``, ``{tests = ['a']}``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | time):
        return str(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {show_toml(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show_toml, value))}]"
    return show_code(value)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return what somebody meant who wrote ``word``, if it is like any of the ``known``."""
    import difflib  # 1 ms, where something is wrong

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)
