"""The reports of a session: written as files, and told to the CI that runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.errors import describe_exception
from pytest_memalert.files import replace_text
from pytest_memalert.model import Run
from pytest_memalert.plugin.given.destinations import report_paths
from pytest_memalert.reports.formats import export
from pytest_memalert.settings import Settings

if TYPE_CHECKING:
    pass

__all__ = [
    "SUMMARY_BYTES",
    "append_summary",
    "locate",
    "write_reports",
]

#: GitHub drops a step's summary that is larger than 1 MiB; a little is left for what comes after.
SUMMARY_BYTES = 2**20 - 2**14


def write_reports(run: Run, settings: Settings, folder: Path) -> Iterator[str]:
    """Write the files that were asked for; yield what went wrong, once for each."""
    for name, path in report_paths(settings).items():
        target = folder / path
        try:
            replace_text(target, export(run, name))
        except OSError as problem:
            yield f"memalert could not write {target}: {problem}"
        except Exception as problem:
            # A mistake of ours or of a library's must not cost the user the other reports.
            yield f"memalert could not make {target} ({describe_exception(problem)})"


def append_summary(run: Run, environ: Mapping[str, str]) -> str | None:
    """Add the report to the summary of the job where there is one; return what went wrong."""
    path = environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return None
    from pytest_memalert.reports import markdown

    try:
        # Another step's command may have written to it; what is there stays.
        with Path(path).open("ab") as stream:
            room = SUMMARY_BYTES - stream.seek(0, os.SEEK_END)
            if room < markdown.SMALLEST_BYTES:
                return f"the summary of the job has no room left for that of memalert ({path})"
            text = markdown.render(run, limit_bytes=room)
            stream.write(text.encode("utf-8", errors="backslashreplace"))
    except OSError as problem:
        return f"memalert could not add to the summary of the job: {problem}"
    except Exception as problem:
        # As with the files: what is ours to get right must not break the end of the session.
        return f"memalert could not make the summary of the job ({describe_exception(problem)})"
    return None


def locate(config: pytest.Config, location: tuple[str, int | None, str]) -> str:
    """Return where a report says that its test is, as ``file:line`` from the top of the repository."""
    path, line, _ = location
    place = (config.rootpath / path).as_posix()
    top = _repository_top(config.rootpath).as_posix().rstrip("/")
    return f"{place.removeprefix(f'{top}/')}:{(line or 0) + 1}"


def _repository_top(folder: Path) -> Path:
    """Return the closest folder from here up that a repository is in; this folder where none is."""
    # A file is there instead of a folder in a worktree or a submodule.
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)
