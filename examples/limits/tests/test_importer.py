"""Limits by marker: the closest wins, keyword by keyword."""

from __future__ import annotations

import importer
import pytest
from importer import MIB

# For every test of this module.
pytestmark = pytest.mark.memalert(peak="16 MiB")


def test_small_parcel_is_within_the_limit_of_its_module():
    """Reaches 12 MiB, of 16 allowed."""
    assert importer.read_all(12 * MIB) == 12 * MIB


def test_large_parcel_breaks_the_limit_of_its_module():
    """Reaches 36 MiB, of 16 allowed: an alert."""
    assert importer.read_all(36 * MIB) == 36 * MIB


@pytest.mark.memalert(peak="48 MiB")
def test_large_parcel_has_a_limit_of_its_own():
    """Reaches 36 MiB, of 48 allowed."""
    assert importer.read_all(36 * MIB) == 36 * MIB


@pytest.mark.memalert(growth="1 MiB")
class TestKeeping:
    """Limits growth to 1 MiB; the peak is still that of the module."""

    def test_table_is_built_once(self):
        """Grows by 6 MiB in its first run and never again: one-time, no alert."""
        assert len(importer.table("colors")) == 6 * MIB

    def test_parcel_is_kept(self):
        """Grows by 3 MiB in each run: an alert."""
        assert importer.keep(3 * MIB) > 0


@pytest.mark.memalert(duration="50 ms", severity="warning")
def test_waiting_is_slow():
    """Takes 100 ms, of 50 allowed: a warning, so the test still passes."""
    assert importer.wait_for_parcel()
