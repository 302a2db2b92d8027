"""Holds the reading of the commit to what git itself says, in the ways in which git stores it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_memalert.commit import read_commit

NAME = "3f2c1e9a0b123f2c1e9a0b123f2c1e9a0b123f2c"


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints in a folder, undisturbed by the user's settings."""
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with one commit."""
    folder = tmp_path / "main"
    (folder / "tests" / "deep").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "feature/x")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_commit_is_that_of_the_branch(repository: Path) -> None:
    assert read_commit(repository, {}) == git(repository, "rev-parse", "HEAD")
    assert read_commit(repository / "tests" / "deep", {}) == git(repository, "rev-parse", "HEAD")


def test_commit_is_read_where_references_are_packed(repository: Path) -> None:
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git" / "refs" / "heads" / "feature" / "x").exists()
    assert read_commit(repository, {}) == git(repository, "rev-parse", "HEAD")


def test_commit_is_read_where_no_branch_is_checked_out(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    assert read_commit(repository, {}) == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("packed", [False, True])
def test_commit_of_a_further_work_tree_is_its_own(repository: Path, packed: bool) -> None:
    other = repository.parent / "other"
    git(repository, "worktree", "add", "-q", "-b", "other", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "second")
    if packed:
        git(repository, "pack-refs", "--all")
    assert read_commit(other, {}) == git(other, "rev-parse", "HEAD")
    assert read_commit(other, {}) != read_commit(repository, {})


def test_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert read_commit(tmp_path, {}) is None


@pytest.mark.parametrize(
    "head", ["", "nonsense", "ref: ../../secret", "ref: /etc/passwd", "ref: HEAD", "gitdir:", "\x00" * 50]
)
def test_head_that_makes_no_sense_is_not_known(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head, encoding="utf-8")
    assert read_commit(tmp_path, {}) is None


def test_pointer_to_nowhere_is_not_known(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: ../gone\n", encoding="utf-8")
    assert read_commit(tmp_path, {}) is None


@pytest.mark.parametrize("variable", ["GITHUB_SHA", "CI_COMMIT_SHA"])
def test_what_ci_says_counts_first(repository: Path, variable: str) -> None:
    assert read_commit(repository, {variable: NAME}) == NAME


def test_what_ci_says_is_not_taken_for_a_commit_where_it_is_none(repository: Path) -> None:
    said = {"GITHUB_SHA": "", "CI_COMMIT_SHA": "main; rm -rf /"}
    assert read_commit(repository, said) == git(repository, "rev-parse", "HEAD")
