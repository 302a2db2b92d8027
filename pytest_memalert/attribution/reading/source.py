"""Source files, read and not run: which functions they define, and what a name stands for in each.

Two variables of one name are not the same one: a function that binds a name itself means its own.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from pytest_memalert.attribution.allocation.sites import compile_file

__all__ = ["Definition", "Function", "Source", "Sources", "pairs_of"]

#: The syntax of a function.
Definition = ast.FunctionDef | ast.AsyncFunctionDef

_NAMED = Definition | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar


class Function:
    """One function of a file: the function that it is defined in, and the class whose body it stands in."""

    def __init__(
        self, node: Definition, *, source: Source, parent: Function | None, owner: ast.ClassDef | None
    ) -> None:
        self.node = node
        self.source = source
        self.parent = parent
        self.owner = owner

    @property
    def first_line(self) -> int:
        """Return where its code starts, as the code object tells it: at the first decorator."""
        return min([self.node.lineno, *(each.lineno for each in self.node.decorator_list)])

    @property
    def parameters(self) -> list[str]:
        """Return the names of what may be given by position."""
        return [each.arg for each in (*self.node.args.posonlyargs, *self.node.args.args)]

    @cached_property
    def defaults(self) -> dict[str, ast.expr]:
        """Return what its parameters are where nothing is given."""
        given = self.node.args
        found = dict(zip(self.parameters[::-1], given.defaults[::-1], strict=False))
        by_name = zip(given.kwonlyargs, given.kw_defaults, strict=True)
        return found | {each.arg: value for each, value in by_name if value is not None}

    def is_decorated(self, name: str) -> bool:
        """Return whether it has a decorator of this name, as ``staticmethod``."""
        return any(isinstance(each, ast.Name) and each.id == name for each in self.node.decorator_list)

    def method(self) -> Function | None:
        """Return the method that it is, or that it is defined in."""
        found: Function | None = self
        while found is not None and found.owner is None:
            found = found.parent
        return found

    def scope_of(self, name: str) -> Function | None:
        """Return the function, this one or one around it, whose variable a name is; None of a global one."""
        found: Function | None = self
        while found is not None:
            if name in found._names.outer:
                return None
            if found._names.counts[name]:
                return found
            found = found.parent
        return None

    def assigned(self, name: str) -> ast.expr | None:
        """Return what a variable of its own is, which is assigned to once and nowhere else."""
        return self._names.values.get(name) if self._names.counts[name] == 1 else None

    def mentions(self, name: str) -> bool:
        """Return whether a name stands in its text: much quicker than to go through its syntax."""
        wanted = name.encode()
        lines = self.source.lines[self.node.lineno - 1 : self.node.end_lineno]
        return not name.isascii() or any(wanted in line for line in lines)

    @cached_property
    def _names(self) -> _Names:
        return _Names(self.node)


class _Names:
    """Count how often a function binds each name, and hold what it assigns to them."""

    def __init__(self, node: Definition) -> None:
        self.counts: Counter[str] = Counter()
        self.values: dict[str, ast.expr] = {}
        self.outer: set[str] = set()
        nonlocals: set[str] = set()
        given = node.args
        parameters = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
        self.counts.update(each.arg for each in parameters if each is not None)
        for each in _within(node.body):
            if isinstance(each, ast.Global):
                self.outer.update(each.names)
            elif isinstance(each, ast.Nonlocal):
                nonlocals.update(each.names)
            elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store | ast.Del):
                self.counts[each.id] += 1
            elif isinstance(each, ast.alias):
                self.counts[(each.asname or each.name).partition(".")[0]] += 1
            elif isinstance(each, _NAMED) and each.name is not None:
                self.counts[each.name] += 1
            elif isinstance(each, ast.MatchMapping) and each.rest is not None:
                self.counts[each.rest] += 1
            self.values.update(_assigned(each))
        for name in nonlocals:
            del self.counts[name]


def _within(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield what belongs to a function itself, and not to one defined in it."""
    pending = list(body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Definition | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.comprehension):
            pending += [node.iter, *node.ifs]  # its variables are its own
        else:
            pending += ast.iter_child_nodes(node)


def _assigned(node: ast.AST) -> dict[str, ast.expr]:
    pairs: list[tuple[ast.expr, ast.expr]] = []
    if isinstance(node, ast.Assign):
        pairs = [pair for target in node.targets for pair in pairs_of(target, node.value)]
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        pairs = [(node.target, node.value)]
    return {target.id: value for target, value in pairs if isinstance(target, ast.Name)}


def pairs_of(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Return what is assigned to what: of ``a, b = b, {}`` two pairs."""
    if not isinstance(target, ast.Tuple):
        return [(target, value)]
    if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return []


class Source:
    """One file: its lines, its functions, and its classes with their qualified names."""

    def __init__(self, tree: ast.Module, text: bytes) -> None:
        self.lines = text.split(b"\n")
        self.functions: list[Function] = []
        self.classes: list[tuple[str, ast.ClassDef]] = []
        self._methods: dict[ast.ClassDef, dict[str, Function]] = {}
        self._plain: dict[tuple[Function | None, str], Function] = {}
        self._collect(tree.body, prefix="", parent=None, owner=None)

    def at_line(self, line: int) -> Function | None:
        """Return the function whose code starts at a line."""
        return next((each for each in self.functions if each.first_line == line), None)

    def methods(self, owner: ast.ClassDef) -> dict[str, Function]:
        """Return the functions that stand in the body of a class."""
        return self._methods.get(owner, {})

    def defined(self, name: str, parent: Function | None) -> Function | None:
        """Return the function of a name that is defined in another, or in none."""
        return self._plain.get((parent, name))

    def _collect(
        self, body: Sequence[ast.AST], *, prefix: str, parent: Function | None, owner: ast.ClassDef | None
    ) -> None:
        # Functions stand among statements alone: the expressions, which are most of it, are left out.
        for node in body:
            if isinstance(node, Definition):
                function = Function(node, source=self, parent=parent, owner=owner)
                self.functions.append(function)
                if owner is None:
                    self._plain[parent, node.name] = function
                else:
                    self._methods.setdefault(owner, {})[node.name] = function
                inner = f"{prefix}{node.name}.<locals>."
                self._collect(node.body, prefix=inner, parent=function, owner=None)
            elif isinstance(node, ast.ClassDef):
                self.classes.append((f"{prefix}{node.name}", node))
                self._collect(node.body, prefix=f"{prefix}{node.name}.", parent=parent, owner=node)
            else:
                for part in ("body", "orelse", "finalbody", "handlers", "cases"):
                    inside = getattr(node, part, ())
                    if isinstance(inside, list):  # of a lambda the body is an expression
                        self._collect(inside, prefix=prefix, parent=parent, owner=owner)


class Sources:
    """The files that one question needs, each read once. They are kept no longer than that: it is much."""

    def __init__(self) -> None:
        self._read: dict[str, Source | None] = {}

    def of(self, names: dict[str, object]) -> Source | None:
        """Return the file of a module by its globals; None where it has none that can be read."""
        filename = names.get("__file__")
        if type(filename) is not str:
            return None
        if filename not in self._read:
            self._read[filename] = _read(filename)
        return self._read[filename]


def _read(filename: str) -> Source | None:
    # 0.2 s for 4,000 lines, were all of its syntax gone through.
    tree = compile_file(filename, flags=ast.PyCF_ONLY_AST)
    return None if tree is None else Source(tree, Path(filename).read_bytes())
