"""Holds the table of the vocabulary to the code: every word is in it, every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from pytest_memalert import AlertCategory, AlertCondition, AlertManager, AlertSeverity
from pytest_memalert.limits.defaults import DEFAULT_RULES

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reference" / "seed-vocabulary.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| word "))
]


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of the functions in a file."""
    tree = ast.parse(path.read_bytes())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_test_that_shows_a_word_exists(row: list[str]) -> None:
    _, name, shown_by = row
    assert name
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", shown_by)
    assert named
    for path, test in named:
        assert test in names_in(ROOT / path)


@pytest.mark.parametrize(
    "word",
    [
        *(severity.name for severity in AlertSeverity),
        *(category.value for category in AlertCategory),
        *(spelling for c in AlertCondition for spelling in (c.value, c.name.lower())),
        *sorted({rule.name for rule in DEFAULT_RULES}),
        *(name for name in vars(AlertManager) if not name.startswith("_")),
    ],
)
def test_every_word_is_in_the_table(word: str) -> None:
    """Severities, categories, conditions, default rules and the calls of the manager."""
    assert any(
        re.search(rf"`{re.escape(word)}`|[`.]{re.escape(word)}`", row[1]) or f"rule `{word}`" in row[1]
        for row in ROWS
    )


def test_every_key_of_notifications_is_documented() -> None:
    """Each has a row of its own."""
    from pytest_memalert.routes import NOTIFY_KEYS, ROUTE_KEYS

    page = (ROOT / "docs" / "reference" / "channels.md").read_text(encoding="utf-8")
    for key in (*NOTIFY_KEYS, *ROUTE_KEYS):
        assert f"| `{key}` |" in page


def test_every_call_of_the_manager_is_documented() -> None:
    """In the reference of the manager."""
    page = (ROOT / "docs" / "reference" / "alert-manager.md").read_text(encoding="utf-8")
    for name in vars(AlertManager):
        if not name.startswith("_"):
            assert re.search(rf"`{name}[`(]", page), name
