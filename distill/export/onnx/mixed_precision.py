"""Half precision with float32 where it is needed: lower, judge, find the layer that breaks, keep it in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.onnx.bisect import BadNode, find_first_bad
from distill.export.onnx.graph import Graph
from distill.export.onnx.half_precision import TYPES, Precision, emulate, lower, lowerable
from distill.export.verification.parity import ParityResult

_MOST_ROUNDS = 12
_HEADROOM = 0.25
"""A value above this share of what half precision holds is not trusted to it: other pictures have larger ones."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A student in half precision.

    Attributes:
        real: The graph for engines that compute in it.
        emulated: The same on a CPU.
        parity: How the emulated graph compares, as it is now.
        before: How it compared without islands; the same as `parity` where none were needed.
        broken: The layers that were found to break, in the order in which they were found.
        islands: Names of all nodes that stay in float32 for them.
        share: Of the network's nodes, those in half precision.
    """

    real: Any
    emulated: Any
    parity: ParityResult
    before: ParityResult
    broken: tuple[BadNode, ...]
    islands: tuple[str, ...]
    share: float


def lower_with_islands(
    proto: Any,
    precision: Precision,
    images: UInt8[ndarray, "b h w 3"],
    judge: Callable[[Any], ParityResult],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Lowered:
    """Lower the graph; while it fails, find the first bad layer and keep it in float32.

    Args:
        proto: The float32 graph.
        precision: Of the network.
        images: A few real pictures of equal size to look for the bad layer with.
        judge: Compares an emulated graph with the student.
        say: Told of every layer found.
    """
    graph = Graph(proto)
    islands: set[str] = set()
    broken: list[BadNode] = []
    everything = lowerable(graph)
    emulated = emulate(proto, everything, precision)
    before = parity = judge(emulated)
    while not parity.passed and len(broken) < _MOST_ROUNDS:
        bad = find_first_bad(graph, Graph(emulated), images)
        if bad is None or bad.node not in everything - islands:
            break
        say(f"{precision}: {bad}; kept in float32")
        broken.append(bad)
        islands |= _island(graph, bad, images, TYPES[precision][2])
        emulated = emulate(proto, everything - islands, precision)
        parity = judge(emulated)
    low = everything - islands
    share = len(low) / max(1, len(everything))
    return Lowered(lower(proto, low, precision), emulated, parity, before, tuple(broken), tuple(sorted(islands)), share)


def _island(graph: Graph, bad: BadNode, images: UInt8[ndarray, "b h w 3"], largest: float) -> set[str]:
    """The bad node, and every node after it that reads values which half precision cannot hold."""
    island, waiting = set[str](), [bad.node]
    by_name = {node.name: node for node in graph.proto.graph.node}
    while waiting:
        node = by_name[waiting.pop()]
        if node.name in island:
            continue
        island.add(node.name)
        names = [name for name in node.output if name in set(graph.floats)]
        for name, value in graph.run(images, names).items():
            if float(np.abs(value).max(initial=0.0)) > _HEADROOM * largest:
                waiting += [user.name for user in graph.consumers.get(name, ())]
    return island
