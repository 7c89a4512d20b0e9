"""Instances: a heat map of their centers, and from every pixel the offset to its center.

Source: Panoptic-DeepLab, arXiv 1911.10194. Pixels are grouped inside the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from distill.config.loss import InstanceLossConfig
from distill.config.train import StudentConfig
from distill.errors import UsageError
from distill.spec import InstanceSpec, StudentSpec
from distill.students.losses.reduction import weighted_mean
from distill.students.model.resample import upsample, upsample_ids
from distill.students.tasks.base import (
    ConstantComparison,
    LabelFacts,
    LossInputs,
    Outputs,
    PostprocessContext,
    StudentTask,
    TaskHead,
    TaskLoss,
    TaskScore,
    head_layers,
)
from distill.tasks import DepthKind, Task

_PEAK_WINDOW = 7
"""Size in pixels at head stride of the window in which a center must be the maximum; source: Panoptic-DeepLab."""
_LOW_SCORE = 0.1
"""Heat below which a peak is no center; same source."""
_SIGMA = 0.03
"""Standard deviation of a center's peak, as a fraction of the image's sides; about 6 of 192 px."""


class InstanceHead(TaskHead):
    """Center heat map and offsets, as fractions of the image's sides."""

    filters_noise = False
    things: Tensor

    def __init__(self, channels_in: int, channels: int, things: Sequence[int], max_instances: int) -> None:
        """Build the layers.

        Args:
            channels_in: Of the fused map.
            channels: Of the head's own layer.
            things: The semantic classes that have instances.
            max_instances: In one image.
        """
        super().__init__()
        self.layers = head_layers(channels_in, channels, 3)
        self.max_instances = max_instances
        self.register_buffer("things", torch.tensor(list(things), dtype=torch.int32), persistent=False)

    def activate(self, raw: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b 2 h w"]]:
        """(heat in [0, 1], offset to the center as (down, right) in fractions of the sides)."""
        # Starts at a low heat everywhere: most pixels are no centers and would dominate the first steps.
        return (raw[:, 0] - 3.0).sigmoid(), raw[:, 1:].tanh()

    def postprocess(self, raw: Float[Tensor, "b 3 h w"], context: PostprocessContext) -> Outputs:
        """``instance`` uint8 (b, h, w), 0 = background; ``instance_confidence``: the heat of the pixel's center.

        Reads ``semantic`` and ``semantic_confidence`` of the context: only pixels of thing classes have instances.
        """
        semantic, size_hw = context.outputs["semantic"], context.size_hw
        heat, offset = self.activate(raw)
        score, center = self._centers(heat)
        ids, sure = self._nearest(offset, score, center)
        is_thing = (semantic.to(torch.int32)[..., None] == self.things).any(dim=-1)
        ids, sure = upsample_ids(ids, size_hw), upsample(sure, size_hw)
        return {
            "instance": torch.where(is_thing, ids, torch.zeros_like(ids)).to(torch.uint8),
            "instance_confidence": torch.where(is_thing, sure, context.outputs["semantic_confidence"]),
        }

    def losses(self, inputs: LossInputs) -> TaskLoss:
        """The terms of `instance_loss`."""
        return TaskLoss(instance_loss(*self.activate(inputs.raw), inputs.target, inputs.weight, inputs.config.instance))

    def _centers(self, heat: Float[Tensor, "b h w"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 2"]]:
        """(heat, position as (down, right) in [0, 1]) of the highest peaks."""
        height, width = heat.shape[1:]
        peak = F.max_pool2d(heat[:, None], _PEAK_WINDOW, stride=1, padding=_PEAK_WINDOW // 2)[:, 0]
        flat = torch.where(heat >= peak, heat, torch.zeros_like(heat)).flatten(1)
        score, index = flat.topk(min(self.max_instances, height * width), dim=1)
        down = torch.div(index, width, rounding_mode="floor")
        position = torch.stack([(down + 0.5) / height, (index - down * width + 0.5) / width], dim=2)
        return score, position

    def _nearest(
        self, offset: Float[Tensor, "b 2 h w"], score: Float[Tensor, "b k"], center: Float[Tensor, "b k 2"]
    ) -> tuple[Int[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """(1 + index of the center that each pixel points at, its heat); 0 where no peak is high enough."""
        height, width = offset.shape[2:]
        rows = (torch.arange(height, device=offset.device) + 0.5) / height
        columns = (torch.arange(width, device=offset.device) + 0.5) / width
        down = (rows[:, None] + offset[:, 0])[:, None] - center[:, :, 0, None, None]
        right = (columns + offset[:, 1])[:, None] - center[:, :, 1, None, None]
        low_score = (score < _LOW_SCORE).to(offset.dtype)[:, :, None, None]
        _, nearest = (down * down + right * right + 100.0 * low_score).min(dim=1)
        sure = score.gather(1, nearest.flatten(1)).view_as(nearest)
        ids = torch.where(sure < _LOW_SCORE, torch.zeros_like(nearest), nearest + 1)
        return ids.to(torch.int32), sure


def instance_loss(
    heat: Float[Tensor, "b h w"],
    offset: Float[Tensor, "b 2 h w"],
    ids: Int[Tensor, "b h w"],
    weight: Float[Tensor, "b h w"],
    config: InstanceLossConfig,
) -> dict[str, Tensor]:
    """Terms ``center`` over all pixels and ``offset`` over those of instances."""
    wanted_heat, wanted_offset, on_thing = instance_targets(ids, weight)
    return {
        "center": config.center * weighted_mean((heat - wanted_heat).square(), weight),
        "offset": config.offset * weighted_mean((offset - wanted_offset).abs().sum(dim=1), weight * on_thing),
    }


def instance_targets(
    ids: Int[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b 2 h w"], Float[Tensor, "b h w"]]:
    """(heat with a peak of 1 at each center of mass, offset to it as (down, right), 1 on instances)."""
    height, width = ids.shape[1:]
    rows = ((torch.arange(height, device=ids.device) + 0.5) / height).view(-1, 1).expand(height, width)
    columns = ((torch.arange(width, device=ids.device) + 0.5) / width).expand(height, width)
    heats, offsets = [], []
    for one, used in zip(ids, weight > 0, strict=True):
        kept = torch.where(used, one, torch.zeros_like(one))
        numbers, index = torch.unique(kept, return_inverse=True)
        flat = index.flatten()
        counts = torch.bincount(flat, minlength=len(numbers)).float()
        down = torch.bincount(flat, rows.flatten(), len(numbers)) / counts
        right = torch.bincount(flat, columns.flatten(), len(numbers)) / counts
        offsets.append(torch.stack([down[index] - rows, right[index] - columns]))
        real = numbers != 0
        # Few instances at a time: a distance map for each of them is cheap.
        square = (rows - down[real].view(-1, 1, 1)).square() + (columns - right[real].view(-1, 1, 1)).square()
        near = square.amin(dim=0) if bool(real.any()) else torch.full_like(rows, torch.inf)
        heats.append(torch.exp(-near / (2 * _SIGMA**2)))
    on_thing = (ids != 0).to(weight)
    return torch.stack(heats).to(weight), torch.stack(offsets).to(weight) * on_thing[:, None], on_thing


class InstanceScore:
    """Sums of (twice the matched instances, instances of either side)."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

    def update(self, outputs: Mapping[str, Tensor], target: Tensor, weight: Tensor) -> None:
        """Add one batch."""
        for predicted, truth, known in zip(outputs["instance"], target, weight > 0, strict=True):
            self.sums += match_instances(predicted[known].long(), truth[known]).double()

    def compute(self) -> tuple[dict[str, float], float] | None:
        """``instance_f1``, which is the score."""
        if not bool(self.sums[1] > 0):
            return None
        f1 = float(self.sums[0] / self.sums[1])
        return {"instance_f1": f1}, f1

    def compare_with_constant(self) -> ConstantComparison | None:
        """A constant prediction finds no instance."""
        found = self.compute()
        return None if found is None else ConstantComparison("F1", found[1], 0.0, found[1] > 0)


def match_instances(predicted: Int[Tensor, " n"], truth: Int[Tensor, " n"]) -> Float[Tensor, " 2"]:
    """(twice the matched instances, instances of either side) of one image's pixels; their ratio is the F1.

    Two instances match if their IoU is above 0.5, so that none matches twice. 0 is background.
    """
    ids, index = torch.unique(torch.cat([predicted.new_zeros(1), predicted]), return_inverse=True)
    true_ids, true_index = torch.unique(torch.cat([truth.new_zeros(1), truth]), return_inverse=True)
    shape = (len(true_ids), len(ids))
    shared = torch.bincount(true_index * len(ids) + index, minlength=shape[0] * shape[1]).view(shape)
    union = shared.sum(dim=0) + shared.sum(dim=1, keepdim=True) - shared
    hits = (2 * shared[1:, 1:] > union[1:, 1:]).sum()
    return torch.stack([2 * hits, hits.new_tensor(shape[0] + shape[1] - 2)]).float()


class InstanceTask(StudentTask):
    """Instances on the student side; the semantic output decides which pixels have one."""

    task = Task.INSTANCE
    needs = (Task.SEMANTIC,)

    def output_spec(self, labels: LabelFacts) -> InstanceSpec:
        """Classes that have instances.

        Raises:
            UsageError: They are not among the semantic classes.
        """
        if not set(labels.things) <= set(labels.classes):
            raise UsageError("a student that predicts instances needs their classes among the semantic ones")
        return InstanceSpec(classes=labels.things)

    def build_head(self, config: StudentConfig, spec: StudentSpec) -> InstanceHead:
        """A new head."""
        assert spec.semantic is not None and spec.instance is not None
        things = [spec.semantic.classes.index(name) for name in spec.instance.classes]
        return InstanceHead(config.neck_channels, config.head_channels, things, spec.instance.max_instances)

    def target(self, stored: Shaped[Tensor, "b h w"], depth_kind: DepthKind | None) -> Int[Tensor, "b h w"]:
        """Instance ids, 0 = background; arbitrary where the weight is 0."""
        return stored.to(torch.int64)

    def score(self, spec: StudentSpec, device: torch.device) -> TaskScore:
        """A new validation score."""
        return InstanceScore(device)


TASK = InstanceTask()
