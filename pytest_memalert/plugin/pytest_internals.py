"""What pytest has no public name for: running an item's phases, holding scopes, failing a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprFileLocation, ReprTraceback
from _pytest.runner import runtestprotocol

__all__ = [
    "HeldScopes",
    "fail_report",
    "hold_wider_scopes",
    "kept_output_bytes",
    "run_phases",
    "written_ini_keys",
]


def run_phases(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Run set-up, call and teardown of an item without logging their reports."""
    runtestprotocol(item, nextitem=nextitem, log=False)


def fail_report(report: pytest.TestReport, item: pytest.Item, *, headline: str, text: str) -> None:
    """Turn a report into one of failure, whose section is ``text`` and whose reason is ``headline``."""
    path, line, _ = item.location
    where = ReprFileLocation(str(path), (line or 0) + 1, headline)
    entry = ReprEntry(text.split("\n"), None, None, None, "value")
    traceback = ReprTraceback([entry], None, style="value")
    report.outcome = "failed"
    report.longrepr = ExceptionChainRepr([(traceback, where, None)])


def kept_output_bytes(item: pytest.Item) -> int:
    """Return the size of the captured output that pytest keeps for its reports, in bytes."""
    sections = item._report_sections
    # Up to 512 bytes a string is no heap of malloc's, and at most a page of resident memory.
    return sum(len(text) for _, _, text in sections if len(text) > 512) if sections else 0


def written_ini_keys(config: pytest.Config) -> tuple[str, ...]:
    """Return the keys of the ini file, those that nobody declared included."""
    # Config.inicfg is the public name, deprecated since pytest 9.2: reading it warns.
    written = vars(config).get("_inicfg")
    return tuple(config.inicfg if written is None else written)


class HeldScopes:
    """Wider scopes that a test's teardown left set up, so that the test can run again.

    ``release`` tears them down as the test's own teardown would have done.
    """

    def __init__(self) -> None:
        self._finish: Callable[[], None] | None = None

    @property
    def held(self) -> bool:
        """Return whether there is anything left to tear down."""
        return self._finish is not None

    def hold(self, finish: Callable[[], None]) -> None:
        """Remember what is left to do."""
        self._finish = finish

    def release(self, item: pytest.Item) -> pytest.CallInfo[None] | None:
        """Tear down what was held, its output captured as the item's; return how that went."""
        if self._finish is None:
            return None
        finish, self._finish = self._finish, None
        capture = item.config.pluginmanager.getplugin("capturemanager")

        def tear_down() -> None:
            if capture is None:
                finish()
                return
            with capture.item_capture("teardown", item):
                finish()

        reraise: tuple[type[BaseException], ...] = (pytest.exit.Exception,)
        if not item.config.getoption("usepdb", False):
            reraise += (KeyboardInterrupt,)
        return pytest.CallInfo.from_call(tear_down, when="teardown", reraise=reraise)


@contextmanager
def hold_wider_scopes(item: pytest.Item, *, suspect: Callable[[], bool]) -> Iterator[HeldScopes]:
    """Hold the teardown of scopes wider than the item's, if it is ``suspect`` by then.

    The last test of a module takes the module's fixtures down with it; a repetition needs
    them. Every plugin still sees the true ``nextitem``: only pytest's own stack of what is
    set up is asked to wait.
    """
    scopes = HeldScopes()
    state = item.session._setupstate
    tear_down_to = state.teardown_exact

    def tear_down_item_first(nextitem: pytest.Item | None) -> None:
        # A collector stands in for the next item: only the chain of its parents is looked at.
        tear_down_to(item.parent)  # type: ignore[arg-type]
        if suspect():
            scopes.hold(lambda: tear_down_to(nextitem))
        else:
            tear_down_to(nextitem)

    state.teardown_exact = tear_down_item_first  # type: ignore[method-assign]
    try:
        yield scopes
    finally:
        del state.teardown_exact
