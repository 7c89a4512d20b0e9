"""Where a graph first goes wrong: its inner values, beside those of the graph that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.graph import Graph, layer_of

TOLERANCE = 0.1
"""An inner value is bad when it is off by more than this share of the largest that it should hold."""
_PROBES = 16
"""Values looked at in one run: a graph of 4,000 values is searched in three runs."""


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
    """The first node, in the order of computing, whose output is bad; None if all that both graphs hold are good.

    Looks at a few values spread over the graph, then between the last good and the first bad one of them, and so on: an
    error, once made, is taken to stay visible behind the node that made it.
    """
    shared = [name for name in good.floats if name in candidate.producers]
    low, high = 0, len(shared)
    found: BadNode | None = None
    while low < high:
        step = max(1, (high - low + _PROBES - 1) // _PROBES)
        at = sorted({*range(low, high, step), high - 1})
        names = [shared[index] for index in at]
        ours, theirs = good.run(images, names), candidate.run(images, names)
        errors = [_error(ours[name], theirs[name]) for name in names]
        bad = next((index for index, (error, _) in enumerate(errors) if not error <= tolerance), None)
        if bad is None:
            break
        found = _describe(good, names[bad], *errors[bad])
        if step == 1 and (bad == 0 or at[bad] == at[bad - 1] + 1):
            break
        low, high = (at[bad - 1] + 1 if bad else low), at[bad]
    return found


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
