"""Make chosen tests, fixtures or imports of any suite need more memory; a plugin, used by ``gate.py``.

``GATE_INJECTIONS`` names a JSON file:
``{"tests": {node id: [where, what, bytes]}, "import": bytes, "fixtures": {name: bytes}}``.
``where`` is ``test`` or ``fixture``; ``what`` is ``retain`` (each run leaves so much behind) or ``peak``
(so much more is held while the test runs). ``fixtures`` are wider than a test, and retain so much in each
set-up. Without the variable the plugin changes nothing, but is loaded all the same, so that both runs differ
in the injection alone.
"""

from __future__ import annotations

import json
import os
import sys
import types
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_BALLAST_BYTES = 20 * 2**20
_BALLAST_EVERY = 25

_KEPT: list[bytearray] = []
_PLAN: dict[str, Any] = {"tests": {}, "import": 0, "fixtures": {}}
if os.environ.get("GATE_INJECTIONS"):
    _PLAN |= json.loads(Path(os.environ["GATE_INJECTIONS"]).read_text(encoding="utf-8"))


def _inject(nodeid: str, where: str) -> bytearray | None:
    """Return what is to be held for the time being."""
    planned, what, size = _PLAN["tests"].get(nodeid, (None, None, 0))
    if planned != where:
        return None
    block = _make_block(size)
    if what == "retain":
        _KEPT.append(block)
        return None
    return block


def _make_block(size: int) -> bytearray:
    """Return so many bytes, each page of them touched: no more than that was needed at any time."""
    block = bytearray(size)
    for offset in range(0, size, 4096):
        block[offset] = 1
    return block


def _hold_ballast(nodeid: str) -> bytearray | None:
    """Return what one test in some dozens holds in every run, the saved one included.

    Few suites have a test whose peak is large enough for 10 % of it to be more than noise.
    """
    return _make_block(_BALLAST_BYTES) if zlib.crc32(nodeid.encode()) % _BALLAST_EVERY == 0 else None


@pytest.fixture(autouse=True)
def _gate_injection(request: pytest.FixtureRequest) -> Iterator[None]:
    held = _inject(request.node.nodeid, "fixture")
    yield
    del held


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> None:
    """Retain more in a wider fixture; this runs within what measures its set-up."""
    if fixturedef.scope != "function" and (size := _PLAN["fixtures"].get(fixturedef.argname)):
        _KEPT.append(_make_block(size))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Hold or leave more, in the test itself."""
    held = _hold_ballast(item.nodeid), _inject(item.nodeid, "test")
    try:
        return (yield)  # type: ignore[return-value]
    finally:
        del held


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems() -> None:
    """Import a module that is larger than it was."""
    if _PLAN["import"]:
        module = types.ModuleType("gate_injected")
        vars(module)["DATA"] = _make_block(int(_PLAN["import"]))
        sys.modules["gate_injected"] = module
