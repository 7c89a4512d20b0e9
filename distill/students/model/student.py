"""Student network: uint8 photos in, final label maps out, in one exportable graph.

::

    image (b, h, w, 3) uint8, any size
      -> float, antialiased resize to the working size, normalize      identical in training, ONNX and every engine
      -> backbone -> neck -> one head per task                         at 1/4 of the working size
      -> enlarge to (h, w), meters, unit length, argmax, confidence    final values
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from distill.config.train import StudentConfig
from distill.errors import UsageError
from distill.spec import InputSpec, StudentSpec
from distill.students.model.backbone import build_backbone, build_custom_backbone, normalization
from distill.students.model.neck import FpnNeck
from distill.students.model.resample import downsample
from distill.students.tasks.base import LabelFacts, Outputs, PostprocessContext, TaskHead, student_task
from distill.tasks import DepthKind, Task

MAX_PARAMETERS = 500_000_000
"""Larger networks are no students; a file from someone else could name one that fills the memory."""


class Student(nn.Module):
    """Network that predicts every task of its spec.

    Attributes:
        spec: Description of inputs and outputs.
        config: Network configuration.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: StudentConfig, spec: StudentSpec, *, pretrained: bool) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.size_hw = spec.input.size_hw
        self.backbone: nn.Module
        self.neck: nn.Module
        if config.custom_backbone is not None:
            self.backbone, self.neck = (
                build_custom_backbone(config.custom_backbone, config.neck_channels, self.size_hw),
                nn.Identity(),
            )
        else:
            self.backbone = backbone = build_backbone(
                config.backbone, pretrained=pretrained, finest_stride=config.head_stride, size_hw=self.size_hw
            )
            self.neck = FpnNeck(backbone.channels, config.neck_channels)
        self.dropout = nn.Dropout2d(config.dropout)
        self.heads = nn.ModuleDict({str(task): student_task(task).build_head(config, spec) for task in spec.tasks})
        count = sum(parameter.numel() for parameter in self.parameters())
        if count > MAX_PARAMETERS:
            raise UsageError(
                f"a student of {spec.backbone} has {count / 1e6:.0f} million parameters, over the limit of"
                f" {MAX_PARAMETERS / 1e6:.0f} million",
                hint="choose a smaller student.backbone",
            )
        # Buffers follow .to(device); they are not saved with the weights, because the spec contains them.
        self.register_buffer("mean", 255.0 * torch.tensor(spec.input.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(spec.input.std)).view(1, 3, 1, 1), persistent=False)

    def raw(self, image: Float[Tensor, "b 3 h w"]) -> dict[Task, Tensor]:
        """Each head's raw map at head stride, for losses; the image is RGB in 0..255, already at the working size."""
        fused = self.neck(self._drop_channels(self.backbone((image - self.mean) * self.scale)))
        return {task: self.heads[str(task)](fused) for task in self.spec.tasks}

    def _drop_channels(self, levels: Any) -> Any:
        """Dropout on the two coarsest levels (or on the only map of a custom network).

        Coarse features describe the photo as a whole, so they are the ones that overfit.
        """
        if self.config.dropout == 0:
            return levels
        if isinstance(levels, Tensor):
            return self.dropout(levels)
        return [*levels[:-2], *(self.dropout(level) for level in levels[-2:])]

    def forward(self, image: UInt8[Tensor, "b h w 3"]) -> dict[str, Tensor]:
        """Final values at the image's own size, keyed by and in the order of `spec.output_names`."""
        size_hw = (image.shape[1], image.shape[2])
        return self.postprocess(self.raw(self.resize(image)), size_hw)

    def resize(self, image: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 3 h2 w2"]:
        """The image at the working size, RGB in 0..255."""
        return downsample(image, self.size_hw)

    def head(self, task: Task) -> TaskHead:
        """The head of a task of the spec."""
        return cast(TaskHead, self.heads[str(task)])

    def postprocess(self, raw: dict[Task, Tensor], size_hw: tuple[int, int]) -> dict[str, Tensor]:
        """Raw maps to final values at this size."""
        outputs: Outputs = {}
        for task in self.spec.tasks:
            outputs |= self.head(task).postprocess(raw[task], PostprocessContext(size_hw, self.size_hw, outputs))
        return outputs


def build_student(config: StudentConfig, spec: StudentSpec) -> Student:
    """A new student for this spec, with pretrained backbone weights if the config sets them.

    Raises:
        UsageError: The backbone is unknown or cannot work at this size.
        DistillError: Pretrained weights cannot be downloaded.
    """
    return Student(config, spec, pretrained=config.pretrained)


def build_spec(
    config: StudentConfig,
    *,
    name: str,
    tasks: tuple[Task, ...],
    depth_kind: DepthKind = DepthKind.METRIC,
    classes: tuple[str, ...] = (),
    things: tuple[str, ...] = (),
    licenses: tuple[str, ...] = (),
    terms: dict[str, str] | None = None,
    provenance: dict[str, str] | None = None,
) -> StudentSpec:
    """Spec of a student that learns these tasks.

    Raises:
        UsageError: No task, or labels without what a task needs.
    """
    if not tasks:
        raise UsageError("a student needs at least one task", hint="tasks=[depth] or any of depth, normals, semantic")
    mean, std = normalization(config.backbone)
    labels = LabelFacts(depth_kind, classes, things)
    return StudentSpec(
        name=name,
        backbone=config.custom_backbone or config.backbone,
        input=InputSpec(size_hw=config.size_hw, mean=mean, std=std),
        licenses=licenses,
        terms=terms or {},
        provenance=provenance or {},
        **cast(Any, {str(task): student_task(task).output_spec(labels) for task in tasks}),
    )
