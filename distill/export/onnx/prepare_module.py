"""Student modules prepared for exporters: merged, frozen, with a tuple of outputs in the order of the spec."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from distill.spec import StudentSpec

_BATCH = 2
"""Not 1: networks with attention silently fix a batch of 1 in the graph, and fail later at 2."""
_EXTRA_PX = (6, 14)
"""The example differs from the training size; otherwise the exporter may unify the two and drop the resize."""


class TupleOutputs(nn.Module):
    """The student with its outputs as a tuple, as exporters need them."""

    def __init__(self, module: nn.Module, spec: StudentSpec) -> None:
        super().__init__()
        self.module, self.names = module, spec.output_names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the order of `StudentSpec.output_names`."""
        outputs = self.module(image)
        return tuple(outputs[name] for name in self.names)


def prepare_for_export(module: nn.Module, spec: StudentSpec) -> TupleOutputs:
    """A frozen copy on the CPU with train-time branches merged; the module is not changed.

    Call it before any inference: some backbones cannot be copied afterwards.
    """
    from timm.utils.model import reparameterize_model

    merged = reparameterize_model(copy.deepcopy(module).eval().cpu())
    return TupleOutputs(merged, spec).eval().requires_grad_(False)


def example_input(spec: StudentSpec) -> Tensor:
    """A batch of black images for tracing, of a size that the spec allows."""
    other_hw = tuple(side + extra for side, extra in zip(spec.input.size_hw, _EXTRA_PX, strict=True))
    return torch.zeros((_BATCH, *(spec.input.fixed_size_hw or other_hw), 3), dtype=torch.uint8)
