"""Holds the ready workflows to what they promise: each of their commands is run, in their order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "ci"
PARTS = ["unit", "integration"]
#: What the runner has: installing, and the host's own command.
OF_OTHERS = ("pip install ", "gh ")


def workflow(name: str) -> dict[Any, Any]:
    """Return a workflow as its host reads it."""
    found: dict[Any, Any] = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    return found


def jobs(name: str) -> dict[str, list[str]]:
    """Return the command lines of each job of a workflow that are ours to hold."""
    document = workflow(name)
    if name == "github.yml":
        scripts = {
            job: [step["run"] for step in body["steps"] if "run" in step]
            for job, body in document["jobs"].items()
        }
    else:
        scripts = {
            job: [*body["script"], *body.get("after_script", ())]
            for job, body in document.items()
            if isinstance(body, Mapping) and "script" in body
        }
    return {
        job: [
            line
            for script in lines
            for line in script.splitlines()
            if line.strip() and not line.startswith(OF_OTHERS)
        ]
        for job, lines in scripts.items()
    }


def for_part(line: str, part: str) -> str:
    """Return a command as it is run for a part of the suite."""
    return line.replace("${{ matrix.part }}", part).replace("$PART", part)


class Project:
    """A project that has copied the workflows; its commands are run as its host would run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            (folder / "tests" / part).mkdir(parents=True)
            self.write(part, "1")
        (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\ntestpaths = ['tests']\n")

    def write(self, part: str, size: str) -> None:
        """Write the test of a part, which takes this many bytes for a moment."""
        text = f"def test_{part}():\n    assert len(bytearray({size})) > 0\n"
        (self.folder / "tests" / part / f"test_{part}.py").write_text(text)

    def run(self, line: str, *, on_github: bool) -> subprocess.CompletedProcess[str]:
        """Return what a line of a workflow did."""
        assert "${{" not in line, "an expression that nobody replaced"
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "COV_", "GITHUB_", "CI"))
        }
        environ |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-p memalert",
            "NO_COLOR": "1",
        }
        if on_github:
            environ["GITHUB_ACTIONS"] = "true"
            environ["GITHUB_STEP_SUMMARY"] = str(self.folder / "summary.md")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def run_job(self, name: str, job: str, part: str = "") -> Iterator[tuple[str, int, str]]:
        """Yield each command of a job with its exit status and what it printed."""
        for line in jobs(name)[job]:
            done = self.run(for_part(line, part), on_github=name == "github.yml")
            yield line, done.returncode, done.stdout + done.stderr


each_workflow = pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])


@each_workflow
def test_each_job_of_a_workflow_has_commands(name: str) -> None:
    """And they are those that the how-to leads to."""
    found = jobs(name)
    assert sorted(found) == ["gate", "part", "save"]
    programs = {line.split()[0] for lines in found.values() for line in lines}
    assert programs <= {"pytest", "memalert", "cat"}
    assert all(found.values())


def test_workflow_of_github_is_one() -> None:
    """Each step does one thing, each job runs somewhere, and the history is cached."""
    document = workflow("github.yml")
    # YAML reads "on" as a truth value.
    assert set(document[True]) == {"push", "pull_request", "workflow_dispatch"}
    for body in document["jobs"].values():
        assert body["runs-on"]
        assert all(("run" in step) != ("uses" in step) for step in body["steps"])
    steps = document["jobs"]["part"]["steps"]
    (cache,) = [step["with"] for step in steps if step.get("uses", "").startswith("actions/cache@")]
    assert cache["path"] == ".memalert"
    assert document["jobs"]["part"]["strategy"]["matrix"]["part"] == PARTS


def test_pipeline_of_gitlab_is_one() -> None:
    """Each job is of a stage, the history is cached, and the code quality report is handed over."""
    document = workflow("gitlab.yml")
    bodies = {job: body for job, body in document.items() if isinstance(body, dict) and "script" in body}
    assert {body["stage"] for body in bodies.values()} == set(document["stages"])
    assert document["part"]["cache"]["paths"] == [".memalert/"]
    assert document["part"]["parallel"]["matrix"] == [{"PART": PARTS}]
    assert document["gate"]["artifacts"]["reports"] == {"codequality": "gl-code-quality-report.json"}


@pytest.mark.skipif(sys.platform == "win32", reason="the workflows are for bash")
@each_workflow
def test_workflow_does_what_it_says(name: str, tmp_path: Path) -> None:
    """It saves a baseline, passes an unchanged suite, and fails a change that needs more."""
    project = Project(tmp_path)
    for line, status, said in project.run_job(name, "save"):
        assert status == 0, (line, said)
    assert (tmp_path / "memalert.lock.json").exists()

    def judge() -> dict[str, int]:
        statuses = {}
        for part in PARTS:
            for line, status, said in project.run_job(name, "part", part):
                statuses[for_part(line, part)] = status
                assert status in (0, 1), (line, said)
        for line, status, said in project.run_job(name, "gate"):
            statuses[line] = status
            assert status in (0, 1), (line, said)
        return statuses

    assert set(judge().values()) == {0}
    project.write("unit", "40 * 2**20")
    failed = [line for line, status in judge().items() if status]
    assert [re.sub(r" --memalert.*| -o.*", "", line) for line in failed] == [
        "pytest tests/unit",
        "memalert gate all.json",
    ]
    (alert,) = json.loads((tmp_path / "judged.json").read_text(encoding="utf-8"))["alerts"]
    assert alert["nodeids"] == ["tests/unit/test_unit.py::test_unit"]
    assert "Plotly" in (tmp_path / "memory" / "index.html").read_text(encoding="utf-8")
    if name == "github.yml":
        assert "1 worse" in (tmp_path / "memory.md").read_text(encoding="utf-8")
        assert (tmp_path / "summary.md").read_text(encoding="utf-8").count("## memalert: 1 critical") == 2
    else:
        (violation,) = json.loads((tmp_path / "gl-code-quality-report.json").read_text(encoding="utf-8"))
        assert violation["location"]["path"] == "tests/unit/test_unit.py"


def test_workflow_of_the_page_on_ci_is_complete() -> None:
    """To be copied as it stands: a trigger, and one job whose steps each do something."""
    page = (EXAMPLES.parent.parent / "docs" / "how-to" / "ci.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    document = yaml.safe_load(block[1])
    assert document[True] == ["push", "pull_request"]  # YAML takes "on" for a truth
    (job,) = document["jobs"].values()
    assert job["runs-on"]
    assert all(("run" in step) != ("uses" in step) for step in job["steps"])
    assert any(step.get("run", "").startswith("pytest --memalert ") for step in job["steps"])
