"""The student as exporters want it: merged, frozen, outputs as a tuple in the order of its spec."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from distill.spec import StudentSpec

_BATCH = 2
"""Never 1: networks with attention silently bake a batch of 1 into the graph, and fail later at 2."""
_OFF_PX = (6, 14)
"""The example differs from the working size, or the exporter may take the two for one and drop the resize."""


class TupleOutputs(nn.Module):
    """The student with its outputs as a tuple, which is how graphs name them."""

    def __init__(self, module: nn.Module, spec: StudentSpec) -> None:
        super().__init__()
        self.module, self.names = module, spec.output_names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of `StudentSpec.output_names`."""
        outputs = self.module(image)
        return tuple(outputs[name] for name in self.names)


def prepare_for_export(module: nn.Module, spec: StudentSpec) -> TupleOutputs:
    """A frozen copy on the CPU with train-time branches merged; the module is left as it is.

    To be made before any inference, after which some backbones refuse to be copied.
    """
    from timm.utils.model import reparameterize_model

    merged = reparameterize_model(copy.deepcopy(module).eval().cpu())
    return TupleOutputs(merged, spec).eval().requires_grad_(False)


def example_input(spec: StudentSpec) -> Tensor:
    """A batch of black pictures to trace with, of a size that the spec allows."""
    off_hw = tuple(side + off for side, off in zip(spec.input.size_hw, _OFF_PX, strict=True))
    return torch.zeros((_BATCH, *(spec.input.fixed_size_hw or off_hw), 3), dtype=torch.uint8)
