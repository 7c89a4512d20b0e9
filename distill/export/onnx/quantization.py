"""Quantization within the tolerance: measure the loss of each block, keep the worst blocks in float32."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from distill.export.onnx.graph import group_of
from distill.export.verification.parity import ParityResult


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Loss caused by quantizing one block alone.

    Attributes:
        group: Name of the block: ``backbone.blocks.2``, ``neck.smooths.1``, ``heads.depth``.
        nodes: Number of its nodes.
        relative_loss: Change of the worst task divided by its tolerance; above 1 exceeds it.
        scores: Change of each task in its own measure.
    """

    group: str
    nodes: int
    relative_loss: float
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Quantized:
    """A student in eight bits.

    Attributes:
        proto: The graph.
        parity: Its comparison with the student.
        all_quantized: Comparison of the graph with all blocks quantized.
        sensitivity: Loss per block, worst first; empty if it was not measured.
        float32_blocks: Blocks kept in float32, in the order in which they were removed.
        fraction: Quantized part of the nodes that can be quantized.
    """

    proto: Any
    parity: ParityResult
    all_quantized: ParityResult
    sensitivity: tuple[Sensitivity, ...]
    float32_blocks: tuple[str, ...]
    fraction: float


@runtime_checkable
class BlockQuantizer(Protocol):
    """A calibrated graph whose blocks can be quantized separately."""

    @property
    def groups(self) -> Sequence[str]:
        """Names of the blocks."""
        ...

    @property
    def nodes(self) -> Sequence[Any]:
        """All nodes that can be quantized."""
        ...

    def quantize(self, groups: Collection[str]) -> Any:
        """Copy of the graph with these blocks quantized."""
        ...

    def fraction(self, groups: Collection[str]) -> float:
        """Part of the nodes that is in these blocks."""
        ...


def quantize_within_tolerance(
    quantizer: BlockQuantizer,
    compare: Callable[[Any], ParityResult],
    *,
    always_measure: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> Quantized:
    """Quantize all blocks; beyond the tolerance, measure each block alone and remove the worst ones one by one.

    Args:
        quantizer: The calibrated graph.
        compare: Compares a graph with the student, by task metric.
        always_measure: Measure the blocks even if all can be quantized.
        log: Takes a message for every removed block.
    """
    groups = list(quantizer.groups)
    proto = quantizer.quantize(groups)
    all_quantized = parity = compare(proto)
    table: list[Sensitivity] = []
    if always_measure or not parity.passed:
        for group in groups:
            alone = compare(quantizer.quantize([group]))
            nodes = sum(group_of(node) == group for node in quantizer.nodes)
            changes = {str(task.task): task.change for task in alone.tasks}
            table.append(Sensitivity(group, nodes, relative_loss(alone), changes))
        table.sort(key=lambda row: -row.relative_loss)
    float32_blocks: list[str] = []
    for row in table:
        if parity.passed:
            break
        float32_blocks.append(row.group)
        log(f"{row.group} kept in float32 (alone it costs {row.relative_loss:.1f} of the tolerance)")
        proto = quantizer.quantize([group for group in groups if group not in float32_blocks])
        parity = compare(proto)
    fraction = quantizer.fraction([group for group in groups if group not in float32_blocks])
    return Quantized(proto, parity, all_quantized, tuple(table), tuple(float32_blocks), fraction)


def relative_loss(result: ParityResult) -> float:
    """Change of the worst task divided by its tolerance."""
    return max((task.change / task.tolerance if task.tolerance else float("inf")) for task in result.tasks)
