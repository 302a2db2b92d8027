"""``memalert history --trends``, and the samples of a history that a session looks for trends in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_memalert.cli import main
from pytest_memalert.comparisons import SESSION
from pytest_memalert.history import read_history
from pytest_memalert.plugin.given.environment import this_environment
from tests.histories import remember

MIB = 2**20
LOAD, OTHER = "tests/test_a.py::test_load", "tests/test_b.py::test_other"


def command(path: Path, *arguments: str) -> Result:
    """Return what the command prints."""
    return CliRunner().invoke(main, ["history", "--trends", "--history", str(path), *arguments])


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Return a history of 20 runs: one test rose, one fell, one is steady, and a new one has too few runs."""
    path = tmp_path / "history.sqlite3"
    runs = []
    for number in range(20):
        late = number >= 14
        values = {
            SESSION: 100.0 * MIB,
            LOAD: (61.0 if late else 48.0) * MIB,
            OTHER: (10.0 if late else 20.0) * MIB,
            "tests/test_b.py::test_steady": 5.0 * MIB,
        }
        runs.append({**values, "tests/test_b.py::test_new": 7.0 * MIB} if late else values)
    remember(path, runs)
    return path


def test_trends_are_listed_the_largest_change_first(history: Path) -> None:
    """Improvements too: here they were asked for."""
    done = command(history)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "step: peak of tests/test_b.py::test_other fell from 20 to 10 MiB at 000000e, 5 runs ago",
        "step: peak of tests/test_a.py::test_load rose from 48 to 61 MiB at 000000e, 5 runs ago",
        "2 trends in 4 series; 1 of them have fewer than 10 runs, of which nothing is said",
    ]


def test_tests_and_metrics_can_be_chosen(history: Path) -> None:
    """A glob, as for alerts."""
    lines = command(history, "--test", "tests/test_a.py").output.splitlines()
    assert len(lines) == 2
    assert "test_load" in lines[0]
    assert lines[1] == "1 trend in 1 series"
    assert command(history, "--metric", "duration_s").output == "0 trends in 0 series\n"


def test_json_has_the_figures_and_the_words(history: Path) -> None:
    """For programs."""
    document = json.loads(command(history, "--json").output)
    assert (document["format"], document["steady"], document["too_short"]) == (1, 1, 1)
    load = document["trends"][1]
    assert (load["nodeid"], load["metric"], load["kind"]) == (LOAD, "peak_bytes", "step")
    assert (load["before"], load["after"], load["runs_ago"], load["runs"]) == (48 * MIB, 61 * MIB, 5, 20)
    assert load["change_ratio"] == pytest.approx(13 / 48)
    assert load["since"]["commit"].startswith("000000e")


def test_wrong_usage_names_the_remedy(history: Path, tmp_path: Path) -> None:
    """And ends with 2."""
    unknown = command(history, "--metric", "peak_byte")
    assert unknown.exit_code == 2
    assert "did you mean 'peak_bytes'?" in unknown.output
    mixed = command(history, "--open")
    assert mixed.exit_code == 2
    assert "--trends goes with --metric, --test, --json and --history alone" in mixed.output
    lone = CliRunner().invoke(main, ["history", "--metric", "peak_bytes", "--history", str(history)])
    assert lone.exit_code == 2
    assert "--metric goes with --trends" in lone.output
    assert command(tmp_path / "none.sqlite3").exit_code == 2


def test_session_is_told_first(tmp_path: Path) -> None:
    """By its resident peak."""
    path = tmp_path / "history.sqlite3"
    remember(
        path,
        [{SESSION: 100.0 * MIB, LOAD: MIB}] * 14 + [{SESSION: 120.0 * MIB, LOAD: MIB}] * 6,
        metric="rss_peak_bytes",
    )
    assert command(path).output.splitlines()[0] == (
        "step: highest resident memory of the session rose from 100 to 120 MiB at 000000e, 5 runs ago"
    )


def test_samples_are_those_of_whole_runs(tmp_path: Path) -> None:
    """A run of one test says nothing about the others."""
    path = tmp_path / "history.sqlite3"
    whole = [{LOAD: float(number), OTHER: 1.0, SESSION: 0.0} for number in range(3)]
    remember(path, [*whole, {OTHER: 9.0}])
    with read_history(path) as history:
        found = history.samples("peak_bytes", ages=(0, 2, 5), environment=this_environment(traced=False))
        assert [sample.get(LOAD) for sample in found] == [2.0, 0.0, None]
        assert history.samples("cpu_s", ages=(0,), environment=this_environment(traced=False)) == ({},)
        assert history.samples("peak_bytes", ages=(0,), environment=this_environment(traced=True)) == ({},)
