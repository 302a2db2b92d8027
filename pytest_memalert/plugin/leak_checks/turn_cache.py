"""The turns that tests take in being checked for leaks, kept in pytest's cache."""

from __future__ import annotations

import pytest

from pytest_memalert.leaks.turns import Turns, decode_turns, encode_turns
from pytest_memalert.plugin.leak_checks.cached import read_cached, write_cached

__all__ = ["read_turns", "write_turns"]

_KEY = "memalert/turns"


def read_turns(config: pytest.Config) -> Turns:
    """Return the turns taken so far; none without a cache."""
    return decode_turns(read_cached(config, _KEY))


def write_turns(config: pytest.Config, turns: Turns) -> None:
    """Keep the turns for the next session; nothing without a cache."""
    write_cached(config, _KEY, encode_turns(turns))
