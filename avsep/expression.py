"""Filter expressions over scores, as in `params.yaml`, evaluated without `eval`.

    asd_conf > 1 and abs(av_offset) <= 3 and yaw_p90_deg < 45

An expression may use numbers, quoted texts, names of scores, `+ - * /`, comparisons (also chained,
and `in` a list), `and or not`, `abs min max`, and `has(name)`. A comparison with a score that an
item lacks is unknown, and an item is not selected if the result is unknown; to select such items
write `not has(x) or x > 1`. (Kleene's logic: `unknown or true` is true.)
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = 1  # of the language; a new version repeats the selection
MAX_LENGTH = 2000
MAX_NODES = 300

Value = float | str
Truth = bool | None
"""None: unknown, because a score is missing."""

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else math.nan,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"abs": abs, "min": min, "max": max}


@dataclass(frozen=True)
class Expression:
    """A checked filter expression; empty text selects everything.

    Attributes:
        text: the expression as written.
        names: names of the scores that it uses.
    """

    text: str
    names: frozenset[str] = field(init=False)
    _tree: ast.expr | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tree = _parse(self.text) if self.text.strip() else None
        object.__setattr__(self, "_tree", tree)
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} if tree else set()
        object.__setattr__(self, "names", frozenset(names - _FUNCTIONS.keys() - {"has"}))

    def selects(self, scores: Mapping[str, Value]) -> Truth:
        """Whether an item with these scores is selected; None when a missing score decides.

        Raises:
            ValueError: a text is compared with a number, or calculated with.
        """
        return True if self._tree is None else _truth(self._tree, scores)

    def missing(self, scores: Mapping[str, Value]) -> list[str]:
        """The scores that the expression uses and an item lacks."""
        return sorted(name for name in self.names if _lacks(scores.get(name)))

    def why_not(self, scores: Mapping[str, Value]) -> str:
        """Why an item with these scores is not selected, in one sentence; empty if it is.

        Raises:
            ValueError: a text is compared with a number, or calculated with.
        """
        selected = self.selects(scores)
        if selected is None:
            return f"it has no {', '.join(self.missing(scores))}, which select asks for."
        if selected:
            return ""
        shown = [f"{name} {_shown(scores[name])}" for name in sorted(self.names & scores.keys())]
        return f"it is not selected: {', '.join(shown) or self.text}."


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"the expression has {len(text)} characters; at most {MAX_LENGTH}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f"{text!r} is not an expression: {reason}.") from error
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ValueError(f"the expression has more than {MAX_NODES} parts.")
    _check_truth(tree)
    return tree


def _check_truth(node: ast.expr) -> None:
    """Pass when a node is a condition."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check_truth(part)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_truth(node.operand)
    elif isinstance(node, ast.Compare):
        _check_comparison(node)
    elif _is_has(node):
        pass
    else:
        raise ValueError(f"`{ast.unparse(node)}` is not a condition; compare it with something.")


def _check_comparison(node: ast.Compare) -> None:
    _check_value(node.left)
    for op, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, (ast.In, ast.NotIn)):
            if not isinstance(right, (ast.List, ast.Tuple)):
                raise ValueError(f"`{ast.unparse(right)}` is not a list; write in ['f', 'm'].")
            for element in right.elts:
                _check_value(element)
        elif type(op) in _COMPARE:
            _check_value(right)
        else:
            raise ValueError(f"`{ast.unparse(node)}` uses an unknown comparison.")


def _check_value(node: ast.expr) -> None:
    """Pass when a node is a number or a text."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float, str)):
            raise ValueError(f"`{ast.unparse(node)}` is neither a number nor a text.")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        _check_value(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _check_value(node.left)
        _check_value(node.right)
    elif isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _FUNCTIONS or node.keywords or not node.args:
            raise ValueError(f"`{ast.unparse(node)}`: only abs, min, max and has can be called.")
        if (name == "abs") != (len(node.args) == 1):
            raise ValueError(f"`{ast.unparse(node)}` has the wrong number of values.")
        for argument in node.args:
            _check_value(argument)
    elif not isinstance(node, ast.Name):
        raise ValueError(f"`{ast.unparse(node)}` is not allowed in an expression.")


def _is_has(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "has"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Name)
        and not node.keywords
    )


def _truth(node: ast.expr, scores: Mapping[str, Value]) -> Truth:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part, scores) for part in node.values]
        decisive = isinstance(node.op, ast.Or)
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    if isinstance(node, ast.UnaryOp):
        inner = _truth(node.operand, scores)
        return None if inner is None else not inner
    if isinstance(node, ast.Call):
        argument = node.args[0]
        assert isinstance(argument, ast.Name)
        return not _lacks(scores.get(argument.id))
    assert isinstance(node, ast.Compare)
    left, result = _value(node.left, scores), True
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, (ast.In, ast.NotIn)):
            assert isinstance(right_node, (ast.List, ast.Tuple))
            if _lacks(left):
                return None
            inside = left in [_value(element, scores) for element in right_node.elts]
            result = result and (inside == isinstance(op, ast.In))
            continue
        right = _value(right_node, scores)
        if _lacks(left) or _lacks(right):
            return None
        if isinstance(left, str) != isinstance(right, str):
            raise ValueError(f"`{ast.unparse(node)}` compares {left!r} with {right!r}.")
        result = result and _COMPARE[type(op)](left, right)
        left = right
    return result


def _value(node: ast.expr, scores: Mapping[str, Value]) -> Value:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        value = scores.get(node.id, math.nan)
        return value if isinstance(value, str) else float(value)
    if isinstance(node, ast.UnaryOp):
        inner = _number(node.operand, scores)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        operation = _ARITHMETIC[type(node.op)]
        return operation(_number(node.left, scores), _number(node.right, scores))
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    values = [_number(argument, scores) for argument in node.args]
    # min and max of a NaN depend on its position.
    return math.nan if any(map(math.isnan, values)) else _FUNCTIONS[node.func.id](*values)


def _number(node: ast.expr, scores: Mapping[str, Value]) -> float:
    value = _value(node, scores)
    if isinstance(value, str):
        raise ValueError(f"`{ast.unparse(node)}` is the text {value!r}, not a number.")
    return value


def _lacks(value: Value | None) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == ""
