"""Half precision with float32 where needed: convert, compare, find the first bad layer, keep it in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.onnx.bisect import BadNode, find_first_bad
from distill.export.onnx.graph import Graph
from distill.export.onnx.half_precision import (
    TYPES,
    Precision,
    convertible_nodes,
    emulate_half_precision,
    to_half_precision,
)
from distill.export.verification.parity import ParityResult

_MOST_ROUNDS = 12
_HEADROOM = 0.25
"""Values above this fraction of the largest half stay in float32: other images have larger ones."""


@dataclass(frozen=True, slots=True)
class MixedPrecisionResult:
    """A student in half precision.

    Attributes:
        half_graph: For engines with half-precision arithmetic.
        emulated_graph: The same for a CPU, with rounded values.
        parity: Comparison of the emulated graph with the student.
        parity_before: The same before any node was kept in float32.
        bad_layers: Layers that were found to fail, in the order of the search.
        float32_nodes: Names of all nodes that stay in float32 for them.
        fraction: Part of the convertible nodes that is in half precision.
    """

    half_graph: Any
    emulated_graph: Any
    parity: ParityResult
    parity_before: ParityResult
    bad_layers: tuple[BadNode, ...]
    float32_nodes: tuple[str, ...]
    fraction: float


def to_mixed_precision(
    proto: Any,
    precision: Precision,
    images: UInt8[ndarray, "b h w 3"],
    compare: Callable[[Any], ParityResult],
    *,
    log: Callable[[str], None] = lambda text: None,
) -> MixedPrecisionResult:
    """Convert the graph; while the comparison fails, find the first bad layer and keep it in float32.

    Args:
        proto: The float32 graph.
        precision: Of the network.
        images: A few real images of equal size for the search.
        compare: Compares an emulated graph with the student.
        log: Takes a message for every layer found.
    """
    graph = Graph(proto)
    float32_nodes: set[str] = set()
    bad_layers: list[BadNode] = []
    convertible = convertible_nodes(graph)
    emulated = emulate_half_precision(proto, convertible, precision)
    parity_before = parity = compare(emulated)
    while not parity.passed and len(bad_layers) < _MOST_ROUNDS:
        bad = find_first_bad(graph, Graph(emulated), images)
        if bad is None or bad.node not in convertible - float32_nodes:
            break
        log(f"{precision}: {bad}; kept in float32")
        bad_layers.append(bad)
        float32_nodes |= _overflow_region(graph, bad, images, TYPES[precision][2])
        emulated = emulate_half_precision(proto, convertible - float32_nodes, precision)
        parity = compare(emulated)
    half_nodes = convertible - float32_nodes
    fraction = len(half_nodes) / max(1, len(convertible))
    return MixedPrecisionResult(
        to_half_precision(proto, half_nodes, precision),
        emulated,
        parity,
        parity_before,
        tuple(bad_layers),
        tuple(sorted(float32_nodes)),
        fraction,
    )


def _overflow_region(graph: Graph, bad: BadNode, images: UInt8[ndarray, "b h w 3"], largest: float) -> set[str]:
    """The bad node, and every node after it that reads values beyond the range of half precision."""
    region, waiting = set[str](), [bad.node]
    by_name = {node.name: node for node in graph.proto.graph.node}
    while waiting:
        node = by_name[waiting.pop()]
        if node.name in region:
            continue
        region.add(node.name)
        names = [name for name in node.output if name in set(graph.floats)]
        for name, value in graph.run(images, names).items():
            if float(np.abs(value).max(initial=0.0)) > _HEADROOM * largest:
                waiting += [user.name for user in graph.consumers.get(name, ())]
    return region
