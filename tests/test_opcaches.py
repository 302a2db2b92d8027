"""What Python 3.10 keeps for functions that were called 1,024 times is known to the block."""

from __future__ import annotations

import gc
import sys
from array import array

import pytest

from pytest_memalert import find_leaks
from pytest_memalert.probes.opcaches import opcache_size, without_opcaches

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 11), reason="later versions keep nothing beside code")

FUNCTION = """
import os
def function(value, other=1):
    os.path; os.getcwd; os.sep
    def inner():
        return value
    return os.name, inner
"""


def make_functions(count: int) -> list[object]:
    functions = []
    for _ in range(count):
        names: dict[str, object] = {}
        exec(FUNCTION, names)
        functions.append(names["function"])
    return functions


def call_all(functions: list[object], times: int) -> None:
    for _ in range(times):
        for function in functions:
            function(1)  # type: ignore[operator]


def test_two_blocks_for_each_function_from_its_1024th_call_on() -> None:
    functions = make_functions(50)
    call_all(functions, 1020)
    kept = opcache_size()
    gc.collect()
    blocks = sys.getallocatedblocks()
    call_all(functions, 10)
    gc.collect()
    grown = sys.getallocatedblocks() - blocks
    assert grown == pytest.approx(100, abs=6)
    assert opcache_size()[0] - kept[0] == 100
    assert without_opcaches(array("d", [1e6, 1e6]))[0] == 1e6 - opcache_size()[0]


def test_functions_that_reach_it_run_by_run_are_no_leak() -> None:
    """Each run brings another function there, as steadily as a leak."""
    functions = make_functions(3000)
    call_all(functions, 1022)
    left = iter(functions)

    def run() -> None:
        function = next(left)
        call_all([function], 2)

    found = find_leaks(run, runs=1500)
    assert found.status == "clean", found
