"""Conditions such as ``quality.depth > 0.6 and 'car' in classes``: parsed, checked against the fields, evaluated.

The text is data: only comparisons, ``and``, ``or``, ``not``, numbers, texts and the fields of a sample are allowed. A
comparison with a value that a sample does not have is unknown, and so is its ``not``; an unknown sample is not kept.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distill.datasets.operations.conditions import (
    DESCRIPTIONS,
    Condition,
    Field,
    Kind,
    Value,
    all_of,
    nearest,
    negated_if,
)
from distill.errors import UsageError

MAX_LENGTH = 2000
_MAX_NODES, _MAX_DEPTH = 400, 25


@dataclass(frozen=True)
class Expression:
    """A parsed condition.

    Attributes:
        text: As given.
        condition: Evaluates it for a sample.
        fields: Names of the fields in it.
    """

    text: str
    condition: Condition
    fields: frozenset[str]


def parse(text: str, fields: Mapping[str, Field]) -> Expression:
    """Parse a condition.

    Args:
        text: Such as ``quality.depth > 0.6``.
        fields: All fields by name; a name may have one dot, or an index as in ``share['car']``.

    Raises:
        UsageError: Too long, not allowed, an unknown field or name, or a comparison that can never be true.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the expression has {len(text)} characters, and at most {MAX_LENGTH} are allowed")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
        raise UsageError(
            f"the expression {_short(text)!r} cannot be read: {reason}",
            hint="write it like \"quality.depth > 0.6 and 'car' in classes\"",
        ) from error
    _check_size(tree)
    parser = _Parser(text, fields)
    return Expression(text, parser.condition(tree), frozenset(parser.used))


def _check_size(tree: ast.AST) -> None:
    todo, count = [(tree, 0)], 0
    while todo:
        node, depth = todo.pop()
        count += 1
        if count > _MAX_NODES or depth > _MAX_DEPTH:
            raise UsageError("the expression is too long or nested too deeply", hint="filter in several steps")
        todo += [(child, depth + 1) for child in ast.iter_child_nodes(node)]


class _Parser:
    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self._text, self._fields = text, fields
        self.used: set[str] = set()

    def condition(self, node: ast.expr) -> Condition:
        """A node that is true, false or unknown."""
        if isinstance(node, ast.BoolOp):
            return all_of([self.condition(part) for part in node.values], stop=isinstance(node.op, ast.Or))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.condition(node.operand)
            return lambda sample: None if (found := inner(sample)) is None else not found
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            pairs = zip(operands, node.ops, operands[1:], strict=False)
            return all_of([self._comparison(left, op, right) for left, op, right in pairs], stop=False)
        if (name := self._field_name(node)) is not None:
            field = self._field(name)
            raise self._error(f"{name} is {DESCRIPTIONS[field.kind]} and no condition", "compare it with a value")
        raise self._error(f"{_source(node)} is no condition", "use comparisons, and, or, not")

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Condition:
        names = self._field_name(left), self._field_name(right)
        if names == (None, None):
            raise self._error(f"{_source(left)} and {_source(right)} are no fields", f"the fields are {self._known()}")
        if isinstance(op, ast.In | ast.NotIn):
            return negated_if(isinstance(op, ast.NotIn), self._membership(left, right))
        for one, other in ((left, right), (right, left)):
            name = self._field_name(one)
            if name is not None and isinstance(other, ast.Constant) and other.value is None:
                if not isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
                    raise self._error("None can only be compared with is and is not", "write is None")
                read = self._field(name).read
                wanted = isinstance(op, ast.Is | ast.Eq)
                return lambda sample: (read(sample) is None) is wanted
        compare = _OPERATORS.get(type(op))
        if compare is None:
            raise self._error("this comparison is not allowed", "use < <= > >= == != in, not in, is None, is not None")
        return self._ordinary(left, op, right, compare)

    def _ordinary(self, left: ast.expr, op: ast.cmpop, right: ast.expr, compare: Callable[..., bool]) -> Condition:
        first, second = self._value(left, right), self._value(right, left)
        kinds = {self._kind(left), self._kind(right)}
        if "names" in kinds:
            raise self._error("a list of names is compared with in", "write 'car' in classes")
        if len(kinds - {"text", "choice"}) + bool(kinds & {"text", "choice"}) > 1:
            raise self._error(
                f"{_source(left)} is {DESCRIPTIONS[self._kind(left)]} and {_source(right)} is "
                f"{DESCRIPTIONS[self._kind(right)]}",
                "compare numbers with numbers, and texts with texts",
            )
        if "choice" in kinds and not isinstance(op, ast.Eq | ast.NotEq):
            raise self._error("names have no order", "use == or !=")

        def evaluate(sample: Any) -> bool | None:
            one, two = first(sample), second(sample)
            return None if one is None or two is None else bool(compare(one, two))

        return evaluate

    def _membership(self, left: ast.expr, right: ast.expr) -> Condition:
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            parts = [self._comparison(left, ast.Eq(), element) for element in right.elts]
            return all_of(parts, stop=True)
        name = self._field_name(right)
        field = self._field(name) if name is not None else None
        if field is None or field.kind not in ("names", "text"):
            raise self._error(f"{_source(right)} is no list of names and no text", "write 'car' in classes")
        if not (isinstance(left, ast.Constant) and isinstance(left.value, str)):
            raise self._error(f"{_source(left)} is no text in quotes", "write 'car' in classes")
        read, wanted = field.read, self._checked_name(name or "", field, left.value)
        return lambda sample: None if (found := read(sample)) is None else wanted in found

    def _kind(self, node: ast.expr) -> Kind:
        name = self._field_name(node)
        if name is not None:
            return self._field(name).kind
        return "text" if isinstance(_constant(node), str) else "number"

    def _value(self, node: ast.expr, other: ast.expr) -> Value:
        """Reader of a field or a constant; a constant next to a field of choices must be one of them."""
        name = self._field_name(node)
        if name is not None:
            return self._field(name).read
        constant = _constant(node)
        if constant is None:
            raise self._error(f"{_source(node)} is not allowed", "use fields, numbers and texts in quotes")
        other_name = self._field_name(other)
        field = self._field(other_name) if other_name is not None else None
        if field is not None and isinstance(constant, str) and field.choices:
            constant = self._checked_name(other_name or "", field, constant)
        return lambda sample: constant

    def _checked_name(self, name: str, field: Field, given: str) -> str:
        found = field.spelling(given)
        if field.choices and found not in field.choices:
            raise self._error(f"{given!r} never occurs in {name}", nearest(given, field.choices))
        return found

    def _field_name(self, node: ast.expr) -> str | None:
        """The field that a node names, None if it names none."""
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return f"{node.value.id}.{node.attr}"
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            return f"{node.value.id}[{node.slice.value!r}]"
        return None

    def _field(self, name: str) -> Field:
        if name not in self._fields:
            raise self._error(f"there is no field {name}", nearest(name, self._fields))
        self.used.add(name)
        return self._fields[name]

    def _known(self) -> str:
        return ", ".join(self._fields)

    def _error(self, what: str, hint: str) -> UsageError:
        return UsageError(f"the expression {_short(self._text)!r}: {what}", hint=hint)


_OPERATORS: Mapping[type[ast.cmpop], Callable[..., bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _constant(node: ast.expr) -> str | float | None:
    """A text or a number; None for anything else."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return None
    if isinstance(node.value, str):
        return node.value if sign == 1 else None
    return sign * node.value if isinstance(node.value, int | float) else None


def _source(node: ast.expr) -> str:
    return _short(ast.unparse(node))


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
