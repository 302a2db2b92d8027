"""The command ``memalert doctor``: what works here, and what it costs."""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from importlib import metadata

import click

import pytest_memalert
from pytest_memalert.cli.console import Unreadable, echo_wrapped
from pytest_memalert.clock import elapsed_s
from pytest_memalert.metrics import METRICS
from pytest_memalert.units import format_duration

__all__ = ["doctor"]

# Enough for a stable median; 300 of the cheap ones take 5 ms. The dear ones stop earlier.
_READINGS = 300
_READINGS_AT_LEAST = 5
_READING_TIME_S = 0.2

#: Packages that share a test run with this one, and what is to know about each.
_NEIGHBOURS = {
    "pytest": "8 or later is needed",
    "pytest-xdist": "each worker measures the tests that it runs; nothing to set",
    "pytest-rerunfailures": "a test that it runs again counts as it ended",
    "pytest-asyncio": "asynchronous tests are measured like others",
    "anyio": "asynchronous tests are measured like others",
    "pytest-cov": "works as before; its own growth is small",
    "pytest-timeout": "works as before; each re-run has the limit to itself",
    "pytest-randomly": "growth is the test's own in any order; resident memory depends on it",
    "pytest-benchmark": "what it repeats counts as one test",
    "hypothesis": "all examples together count as one test",
    "pytest-memray": "measure with one of the two at a time: it slows every allocation down",
}


@click.command(short_help="Say which readings work here, and their cost.")
def doctor() -> None:
    """Say which readings work here, what each costs, and which features are off and why.

    The costs are measured on the spot: the median of some hundred readings.
    """
    psutil_version = _version_of("psutil")
    click.echo(
        f"pytest-memalert {pytest_memalert.__version__}, "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, psutil {psutil_version or 'is missing'}"
    )
    if psutil_version is None:
        raise Unreadable("nothing can be measured without psutil; write: pip install 'psutil>=7.2'")
    click.echo("\nreadings of every test")
    for name, read, note in _standing_readings():
        _echo_reading(name, read, note)
    click.echo("\nreadings on demand, taken only where a rule names a metric of theirs")
    for name, read, note in _demand_readings():
        _echo_reading(name, read, note)
    click.echo("\nfeatures")
    for name, is_on, note in _features():
        echo_wrapped(f"  {name:<24}{'on ' if is_on else 'OFF'}  {note}")
    click.echo("\npackages that share the test run")
    for name, note in _NEIGHBOURS.items():
        version = _version_of(name)
        if version is not None:
            echo_wrapped(f"  {f'{name} {version}':<29}{note}")


_Reading = tuple[str, "Callable[[], object] | None", str]


def _standing_readings() -> Iterator[_Reading]:
    """Yield the readings that every test has: name, reader or None, and how or why not."""
    from pytest_memalert.collector import collect_young
    from pytest_memalert.probes.memory import open_blocks_reader, open_heap_reader, open_rss_reader
    from pytest_memalert.probes.peak import open_peak_windows

    rss = open_rss_reader()
    if rss() is None:
        yield "resident memory", None, "the system doesn't tell it"
    else:
        yield "resident memory", rss, "/proc/self/statm" if sys.platform == "linux" else "psutil"
        windows = open_peak_windows(rss, interval_s=0.01)
        exact = "the kernel's high-water mark, exact"
        note = exact if _kernel_keeps_a_mark() else "sampled by a thread: short spikes are missed"
        yield "peak", lambda: windows.close(windows.open()), note
    heap = open_heap_reader()
    yield (
        "heap",
        heap,
        "bytes handed out by malloc" if heap else "the C library doesn't tell (psutil.heap_info)",
    )
    blocks = open_blocks_reader()
    yield (
        "blocks",
        blocks,
        "objects of Python's allocator" if blocks else "Python doesn't count (PYTHONMALLOC?)",
    )
    yield "collection", collect_young, "of what the test made, so that garbage isn't growth"


def _kernel_keeps_a_mark() -> bool:
    from pytest_memalert.probes.procfs import reset_high_water_mark

    if sys.platform != "linux":
        return False
    try:
        reset_high_water_mark()
    except OSError:  # forbidden in some containers
        return False
    return True


def _demand_readings() -> Iterator[_Reading]:
    """Yield the readings that only some rules need, in the same form."""
    from pytest_memalert.probes.demand import DEMAND_READINGS, open_demand_readings

    readers, missing = open_demand_readings(frozenset(DEMAND_READINGS))
    for name in DEMAND_READINGS:
        metrics = ", ".join(metric.name for metric in METRICS.values() if metric.reading == name)
        if name == "traced":
            metrics = f"{metrics}; with --memalert-trace only, which slows the suite 2 to 4 times"
        yield name, readers.get(name), metrics if name in readers else f"{metrics}: {missing[name]}"


def _features() -> Iterator[tuple[str, bool, str]]:
    """Yield what may be off: name, whether it is on, and what that means or why not."""
    import psutil

    from pytest_memalert.probes.exact import refusal

    reason = refusal()
    yield "leak detection", reason is None, reason or "suspect tests are run again and read to the block"
    can_trim = hasattr(psutil, "heap_trim")
    told = "free memory is given back before a re-run, so that its peak shows"
    yield (
        "heap trim",
        can_trim,
        told if can_trim else "psutil has no heap_trim here: small peaks may not show",
    )


def _echo_reading(name: str, read: Callable[[], object] | None, note: str) -> None:
    cost = "no data" if read is None else format_duration(_median_cost_s(read))
    echo_wrapped(f"  {name:<17}{cost:>8}  {note}")


def _median_cost_s(read: Callable[[], object]) -> float:
    """Return what one reading costs, in seconds: the median of as many as fit into a fifth of a second."""
    costs_s: list[float] = []
    began_s = elapsed_s()
    while len(costs_s) < _READINGS:
        before_s = elapsed_s()
        read()
        after_s = elapsed_s()
        costs_s.append(after_s - before_s)
        if after_s - began_s > _READING_TIME_S and len(costs_s) >= _READINGS_AT_LEAST:
            break
    return statistics.median(costs_s)


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
