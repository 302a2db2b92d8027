"""Records behave as the dataclasses do that they stand for."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest

from pytest_memalert.records import record


@record(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure, and who may know it."""

    name: str
    value: float = 0.0
    address: str = field(default="", repr=False)
    noted: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """The same, as a dataclass."""

    name: str
    value: float = 0.0
    address: str = field(default="", repr=False)
    noted: str = field(default="", compare=False)


def test_shows_its_fields_without_those_that_are_kept_out() -> None:
    shown = repr(Figure(name="peak", value=2.0, address="secret"))
    assert shown == "Figure(name='peak', value=2.0, noted='')"
    assert shown == repr(Plain(name="peak", value=2.0, address="secret")).replace("Plain", "Figure")


def test_is_equal_to_its_like_alone() -> None:
    one = Figure(name="peak", value=2.0, noted="today")
    assert one == Figure(name="peak", value=2.0, noted="yesterday")
    assert one != Figure(name="peak", value=3.0)
    others: list[object] = [Plain(name="peak", value=2.0), ("peak", 2.0, "")]
    assert one not in others


def test_is_a_key_where_frozen_alone() -> None:
    assert {Figure(name="peak"): 1}[Figure(name="peak")] == 1

    @record(slots=True, kw_only=True)
    class Count:
        """A number that changes."""

        number: int = 0

    count = Count()
    count.number += 1
    assert count == Count(number=1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(count)


def test_knows_its_fields_and_takes_no_others() -> None:
    assert [each.name for each in fields(Figure)] == ["name", "value", "address", "noted"]
    assert replace(Figure(name="peak"), value=4.0) == Figure(name="peak", value=4.0)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Figure(name="peak", worth=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Figure(name="peak").worth = 1  # type: ignore[attr-defined]


def test_keeps_what_the_class_defines_itself() -> None:
    @record(frozen=True, slots=True)
    class Quiet:
        """A record that says little."""

        value: Any

        def __repr__(self) -> str:
            return "Quiet"

    assert repr(Quiet(1)) == "Quiet"
    assert Quiet(1) == Quiet(1)
