"""What is known of a container's length, and of other limits, at each place in the body of a function.

A comparison holds for all that stands below it, in the functions that are called there as well; and where an
``if`` returns, what it asks for doesn't hold behind it.
"""

from __future__ import annotations

import ast
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pytest_memalert.attribution.reading.known_values import ENDLESS, UNKNOWN, number
from pytest_memalert.attribution.reading.naming import Path, Place, path_of
from pytest_memalert.attribution.reading.source import Function
from pytest_memalert.records import record

__all__ = ["Bound", "Conditions", "Reading", "bound", "names_in", "operand_of_minus"]

#: Methods that give all of a container, or of a stream.
_ALL_OF_IT = frozenset({"getvalue", "items", "keys", "values"})
_ORDERING = ast.Lt | ast.LtE | ast.Gt | ast.GtE


@record(frozen=True, slots=True, kw_only=True)
class Bound:
    """Say that a container is longer than a limit, or isn't; the limit is None where it isn't known.

    One that ``inverts`` is all that was asked for: where that doesn't hold, the opposite does.
    """

    is_over: bool
    limit: float | None
    inverts: bool = True


@record(slots=True, kw_only=True)
class Reading:
    """Hold how many functions may still be gone through, and which are being."""

    left: int
    inside: tuple[Function, ...] = ()
    #: How many names may still be looked up: where each is made of two others, that is 2**n.
    names: int = 5000

    @contextmanager
    def of(self, function: Function) -> Iterator[None]:
        """Note that a function is being gone through."""
        before = self.inside
        self.inside = (*before, function)
        self.left -= 1
        yield
        self.inside = before


class Conditions(ast.NodeVisitor, ABC):
    """Go through a function, and hold what is known at the place that is visited."""

    def __init__(
        self,
        function: Function,
        place: Place,
        reading: Reading,
        *,
        given: Mapping[str, float | None] | None = None,
        paths: frozenset[Path] = frozenset(),
    ) -> None:
        self.function = function
        #: What its caller knows of the length where it didn't raise.
        self.raises: list[Bound] = []
        self._place = place
        self._reading = reading
        self._given = given or {}
        self._paths = place.paths(function) | paths
        #: Variables that are the length, or as much more or less than it.
        self._lengths: dict[str, float] = {}
        self._bounds: list[Bound] = []
        #: What is known of the length behind an ``if`` that returns.
        self._after: list[Bound] = []
        #: Variables that are elements, and those that are lists of what is too old, or too much.
        self._elements: set[str] = set()
        self._doomed: set[str] = set()
        self._loops = self._limited = self._aged = 0
        self._own_bounds = 0

    @abstractmethod
    def _called(self, called: ast.expr, call: ast.Call | None) -> Conditions | None:
        """Return what is to be gone through of a function that is called here, with what it is given."""

    def _go_through(self, outer: Conditions | None) -> None:
        """Visit the function; called within ``outer``, what holds there holds here."""
        if outer is not None:
            self._bounds = [*outer._bounds, *outer._after]
            self._own_bounds = len(self._bounds)
            self._loops, self._limited, self._aged = outer._loops, outer._limited, outer._aged
        with self._reading.of(self.function):
            self._visit_all(self.function.node.body)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        bounds = self._bounds_of(node.test)
        with self._under(node.test, bounds):
            self._visit_all(node.body)
        with self._under(node.test, _negated(bounds)):
            self._visit_all(node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        bounds = self._bounds_of(node.test)
        with self._under(node.test, bounds):
            self.visit(node.body)
        with self._under(node.test, _negated(bounds)):
            self.visit(node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        bounds = self._bounds_of(node.values[0])
        with self._under(node.values[0], bounds if isinstance(node.op, ast.And) else _negated(bounds)):
            for value in node.values[1:]:
                self.visit(value)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        bounds = self._bounds_of(node.test)
        with self._under(node.test, bounds, loop=True):
            self._visit_all(node.body)
        self._after += _negated(bounds)
        self._visit_all(node.orelse)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        each = self._expanded(node.iter)
        if self._mentions(each):
            self._elements |= names_in(node.target)
        with self._under(each, self._bounds_of_loop(each), loop=True):
            is_doomed = bool(names_in(node.iter) & self._doomed)
            self._limited += is_doomed
            self._visit_all(node.body)
            self._limited -= is_doomed
        self._visit_all(node.orelse)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self.visit_For(node)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:
            offset = self._offset(node.subject)
            if offset is not None and isinstance(case.pattern, ast.MatchAs) and case.pattern.name:
                self._lengths[case.pattern.name] = offset
            if case.guard is None:
                self._visit_all(case.body)
                continue
            self.visit(case.guard)
            with self._under(case.guard, self._bounds_of(case.guard)):
                self._visit_all(case.body)

    def visit_Assert(self, node: ast.Assert) -> None:
        self.generic_visit(node)
        self._after += self._bounds_of(node.test)

    def visit_Return(self, node: ast.Return) -> None:
        self.generic_visit(node)
        self._after += self._leaves()

    def visit_Raise(self, node: ast.Raise) -> None:
        self.generic_visit(node)
        self._after += self._leaves()
        self.raises += self._leaves()

    def visit_Break(self, node: ast.Break) -> None:
        self._after += self._leaves()

    def visit_Continue(self, node: ast.Continue) -> None:
        self._after += self._leaves()

    def _leaves(self) -> list[Bound]:
        return _negated(self._bounds[self._own_bounds :])

    @contextmanager
    def _under(self, test: ast.expr, bounds: list[Bound], *, loop: bool = False) -> Iterator[None]:
        """Note that what is visited depends on an expression, which may compare one thing with another."""
        is_limit, is_aged = self._compares_sizes(test), self._asks_elements(test)
        known, after = len(self._bounds), len(self._after)
        self._bounds += bounds
        self._loops += loop
        self._limited += is_limit
        self._aged += is_aged
        yield
        del self._bounds[known:]
        self._loops -= loop
        self._limited -= is_limit
        self._aged -= is_aged
        if loop:
            del self._after[after:]  # who breaks out of a loop is behind it

    def _visit_all(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            self.visit(statement)

    def _bounds_of(self, test: ast.expr, *, holds: bool = True) -> list[Bound]:
        """Return what is known of the length where an expression holds, or where it doesn't."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self._bounds_of(test.operand, holds=not holds)
        if isinstance(test, ast.BoolOp):
            return self._bounds_of_several(test, holds=holds)
        if isinstance(test, ast.Compare):
            found = self._compared(test)
            return found if holds else _negated(found)
        offset = self._offset(test)
        if offset is not None:  # ``while excess:``
            return [] if offset == 0 else bound(is_over=holds, limit=-offset)
        if isinstance(test, ast.BinOp) and isinstance(test.op, ast.Mod) and self._offset(test.left) == 0:
            return bound(is_over=not holds, limit=self._number(test.right))
        if isinstance(test, ast.Name) and (value := self.function.assigned(test.id)) is not None:
            return [] if isinstance(value, ast.Name) else self._bounds_of(value, holds=holds)
        with self._returned(test) as returned:
            return [] if returned is None else returned[0]._bounds_of(returned[1], holds=holds)

    def _bounds_of_several(self, test: ast.BoolOp, *, holds: bool) -> list[Bound]:
        """Return what is known where all of several hold, or none; where one does, what all of them ask for.

        But whether an element is there already says no more than that it may be added.
        """
        others = [value for value in test.values if not self._asks_for_element(value)]
        found = [self._bounds_of(value, holds=holds) for value in others]
        known = [each for bounds in found for each in bounds]
        if len(others) < 2:
            return known
        is_each = isinstance(test.op, ast.And) == holds
        return [replace(each, inverts=False) for each in known] if is_each or all(found) else []

    def _asks_for_element(self, test: ast.expr) -> bool:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self._asks_for_element(test.operand)
        is_in = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.In | ast.NotIn)
        return is_in or self._is(test)

    def _compared(self, node: ast.Compare) -> list[Bound]:
        found = []
        sides = [node.left, *node.comparators]
        for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
            if not isinstance(op, _ORDERING | ast.Eq | ast.NotEq):
                continue
            is_over = isinstance(op, ast.Gt | ast.GtE | ast.Eq)
            for one, other, over in (
                (left, right, is_over),
                (right, left, isinstance(op, ast.Lt | ast.LtE | ast.Eq)),
            ):
                offset = self._offset(one)
                if offset is not None:
                    limit = self._number(other)
                    found += bound(is_over=over, limit=None if limit is None else limit - offset)
                elif isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mod):
                    is_zero = self._offset(one.left) == 0 and self._number(other) == 0
                    is_multiple = isinstance(op, ast.Eq)
                    found += bound(is_over=is_multiple, limit=self._number(one.right)) if is_zero else []
        return found

    def _bounds_of_loop(self, each: ast.expr) -> list[Bound]:
        """Return what is known of the length in a loop over ``kept[:-9]`` or ``range(len(kept) - 9)``."""
        found = []
        for node in ast.walk(each):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
                end = operand_of_minus(node.slice.upper)
                if end is not None and self._mentions(node.value):
                    found += bound(is_over=True, limit=self._number(end))
            elif isinstance(node, ast.BinOp | ast.Name):
                offset = self._offset(node)
                if offset is not None and offset != 0:
                    found += bound(is_over=True, limit=-offset)
        return found

    def _compares_sizes(self, expression: ast.expr) -> bool:
        """Return whether an expression asks which of two is more: the later, or the larger.

        There must be a limit, and what is compared with it, after many additions, no longer 0. The length of
        the container is another matter.
        """
        parts = list(ast.walk(expression))
        if any(self._is_every_so_many(each) for each in parts):
            return True
        compared = [each for each in parts if isinstance(each, ast.Compare)]
        return any(
            isinstance(op, _ORDERING)
            for each in compared
            if not any(
                self._offset(side) is not None or self._number(side) in (0, ENDLESS)
                for side in (each.left, *each.comparators)
            )
            for op in each.ops
        )

    def _is_every_so_many(self, node: ast.AST) -> bool:
        """Return whether something other than the length is divided, as ``calls % 500``."""
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mod):
            return False
        each = self._number(node.right)
        return each is not None and each > 1 and self._offset(node.left) is None and self._counts(node.left)

    def _counts(self, node: ast.expr) -> bool:
        """Return whether an expression outlasts a call: a global, an attribute, ``next(number)``."""
        value = self._expanded(node)
        if isinstance(value, ast.Call):
            return path_of(value.func) == ("next",)
        path = path_of(value)
        if path is None:
            return False
        is_own = self.function.scope_of(path[0]) is self.function
        return not is_own or (len(path) > 1 and path[0] == self._place.instance(self.function))

    def _asks_elements(self, expression: ast.expr) -> bool:
        """Return whether an expression calls a method of an element, as ``entry.expired()``."""
        elements = set(self._elements)
        for each in ast.walk(expression):
            if isinstance(each, ast.comprehension) and self._mentions(each.iter):
                elements |= names_in(each.target)
        return any(
            isinstance(each, ast.Call)
            and isinstance(each.func, ast.Attribute)
            and isinstance(each.func.value, ast.Name)
            and each.func.value.id in elements
            for each in ast.walk(expression)
        )

    # ------------------------------------------------------------ what expressions are

    @contextmanager
    def _returned(self, node: ast.expr) -> Iterator[tuple[Conditions, ast.expr] | None]:
        """Provide what a function returns at its end that is called here, or read as a property."""
        found = self._find_returned(node)
        if found is None:
            yield None
        else:
            with self._reading.of(found[0].function):
                yield found

    def _find_returned(self, node: ast.expr) -> tuple[Conditions, ast.expr] | None:
        call = node if isinstance(node, ast.Call) else None
        if call is None and not isinstance(node, ast.Attribute):
            return None
        if call is not None and path_of(call.func) == ("len",) and len(call.args) == 1:
            called = self._called(ast.Attribute(call.args[0], "__len__"), None)
        else:
            called = self._called(node if call is None else call.func, call)
        if called is None or (call is None and not called.function.is_decorated("property")):
            return None
        last = called.function.node.body[-1]
        return (called, last.value) if isinstance(last, ast.Return) and last.value is not None else None

    def _offset(self, node: ast.expr) -> float | None:
        """Return how much more than the length an expression is: None where it is none.

        It is not a number where it isn't known by how much.
        """
        if isinstance(node, ast.NamedExpr):
            return self._offset(node.value)
        self._reading.names -= 1
        if self._reading.names <= 0:
            return None
        if isinstance(node, ast.Name):
            value = None if node.id in self._lengths else self.function.assigned(node.id)
            return self._lengths.get(node.id) if value is None else self._offset(value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            offset = self._offset(node.left)
            if offset is None:
                return None
            more = self._number(node.right)
            more = math.nan if more is None else more
            return offset + more if isinstance(node.op, ast.Add) else offset - more
        if isinstance(node, ast.Call) and path_of(node.func) == ("len",) and len(node.args) == 1:
            counted = node.args[0]
            if isinstance(counted, ast.Call) and isinstance(counted.func, ast.Attribute):
                counted = counted.func.value if counted.func.attr in _ALL_OF_IT else counted
            if self._is(counted):
                return 0
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tell":
            return 0 if self._is(node.func.value) else None  # a stream's
        with self._returned(node) as returned:
            return None if returned is None else returned[0]._offset(returned[1])

    def _number(self, expression: ast.expr) -> float | None:
        return number(expression, self._look_up)

    def _look_up(self, expression: ast.expr) -> object:
        """Return what a name or an attribute stands for here."""
        path = path_of(expression)
        self._reading.names -= 1
        if path is None or self._reading.names <= 0:
            return UNKNOWN
        if len(path) == 1 and self.function.scope_of(path[0]) is self.function:
            if path[0] in self._given:
                value = self._given[path[0]]
            else:
                known = self.function.assigned(path[0]) or self.function.defaults.get(path[0])
                value = None if known is None or names_in(known) & {path[0]} else self._number(known)
            return UNKNOWN if value is None else value
        if isinstance(expression, ast.Attribute):
            with self._returned(expression) as returned:
                if returned is not None:
                    value = returned[0]._number(returned[1])
                    return UNKNOWN if value is None else value
        return self._place.value(self.function, path)

    def _is(self, node: ast.expr) -> bool:
        """Return whether an expression is the container."""
        return path_of(node) in self._paths

    def _mentions(self, node: ast.expr) -> bool:
        return any(isinstance(each, ast.expr) and self._is(each) for each in ast.walk(node))

    def _expanded(self, node: ast.expr) -> ast.expr:
        """Return what a variable is that is assigned to once."""
        value = self.function.assigned(node.id) if isinstance(node, ast.Name) else None
        return node if value is None or self._is(node) else value


def bound(*, is_over: bool, limit: float | None) -> list[Bound]:
    """Return a bound, if it is one: the last one that stays on a stack, and infinity, are none."""
    if limit is None or math.isnan(limit):
        return [Bound(is_over=is_over, limit=None)]
    return [Bound(is_over=is_over, limit=limit)] if 1 < limit < ENDLESS else []


def _negated(bounds: list[Bound]) -> list[Bound]:
    return [Bound(is_over=not each.is_over, limit=each.limit) for each in bounds if each.inverts]


def operand_of_minus(value: ast.expr | None) -> ast.expr | None:
    return value.operand if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub) else None


def names_in(node: ast.expr) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
