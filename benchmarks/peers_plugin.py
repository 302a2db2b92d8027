"""Have each test of a run judged by another tool, as its users would; loaded by ``peers.py``.

Which tool is in ``MEMALERT_PEER``; the verdicts go to the file in ``MEMALERT_PEER_RESULT``, by the name
of the test: ``leaking``, ``clean``, or why there is none.
"""

from __future__ import annotations

import gc
import json
import os
import tracemalloc
from collections.abc import Generator
from pathlib import Path

import pytest

# What those who compare by hand take for no leak. One run, as in a test written for it.
TRACED_BYTES = 1024
RSS_BYTES = 100 * 1024
#: The limit that pytest-memray's documentation begins with.
MEMRAY_LIMIT = "1 KB"

PEER = os.environ["MEMALERT_PEER"]
verdicts: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if PEER == "pytest-memray":
        for item in items:
            item.add_marker(pytest.mark.limit_leaks(MEMRAY_LIMIT))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    if PEER == "tracemalloc":
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        answer = yield
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        verdicts[pyfuncitem.name] = "leaking" if growth > TRACED_BYTES else "clean"
        return answer
    if PEER == "resident memory":
        import psutil

        process = psutil.Process()
        gc.collect()
        before = process.memory_info().rss
        answer = yield
        gc.collect()
        growth = process.memory_info().rss - before
        verdicts[pyfuncitem.name] = "leaking" if growth > RSS_BYTES else "clean"
        return answer
    if PEER == "psleak":
        verdicts[pyfuncitem.name] = _ask_psleak(pyfuncitem)
    return (yield)


def _ask_psleak(pyfuncitem: pytest.Function) -> str:
    from psleak import MemoryLeakError, MemoryLeakTestCase, UnclosedResourceError

    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    case = MemoryLeakTestCase("execute")
    try:
        case.execute(lambda: pyfuncitem.obj(**arguments))
    except (MemoryLeakError, UnclosedResourceError):
        return "leaking"
    return "clean"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = report.nodeid.rpartition("::")[2]
    if PEER == "pytest-memray" and report.when == "call":
        verdicts[name] = "leaking" if report.failed else "clean"
    elif report.failed or report.skipped:
        verdicts.setdefault(name, f"{report.outcome} in {report.when}")


def pytest_unconfigure() -> None:
    Path(os.environ["MEMALERT_PEER_RESULT"]).write_text(json.dumps(verdicts), "utf-8")
