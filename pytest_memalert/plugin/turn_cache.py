"""The turns that tests take in being checked for leaks, kept in pytest's cache."""

from __future__ import annotations

import pytest

from pytest_memalert.leaks.turns import NO_TURNS, Turns, decode_turns, encode_turns

__all__ = ["read_turns", "write_turns"]

_KEY = "memalert/turns"


def read_turns(config: pytest.Config) -> Turns:
    """Return the turns taken so far; none without a cache."""
    cache = config.cache if hasattr(config, "cache") else None
    return decode_turns(cache.get(_KEY, None)) if cache is not None else NO_TURNS


def write_turns(config: pytest.Config, turns: Turns) -> None:
    """Keep the turns for the next session; nothing without a cache."""
    cache = config.cache if hasattr(config, "cache") else None
    if cache is not None:
        cache.set(_KEY, encode_turns(turns))
