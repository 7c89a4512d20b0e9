"""Where a graph first goes wrong: its inner values, beside those of the graph that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.onnx.graph import Graph, layer_of

TOLERANCE = 0.1
"""An inner value is bad when it is off by more than this share of the largest that it should hold."""
_PROBES = 16
"""Values looked at in one run, beside the direct inputs: a graph of 4,000 values is searched in a few runs."""


@dataclass(frozen=True, slots=True)
class BadNode:
    """The first node whose output is off.

    Attributes:
        node: Its name.
        layer: The student's layer that it belongs to.
        op: What it computes.
        value: The name of its output.
        error: By how much it is off, as a share of `largest`; infinite where it is no number.
        largest: The largest magnitude that the output should hold.
    """

    node: str
    layer: str
    op: str
    value: str
    error: float
    largest: float

    def __str__(self) -> str:
        what = "is not a number or infinite" if not np.isfinite(self.error) else f"is off by {self.error:.0%}"
        return f"{self.layer} ({self.op}): its output, up to {self.largest:.4g}, {what}"


def find_first_bad(
    good: Graph, candidate: Graph, images: UInt8[ndarray, "b h w 3"], tolerance: float = TOLERANCE
) -> BadNode | None:
    """A node whose output is bad though all that it reads is good; None if all that both graphs hold is good.

    Starts at the bad final values, and looks at a few values spread over those that lead to them; then over those that
    lead to the first bad one of these, and so on. A fault that has died out before the end is found by looking at
    every value.
    """
    shared = [name for name in good.floats if name in candidate.producers]
    for names in ([name for name in shared if name in good.outputs], shared):
        found = _first_bad_of(good, candidate, images, names, tolerance)
        if found is not None:
            break
    if found is None:
        return None
    while True:
        before = _leading_to(good, found.value, set(shared))
        step = max(1, len(before) // _PROBES)
        parents = [name for name in good.producers[found.value].input if name in set(before)]
        names = [name for name in before if name in {*before[::step], *parents}]
        earlier = _first_bad_of(good, candidate, images, names, tolerance)
        if earlier is None:
            return found
        found = earlier


def _first_bad_of(
    good: Graph, candidate: Graph, images: UInt8[ndarray, "b h w 3"], names: list[str], tolerance: float
) -> BadNode | None:
    for start in range(0, len(names), 2 * _PROBES):
        few = names[start : start + 2 * _PROBES]
        ours, theirs = good.run(images, few), candidate.run(images, few)
        for name in few:
            error, largest = _error(ours[name], theirs[name])
            if not error <= tolerance:
                return _describe(good, name, error, largest)
    return None


def _leading_to(graph: Graph, value: str, among: set[str]) -> list[str]:
    """Those of the values that this one is computed from, in the order of computing."""
    seen, waiting = set[str](), [graph.producers[value]]
    while waiting:
        for name in waiting.pop().input:
            if name not in seen and name in graph.producers:
                seen.add(name)
                waiting.append(graph.producers[name])
    return [name for name in graph.floats if name in seen and name in among]


def _error(good: ndarray, candidate: ndarray) -> tuple[float, float]:
    """(largest difference as a share of the largest magnitude, that magnitude)."""
    if good.size == 0:
        return 0.0, 0.0
    largest = float(np.abs(good).max())
    difference = float(np.abs(good.astype(np.float64) - candidate).max())
    return (difference / max(largest, 1e-12) if np.isfinite(difference) else np.inf), largest


def _describe(graph: Graph, value: str, error: float, largest: float) -> BadNode:
    node = graph.producers[value]
    return BadNode(node.name, layer_of(node), node.op_type, value, error, largest)
