"""What the body of a function does to a container: adds to it, removes from it, and under which conditions.

The functions that it calls are gone through where they are called: a comparison holds for all that stands
below it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pytest_memalert.attribution.known_values import ENDLESS, UNKNOWN, number
from pytest_memalert.attribution.naming import Path, Place, path_of
from pytest_memalert.attribution.source import Function, pairs_of
from pytest_memalert.records import record

__all__ = ["Habits", "Reading"]

_ADDING = frozenset(
    {"__setitem__", "add", "append", "appendleft", "extend", "insert", "push", "setdefault", "update"}
)
_REMOVING = frozenset({"__delitem__", "clear", "discard", "pop", "popitem", "popleft", "remove"})
# Functions of heapq and bisect, which take the list as an argument.
_ORDERED = frozenset(
    {"heappop", "heappush", "heappushpop", "heapreplace", "insort", "insort_left", "insort_right"}
)
_LARGEST = frozenset({"nlargest", "nsmallest"})
_CLOCKS = frozenset({"monotonic", "monotonic_ns", "now", "perf_counter", "time", "time_ns", "utcnow"})
#: Calls within calls that are followed, and functions gone through for one container.
_DEEPEST = 3
_MOST_FUNCTIONS = 400


@record(frozen=True, slots=True, kw_only=True)
class _Bound:
    """Say that a container is longer than a limit, or isn't; the limit is None where it isn't known."""

    is_over: bool
    limit: float | None


@record(slots=True, kw_only=True)
class Reading:
    """Hold how many functions may still be gone through, and which are being."""

    left: int = _MOST_FUNCTIONS
    inside: tuple[Function, ...] = ()

    @contextmanager
    def of(self, function: Function) -> Iterator[None]:
        """Note that a function is being gone through."""
        before = self.inside
        self.inside = (*before, function)
        self.left -= 1
        yield
        self.inside = before


class Habits(ast.NodeVisitor):
    """Read what one function does with a container, together with those it calls.

    It ``adds`` to it, or ``calls_adding``; it ``removes`` from it. ``limits`` are the lengths that it removes
    beyond, or adds no more beyond, None for those that aren't known. It ``removes_beyond`` some other limit
    where it removes all for which a comparison of anything else holds, ``by_age`` where that is of time.
    """

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
        self.adds = self.calls_adding = self.removes = self.removes_beyond = self.by_age = False
        self.limits: list[float | None] = []
        #: What its caller knows of the length where it didn't raise.
        self.raises: list[_Bound] = []
        self._place = place
        self._reading = reading
        self._given = given or {}
        self._paths = place.paths(function) | paths
        #: Variables that are the length, or as much more or less than it.
        self._lengths: dict[str, float] = {}
        self._bounds: list[_Bound] = []
        #: What is known of the length behind an ``if`` that returns.
        self._after: list[_Bound] = []
        #: Variables that are elements, and those that are lists of what is too old, or too much.
        self._elements: set[str] = set()
        self._doomed: set[str] = set()
        self._loops = self._limited = self._aged = 0
        self._own_bounds = 0

    def read(self, *, outer: Habits | None = None) -> Habits:
        """Go through the function; called within ``outer``, what holds there holds here."""
        if outer is not None:
            self._bounds = [*outer._bounds, *outer._after]
            self._own_bounds = len(self._bounds)
            self._loops, self._limited, self._aged = outer._loops, outer._limited, outer._aged
        with self._reading.of(self.function):
            self._visit_all(self.function.node.body)
        return self

    # ------------------------------------------------------------ conditions

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
            self._elements |= _names_in(node.target)
        with self._under(each, self._bounds_of_loop(each), loop=True):
            is_doomed = bool(_names_in(node.iter) & self._doomed)
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

    def _leaves(self) -> list[_Bound]:
        return _negated(self._bounds[self._own_bounds :])

    @contextmanager
    def _under(self, test: ast.expr, bounds: list[_Bound], *, loop: bool = False) -> Iterator[None]:
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

    def _bounds_of(self, test: ast.expr, *, holds: bool = True) -> list[_Bound]:
        """Return what is known of the length where an expression holds, or where it doesn't."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self._bounds_of(test.operand, holds=not holds)
        if isinstance(test, ast.BoolOp):
            return [bound for value in test.values for bound in self._bounds_of(value, holds=holds)]
        if isinstance(test, ast.Compare):
            found = self._compared(test)
            return found if holds else _negated(found)
        offset = self._offset(test)
        if offset is not None:  # ``while excess:``
            return [] if offset == 0 else _bound(is_over=holds, limit=-offset)
        if isinstance(test, ast.BinOp) and isinstance(test.op, ast.Mod) and self._offset(test.left) == 0:
            return _bound(is_over=not holds, limit=self._number(test.right))
        if isinstance(test, ast.Name) and (value := self.function.assigned(test.id)) is not None:
            return [] if isinstance(value, ast.Name) else self._bounds_of(value, holds=holds)
        with self._returned(test) as returned:
            return [] if returned is None else returned[0]._bounds_of(returned[1], holds=holds)

    def _compared(self, node: ast.Compare) -> list[_Bound]:
        found = []
        sides = [node.left, *node.comparators]
        for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
            is_over = isinstance(op, ast.Gt | ast.GtE | ast.Eq)
            for one, other, over in (
                (left, right, is_over),
                (right, left, isinstance(op, ast.Lt | ast.LtE | ast.Eq)),
            ):
                offset = self._offset(one)
                if offset is not None:
                    limit = self._number(other)
                    found += _bound(is_over=over, limit=None if limit is None else limit - offset)
                elif isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mod):
                    is_zero = self._offset(one.left) == 0 and self._number(other) == 0
                    is_multiple = isinstance(op, ast.Eq)
                    found += _bound(is_over=is_multiple, limit=self._number(one.right)) if is_zero else []
        return found

    def _bounds_of_loop(self, each: ast.expr) -> list[_Bound]:
        """Return what is known of the length in a loop over ``kept[:-9]`` or ``range(len(kept) - 9)``."""
        found = []
        for node in ast.walk(each):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
                end = _operand_of_minus(node.slice.upper)
                if end is not None and self._mentions(node.value):
                    found += _bound(is_over=True, limit=self._number(end))
            elif isinstance(node, ast.BinOp | ast.Name):
                offset = self._offset(node)
                if offset is not None and offset != 0:
                    found += _bound(is_over=True, limit=-offset)
        return found

    def _compares_sizes(self, expression: ast.expr) -> bool:
        """Return whether an expression asks which of two is more: the later, or the larger.

        There must be a limit, and what is compared with it, after many additions, no longer 0. The length of
        the container is another matter.
        """
        compared = [each for each in ast.walk(expression) if isinstance(each, ast.Compare)]
        return any(
            isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
            for each in compared
            if not any(
                self._offset(side) is not None or self._number(side) in (0, ENDLESS)
                for side in (each.left, *each.comparators)
            )
            for op in each.ops
        )

    def _asks_elements(self, expression: ast.expr) -> bool:
        """Return whether an expression calls a method of an element, as ``entry.expired()``."""
        elements = set(self._elements)
        for each in ast.walk(expression):
            if isinstance(each, ast.comprehension) and self._mentions(each.iter):
                elements |= _names_in(each.target)
        return any(
            isinstance(each, ast.Call)
            and isinstance(each.func, ast.Attribute)
            and isinstance(each.func.value, ast.Name)
            and each.func.value.id in elements
            for each in ast.walk(expression)
        )

    # ------------------------------------------------------------ what is done to it

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        name = called or (node.func.id if isinstance(node.func, ast.Name) else None)
        self.by_age |= name in _CLOCKS
        if isinstance(node.func, ast.Attribute) and self._is(node.func.value):
            if called in _ADDING:
                self._add()
            elif called in _REMOVING:
                self._remove(all_of_them=called == "clear")
        elif name in _ORDERED and node.args and self._is(node.args[0]):
            if name != "heappop":
                self._add()
            if name in ("heappop", "heappushpop", "heapreplace"):
                self._remove()
        elif called in ("add", "append") and (self._limited or self._aged):
            path = path_of(node.func) or ()
            self._doomed |= {path[0]} if len(path) == 2 else set()
        self._follow(node.func, node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            pairs = pairs_of(target, node.value)
            for one, value in pairs:
                self._assign(one, value)
            if isinstance(target, ast.Tuple) and not pairs:
                for one in target.elts:
                    self._assign(one, None)
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self._assign(node.target, node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self._assign(node.target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if self._is(node.target):
            if isinstance(node.op, ast.Add | ast.BitOr):
                self._add()
            else:
                self._remove(all_of_them=True)
        elif isinstance(node.target, ast.Subscript):
            self._assign(node.target, node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if not isinstance(target, ast.Subscript):
                continue
            if self._is(target.value):
                part = target.slice
                self._remove(all_of_them=isinstance(part, ast.Slice))
                if isinstance(part, ast.Slice) and part.lower is None:
                    self._trim(_operand_of_minus(part.upper))
            self._follow(ast.Attribute(target.value, "__delitem__"), None)
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        given = {each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
        if not any(path[0] in given for path in self._paths):
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Leave it out: it is gone through where it is called."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Leave it out, too."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Leave its methods out as well."""

    def _add(self) -> None:
        self.adds = True
        self._limit(is_over=False)

    def _remove(self, *, all_of_them: bool = False, limited: bool = False, aged: bool = False) -> None:
        self.removes = True
        self._limit(is_over=True)
        if all_of_them or self._loops:
            aged = aged or self._aged > 0
            self.by_age |= aged
            self.removes_beyond |= limited or aged or self._limited > 0

    def _limit(self, *, is_over: bool) -> None:
        """Take the limit under which something is done, the largest where there are several."""
        found = [each.limit for each in (*self._bounds, *self._after) if each.is_over == is_over]
        known = [limit for limit in found if limit is not None]
        if found:
            self.limits.append(max(known) if known else None)

    def _trim(self, limit: ast.expr | None) -> None:
        if limit is not None:
            self.limits += [bound.limit for bound in _bound(is_over=True, limit=self._number(limit))]

    def _assign(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Subscript):
            if not isinstance(target.slice, ast.Slice):
                self._follow(ast.Attribute(target.value, "__setitem__"), None)
            if not self._is(target.value):
                return
            if not isinstance(target.slice, ast.Slice):
                self._add()
            elif value is not None:
                self._replace(value)
                if target.slice.lower is None and isinstance(value, ast.List) and not value.elts:
                    self._trim(_operand_of_minus(target.slice.upper))
        elif value is not None and self._is(value):
            if isinstance(target, ast.Name):
                self._paths |= {(target.id,)}
        elif self._is(target):
            # A new one is begun, or the end of the old one is kept.
            if self.function.node.name != "__init__":
                self._replace(value)
        elif isinstance(target, ast.Name) and value is not None:
            offset = self._offset(value)
            if offset is not None:
                self._lengths[target.id] = offset

    def _replace(self, value: ast.expr | None) -> None:
        """Note that what the container has becomes something else, perhaps made of what it had."""
        if value is None or not self._mentions(value):
            self._remove(all_of_them=True)
            return
        is_less = False
        for each in ast.walk(value):
            if isinstance(each, ast.Subscript) and isinstance(each.slice, ast.Slice):
                if self._mentions(each.value):
                    is_less = True
                    self._trim(None if each.slice.upper else _operand_of_minus(each.slice.lower))
            elif isinstance(each, ast.Call) and (path_of(each.func) or ("",))[-1] in _LARGEST:
                is_less = True
                self._trim(each.args[0] if each.args else None)
            is_less |= isinstance(each, ast.comprehension) and bool(each.ifs)
        if is_less:
            limited, aged = self._compares_sizes(value), self._asks_elements(value)
            self._remove(all_of_them=True, limited=limited, aged=aged)
        if not is_less or isinstance(value, ast.List | ast.Dict | ast.Set | ast.Tuple | ast.BinOp):
            self._add()

    # ------------------------------------------------------------ what is called

    def _follow(self, called: ast.expr, call: ast.Call | None) -> None:
        habits = self._habits_of(called, call)
        if habits is None:
            return
        habits.read(outer=self)
        self.calls_adding |= habits.adds or habits.calls_adding
        self.removes |= habits.removes
        self.removes_beyond |= habits.removes_beyond
        self.by_age |= habits.by_age
        self.limits += habits.limits
        self._after += habits.raises

    def _habits_of(self, called: ast.expr, call: ast.Call | None) -> Habits | None:
        """Return what is to be read of a function that is called here, with what it is given."""
        found = self._place.called(self.function, called)
        inside = self._reading.inside
        if found is None or found[0] in inside or len(inside) >= _DEEPEST or self._reading.left <= 0:
            return None
        function, taken = found
        arguments: dict[str, ast.expr] = {}
        if call is not None:
            arguments.update(zip(function.parameters[taken:], call.args, strict=False))
            arguments.update((each.arg, each.value) for each in call.keywords if each.arg is not None)
        return Habits(
            function,
            self._place,
            self._reading,
            given={name: self._number(value) for name, value in arguments.items()},
            paths=frozenset((name,) for name, value in arguments.items() if self._is(value)),
        )

    @contextmanager
    def _returned(self, node: ast.expr) -> Iterator[tuple[Habits, ast.expr] | None]:
        """Provide what a function returns at its end that is called here, or read as a property."""
        found = self._find_returned(node)
        if found is None:
            yield None
        else:
            with self._reading.of(found[0].function):
                yield found

    def _find_returned(self, node: ast.expr) -> tuple[Habits, ast.expr] | None:
        call = node if isinstance(node, ast.Call) else None
        if call is None and not isinstance(node, ast.Attribute):
            return None
        if call is not None and path_of(call.func) == ("len",) and len(call.args) == 1:
            habits = self._habits_of(ast.Attribute(call.args[0], "__len__"), None)
        else:
            habits = self._habits_of(node if call is None else call.func, call)
        if habits is None or (call is None and not habits.function.is_decorated("property")):
            return None
        last = habits.function.node.body[-1]
        return (habits, last.value) if isinstance(last, ast.Return) and last.value is not None else None

    # ------------------------------------------------------------ what expressions are

    def _offset(self, node: ast.expr) -> float | None:
        """Return how much more than the length an expression is: None where it is none.

        It is not a number where it isn't known by how much.
        """
        if isinstance(node, ast.NamedExpr):
            return self._offset(node.value)
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
                counted = counted.func.value if counted.func.attr in ("keys", "values", "items") else counted
            if self._is(counted):
                return 0
        with self._returned(node) as returned:
            return None if returned is None else returned[0]._offset(returned[1])

    def _number(self, expression: ast.expr) -> float | None:
        return number(expression, self._look_up)

    def _look_up(self, expression: ast.expr) -> object:
        """Return what a name or an attribute stands for here."""
        path = path_of(expression)
        if path is None:
            return UNKNOWN
        if len(path) == 1 and self.function.scope_of(path[0]) is self.function:
            if path[0] in self._given:
                value = self._given[path[0]]
            else:
                known = self.function.assigned(path[0]) or self.function.defaults.get(path[0])
                value = None if known is None or _names_in(known) & {path[0]} else self._number(known)
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


def _bound(*, is_over: bool, limit: float | None) -> list[_Bound]:
    """Return a bound, if it is one: the last one that stays on a stack, and infinity, are none."""
    if limit is None or math.isnan(limit):
        return [_Bound(is_over=is_over, limit=None)]
    return [_Bound(is_over=is_over, limit=limit)] if 1 < limit < ENDLESS else []


def _negated(bounds: list[_Bound]) -> list[_Bound]:
    return [_Bound(is_over=not each.is_over, limit=each.limit) for each in bounds]


def _operand_of_minus(value: ast.expr | None) -> ast.expr | None:
    return value.operand if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub) else None


def _names_in(node: ast.expr) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
