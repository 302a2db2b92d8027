"""Holds the shape of the package: who imports whom, read from the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

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
        "tracing",
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
        "user_values",
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
NAMES = sorted(name for name in MODULES if name)


class Facts(NamedTuple):
    """What is looked at in a module. Its syntax tree, of thousands of objects, isn't kept."""

    imports: tuple[str, ...]
    methods_called: frozenset[str]
    classes: tuple[str, ...]
    docstring: str


@cache
def facts(module: str) -> Facts:
    """Read a module. ``imports`` are the full dotted names, wherever in its text."""
    tree = ast.parse(MODULES[module].read_bytes())
    imports: list[str] = []
    called, classes = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import in line {node.lineno}"
            imports += (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called.add(node.func.attr)
        elif isinstance(node, ast.ClassDef):
            classes.append(node.name)
    return Facts(tuple(imports), frozenset(called), tuple(classes), ast.get_docstring(tree) or "")


def own_imports(module: str) -> set[str]:
    """Return the parts of the package, by first name, that ``module`` imports; "" is the package itself."""
    parts = set()
    for name in facts(module).imports:
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            first = f"{name}.".split(".")[1]
            parts.add(first if any(m.split(".")[0] == first for m in MODULES) else "")
    return parts


def foreign_imports(module: str) -> set[str]:
    """Return the first names of what ``module`` imports from elsewhere."""
    return {name.split(".")[0] for name in facts(module).imports} - {PACKAGE}


def part_of(module: str) -> str:
    """Return the part of the package that ``module`` belongs to: its first name."""
    return module.split(".")[0]


def load(statements: str) -> subprocess.CompletedProcess[str]:
    """Run statements in a new interpreter, isolated from the environment and this directory."""
    # -P is missing before 3.11, so the package's own place is put first by hand.
    code = f"import sys; sys.path.insert(0, {str(ROOT.parent)!r}); {statements}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def allowed_imports(module: str) -> frozenset[str]:
    """Return the parts of the package that a module may import."""
    part = part_of(module)
    if part in NOUNS:
        return NOUNS
    if part in DECIDERS:
        return NOUNS | DECIDERS
    if part in EDGES:
        return NOUNS | {part}
    # The version is the package's own; the doors say it to the user.
    return NOUNS | DECIDERS | EDGES | DOORS | {""}


def test_every_module_has_its_place_in_the_layout() -> None:
    """A new module is first put into one of the four layers."""
    assert [name for name in NAMES if part_of(name) not in NOUNS | DECIDERS | EDGES | DOORS] == []


def test_imports_point_from_doors_to_deciders_and_edges_to_nouns() -> None:
    """Nouns know nouns; deciders know deciders and nouns; edges know themselves and nouns."""
    wrong = {name: own_imports(name) - allowed_imports(name) for name in NAMES}
    assert {name: parts for name, parts in wrong.items() if parts} == {}


@pytest.mark.parametrize("part", ["plugin", "attribution"])
def test_folders_do_not_import_each_other_in_circles(part: str) -> None:
    """Each can be read with those below it alone."""
    wanted: dict[str, set[str]] = {}
    for name in NAMES:
        if part_of(name) == part and name != part:
            folder = name.split(".")[1]
            beginning = f"{PACKAGE}.{part}."
            others = {each.split(".")[2] for each in facts(name).imports if each.startswith(beginning)}
            wanted.setdefault(folder, set()).update(others - {folder})
    if part == "plugin":
        wanted["phases"].discard("worker")  # for its type alone
    TopologicalSorter(wanted).prepare()  # CycleError names a circle


def test_only_the_plugin_imports_pytest() -> None:
    """Everything else works in any program."""
    tools = {"pytest", "_pytest", "pluggy", "xdist"}
    others = [name for name in NAMES if part_of(name) != "plugin"]
    assert [name for name in others if foreign_imports(name) & tools] == []


def test_only_the_modules_that_run_items_import_the_internals_of_pytest() -> None:
    """What a new pytest can break is in one place."""
    others = [name for name in NAMES if not any(f"{name}.".startswith(f"{each}.") for each in INTERNALS)]
    assert [name for name in others if "_pytest" in foreign_imports(name)] == []


def test_a_decider_reads_neither_clock_nor_process() -> None:
    """A function that decides takes values and returns a value."""
    deciders = [name for name in NAMES if part_of(name) in DECIDERS]
    assert deciders
    assert [name for name in deciders if foreign_imports(name) & IMPURE or "clock" in own_imports(name)] == []


def test_only_the_clock_reads_the_time() -> None:
    """A test that patches time, or freezes it, then changes nothing in what is measured."""

    def reads_time(name: str) -> bool:
        from_time = {each for each in facts(name).imports if each.split(".")[0] == "time"}
        return bool(from_time - {"time.sleep"} or facts(name).methods_called & CLOCK_READERS)

    assert [name for name in NAMES if reads_time(name)] == ["clock"]


def test_every_module_begins_with_one_line_that_says_what_it_is() -> None:
    """The first line is a whole sentence, or announces a list."""
    assert [name for name in NAMES if not facts(name).docstring.split("\n", 1)[0].endswith((".", ":"))] == []


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
    names = "clock errors options plugin plugin.command_line plugin.hookspecs records"
    assert ours == {PACKAGE, *(f"{PACKAGE}.{name}" for name in names.split())}


def test_names_that_say_nothing_are_not_used() -> None:
    """If the name is hard, the thing is wrong."""
    empty_words = ("Helper", "Util", "Data", "Info", "Service", "Factory")
    classes = [name for module in MODULES for name in facts(module).classes]
    assert classes
    assert [name for name in classes if name.endswith(empty_words)] == []
