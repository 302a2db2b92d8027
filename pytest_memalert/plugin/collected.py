"""What is known of the tests once they are collected, in the process that runs them."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest

from pytest_memalert.errors import ConfigurationError
from pytest_memalert.model import AlertRule
from pytest_memalert.plugin.facts import LEFT_OUT, USAGE_ERROR
from pytest_memalert.plugin.markers import read_markers
from pytest_memalert.settings import Budget, Settings

__all__ = ["Collected"]


class Collected:
    """The hooks of the collection: which limits the markers set, whose turn it is to be checked for leaks.

    ``sources`` identifies the code of each test that may take a turn, ``turns`` are those whose turn it is,
    None where it is everyone's. ``left_out`` says that tests were taken out.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._is_remote = hasattr(config, "workerinput")
        self.limit_rules: list[AlertRule] = []
        self.sources: dict[str, str] = {}
        self.turns: frozenset[str] | None = None
        self.left_out = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, None, None]:
        """See whether tests are taken out; read every marker, refuse the session if any of them is wrong."""
        collected = len(items)
        yield
        self.left_out = len(items) < collected
        try:
            self.limit_rules.extend(read_markers(items))
        except ConfigurationError as wrong:
            text = "memalert: " + "\n".join(wrong.problems)
        else:
            return
        if not self._is_remote:
            raise pytest.UsageError(text)
        # Raised in an xdist worker, it would reach the user as the traceback of an internal error.
        self._config.workeroutput[USAGE_ERROR] = text  # type: ignore[attr-defined]
        items.clear()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Choose the tests whose turn it is, where there is a budget."""
        if self._settings.leaks == "all" and self._settings.budget is not None:
            self._choose_turns(session.items, self._settings.budget)

    def _choose_turns(self, items: Sequence[pytest.Item], budget: Budget) -> None:
        from pytest_memalert.leaks.turns import choose, source_of
        from pytest_memalert.plugin.leak_checks.turn_cache import read_turns

        for item in items:
            function = getattr(item, "function", None)
            self.sources[item.nodeid] = source_of([getattr(function, "__code__", None)])
        self.turns = choose(self.sources, read_turns(self._config), budget)

    def pytest_sessionfinish(self) -> None:
        """Tell the controller, where that is another process."""
        if self._is_remote:
            self._config.workeroutput[LEFT_OUT] = self.left_out  # type: ignore[attr-defined]
