"""Take the readings that every test needs, and do nothing with them: the floor for ``overhead.py``.

    python -m pytest -p readings_plugin

No plugin that tells a test's peak and growth can cost less than this: the high-water mark reset, and
resident memory, heap and mark read once a test, each through what is cheapest (Linux). Nothing is judged,
told, compared or kept but the numbers.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Generator

import psutil
import pytest

_STATM = os.open("/proc/self/statm", os.O_RDONLY)
_CLEAR_REFS = os.open("/proc/self/clear_refs", os.O_WRONLY)

SEEN: list[tuple[str, int, int, int]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Read once a test: what it ended with is what the next one begins with."""
    os.pwrite(_CLEAR_REFS, b"5", 0)
    answer = yield
    heap = psutil.heap_info()
    SEEN.append(
        (
            item.nodeid,
            int(os.pread(_STATM, 96, 0).split(None, 2)[1]),
            heap.heap_used + heap.mmap_used,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        )
    )
    return answer
