"""Search for the first wrong node of a rewritten graph by comparing inner values with the original graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.onnx.graph import Graph, layer_of

TOLERANCE = 0.1
"""A value is bad if it differs by more than this fraction of the largest magnitude of the correct one."""
_PROBES = 16
"""Values compared per run, besides the direct inputs: a graph of 4,000 values is searched in a few runs."""


@dataclass(frozen=True, slots=True)
class BadNode:
    """First node with a wrong output.

    Attributes:
        node: Its name.
        layer: Name of its module in the student.
        op: Operator.
        value: Name of its output.
        error: Largest difference as a fraction of `largest`; infinite for NaN.
        largest: Largest magnitude of the correct output.
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
    """A node with a bad output and good inputs; None if all values of both graphs agree.

    Starts at the bad final values and compares a few values spread over their ancestors, then over the ancestors of the
    first bad one of these, and so on. If all final values are good, every value is compared.
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
    """Ancestors of a value among these names, in graph order."""
    seen, waiting = set[str](), [graph.producers[value]]
    while waiting:
        for name in waiting.pop().input:
            if name not in seen and name in graph.producers:
                seen.add(name)
                waiting.append(graph.producers[name])
    return [name for name in graph.floats if name in seen and name in among]


def _error(good: ndarray, candidate: ndarray) -> tuple[float, float]:
    """(largest difference as a fraction of the largest magnitude, that magnitude)."""
    if good.size == 0:
        return 0.0, 0.0
    largest = float(np.abs(good).max())
    difference = float(np.abs(good.astype(np.float64) - candidate).max())
    return (difference / max(largest, 1e-12) if np.isfinite(difference) else np.inf), largest


def _describe(graph: Graph, value: str, error: float, largest: float) -> BadNode:
    node = graph.producers[value]
    return BadNode(node.name, layer_of(node), node.op_type, value, error, largest)
