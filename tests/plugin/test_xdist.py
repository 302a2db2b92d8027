"""What is particular to runs with pytest-xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Inner


def test_tests_of_all_workers_are_in_one_report(distributed: Inner) -> None:
    """Each says where it ran; those of a file stay together with --dist loadfile."""
    source = "import pytest\n\n@pytest.mark.parametrize('n', range(3))\ndef test_it(n): pass\n"
    distributed.write(source, test_b=source)
    distributed.run("--dist=loadfile").assert_outcomes(passed=6)
    workers: dict[str, set[str]] = {}
    for test in distributed.report()["tests"]:
        workers.setdefault(test["nodeid"].partition("::")[0], set()).add(test["worker"])
    assert len(distributed.report()["tests"]) == 6
    assert {file: len(names) for file, names in workers.items()} == {"test_a.py": 1, "test_b.py": 1}


def test_crashed_worker_loses_only_its_running_tests_figures(distributed: Inner) -> None:
    """The alert of a test before it is told."""
    distributed.write(
        """
        import os
        import pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        def test_growing():
            KEPT.append(b"x" * 4 * 2**20)

        def test_crashing():
            os._exit(1)
        """,
        test_b="def test_one(): pass\ndef test_two(): pass",
    )
    done = distributed.run("--dist=loadfile", "--max-worker-restart=1")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert set(distributed.tests()) == {"test_growing", "test_one", "test_two"}
    done.stdout.fnmatch_lines(["CRITICAL memory_growth  test_a.py::test_growing"])
    assert distributed.report()["totals"]["alerts"]["critical"] == 1
