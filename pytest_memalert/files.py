"""Files written whole or not at all."""

from __future__ import annotations

import codecs
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "expand_path",
    "explain_unfit",
    "explain_unwritable",
    "is_other_text",
    "is_source",
    "locked",
    "replace_text",
]

_SOURCES = (".py", ".pyi", ".toml", ".cfg", ".ini", ".yaml", ".yml")

# What everything that we write begins with: JSON, Markdown, the page, changes, annotations, text.
_OURS = re.compile(
    rb"\s*[{\[]|<!-- memalert -->|<!DOCTYPE html>.{,2000}<title>Memory of "
    rb"|[^\n]+[:\n]\s*[\d,]+ tests? compared"
    rb"|::(?:error|warning|notice) |(?:CRITICAL|WARNING|INFO) |run of ",
    re.DOTALL,
)
_BEGINNING_BYTES = 4096
_DATABASE = b"SQLite format 3"


def replace_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8: a reader sees the old file or the whole new one.

    Missing directories are made. A symbolic link is followed, and an existing file
    keeps its permissions. What can't be replaced (``/dev/stdout``, a named pipe) is
    written to directly. Raises OSError; the old file is then untouched.
    """
    # A lone surrogate (a file name that is not UTF-8) must not cost the user the report.
    content = text.encode("utf-8", errors="backslashreplace")
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        path.write_bytes(content)
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = _name_beside(target.parent)
    # Not tempfile.mkstemp: it makes the file private, and a report is for others to read.
    stream = beside.open("xb")
    try:
        with stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            beside.chmod(stat.S_IMODE(mode))
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def explain_unfit(path: Path, *, example: str = "memalert.json", replaces: bool = True) -> str | None:
    """Return why ``path`` is no place for what we write, and what to write; None where nothing is in the way.

    That is a name of source or configuration, a directory, a named pipe (which waits for a reader), or a file
    that is plainly of another kind. ``example`` is a name for a file of its kind. Whether its directory takes
    a file is another question, and one that ``replaces`` nothing keeps what is in it.
    """
    shown = f"'{path}'"
    if is_source(path):
        what = "is the name of a source or configuration file, which is never overwritten"
        return f"{shown} {what}; name another file"
    try:
        mode = _mode(path)
        if mode is None:
            return None
        if stat.S_ISDIR(mode):
            return f"{shown} is a directory; write a file name, such as '{path / example}'"
        if stat.S_ISREG(mode):
            if replaces and (beginning := _beginning(path)).strip() and not _OURS.match(beginning):
                return (
                    f"{shown} is there, and is nothing that memalert wrote: it is never overwritten; "
                    "name another file, or remove that one"
                )
            return None
    except PermissionError:
        return None
    except (OSError, ValueError) as error:
        return f"{shown} can't be written ({_reason(error)}); name a file in a directory you can write to"
    # A pipe of this process's own, as /dev/stdout may be, has no name behind it.
    if stat.S_ISCHR(mode) or (stat.S_ISFIFO(mode) and not Path(os.path.realpath(path)).exists()):
        return None
    return f"{shown} is a device or pipe; name a file instead"


def explain_unwritable(path: Path, *, example: str = "memalert.json") -> str | None:
    """Return why ``replace_text`` could not write ``path`` now, and what to write; None when it could.

    Leaves nothing behind. Beside what ``explain_unfit`` says, it tries for real in the nearest directory that
    exists: permission bits say nothing to root, nor on a read-only file system.
    """
    if problem := explain_unfit(path, example=example):
        return problem
    shown = f"'{path}'"
    try:
        mode = _mode(path)
    except OSError as error:
        return f"{shown} can't be written ({_reason(error)}); name a file in a directory you can write to"
    if mode is not None and not stat.S_ISREG(mode):
        if os.access(path, os.W_OK):
            return None
        return f"{shown} is a device or pipe that can't be written; name a file instead"
    target = Path(os.path.realpath(path))
    directory = next(parent for parent in target.parents if os.path.lexists(parent))
    if not directory.is_dir():
        return f"{shown} can't be written: '{directory}' is not a directory; name a path in a directory"
    try:
        # A name too long is noticed only where the directory before it exists.
        for part in target.relative_to(directory).parts:
            _mode(directory / part)
        beside = _name_beside(directory)
        beside.open("xb").close()
        beside.unlink()
    except OSError as error:
        return (
            f"{shown} can't be written: '{directory}' takes no new file ({_reason(error)}); "
            "name a file in a directory you can write to"
        )
    return None


def is_other_text(path: Path) -> bool:
    """Return whether a file is text, and so neither a database of SQLite nor what is left of one."""
    try:
        # Incremental, since a character may be cut in two where the beginning ends.
        text = codecs.getincrementaldecoder("utf-8")().decode(_beginning(path))
    except (OSError, ValueError):
        return False
    return bool(text.strip()) and "\0" not in text and not text.startswith(_DATABASE.decode())


def expand_path(text: str) -> Path:
    """Return the path that a text means; ``~`` is the home, as in pytest's own options."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - which raises where the user is not known


def is_source(path: Path) -> bool:
    """Return whether a path is named like source or configuration, or is a node id in one."""
    return path.suffix.partition("::")[0].lower() in _SOURCES


def _mode(path: Path) -> int | None:
    """Return the mode of what ``path`` leads to; None when nothing is there."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _beginning(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_BEGINNING_BYTES)


def _name_beside(directory: Path) -> Path:
    """Return a path in ``directory`` that nobody else uses."""
    # Short whatever the target is called; from the system, since ``random`` is the tests' to seed.
    return directory / f".memalert-{os.urandom(8).hex()}.tmp"


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that lock ``path`` out of it for a while; its directory must exist.

    For reading a file, changing it and writing it back. The directory is what is locked: the file
    itself is replaced, and a lock file beside it would be left lying about. Where the system can't
    lock (some network file systems), nothing is kept out.
    """
    if sys.platform == "win32":
        with _locked_on_windows(path):
            yield
        return
    import fcntl

    descriptor = os.open(os.path.realpath(path.parent), os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _locked_on_windows(path: Path) -> Iterator[None]:
    # A directory can't be opened there: a file in the directory for temporary ones stands for the path.
    import hashlib
    import msvcrt
    import tempfile

    name = hashlib.sha256(os.path.realpath(path).encode("utf-8", "replace")).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"memalert-{name}.lock").open("a+b") as stream:
        stream.seek(0)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            yield
            return
        try:
            yield
        finally:
            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]
