"""The history: what is remembered of runs, in one file of SQLite.

A session writes once, at its end and in one transaction: the run, what each test took, its alerts,
and the lives of the alerts. ``docs/reference/history.md`` describes the tables.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pytest_memalert.comparisons import SESSION
from pytest_memalert.history.opening import connected_for_reading, work_on
from pytest_memalert.history.rows import (
    LIFE_COLUMNS,
    alert_of,
    alert_text,
    counts_of,
    header_text,
    installation_of,
    life_of,
    life_row,
    names_of,
    number_at,
    number_named,
    numbers_by_name,
    numbers_texts,
    plain,
    text_of,
    time_of,
)
from pytest_memalert.model import (
    AlertLife,
    Environment,
    LeakChecks,
    LeakStatus,
    PerformanceAlert,
    Run,
    SeriesPoint,
)
from pytest_memalert.records import record

if TYPE_CHECKING:
    from pytest_memalert.digest import Sent

__all__ = [
    "WHOLE_SHARE",
    "CheckedTest",
    "History",
    "Keep",
    "Past",
    "RememberedRun",
    "read_history",
    "write_history",
]

#: A session counts as whole when it measured this share of the tests of the largest one remembered:
#: what a part of the suite took is no point in the series of the whole.
WHOLE_SHARE = 0.8
# Tests whose figures are written in one go.
_WRITTEN_AT_ONCE = 1000

_T = TypeVar("_T")


@record(frozen=True, slots=True, kw_only=True)
class Keep:
    """Say what is kept: runs of the last ``max_age_s``, ``max_runs`` of them, ``max_bytes`` of file."""

    max_age_s: float
    max_runs: int
    max_bytes: int


@record(frozen=True, slots=True, kw_only=True)
class Past:
    """Hold what was remembered before a run: lives by fingerprint, and the most tests of any run.

    ``tests_until`` returns the tests that there were until an alert, by its fingerprint, was last raised.
    """

    lives: Mapping[str, AlertLife]
    most_tests: int = 0
    tests_until: Callable[[str], frozenset[str]] = lambda fingerprint: frozenset()


@record(frozen=True, slots=True, kw_only=True)
class RememberedRun:
    """Hold what is remembered of a run as a whole; ``alerts`` counts them as the report's totals do."""

    run_id: str
    started_at: datetime
    duration_s: float
    commit: str | None
    environment: str
    tests: int
    leaks: str
    alerts: Mapping[str, int]


@record(frozen=True, slots=True, kw_only=True)
class CheckedTest:
    """Hold the verdict on a test, and the figures of its own run.

    That was ``age`` runs before the latest, in a session that began at ``started_at``.
    """

    nodeid: str
    status: LeakStatus
    age: int
    started_at: datetime
    values: Mapping[str, float]


def write_history(
    path: Path, work: Callable[[History], _T], *, warn: Callable[[str], None], at: datetime
) -> _T:
    """Return what ``work`` returns, given the history of ``path``, which is made if there is none.

    A file that can't be read is set aside with a warning, and the work done on a new one: so it may
    be called twice. Raises HistoryError where nothing can be written.
    """
    return work_on(path, lambda connection: work(History(connection)), warn=warn, at=at)


@contextmanager
def read_history(path: Path) -> Iterator[History]:
    """Open a history that is only read; raises HistoryError, also while it is read."""
    with connected_for_reading(path) as connection:
        yield History(connection)


class History:
    """Read and write one history; sqlite3's errors are for ``write_history`` and ``read_history``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # ------------------------------------------------------------------ writing

    def record(
        self,
        run: Run,
        *,
        session: Mapping[str, float],
        leaks: LeakChecks,
        evolve: Callable[[Past], Iterable[AlertLife]],
        keep: Keep,
    ) -> tuple[AlertLife, ...]:
        """Write a run, and the lives that ``evolve`` makes of those remembered; return these.

        All in one transaction, which another session waits for. Prunes what isn't to be kept.
        """
        with self._transaction():
            past = Past(
                lives={life.fingerprint: life for life in self.lives()},
                most_tests=self.most_tests(),
                tests_until=self._tests_until,
            )
            changed = tuple(evolve(past))
            number = self._insert_run(run, session, leaks)
            self._connection.executemany(
                "INSERT INTO alerts (run, fingerprint, alert) VALUES (?, ?, ?)",
                ((number, plain(alert.fingerprint), alert_text(alert)) for alert in run.alerts),
            )
            self._save_lives(changed)
            self._prune(keep, since=run.started_at, newest=number)
        return changed

    def mark_notified(self, sent: Mapping[str, float], *, at: datetime, digests: Iterable[Sent] = ()) -> None:
        """Remember that alerts went out, the observed value of each by fingerprint, and by which digests."""
        with self._transaction():
            self._connection.executemany(
                "UPDATE lives SET notified = ?, notified_at = ? WHERE fingerprint = ?",
                [(value, text_of(at), plain(fingerprint)) for fingerprint, value in sent.items()],
            )
            self._connection.execute("DELETE FROM sent WHERE at < ?", (text_of(at - timedelta(days=1)),))
            self._connection.executemany(
                "INSERT INTO sent (at, route) VALUES (?, ?)",
                [(text_of(digest.at), plain(digest.route)) for digest in digests],
            )

    def forget(self, *, before: datetime | None = None, resolved_only: bool = False) -> tuple[int, int]:
        """Forget runs and lives of before a time, or all; return how many of each.

        ``resolved_only`` leaves the runs, and the lives of alerts that are not resolved.
        """
        limit = "9999" if before is None else text_of(before)
        with self._transaction():
            runs: list[int] = []
            if not resolved_only:
                rows = self._connection.execute("SELECT id FROM runs WHERE started_at < ?", (limit,))
                runs = [number for (number,) in rows]
            self._forget_runs(runs)
            lives = self._connection.execute(
                "DELETE FROM lives WHERE last_seen < ? AND (resolved_at IS NOT NULL OR ?)",
                (limit, not resolved_only),
            ).rowcount
            self._connection.execute("DELETE FROM tests WHERE id NOT IN (SELECT test FROM figures)")
        self._connection.execute("VACUUM")
        return len(runs), lives

    # ------------------------------------------------------------------ reading

    def series(
        self, nodeid: str, metric: str, *, limit: int, environment: Environment | None = None
    ) -> tuple[SeriesPoint, ...]:
        """Return the latest values of a test's metric, at most ``limit``, the oldest first.

        ``nodeid`` is ``SESSION`` for the whole, of which only whole sessions count (``WHOLE_SHARE``).
        A run in which the test failed on its own account is left out, and so are runs of other
        environments than the one given; without one, than that of the latest run.
        """
        rows = self._connection.execute(
            "SELECT runs.run_id, runs.started_at, runs.commit_id, runs.metrics, figures.numbers "
            "FROM tests CROSS JOIN runs JOIN figures ON figures.run = runs.id AND figures.test = tests.id "
            "WHERE tests.nodeid = ? AND runs.environment = ? AND figures.ran_through "
            "AND runs.tests >= ? ORDER BY runs.id DESC",
            (
                plain(nodeid),
                self._environment(environment),
                WHOLE_SHARE * self.most_tests() if nodeid == SESSION else 0,
            ),
        )
        points: list[SeriesPoint] = []
        for run_id, started_at, commit, names, numbers in rows:
            value = number_named(metric, names, numbers)
            if value is not None:
                points.append(
                    SeriesPoint(run_id=run_id, started_at=time_of(started_at), commit=commit, value=value)
                )
                if len(points) == limit:
                    break
        return tuple(reversed(points))

    def every_series(
        self, metric: str, *, limit: int, environment: Environment | None = None
    ) -> dict[str, tuple[SeriesPoint, ...]]:
        """Return the series of every test at once, by node id; of the latest ``limit`` runs alone."""
        found: dict[str, list[SeriesPoint]] = {}
        runs = self._connection.execute(
            "SELECT id, run_id, started_at, commit_id, metrics FROM runs "
            "WHERE environment = ? ORDER BY id DESC LIMIT ?",
            (self._environment(environment), limit),
        ).fetchall()
        for number, run_id, started_at, commit, names in reversed(runs):
            when = time_of(started_at)
            for nodeid, value in self._values_in((number, names), metric, None).items():
                point = SeriesPoint(run_id=run_id, started_at=when, commit=commit, value=value)
                found.setdefault(nodeid, []).append(point)
        return {nodeid: tuple(points) for nodeid, points in found.items()}

    def samples(
        self,
        metric: str,
        *,
        ages: Sequence[int],
        environment: Environment,
        nodeids: Collection[str] | None = None,
    ) -> tuple[dict[str, float], ...]:
        """Return the values of a metric, by node id, in single runs: those so many whole runs back.

        The latest is 0 back. Empty for a run that there isn't. ``nodeids`` are the tests that are
        wanted, by default all.
        """
        runs = self._connection.execute(
            "SELECT id, metrics FROM runs WHERE environment = ? AND tests >= ? ORDER BY id DESC LIMIT ?",
            (self._environment(environment), WHOLE_SHARE * self.most_tests(), max(ages, default=0) + 1),
        ).fetchall()
        return tuple(self._values_in(runs[age], metric, nodeids) if age < len(runs) else {} for age in ages)

    def _values_in(
        self, run: tuple[int, str], metric: str, nodeids: Collection[str] | None
    ) -> dict[str, float]:
        number, names = run
        known = names_of(names)
        if metric not in known:
            return {}
        index = known.index(metric)
        rows = self._connection.execute(
            "SELECT nodeid, numbers FROM figures JOIN tests ON id = test WHERE run = ? AND ran_through",
            (number,),
        )
        return {
            nodeid: value
            for nodeid, numbers in rows
            if nodeids is None or nodeid in nodeids
            if (value := number_at(index, numbers)) is not None
        }

    def checked(self, *, runs: int, limit: int, environment: Environment) -> Iterator[CheckedTest]:
        """Yield the tests that were checked for leaks in the latest ``runs``, the newest first.

        At most ``limit``: where every test is checked, there are many. Those of other installations of a
        like environment may have run other code.
        """
        latest = self._connection.execute(
            "SELECT id, started_at, metrics, report FROM runs WHERE environment = ? ORDER BY id DESC LIMIT ?",
            (environment.key, runs),
        ).fetchall()
        for age, (number, started_at, names, report) in enumerate(latest):
            if installation_of(report) != environment.installation:
                continue
            rows = self._connection.execute(
                "SELECT nodeid, leak, numbers FROM figures JOIN tests ON id = test "
                "WHERE run = ? AND leak != 'unchecked' AND nodeid != ? LIMIT ?",
                (number, SESSION, limit),
            ).fetchall()
            limit -= len(rows)
            when, known = time_of(started_at), names_of(names)
            for nodeid, status, numbers in rows:
                yield CheckedTest(
                    nodeid=nodeid,
                    status=status,
                    age=age,
                    started_at=when,
                    values=numbers_by_name(known, numbers),
                )

    def runs(self, *, since: datetime | None = None) -> tuple[RememberedRun, ...]:
        """Return the runs remembered, the latest first."""
        rows = self._connection.execute(
            "SELECT run_id, started_at, duration_s, commit_id, environment, tests, leaks, report "
            "FROM runs WHERE started_at >= ? ORDER BY id DESC",
            ("" if since is None else text_of(since),),
        )
        return tuple(
            RememberedRun(
                run_id=run_id,
                started_at=time_of(started_at),
                duration_s=duration_s,
                commit=commit,
                environment=environment,
                tests=tests,
                leaks=leaks,
                alerts=counts_of(report),
            )
            for run_id, started_at, duration_s, commit, environment, tests, leaks, report in rows
        )

    def count_runs(self, environment: Environment) -> int:
        """Return how many runs of an environment are remembered."""
        rows = self._connection.execute("SELECT count(*) FROM runs WHERE environment = ?", (environment.key,))
        return int(rows.fetchone()[0])

    def most_tests(self) -> int:
        """Return the number of tests of the largest run remembered."""
        return self._connection.execute("SELECT max(tests) FROM runs").fetchone()[0] or 0

    def lives(self) -> tuple[AlertLife, ...]:
        """Return what is remembered of every alert, the latest seen first."""
        rows = self._connection.execute(
            f"SELECT {', '.join(LIFE_COLUMNS)} FROM lives ORDER BY last_seen DESC, fingerprint"
        )
        return tuple(life_of(row) for row in rows)

    def sent_since(self, moment: datetime) -> tuple[Sent, ...]:
        """Return the digests sent since then; those of a day are remembered."""
        from pytest_memalert.digest import Sent

        rows = self._connection.execute("SELECT at, route FROM sent WHERE at >= ?", (text_of(moment),))
        return tuple(Sent(at=time_of(at), route=route) for at, route in rows)

    def occurrences(self, fingerprint: str) -> tuple[tuple[RememberedRun, PerformanceAlert], ...]:
        """Return each time an alert was raised, the latest first, with its run."""
        runs = {run.run_id: run for run in self.runs()}
        rows = self._connection.execute(
            "SELECT runs.run_id, alert FROM alerts JOIN runs ON runs.id = alerts.run "
            "WHERE fingerprint = ? ORDER BY alerts.id DESC",
            (plain(fingerprint),),
        )
        return tuple((runs[run_id], alert_of(alert)) for run_id, alert in rows)

    # ---------------------------------------------------------------- the steps

    def _tests_until(self, fingerprint: str) -> frozenset[str]:
        """Return the tests that were measured until an alert was last raised, as far as is remembered."""
        # Tests are numbered as they are first measured.
        rows = self._connection.execute(
            "SELECT nodeid FROM tests WHERE id <= (SELECT max(test) FROM figures WHERE run <= "
            "(SELECT max(run) FROM alerts WHERE fingerprint = ?))",
            (plain(fingerprint),),
        )
        return frozenset(nodeid for (nodeid,) in rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # Immediate: who begins as a reader and then wants to write fails where two do so at once.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _insert_run(self, run: Run, session: Mapping[str, float], leaks: LeakChecks) -> int:
        """Insert a run and its figures; return its number."""
        names = sorted({*session}.union(*(test.values for test in run.tests)))
        cursor = self._connection.execute(
            "INSERT INTO runs (run_id, started_at, duration_s, commit_id, environment, tests, leaks, "
            "metrics, report) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                plain(run.run_id),
                text_of(run.started_at),
                run.duration_s,
                None if run.commit is None else plain(run.commit),
                run.environment.key,
                len(run.tests),
                leaks,
                json.dumps(names),
                header_text(run),
            ),
        )
        number = cursor.lastrowid or 0
        failed_by_us = {nodeid for alert in run.alerts if run.fails(alert) for nodeid in alert.nodeids}
        numbers = self._number_tests([SESSION, *(plain(test.nodeid) for test in run.tests)])
        insert = "INSERT OR REPLACE INTO figures VALUES (?, ?, ?, ?, ?, ?)"
        self._connection.execute(
            insert, (number, numbers[SESSION], "", 1, "", numbers_texts([session], names)[0])
        )
        # Appended where they belong; some at a time, or they would be in memory once more.
        tests = sorted(run.tests, key=lambda test: numbers[plain(test.nodeid)])
        for start in range(0, len(tests), _WRITTEN_AT_ONCE):
            part = tests[start : start + _WRITTEN_AT_ONCE]
            texts = numbers_texts([test.values for test in part], names)
            self._connection.executemany(
                insert,
                (
                    (
                        number,
                        numbers[plain(test.nodeid)],
                        test.outcome,
                        test.outcome == "passed" or test.nodeid in failed_by_us,
                        test.leak.status,
                        text,
                    )
                    for test, text in zip(part, texts, strict=True)
                ),
            )
        return number

    def _number_tests(self, nodeids: Iterable[str]) -> dict[str, int]:
        """Return the number of each test by its node id, those seen for the first time included."""
        known: dict[str, int] = dict(self._connection.execute("SELECT nodeid, id FROM tests"))
        new = [nodeid for nodeid in dict.fromkeys(nodeids) if nodeid not in known]
        if new:
            first = max(known.values(), default=0) + 1
            added = {nodeid: first + index for index, nodeid in enumerate(new)}
            self._connection.executemany("INSERT INTO tests (nodeid, id) VALUES (?, ?)", added.items())
            known.update(added)
        return known

    def _save_lives(self, lives: Iterable[AlertLife]) -> None:
        self._connection.executemany(
            f"INSERT OR REPLACE INTO lives ({', '.join(LIFE_COLUMNS)}) "
            f"VALUES ({', '.join('?' * len(LIFE_COLUMNS))})",
            (life_row(life) for life in lives),
        )

    def _prune(self, keep: Keep, *, since: datetime, newest: int) -> None:
        """Forget what is too old, too many or too much; never the newest run."""
        # Whoever keeps things for ten thousand years keeps all of them.
        cutoff = text_of(since - timedelta(seconds=keep.max_age_s)) if keep.max_age_s < 6e10 else ""
        rows = self._connection.execute(
            "SELECT id FROM runs WHERE id != ? AND (started_at < ? OR id NOT IN "
            "(SELECT id FROM runs ORDER BY id DESC LIMIT ?))",
            (newest, cutoff, keep.max_runs),
        )
        self._forget_runs([number for (number,) in rows.fetchall()])
        self._connection.execute("DELETE FROM lives WHERE last_seen < ?", (cutoff,))
        while self._used_bytes() > keep.max_bytes:
            oldest = self._connection.execute(
                "SELECT id FROM runs WHERE id != ? ORDER BY id LIMIT 1", (newest,)
            ).fetchone()
            if oldest is None:
                break
            self._forget_runs(oldest)

    def _forget_runs(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            # Names that no other run has, as those of parameters that change each time.
            self._connection.execute(
                "DELETE FROM tests WHERE id IN (SELECT test FROM figures WHERE run = ?) AND NOT EXISTS ("
                "SELECT 1 FROM runs CROSS JOIN figures ON figures.run = runs.id AND figures.test = tests.id "
                "WHERE runs.id != ?)",
                (number, number),
            )
            for table, key in (("figures", "run"), ("alerts", "run"), ("runs", "id")):
                self._connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (number,))

    def _used_bytes(self) -> int:
        """Return the size of what is in the file; pages that became free are used again."""
        size, pages, free = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        return int(size * (pages - free))

    def _environment(self, environment: Environment | None) -> str:
        if environment is not None:
            return environment.key
        latest = self._connection.execute("SELECT environment FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        return latest[0] if latest else ""
