"""Readings that are taken only when a rule in force needs them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from os import listdir

from pytest_memalert.clock import cpu_time_s
from pytest_memalert.probes.children import Children

__all__ = ["DEMAND_READINGS", "open_demand_readings"]

Read = Callable[[], Mapping[str, float]]

#: Every reading on demand; ``metrics.Metric.reading`` names them.
DEMAND_READINGS = ("fds", "threads", "cpu", "disk", "net", "uss", "children", "traced")


def open_demand_readings(names: frozenset[str]) -> tuple[dict[str, Read], dict[str, str]]:
    """Return a reader for each of ``names`` that works here, and why the others don't.

    Each reader returns sample readings by name; it raises OSError or psutil.Error.
    """
    import psutil

    process = psutil.Process()
    openers: dict[str, Callable[[], Read]] = {
        "fds": lambda: _open_fds(process),
        "threads": lambda: lambda: {"threads": process.num_threads()},
        "cpu": lambda: lambda: {"cpu_s": cpu_time_s()},
        "disk": lambda: _open_disk(process),
        "net": _open_net,
        "uss": lambda: _open_uss(process),
        "children": lambda: Children().read,
        "traced": _open_traced,
    }
    readers: dict[str, Read] = {}
    missing: dict[str, str] = {}
    for name in DEMAND_READINGS:
        if name not in names:
            continue
        try:
            reader = openers[name]()
            reader()
        except (OSError, AttributeError, NotImplementedError, psutil.Error) as problem:
            missing[name] = str(problem) or type(problem).__name__
        else:
            readers[name] = reader
    return readers, missing


def _open_fds(process: object) -> Read:
    import psutil

    assert isinstance(process, psutil.Process)
    if sys.platform == "linux":
        # The descriptor of the listing itself is in every count, and so cancels out.
        return lambda: {"fds": len(listdir("/proc/self/fd"))}
    if sys.platform == "win32":
        return lambda: {"fds": process.num_handles()}
    return lambda: {"fds": process.num_fds()}


def _open_disk(process: object) -> Read:
    import psutil

    assert isinstance(process, psutil.Process)
    if not hasattr(process, "io_counters"):
        raise NotImplementedError("this platform counts no disk bytes per process")

    def read() -> Mapping[str, float]:
        counters = process.io_counters()
        return {"disk_read_bytes": counters.read_bytes, "disk_written_bytes": counters.write_bytes}

    return read


def _open_net() -> Read:
    import psutil

    def read() -> Mapping[str, float]:
        counters = psutil.net_io_counters()
        if counters is None:
            raise NotImplementedError("this machine has no network interface")
        return {"net_sent_bytes": counters.bytes_sent, "net_received_bytes": counters.bytes_recv}

    return read


def _open_uss(process: object) -> Read:
    import psutil

    assert isinstance(process, psutil.Process)

    def read() -> Mapping[str, float]:
        return {"uss_bytes": process.memory_full_info().uss}

    return read


def _open_traced() -> Read:
    import tracemalloc

    def read() -> Mapping[str, float]:
        if not tracemalloc.is_tracing():
            return {}
        return {"traced_bytes": tracemalloc.get_traced_memory()[0]}

    return read
