"""Three tests that pass; one of them lets memory grow each time it runs."""

from __future__ import annotations

import gallery
import pytest

PICTURE = bytes(range(256)) * 16  # 4 KiB encoded, 4 MiB decoded


@pytest.fixture(scope="session")
def archive():
    """Load 40 MiB that all tests share: the fixture's own, and no test's growth."""
    return bytearray(b"\x7f") * (40 * 2**20)


def test_preview_is_small():
    """Leaves its 4 MiB in the gallery, in each run: an alert."""
    number = gallery.upload(PICTURE)
    assert len(gallery.preview(number)) == 65536


def test_histogram_counts_every_point():
    """Imports a module that builds a table of 8 MiB: once, so no alert."""
    assert sum(gallery.histogram(PICTURE).values()) == 1024


def test_archive_is_complete(archive):
    """Asks for the large fixture first, and isn't blamed for it."""
    assert len(archive) == 40 * 2**20
