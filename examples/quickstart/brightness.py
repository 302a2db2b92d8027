"""Brightness by lookup: a table that is built once, at import."""

from __future__ import annotations

_TABLE = bytes(point >> 4 for point in range(256)) * 32768


def of(point: int) -> int:
    """Return the brightness of a point, from 0 to 15."""
    return _TABLE[point]
