"""What an expression in source code comes to, as far as that is known without running it.

Attributes are read from the dicts of instances, classes and modules alone: a property, or ``__getattr__``,
would run code of the user's.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from types import ModuleType
from typing import cast

from pytest_memalert.attribution.objects import bases_of, class_dict, is_kind, module_dict, own_attributes

__all__ = ["ENDLESS", "UNKNOWN", "attribute", "number"]

#: No test reaches so many, nor so many bytes: ``sys.maxsize``, infinity, and None where a limit is asked for.
ENDLESS = float(2**62)
UNKNOWN = object()

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"int": int, "max": max, "min": min, "round": round}
#: More would be a long computation, and no limit: ``1 << 30``, ``2 ** 20``.
_LARGEST_POWER = 62


def attribute(obj: object, name: str) -> object:
    """Return an attribute as it is stored."""
    if is_kind(obj, ModuleType):
        return module_dict(cast(ModuleType, obj)).get(name, UNKNOWN)
    found: object = UNKNOWN
    for base in reversed(bases_of(cast(type, obj) if is_kind(obj, type) else type(obj))):
        found = class_dict(base).get(name, found)
    return found if is_kind(obj, type) else own_attributes(obj).get(name, found)


def number(expression: ast.expr, look_up: Callable[[ast.expr], object]) -> float | None:
    """Return the number that an expression is: None where it isn't known, ``ENDLESS`` where it is no limit.

    ``look_up`` returns what a name or an attribute stands for.
    """
    if isinstance(expression, ast.Constant):
        return _plain(expression.value)
    if isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.USub):
        value = number(expression.operand, look_up)
        return None if value is None else -value
    if isinstance(expression, ast.BinOp):
        return _computed(expression.op, number(expression.left, look_up), number(expression.right, look_up))
    if isinstance(expression, ast.Call):
        return _called(expression, look_up)
    if isinstance(expression, ast.Name | ast.Attribute):
        return _plain(look_up(expression))
    return None


def _plain(value: object) -> float | None:
    if value is None:
        return ENDLESS
    return min(value, ENDLESS) if type(value) is int or type(value) is float else None


def _computed(op: ast.operator, left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    if abs(left) >= ENDLESS or abs(right) >= ENDLESS:
        return left if abs(left) >= ENDLESS else right
    if isinstance(op, ast.Pow | ast.LShift):
        if type(right) is not int or not 0 <= right <= _LARGEST_POWER or abs(left) > _LARGEST_POWER:
            return None
        return min(left * 2**right if isinstance(op, ast.LShift) else left**right, ENDLESS)
    compute = _OPERATORS.get(type(op))
    try:
        return None if compute is None else min(compute(left, right), ENDLESS)
    except ArithmeticError:
        return None


def _called(call: ast.Call, look_up: Callable[[ast.expr], object]) -> float | None:
    if not isinstance(call.func, ast.Name) or call.keywords or look_up(call.func) is not UNKNOWN:
        return None
    if call.func.id == "float" and len(call.args) == 1 and isinstance(call.args[0], ast.Constant):
        return ENDLESS if str(call.args[0].value).lower() in ("inf", "infinity") else None
    values = [number(each, look_up) for each in call.args]
    function = _FUNCTIONS.get(call.func.id)
    if function is None or not values or any(value is None for value in values):
        return None
    try:
        return function(*values)
    except (ArithmeticError, TypeError, ValueError):
        return None
