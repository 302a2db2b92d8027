"""What two runs left behind, compared: is it the leak that was explained before?"""

from __future__ import annotations

import pytest

from pytest_memalert.attribution.composition import Composition, is_like

# As seen of 200 dicts of plain values in each run, beside what argparse makes: traces come and go.
ROWS = frozenset({("object", "importer.py in rows", 1371), ("object", "cli.py in build", 26)})


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (ROWS, True),
        ({("object", "importer.py in rows", 2722), ("object", "cli.py in build", 81)}, True),
        ({("object", "importer.py in rows", 1)}, True),
        ({("object", "importer.py in rows", 1371), ("object", "cli.py in build", 400)}, False),
        ({("object", "importer.py in other", 1371), ("object", "cli.py in build", 26)}, False),
        ({("lib.Row", "importer.py in rows", 1371), ("object", "cli.py in build", 26)}, False),
    ],
)
def test_plain_values_are_alike_where_most_come_from_the_same_places(
    other: Composition, *, alike: bool
) -> None:
    assert is_like(ROWS, frozenset(other)) is alike


def test_objects_of_a_type_are_counted_to_one() -> None:
    """They are seen each, and one of a hundred may be another leak."""
    known = frozenset({("lib.Row", "lib.py in make", 100), ("lib.Cell", "lib.py in make", 1)})
    assert is_like(known, known)
    assert not is_like(known, frozenset({("lib.Row", "lib.py in make", 1)}))
