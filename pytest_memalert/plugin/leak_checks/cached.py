"""What is kept in pytest's cache: nothing is, nor is anything found, where the cache plugin is off."""

from __future__ import annotations

import pytest

__all__ = ["read_cached", "write_cached"]


def read_cached(config: pytest.Config, key: str) -> object:
    """Return what is kept by a key; None where that is nothing."""
    cache = config.cache if hasattr(config, "cache") else None
    found: object = None if cache is None else cache.get(key, None)
    return found


def write_cached(config: pytest.Config, key: str, value: object) -> None:
    """Keep a value of JSON types for the next session."""
    cache = config.cache if hasattr(config, "cache") else None
    if cache is not None:
        cache.set(key, value)
