"""Tests of the component "storage", named so by a hook."""

from __future__ import annotations

import pytest
import shop


@pytest.mark.known_growth
def test_shelf_keeps_parcels():
    """Grows by 3 MiB in each run, which is known: a hook drops the alert."""
    assert shop.store(3 * 2**20) > 0


def test_shelf_keeps_the_next_parcel_as_well():
    """Grows as much, and isn't marked: an alert, of the component "storage"."""
    assert shop.store(3 * 2**20) > 0
