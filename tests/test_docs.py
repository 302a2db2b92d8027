"""Holds the documentation to the code: what exists is described, what is described exists."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import pytest

from pytest_memalert.cli import main
from pytest_memalert.gate.allowances import ALLOWANCE_KEYS
from pytest_memalert.limits.defaults import DEFAULT_RULES
from pytest_memalert.limits.keywords import MARKER_KEYS
from pytest_memalert.limits.marker import parse_marker
from pytest_memalert.limits.tables import RULE_KEYS
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.options import OPTIONS

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def reference(name: str) -> str:
    """Return the text of a reference page."""
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def hook_names() -> list[str]:
    """Return the names of our own hooks, from the text of their specifications."""
    tree = ast.parse((ROOT / "pytest_memalert" / "plugin" / "hookspecs.py").read_bytes())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def command_blocks(text: str) -> dict[str, str]:
    """Return the commands of the README that are run as they stand, by the name in their marker."""
    blocks = re.findall(r"<!-- command: (\w+) -->\n```\w*\n(.*?)```", text, re.DOTALL)
    return dict(blocks)


def local_links(page: Path) -> list[str]:
    """Return where the links of a page lead that are none to the web."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8"))
    return [target for target in targets if "://" not in target]


def test_generated_pages_say_what_the_code_says() -> None:
    """The tables of options, metrics and rules are never edited by hand."""
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def undocumented(page: str, names: Iterable[str]) -> list[str]:
    """Return which of these have no row of their own on a page."""
    text = reference(page)
    return [name for name in names if f"| `{name}` |" not in text]


def test_every_option_is_documented() -> None:
    """By its flag and by its ini key."""
    page = reference("options")
    assert [option.flag for option in OPTIONS if f"| `{option.flag}" not in page] == []
    assert undocumented("options", (option.ini for option in OPTIONS)) == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        # With its formula, so that a limit on it means one thing.
        ("metrics", METRICS),
        # Whoever is alerted can look up why.
        ("default-rules", [rule.name for rule in DEFAULT_RULES]),
        # With what it means to leave it out.
        ("default-rules", RULE_KEYS),
        ("marker", MARKER_KEYS),
        # With its default.
        ("gate", ALLOWANCE_KEYS),
    ],
    ids=["metrics", "default rules", "keys of a rule", "keywords of the marker", "allowances of the gate"],
)
def test_every_name_that_a_user_may_write_is_documented(page: str, names: Iterable[str]) -> None:
    assert list(names)
    assert undocumented(page, names) == []


def test_option_whose_value_may_be_left_out_is_documented_as_such() -> None:
    rows = [row for row in reference("options").splitlines() if row.startswith("| `--memalert-")]
    assert [row.split("`")[1] for row in rows if "[" in row.split("`")[1]] == [
        "--memalert-save [PATH]",
        "--memalert-gate [PATH]",
    ]


def test_every_attribute_of_an_analysis_is_documented() -> None:
    """What find_leaks returns is public."""
    _, _, table = reference("fixture").partition("## What an analysis knows")
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in row.split(", ")}
    known = [name for name in dir(LeakAnalysis) if not name.startswith("_")]
    assert [name for name in known if f"`{name}`" not in named] == []


def test_floor_of_a_limit_on_the_pace_of_growth_is_documented() -> None:
    (rule,) = parse_marker([("", {"growth_rate": "5 MB/s"}, ())]).rules
    assert f"`growth_rate` is silent where a test grows by no more than 1 MB ({rule.min_growth:,} bytes)" in (
        reference("marker")
    )


def test_every_hook_is_documented() -> None:
    """Each has a heading, so that it can be linked to."""
    page, hooks = reference("hooks"), hook_names()
    assert hooks
    assert [hook for hook in hooks if not re.search(rf"^## `{hook}\(", page, re.MULTILINE)] == []


def test_every_command_is_documented() -> None:
    """With its options, which are generated."""
    page, wrong = reference("command"), []
    for command, its in main.commands.items():
        has_options = any(option.opts[0].startswith("-") for option in its.params)
        has_table = f"<!-- generated: command {command} -->" in page
        if not re.search(rf"^## `memalert {command}\b", page, re.MULTILINE) or has_options != has_table:
            wrong.append(command)
    assert wrong == []


def test_every_command_in_the_documentation_is_a_valid_one() -> None:
    """As far as its arguments go; the tests of the examples run theirs."""
    known = {"--memalert", *(option.flag for option in OPTIONS)}
    wrong = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"^(?: {4}|\$ )(.*memalert .*)$", text, re.MULTILINE):
            for part in re.split(r"[|>]|&&", line):
                program, *arguments = shlex.split(part)
                if program == "memalert" and not arguments[0].startswith("-"):
                    try:
                        main.commands[arguments[0]].make_context(arguments[0], arguments[1:])
                    except (KeyError, click.ClickException) as error:
                        wrong.append(f"{page.name}: {part}: {error!r}")
        unknown = set(re.findall(r"(?<![\w-])--memalert(?:-[a-z]+)*\b", text)) - known
        wrong += [f"{page.name}: {flag}" for flag in sorted(unknown)]
    assert wrong == []


def test_every_link_leads_to_a_file_that_exists() -> None:
    """Links to the web are not looked at: the tests need no network."""
    links = [(page, target) for page in PAGES for target in local_links(page)]
    assert links
    assert [f"{page.name}: {target}" for page, target in links if not (page.parent / target).exists()] == []


def test_no_link_leads_out_of_the_pages() -> None:
    """It leads nowhere once they are built."""
    docs = ROOT / "docs"
    links = [(page, target) for page in docs.rglob("*.md") for target in local_links(page)]
    assert [each for each in links if docs not in (each[0].parent / each[1]).resolve().parents] == []


def test_every_page_is_in_the_navigation() -> None:
    """A page that nobody can find is not documentation."""
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}
    assert pages == set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    # Who reads on GitHub has the first page alone.
    assert pages - {"index.md"} == set(re.findall(r"\]\((\S+\.md)\)", (docs / "index.md").read_text("utf-8")))


def test_readme_marks_the_two_commands_that_ci_runs() -> None:
    """CI runs them as they stand, so they can't rot."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sorted(command_blocks(readme)) == ["examples", "tests"]


def test_every_example_has_a_pytest_configuration_of_its_own() -> None:
    """Else it would run under ours, where each warning is an error."""
    examples = [path for path in (ROOT / "examples").iterdir() if list(path.rglob("test_*.py"))]
    assert examples
    own = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
    assert [path.name for path in examples if not any((path / name).exists() for name in own)] == []
