"""The environment of this process."""

from __future__ import annotations

import platform

import pytest

import pytest_memalert
from pytest_memalert.model import Environment

__all__ = ["this_environment"]


def this_environment(*, traced: bool) -> Environment:
    """Return where this process runs; ``traced`` says whether tracemalloc is on for the tests."""
    return Environment(
        implementation=platform.python_implementation(),
        python=platform.python_version(),
        platform=platform.system(),
        machine=platform.machine(),
        traced=traced,
        pytest=pytest.__version__,
        memalert=pytest_memalert.__version__,
    )
