"""The file of the history: made, opened, and set aside where it can't be read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pytest_memalert.errors import HistoryError, MemalertError
from pytest_memalert.files import replace_text
from pytest_memalert.history.schema import APPLICATION_ID, MIGRATIONS, migrate

__all__ = ["connected_for_reading", "work_on"]

#: How long a session waits for another one that is writing. Writing 60,000 tests takes about a second.
_WAIT_S = 10.0

# What every file of SQLite begins with.
_MAGIC = b"SQLite format 3\0"

_ELSEWHERE = "name a file in a directory that can be written to, or turn it off with --memalert-history=none"

_T = TypeVar("_T")


class _UnusableError(Exception):
    """Say that a file is to be set aside; ``kind`` goes into its new name."""

    def __init__(self, kind: str, reason: str, identity: tuple[int, int] | None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.identity = identity


def work_on(
    path: Path,
    work: Callable[[sqlite3.Connection], _T],
    *,
    warn: Callable[[str], None],
    at: datetime,
) -> _T:
    """Return what ``work`` returns, given a connection to write with; the file is made if there is none.

    A file that is corrupted, or of a newer version, is set aside with a warning, and the work
    is done on a new one. Raises HistoryError where nothing can be written.
    """
    with _told_as_history_error(path):
        _make_directory(path.parent)
        try:
            return _attempt(path, work)
        except _UnusableError as unusable:
            aside = _set_aside(path, unusable, at)
            if aside is not None:
                warn(f"the history {path} {unusable}; it is kept as {aside.name}, and a new one begins")
            try:
                return _attempt(path, work)
            except _UnusableError as again:
                raise HistoryError(f"the history {path} {again}") from None


@contextmanager
def connected_for_reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Connect to a history that is only read; raises HistoryError, naming what to do, where it can't be."""
    if not path.is_file():
        raise _missing(path)
    with _told_as_history_error(path):
        connection = None
        try:
            _check_header(path, None)
            connection = _connect_to_read(path)
            _check(connection, path)
            version = _version(connection)
            if version == 0:  # the session that was to make it did not come so far
                raise _missing(path)
            if version < len(MIGRATIONS):
                raise HistoryError(
                    f"the history '{path}' is of an older version; run pytest --memalert once to renew it"
                )
            yield connection
        except sqlite3.DatabaseError as error:
            unusable = _as_unusable(error, None)
            if unusable is error:
                raise
            raise _unreadable(path, unusable) from None
        except _UnusableError as unusable:
            raise _unreadable(path, unusable) from None
        except HistoryError:
            raise
        except MemalertError as error:
            # Not all of it is read by a session, which may go on writing to it.
            why = f"holds what can't be read ({error})"
            advice = "move the file away, and the next pytest --memalert begins a new one"
            raise HistoryError(f"the history '{path}' {why}; {advice}") from None
        finally:
            if connection is not None:
                connection.close()


def _missing(path: Path) -> HistoryError:
    return HistoryError(f"there is no history at '{path}'; one is written by: pytest --memalert")


def _unreadable(path: Path, why: Exception) -> HistoryError:
    return HistoryError(f"the history '{path}' {why}; the next pytest --memalert sets it aside")


def _attempt(path: Path, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """Open the file, bring it up to date and do the work; raises _UnusableError for what can't be used."""
    identity = _identity(path)
    _check_header(path, identity)
    # Isolation is ours: each transaction begins by name.
    connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
    try:
        if identity is None:
            identity = _identity(path)
        _check(connection, path)
        _use_wal(connection)
        if _version(connection) < len(MIGRATIONS):
            migrate(connection)
        return work(connection)
    except sqlite3.DatabaseError as error:
        raise _as_unusable(error, identity) from error
    except HistoryError:
        raise
    except MemalertError as error:
        raise _UnusableError("unreadable", f"holds what can't be read ({error})", identity) from error
    finally:
        connection.close()


def _check_header(path: Path, identity: tuple[int, int] | None) -> None:
    """Raise _UnusableError for a file that is no database: SQLite takes a very short one for empty."""
    if path.is_file():
        with path.open("rb") as file:
            beginning = file.read(len(_MAGIC))
        if beginning not in (b"", _MAGIC):
            raise _UnusableError("unreadable", "can't be read (file is not a database)", identity)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise HistoryError for another program's database, _UnusableError for a file of a newer version."""
    # At one moment: another session may just be making the tables.
    application_id, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application_id != APPLICATION_ID and (tables or application_id or version):
        raise HistoryError(f"'{path}' is the database of another program; name another file for the history")
    if version > len(MIGRATIONS):
        raise _UnusableError(
            "newer",
            f"is of version {version}, newer than what this memalert reads (up to {len(MIGRATIONS)})",
            _identity(path),
        )


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers read while a session writes, where the file system can do it.

    Without shared memory (some network file systems) SQLite stays with its rollback journal:
    as safe, with readers waiting.
    """
    try:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.OperationalError:
        pass  # another session is just doing it, or it can't be done here


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that writes nothing of its own."""
    address = path.resolve().as_uri()
    # Not mode=ro where it can be avoided: such a connection leaves the files of the WAL behind.
    for mode in ("mode=rw", "mode=ro", "immutable=1"):
        connection = sqlite3.connect(f"{address}?{mode}", timeout=_WAIT_S, isolation_level=None, uri=True)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:  # a directory in which the WAL's files can't be made
            connection.close()
            if mode == "immutable=1":
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise AssertionError("the last mode returns or raises")


def _as_unusable(error: sqlite3.DatabaseError, identity: tuple[int, int] | None) -> Exception:
    """Return the error to raise: corruption comes as DatabaseError itself, all else as one of its kinds."""
    if type(error) is sqlite3.DatabaseError:
        return _UnusableError("unreadable", f"can't be read ({error})", identity)
    return error


def _set_aside(path: Path, unusable: _UnusableError, at: datetime) -> Path | None:
    """Rename the file, and what belongs to it; None where another session has done so already."""
    if _identity(path) != unusable.identity:
        return None
    aside = path.with_name(f"{path.name}.{unusable.kind}-{at:%Y%m%dT%H%M%S}")
    number = 1
    while aside.exists():
        number += 1
        aside = aside.with_name(f"{path.name}.{unusable.kind}-{at:%Y%m%dT%H%M%S}-{number}")
    # The file first: SQLite deletes a log that it finds beside a new one.
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        try:
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        except FileNotFoundError:
            pass
    return aside


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells this file from another one of its name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_directory(directory: Path) -> None:
    """Make the directory if there is none, and keep what is in one that we made out of git."""
    # Beyond a "..", which leads nowhere before the directories in front of it are made.
    made = not Path(os.path.realpath(directory)).is_dir()
    directory.mkdir(parents=True, exist_ok=True)
    if made:
        replace_text(directory / ".gitignore", "# Written by pytest-memalert: nothing here is for git.\n*\n")


@contextmanager
def _told_as_history_error(path: Path) -> Iterator[None]:
    """Turn whatever the system or SQLite says into one sentence."""
    try:
        yield
    except OSError as error:
        # "File exists" speaks of what is there in the place of a directory.
        reason = f"{error.strerror or error}{f': {error.filename!r}' if error.filename else ''}"
        raise HistoryError(f"the history '{path}' can't be used ({reason}); {_ELSEWHERE}") from error
    except sqlite3.Error as error:
        advice = _ELSEWHERE
        if "locked" in str(error):
            advice = "another process is at work on it: wait for its end, or end it, and try again"
        raise HistoryError(f"the history '{path}' can't be used ({error}); {advice}") from error
