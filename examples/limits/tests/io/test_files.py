"""Tests without a marker; a rule in pyproject.toml names their folder."""

from __future__ import annotations

import importer
from importer import MIB


def test_file_is_read_at_once():
    """Reaches 12 MiB, of the 8 that the rule for tests/io allows: an alert."""
    assert importer.read_all(12 * MIB) == 12 * MIB


def test_file_is_read_in_chunks():
    """Reaches 1 MiB at a time."""
    assert sum(importer.read_all(MIB) for _ in range(12)) == 12 * MIB
