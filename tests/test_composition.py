"""What two runs left behind, compared: is it the leak that was explained before?"""

from __future__ import annotations

import weakref

import pytest

from pytest_memalert.attribution.composition import Composition, is_like, keepers_of

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


def test_one_tuple_less_of_many_objects_is_the_same_leak() -> None:
    """It lay in memory that was traced before; without it all counts are of one run, not of two."""
    workers = {
        ("server.Worker", "server.py in start"),
        ("server.Event", "server.py in Worker"),
        ("cell", "server.py in Worker"),
    }
    one = frozenset({*((kind, place, 10) for kind, place in workers), ("tuple", "server.py in stats", 6)})
    two = frozenset({*((kind, place, 20) for kind, place in workers), ("tuple", "server.py in stats", 11)})
    assert is_like(one, two)
    assert not is_like(one, two | {("tuple", "server.py in another", 40)})
    assert not is_like(one, two - {("server.Event", "server.py in Worker", 20)})


def test_what_has_a_weak_reference_to_them_keeps_no_objects() -> None:
    """``threading`` has such a set of all threads."""

    class Worker:
        pass

    keeper = [Worker()]
    references = [weakref.ref(keeper[0])]
    names = {f"{__name__}.{Worker.__qualname__}", "weakref.ReferenceType"}
    assert keepers_of([keeper[0], references[0]], names) == {id(keeper): 1}
