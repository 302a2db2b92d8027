"""The environment of this process."""

from __future__ import annotations

import os
import platform
import sys
from zlib import crc32

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
        installation=_installation(),
    )


def _installation() -> str:
    """Return what tells installations apart: where Python's packages are, and what else is looked at first.

    Not ``sys.path``: a worker of pytest-xdist has the folders of the tests on it, its controller has not.
    """
    places = [sys.prefix, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return f"{crc32(os.pathsep.join(map(os.path.realpath, places)).encode('utf-8', 'surrogateescape')):08x}"
