"""Tests of a cache whose entries a probe counts."""

from __future__ import annotations

import shop


def test_search_fills_the_cache_once():
    """Adds 300 entries in its first run and none after it: one-time, no alert."""
    assert all(shop.search(f"word {number}") for number in range(300))


def test_quote_fills_the_cache_each_time():
    """Adds 200 entries in each run: an alert."""
    assert shop.quote("Ada") == "12.50"
