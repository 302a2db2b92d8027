"""Holds the shape of the package: who imports whom, read from the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_memalert.model

PACKAGE = "pytest_memalert"
ROOT = Path(pytest_memalert.model.__file__).parent

NOUNS = frozenset(
    {
        "errors",
        "units",
        "clock",
        "collector",
        "metrics",
        "model",
        "records",
        "codec",
        "escaping",
        "files",
        "json_fields",
        "comparisons",
        "digest",
        "targets",
        "options",
    }
)
DECIDERS = frozenset(
    {
        "acknowledgments",
        "anomalies",
        "leaks",
        "limits",
        "lives",
        "measurement",
        "gate",
        "trends",
        "rules",
        "notify",
        "shards",
        "changes",
        "routes",
        "speaking",
        "settings",
    }
)
EDGES = frozenset({"commit", "probes", "attribution", "history", "reports", "channels"})
DOORS = frozenset({"plugin", "cli", "alerts", "measuring", "hunting", "delivery"})

#: The modules that may import pytest's internals: to run an item, and to run it again.
INTERNALS = frozenset({"plugin.pytest_internals", "plugin.rerun"})

#: What a function that decides has no business with: the clock, the process, the network, chance.
IMPURE = frozenset(
    {"asyncio", "pympler", "psutil", "random", "socket", "sqlite3", "subprocess", "threading", "time"}
)

#: Reading these would let a decision depend on when it is taken.
CLOCK_READERS = frozenset({"now", "today", "utcnow"})


def module_paths() -> dict[str, Path]:
    """Return every module of the package by its dotted name below the package ("" is the package)."""
    names = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


MODULES = module_paths()
TREES = {name: ast.parse(path.read_bytes()) for name, path in MODULES.items()}

each_module = pytest.mark.parametrize("module", sorted(name for name in MODULES if name))


def imported(module: str) -> Iterator[str]:
    """Yield the full dotted name of everything that ``module`` imports, wherever in its text."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """Return the parts of the package, by first name, that ``module`` imports; "" is the package itself."""
    parts = set()
    for name in imported(module):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            first = f"{name}.".split(".")[1]
            parts.add(first if any(m.split(".")[0] == first for m in MODULES) else "")
    return parts


def foreign_imports(module: str) -> set[str]:
    """Return the first names of what ``module`` imports from elsewhere."""
    return {name.split(".")[0] for name in imported(module)} - {PACKAGE}


def part_of(module: str) -> str:
    """Return the part of the package that ``module`` belongs to: its first name."""
    return module.split(".")[0]


def load(statements: str) -> subprocess.CompletedProcess[str]:
    """Run statements in a new interpreter, isolated from the environment and this directory."""
    # -P is missing before 3.11, so the package's own place is put first by hand.
    code = f"import sys; sys.path.insert(0, {str(ROOT.parent)!r}); {statements}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@each_module
def test_every_module_has_its_place_in_the_layout(module: str) -> None:
    """A new module is first put into one of the four layers."""
    assert part_of(module) in NOUNS | DECIDERS | EDGES | DOORS


@each_module
def test_imports_point_from_doors_to_deciders_and_edges_to_nouns(module: str) -> None:
    """Nouns know nouns; deciders know deciders and nouns; edges know themselves and nouns."""
    part = part_of(module)
    if part in NOUNS:
        allowed = NOUNS
    elif part in DECIDERS:
        allowed = NOUNS | DECIDERS
    elif part in EDGES:
        allowed = NOUNS | {part}
    else:
        # The version is the package's own; the doors say it to the user.
        allowed = NOUNS | DECIDERS | EDGES | DOORS | {""}
    assert own_imports(module) <= allowed


@each_module
def test_only_the_plugin_imports_pytest(module: str) -> None:
    """Everything else works in any program."""
    tools = foreign_imports(module) & {"pytest", "_pytest", "pluggy", "xdist"}
    assert not tools or part_of(module) == "plugin"


@each_module
def test_only_the_modules_that_run_items_import_the_internals_of_pytest(module: str) -> None:
    """What a new pytest can break is in one place."""
    assert "_pytest" not in foreign_imports(module) or any(
        f"{module}.".startswith(f"{each}.") for each in INTERNALS
    )


@pytest.mark.parametrize("module", sorted(name for name in MODULES if part_of(name) in DECIDERS))
def test_a_decider_reads_neither_clock_nor_process(module: str) -> None:
    """A function that decides takes values and returns a value."""
    assert not foreign_imports(module) & IMPURE
    assert "clock" not in own_imports(module)


@each_module
def test_only_the_clock_reads_the_time(module: str) -> None:
    """A test that patches time, or freezes it, then changes nothing in what is measured."""
    calls = {
        node.func.attr
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    from_time = {name for name in imported(module) if name.split(".")[0] == "time"}
    reads_time = bool(from_time - {"time.sleep"} or calls & CLOCK_READERS)
    assert not reads_time or module == "clock"


@each_module
def test_every_module_begins_with_one_line_that_says_what_it_is(module: str) -> None:
    """The first line is a whole sentence, or announces a list."""
    docstring = ast.get_docstring(TREES[module])
    assert docstring, f"{module} has no docstring"
    assert docstring.splitlines()[0].endswith((".", ":"))


def test_everything_outside_the_plugin_loads_without_pytest() -> None:
    """Measuring, judging and the command are of use where pytest is not installed."""
    names = [f"{PACKAGE}.{name}".rstrip(".") for name in MODULES if part_of(name) != "plugin"]
    # None in sys.modules makes the import of that name fail.
    done = load(
        "import importlib; sys.modules.update(dict.fromkeys(['pytest', '_pytest', 'pluggy', 'xdist'])); "
        f"[importlib.import_module(name) for name in {names!r}]"
    )
    assert done.returncode == 0, done.stderr


def test_loading_the_plugin_loads_neither_psutil_nor_pympler() -> None:
    """pytest loads the plugin in every run, with --memalert or without."""
    done = load(f"import {PACKAGE}.plugin; print({{'psutil', 'pympler'}} & set(sys.modules))")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "set()\n"


def test_a_run_without_the_plugin_switched_on_loads_its_options_alone() -> None:
    """To make the records and the rules takes 20 ms, which nobody asked for."""
    done = load(f"import {PACKAGE}.plugin, {PACKAGE}.plugin.hookspecs; print(*sorted(sys.modules))")
    assert done.returncode == 0, done.stderr
    ours = {name for name in done.stdout.split() if name.partition(".")[0] == PACKAGE}
    light = ("", ".errors", ".options", ".plugin", ".plugin.command_line", ".plugin.hookspecs", ".records")
    assert ours == {PACKAGE + name for name in light}


def test_names_that_say_nothing_are_not_used() -> None:
    """If the name is hard, the thing is wrong."""
    empty_words = ("Helper", "Util", "Data", "Info", "Service", "Factory")
    classes = [
        node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    ]
    assert classes
    assert [name for name in classes if name.endswith(empty_words)] == []
