"""The commit that a run is of, read from the environment or from git's own files.

Nothing is spawned: a session that wants the name of its commit must not wait for a process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["read_commit"]

#: Where CI systems name the commit: GitHub, GitLab, CircleCI, Bitbucket, Azure, Jenkins, Buildkite.
_VARIABLES = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "CIRCLE_SHA1",
    "BITBUCKET_COMMIT",
    "BUILD_SOURCEVERSION",
    "GIT_COMMIT",
    "BUILDKITE_COMMIT",
)
# SHA-1 and SHA-256.
_NAME = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# A symbolic reference may lead to another one; git itself follows five.
_MOST_STEPS = 5


def read_commit(directory: Path, environment: Mapping[str, str]) -> str | None:
    """Return the name of the commit checked out in ``directory``; None where it isn't known.

    What CI says in ``environment`` counts first. It is what CI built: for a pull request on GitHub
    that is the merge, which is what is checked out there.
    """
    for variable in _VARIABLES:
        name = environment.get(variable, "").strip().lower()
        if _NAME.fullmatch(name):
            return name
    try:
        git = _find_git(directory.resolve())
        return None if git is None else _resolve(git, "HEAD", _MOST_STEPS)
    except (OSError, ValueError):
        return None


def _find_git(directory: Path) -> Path | None:
    """Return git's directory for the work tree that ``directory`` is in."""
    for folder in (directory, *directory.parents):
        found = folder / ".git"
        if found.is_dir():
            return found
        if found.is_file():  # a further work tree, or a submodule
            content = found.read_text(encoding="utf-8", errors="surrogateescape")
            if content.startswith("gitdir:"):
                return (folder / content.removeprefix("gitdir:").strip()).resolve()
    return None


def _resolve(git: Path, reference: str, steps: int) -> str | None:
    """Return the commit that a reference leads to."""
    if ".." in reference.split("/") or reference.startswith("/"):
        return None
    common = _common(git)
    for folder in dict.fromkeys((git, common)):
        path = folder / reference
        if path.is_file():
            content = path.read_text(encoding="utf-8", errors="surrogateescape").strip()
            if content.startswith("ref:"):
                return _resolve(git, content.removeprefix("ref:").strip(), steps - 1) if steps else None
            return content if _NAME.fullmatch(content) else None
    return _packed(common, reference)


def _common(git: Path) -> Path:
    """Return the directory that all work trees of a repository share."""
    pointer = git / "commondir"
    if not pointer.is_file():
        return git
    return (git / pointer.read_text(encoding="utf-8", errors="surrogateescape").strip()).resolve()


def _packed(common: Path, reference: str) -> str | None:
    """Return the commit of a reference that has no file of its own."""
    packed = common / "packed-refs"
    if not packed.is_file():
        return None
    with packed.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            name, _, known = line.rstrip("\n").partition(" ")
            if known == reference and _NAME.fullmatch(name):
                return name
    return None
