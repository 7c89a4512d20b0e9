"""Rules about the ONNX operators that each target supports: one YAML file per target, and the check of a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from pydantic import BaseModel, ConfigDict
from pydantic import Field as PydanticField

from distill.config import load_config
from distill.export.onnx.graph import Graph, layer_of

RULES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.yaml")))
"""Targets with a rule file."""


class OpRestriction(BaseModel):
    """An operator that is not supported if an attribute is set, or has this value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    op: str
    attribute: str
    value: int | None = None
    reason: str


class OpRules(BaseModel):
    """A rule file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str
    ops: dict[str, tuple[str, ...]] | None = None
    """Supported operators with their types; None: all."""
    io_only_types: tuple[str, ...] = ()
    restrictions: tuple[OpRestriction, ...] = ()
    unsupported_types: dict[str, tuple[str, ...]] = PydanticField(default_factory=dict)
    constant_inputs: dict[str, tuple[int, ...]] = PydanticField(default_factory=dict)
    """Inputs, by index, that must be constants."""
    external_data: bool = True


@dataclass(frozen=True, slots=True)
class OpViolation:
    """A rule that a node violates.

    Attributes:
        layer: Name of the node's module in the student.
        node: Name of the node.
        op: Operator.
        reason: Explanation.
    """

    layer: str
    node: str
    op: str
    reason: str

    def __str__(self) -> str:
        return f"{self.layer} ({self.op}): {self.reason}"


def load_op_rules(target: str) -> OpRules:
    """Rules of a target."""
    return load_config(OpRules, Path(__file__).parent / f"{target}.yaml")


def find_op_violations(proto: Any, target: str) -> list[OpViolation]:
    """All violations of a target's rules in a graph."""
    rules, graph = load_op_rules(target), Graph(proto)
    found = [violation for node in proto.graph.node for violation in _of_node(node, graph, rules)]
    if not rules.external_data and any(entry.data_location for entry in proto.graph.initializer):
        found.append(OpViolation("weights", "", "", "are in another file, which this target does not load"))
    return found


def _of_node(node: Any, graph: Graph, rules: OpRules) -> list[OpViolation]:
    def violation(reason: str) -> OpViolation:
        return OpViolation(layer_of(node), node.name, node.op_type, reason)

    if rules.ops is not None and node.op_type not in rules.ops:
        return [violation(f"{rules.target} has no {node.op_type}")]
    found = _of_types(node, graph, rules, violation)
    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    for restriction in rules.restrictions:
        if node.op_type == restriction.op and restriction.attribute in attributes:
            value = attributes[restriction.attribute]
            if value == restriction.value if restriction.value is not None else value:
                found.append(violation(restriction.reason))
    for index in rules.constant_inputs.get(node.op_type, ()):
        if len(node.input) > index and node.input[index] and node.input[index] not in graph.initializers:
            found.append(violation(f"its input {index} must be a constant"))
    return found


def _of_types(node: Any, graph: Graph, rules: OpRules, violation: Callable[[str], OpViolation]) -> list[OpViolation]:
    found = []
    named = {name: _name(graph.types.get(name)) for name in (*node.input, *node.output) if name}
    io_names = {entry.name for entry in (*graph.proto.graph.input, *graph.proto.graph.output)}
    io_types = {kind for kind in named.values() if kind in rules.io_only_types}
    for kind in sorted(io_types):
        inside = any(kind == other and name not in io_names for name, other in named.items())
        others = set(named.values()) - {kind}
        if node.op_type != "Shape" and (inside or node.op_type != "Cast" or not others <= {"float", "float16"}):
            found.append(
                violation(f"{kind} may only be an input or output of the network, next to a Cast from or to float")
            )
    for kind in sorted(set(named.values())):
        if kind in rules.unsupported_types.get(node.op_type, ()):
            found.append(violation(f"{rules.target} has no {node.op_type} of {kind}"))
    # Comparisons return booleans and conditions take them; the rule is about the type of the data.
    data = named.get(node.input[1 if node.op_type == "Where" else 0], "") if node.input else ""
    allowed = rules.ops[node.op_type] if rules.ops is not None else (data,)
    if data and data not in allowed and not io_types and node.op_type not in ("Cast", "Shape"):
        found.append(violation(f"{rules.target} has no {node.op_type} of {data}"))
    return found


def _name(elem_type: int | None) -> str:
    return onnx.TensorProto.DataType.Name(elem_type).lower() if elem_type else ""
