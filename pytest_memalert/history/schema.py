"""The schema of the history: every table, and how a file of an older version becomes one of this.

``PRAGMA user_version`` is the number of migrations that a file has had. A migration that was
released is never edited: what changes gets one more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate"]

#: Tells our files from other programs' databases: "meMA", big-endian.
APPLICATION_ID = 0x6D654D41

#: What makes version 1, 2, ... of a file, in order.
#:
#: 1  the first: runs, tests, figures, alerts, lives
#: 2  sent
#: 3  an index of the tests that were checked for leaks
MIGRATIONS: tuple[str, ...] = (
    """
    -- A session that was remembered. Times are UTC in ISO 8601, so that texts sort as times do.
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,        -- in the order in which runs were written
        run_id TEXT NOT NULL UNIQUE,   -- that of the JSON report
        started_at TEXT NOT NULL,
        duration_s REAL NOT NULL,
        commit_id TEXT,                -- NULL where it isn't known
        environment TEXT NOT NULL,     -- only runs of like environments compare
        tests INTEGER NOT NULL,        -- how many were measured
        leaks TEXT NOT NULL,           -- how closely they were looked at: off, suspects, all
        metrics TEXT NOT NULL,         -- JSON: names, in the order of figures.numbers
        report TEXT NOT NULL           -- JSON: the report without its tests, fixtures, alerts and notes
    );

    -- A node id, written once. "session" stands for the whole of a run.
    CREATE TABLE tests (
        id INTEGER PRIMARY KEY,
        nodeid TEXT NOT NULL UNIQUE
    );

    -- What a test took in a run. Without a rowid, the rows of a run lie next to each other: they
    -- are appended in one go, and forgotten in one go.
    CREATE TABLE figures (
        run INTEGER NOT NULL,
        test INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        ran_through INTEGER NOT NULL,  -- 0 where it failed on its own account: its figures don't compare
        leak TEXT NOT NULL,            -- the status of its verdict
        numbers TEXT NOT NULL,         -- JSON: one for each of runs.metrics, null where not known
        PRIMARY KEY (run, test)
    ) WITHOUT ROWID;

    -- An alert as it was raised, inhibited and acknowledged ones included.
    CREATE TABLE alerts (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        alert TEXT NOT NULL            -- JSON, as in the report
    );
    CREATE INDEX alerts_by_fingerprint ON alerts (fingerprint, run);
    CREATE INDEX alerts_by_run ON alerts (run);

    -- What is remembered of a fingerprint over all sessions, also of those that are forgotten.
    CREATE TABLE lives (
        fingerprint TEXT PRIMARY KEY,
        first_seen TEXT NOT NULL,
        last_seen TEXT NOT NULL,
        times INTEGER NOT NULL,
        worst REAL,
        resolved_at TEXT,
        reopened INTEGER NOT NULL,
        notified REAL,                 -- what was observed when it was last sent out
        notified_at TEXT,
        leaks TEXT NOT NULL,
        alert TEXT NOT NULL            -- JSON: its latest occurrence
    ) WITHOUT ROWID;
    """,
    """
    -- A digest that went to a route of notifications within the last day, so that there are never
    -- too many an hour. A route is known by where it was written: its address is a secret.
    CREATE TABLE sent (
        at TEXT NOT NULL,
        route TEXT NOT NULL
    );
    """,
    """
    -- The few tests of a run that were checked for leaks.
    CREATE INDEX figures_checked ON figures (run) WHERE leak != 'unchecked';
    """,
)


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring a file up to date, in one transaction: all of it, or nothing.

    Whoever else opens the file meanwhile waits, and finds it done. Raises sqlite3.Error.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked for within the transaction: another process may just have done it.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for statements in migrations[version:]:
            for statement in _split(statements):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {max(version, len(migrations))}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _split(statements: str) -> list[str]:
    """Return the statements one by one: ``executescript`` would end the transaction."""
    found, so_far = [], ""
    for line in statements.splitlines(keepends=True):
        so_far += line
        if line.split("--")[0].rstrip().endswith(";") and sqlite3.complete_statement(so_far):
            found.append(so_far)
            so_far = ""
    return [*found, so_far] if so_far.strip() else found
