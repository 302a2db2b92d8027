"""Holds the table of the vocabulary to the code: every word is in it, every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

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


def test_tests_that_show_a_word_exist() -> None:
    missing = []
    for word, name, shown_by in ROWS:
        named = re.findall(r"`(tests/\S+\.py)::(\w+)`", shown_by)
        if not name or not named:
            missing.append(word)
        missing += [f"{word}: {path}::{test}" for path, test in named if test not in names_in(ROOT / path)]
    assert len(ROWS) > 50
    assert missing == []


def test_every_word_is_in_the_table() -> None:
    """Severities, categories, conditions, default rules and the calls of the manager."""
    words = [
        *(severity.name for severity in AlertSeverity),
        *(category.value for category in AlertCategory),
        *(spelling for c in AlertCondition for spelling in (c.value, c.name.lower())),
        *sorted({rule.name for rule in DEFAULT_RULES}),
        *(name for name in vars(AlertManager) if not name.startswith("_")),
    ]
    told = [row[1] for row in ROWS]
    missing = [
        word for word in words if not any(re.search(rf"[`.]{re.escape(word)}`", names) for names in told)
    ]
    assert missing == []


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
