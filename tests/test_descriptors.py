"""descriptors.py: which are open, and at which line of a run those are opened that it leaves open."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_memalert.attribution.allocation import descriptors
from pytest_memalert.attribution.allocation.descriptors import open_descriptors, places_of_opening
from pytest_memalert.attribution.explain import explain

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux lists the descriptors of a process"
)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    before = open_descriptors()
    yield
    for number in open_descriptors() - before:
        os.close(number)


def pipe_of_which_one_end_stays() -> None:
    _, write = os.pipe()  # 1
    os.close(write)


def two_of_which_the_second_stays() -> None:
    with Path(os.devnull).open() as first:
        first.read()
        os.open(os.devnull, os.O_RDONLY)  # 3


def number_that_was_free_for_a_moment() -> None:
    first = os.open(os.devnull, os.O_RDONLY)
    os.close(first)
    assert os.open(os.devnull, os.O_RDONLY) == first  # 3


def opened_below_others_that_are_closed() -> None:
    numbers = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    os.close(numbers[1])
    left, other = socket.socketpair()  # 3
    for number in (*numbers[:1], *numbers[2:]):
        os.close(number)
    left.detach()
    other.close()


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (pipe_of_which_one_end_stays, 1),
        (two_of_which_the_second_stays, 3),
        (number_that_was_free_for_a_moment, 3),
        (opened_below_others_that_are_closed, 3),
    ],
)
def test_place_is_that_of_what_stays_open(run: Callable[[], None], line: int) -> None:
    ((place, *_),) = places_of_opening(run)
    assert place == (__file__, run.__code__.co_firstlineno + line)


def test_places_have_their_callers_and_come_once_each() -> None:
    def run() -> None:
        pipe_of_which_one_end_stays()
        two_of_which_the_second_stays()
        pipe_of_which_one_end_stays()

    first = run.__code__.co_firstlineno
    found = places_of_opening(run)
    assert sorted(frames[1] for frames in found) == [(__file__, first + line) for line in (1, 2, 3)]


@pytest.mark.filterwarnings("ignore")  # of the socket that nobody closes
def test_what_only_a_collection_closes_is_not_left_open() -> None:
    def run() -> None:
        holder: list[object] = [socket.socket()]
        holder.append(holder)

    assert places_of_opening(run) == ()


def test_a_run_that_looks_for_a_tracer_is_watched_without_one() -> None:
    def run() -> None:
        assert sys.gettrace() is None
        os.open(os.devnull, os.O_RDONLY)

    found = places_of_opening(run)
    assert [frames[0] for frames in found] == [(__file__, run.__code__.co_firstlineno + 2)]
    assert (sys.gettrace(), sys.getprofile()) == (None, None)


def test_a_run_is_not_watched_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "_WATCHING_S", -1.0)
    watched = []

    def run() -> None:
        watched.append(sys.getprofile() is not None)
        os.open(os.devnull, os.O_RDONLY)

    assert places_of_opening(run) == ()
    assert watched == [False]


def test_a_run_that_closes_what_is_not_its_own_is_no_trouble() -> None:
    before = open_descriptors()

    def run() -> None:
        for number in open_descriptors() - before:
            os.close(number)

    assert places_of_opening(run) == ()


KEPT: list[int] = []


def test_descriptors_that_lead_elsewhere_are_another_leak_though_the_same_list_keeps_them() -> None:
    """An eventfd was told as a pipe's alert."""

    def keep_pipe() -> None:
        KEPT.extend(os.pipe())

    def keep_file() -> None:
        KEPT.append(os.open(os.devnull, os.O_RDONLY))

    pipe, file = (explain(run, lost={"descriptors": 1.0}).signature for run in (keep_pipe, keep_file))
    again = explain(keep_pipe, lost={"descriptors": 2.0}).signature
    assert pipe != file
    assert pipe == again
    assert "held by module" in str(pipe)
