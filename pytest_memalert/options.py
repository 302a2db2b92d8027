"""The options, each once: its name, values, default and help.

pytest declares them in every run, with or without ``--memalert``: this module must stay light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OPTIONS", "Option", "OptionKind"]

OptionKind = Literal["flag", "choice", "path", "duration", "budget"]


@dataclass(frozen=True, slots=True, kw_only=True)
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
        "the tests themselves take ('10%'); without one, 'all' checks every test, and suspects that turn "
        "out to be clean may take 5% of that time",
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
        name="json",
        kind="path",
        default=None,
        metavar="PATH",
        help="write the report of the run as JSON to this file",
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
