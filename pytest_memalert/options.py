"""The options, each once: its name, values, default and help.

pytest declares them in every run, with or without ``--memalert``: this module must stay light.
"""

from __future__ import annotations

from typing import Literal

from pytest_memalert.records import record

__all__ = ["OPTIONS", "Option", "OptionKind"]

OptionKind = Literal[
    "flag", "choice", "path", "duration", "budget", "baseline", "history", "age", "runs", "size", "urls"
]


@record(frozen=True, slots=True, kw_only=True)
class Option:
    """Describe one option: its name in TOML, from which its flag and ini key follow, and its values.

    ``default`` is written as a user would write it. ``help`` is plain text: argparse, which
    formats it, needs its percent signs doubled.
    """

    name: str
    kind: OptionKind
    default: str | bool | None
    help: str
    choices: tuple[str, ...] = ()
    metavar: str | None = None

    @property
    def flag(self) -> str:
        """Return the option's name on the command line."""
        return f"--memalert-{self.name.replace('_', '-')}"

    @property
    def ini(self) -> str:
        """Return the option's key in an ini file."""
        return f"memalert_{self.name}"


#: Every option but the main switch, in the order of the help and the documentation.
OPTIONS: tuple[Option, ...] = (
    Option(
        name="leaks",
        kind="choice",
        choices=("off", "suspects", "all"),
        default="suspects",
        help="which tests to run again in search of leaks: none (off), only those whose first run "
        "stands out (suspects, the default), or every test (all; slower, and finds the smallest leaks)",
    ),
    Option(
        name="budget",
        kind="budget",
        default=None,
        metavar="LIMIT",
        help="most time that re-runs may add: a duration ('30s', '5 min') or a share of the time that "
        "the tests themselves take ('10%', of which 5 s are granted to any suite); a search that was begun "
        "comes to its end, which may take some seconds more; without one, 'all' checks every test, and "
        "suspects that turn out to be clean may take 6% of that time, and 2.8 s; those that confirm a "
        "difference from the baseline are not bounded",
    ),
    Option(
        name="trace",
        kind="flag",
        default=False,
        help="trace Python's own allocations, for the exact peak of each test "
        "(tracemalloc; the suite takes 2 to 4 times as long)",
    ),
    Option(
        name="fail_on",
        kind="choice",
        choices=("critical", "warning", "never"),
        default="critical",
        help="which alerts fail their test: critical ones (the default), warnings too, or none (never); "
        "the others are shown as warnings",
    ),
    Option(
        name="save",
        kind="baseline",
        default=None,
        metavar="PATH",
        help="write what each test needs today to this baseline file ('memalert.lock.json' beside the "
        "configuration file by default), to be committed; of a part of the suite, that part is updated",
    ),
    Option(
        name="gate",
        kind="baseline",
        default=None,
        metavar="PATH",
        help="fail tests that need more than the baseline file allows ('memalert.lock.json' beside the "
        "configuration file by default); a test that seems to is run again before it fails",
    ),
    Option(
        name="strict",
        kind="flag",
        default=False,
        help="with --memalert-gate: tests that the baseline lacks fail, too",
    ),
    Option(
        name="json",
        kind="path",
        default=None,
        metavar="PATH",
        help="write the report of the run as JSON to this file",
    ),
    Option(
        name="html",
        kind="path",
        default=None,
        metavar="DIR",
        help="write the report of the run as a page, index.html in this directory, which needs no network "
        "(about 5 MB; needs the extra html: pip install 'pytest-memalert[html]')",
    ),
    Option(
        name="markdown",
        kind="path",
        default=None,
        metavar="PATH",
        help="write the report of the run as Markdown to this file, short enough for a comment on a "
        "pull request",
    ),
    Option(
        name="gitlab",
        kind="path",
        default=None,
        metavar="PATH",
        help="write the alerts to this file as a code quality report of GitLab",
    ),
    Option(
        name="history",
        kind="history",
        default=".memalert/history.sqlite3",
        metavar="PATH",
        help="remember the run in this file, so that alerts are known again and figures become series; "
        "beside the configuration by default; 'none' turns it off",
    ),
    Option(
        name="history_max_age",
        kind="age",
        default="180 days",
        metavar="DURATION",
        help="forget runs, and alerts last seen, longer ago than this",
    ),
    Option(
        name="history_max_runs",
        kind="runs",
        default="500",
        metavar="COUNT",
        help="remember this many runs",
    ),
    Option(
        name="history_max_size",
        kind="size",
        default="200 MiB",
        metavar="SIZE",
        help="forget the oldest runs while the history is larger than this",
    ),
    Option(
        name="notify",
        kind="urls",
        default=None,
        metavar="URL",
        help="send what is new, worse or resolved there: 'jsonl:PATH', 'logging:NAME', 'https://...' (a "
        "webhook), or with the extra 'notify' any URL that apprise takes; can be given several times; "
        "'none' sends nothing anywhere",
    ),
    Option(
        name="sample_interval",
        kind="duration",
        default="10ms",
        metavar="DURATION",
        help="time between two readings of resident memory ('10ms' by default), on systems whose kernel "
        "keeps no high-water mark that can be reset per test: shorter spikes are missed; unused on Linux",
    ),
)
