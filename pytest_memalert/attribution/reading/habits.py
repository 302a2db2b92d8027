"""What the body of a function does to a container: adds to it, removes from it, and beyond which limit.

The functions that it calls are gone through where they are called.
"""

from __future__ import annotations

import ast

from pytest_memalert.attribution.reading.conditions import Conditions, Reading, bound, operand_of_minus
from pytest_memalert.attribution.reading.naming import Path, path_of
from pytest_memalert.attribution.reading.source import pairs_of

__all__ = ["Habits", "Reading"]

_ADDING = frozenset(
    {
        "__setitem__",
        "add",
        "append",
        "appendleft",
        "extend",
        "insert",
        "push",
        "setdefault",
        "update",
        "write",
    }
)
_REMOVING = frozenset({"__delitem__", "clear", "discard", "pop", "popitem", "popleft", "remove", "truncate"})
_EMPTYING = frozenset({"clear", "truncate"})
# Functions of heapq and bisect, which take the list as an argument.
_ORDERED = frozenset(
    {"heappop", "heappush", "heappushpop", "heapreplace", "insort", "insort_left", "insort_right"}
)
_LARGEST = frozenset({"nlargest", "nsmallest"})
# What gives one of several: with a limit, one is let go of for each that is added.
_FIRST = frozenset({"max", "min", "next"})
_TAKING = frozenset({"heappop", "pop", "popleft"})
_CLOCKS = frozenset(
    {"clock", "monotonic", "monotonic_ns", "now", "perf_counter", "time", "time_ns", "utcnow"}
)
# What may put more into a new one: ``[*kept, one]``, ``kept + [one]``.
_JOINING = ast.List | ast.Dict | ast.Set | ast.Tuple | ast.Add | ast.BitOr
#: Calls within calls that are followed.
_DEEPEST = 3


# The visitor is named once more for the linter: by it the names of its methods are known.
class Habits(Conditions, ast.NodeVisitor):
    """Read what one function does with a container, together with those it calls.

    It ``adds`` to it, or ``calls_adding``; it ``removes`` from it. ``limits`` are the lengths that it removes
    beyond, or adds no more beyond, None for those that aren't known. It ``removes_beyond`` some other limit
    where it removes all for which a comparison of anything else holds, ``by_age`` where that is of time.
    """

    adds = calls_adding = removes = removes_beyond = by_age = False

    def read(self, *, outer: Habits | None = None) -> Habits:
        """Go through the function, which ``outer`` calls."""
        self.limits: list[float | None] = []
        self._go_through(outer)
        return self

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        name = called or (node.func.id if isinstance(node.func, ast.Name) else None)
        self.by_age |= name in _CLOCKS
        if isinstance(node.func, ast.Attribute) and self._is(node.func.value):
            if called in _ADDING:
                self._add()
            elif called in _REMOVING:
                self._remove(all_of_them=called in _EMPTYING or any(map(self._picks, node.args)))
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
                self._remove(all_of_them=isinstance(part, ast.Slice) or self._picks(part))
                if isinstance(part, ast.Slice) and part.lower is None:
                    self._trim(operand_of_minus(part.upper))
            self._follow(ast.Attribute(target.value, "__delitem__"), None)
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Leave it out: who is given it may never call it, as ``lambda: handlers.remove(handler)``."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Leave it out: it is gone through where it is called."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Leave it out, too."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Leave its methods out as well."""

    def _picks(self, key: ast.expr) -> bool:
        """Return whether a key is the oldest, say: by the container's order, or that of another one.

        The function adds to that, too. It is no key that was looked up, nor one that comes from elsewhere.
        """
        taken = self._expanded(key)
        if not isinstance(taken, ast.Call):
            return False
        *owner, name = path_of(taken.func) or ("",)
        if name in _FIRST:
            return any(map(self._mentions, taken.args))
        beside = tuple(owner) or (path_of(taken.args[0]) if taken.args else None)
        if name not in _TAKING or not beside:
            return False
        calls = (each for each in ast.walk(self.function.node) if isinstance(each, ast.Call))
        return any(beside == _added_to(each) for each in calls)

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
            self.limits += [each.limit for each in bound(is_over=True, limit=self._number(limit))]

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
                    self._trim(operand_of_minus(target.slice.upper))
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
                    self._trim(None if each.slice.upper else operand_of_minus(each.slice.lower))
            elif isinstance(each, ast.Call) and (path_of(each.func) or ("",))[-1] in _LARGEST:
                is_less = True
                self._trim(each.args[0] if each.args else None)
            is_less |= isinstance(each, ast.comprehension) and bool(each.ifs)
        if is_less:
            limited, aged = self._compares_sizes(value), self._asks_elements(value)
            self._remove(all_of_them=True, limited=limited, aged=aged)
        if not is_less or any(isinstance(each, _JOINING) for each in ast.walk(value)):
            self._add()

    def _follow(self, called: ast.expr, call: ast.Call | None) -> None:
        habits = self._called(called, call)
        if habits is None:
            return
        habits.read(outer=self)
        self.calls_adding |= habits.adds or habits.calls_adding
        self.removes |= habits.removes
        self.removes_beyond |= habits.removes_beyond
        self.by_age |= habits.by_age
        self.limits += habits.limits
        self._after += habits.raises

    def _called(self, called: ast.expr, call: ast.Call | None) -> Habits | None:
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


def _added_to(call: ast.Call) -> Path | None:
    """Return what a call may add to: whose method it is, or the list that heapq is given."""
    path = path_of(call.func) or ("",)
    if path[-1] in _ORDERED and call.args:
        return path_of(call.args[0])
    return path[:-1] if path[-1] in _ADDING else None
