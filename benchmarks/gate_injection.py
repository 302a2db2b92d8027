"""Make chosen tests, fixtures or imports of any suite need more memory; a plugin, used by ``gate.py``.

``GATE_INJECTIONS`` names a JSON file: ``{"tests": {node id: [where, what, bytes]}, "import": bytes}``.
``where`` is ``test`` or ``fixture``; ``what`` is ``retain`` (each run leaves so much behind) or ``peak``
(so much more is held while the test runs). Without the variable the plugin changes nothing, but is
loaded all the same, so that both runs differ in the injection alone.
"""

from __future__ import annotations

import json
import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_KEPT: list[bytearray] = []
_PLAN: dict[str, Any] = {"tests": {}, "import": 0}
if os.environ.get("GATE_INJECTIONS"):
    _PLAN = json.loads(Path(os.environ["GATE_INJECTIONS"]).read_text(encoding="utf-8"))


def _inject(nodeid: str, where: str) -> bytearray | None:
    """Return what is to be held for the time being."""
    planned, what, size = _PLAN["tests"].get(nodeid, (None, None, 0))
    if planned != where:
        return None
    block = bytearray(b"x" * size)
    if what == "retain":
        _KEPT.append(block)
        return None
    return block


@pytest.fixture(autouse=True)
def _gate_injection(request: pytest.FixtureRequest) -> Iterator[None]:
    held = _inject(request.node.nodeid, "fixture")
    yield
    del held


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Hold or leave more, in the test itself."""
    held = _inject(item.nodeid, "test")
    try:
        return (yield)  # type: ignore[return-value]
    finally:
        del held


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems() -> None:
    """Import a module that is larger than it was."""
    if _PLAN["import"]:
        module = types.ModuleType("gate_injected")
        exec(f"DATA = bytearray(b'x' * {int(_PLAN['import'])})", vars(module))
        _KEPT.append(module.DATA)
