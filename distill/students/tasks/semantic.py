"""Semantic classes: weighted cross-entropy, and Dice so that small classes are not ignored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from distill.config.loss import SemanticLossConfig
from distill.config.train import StudentConfig
from distill.errors import DistillError, UsageError
from distill.spec import SemanticSpec, StudentSpec
from distill.students.losses.reduction import EPSILON, mean_per_image, trim_worst, weighted_mean
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
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_SEMANTIC, DepthKind, Task

_NUM_IDS = 65536


class SemanticHead(TaskHead):
    """Class scores (logits)."""

    def __init__(self, channels_in: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.layers = head_layers(channels_in, channels, num_classes)

    def postprocess(self, raw: Float[Tensor, "b k h w"], context: PostprocessContext) -> Outputs:
        """``semantic`` uint8 (b, h, w); ``semantic_confidence``: the softmax of the chosen class."""
        logits = F.interpolate(raw, size=context.work_hw, mode="bilinear", align_corners=False)
        highest, index = logits.max(dim=1)
        confidence = 1.0 / (logits - highest[:, None]).exp().sum(dim=1)
        return {
            "semantic": upsample_ids(index.to(torch.int32), context.size_hw).to(torch.uint8),
            "semantic_confidence": upsample(confidence, context.size_hw),
        }

    def losses(self, inputs: LossInputs) -> TaskLoss:
        """The terms of `semantic_loss`."""
        config = inputs.config
        return TaskLoss(
            semantic_loss(
                inputs.raw, inputs.target, inputs.weight, config.semantic, config.trim_fraction, inputs.confidence
            )
        )

    def label_error(
        self, raw: Float[Tensor, "b k h w"], target: Int[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
    ) -> Float[Tensor, " b"]:
        """Mean cross-entropy."""
        target = target.clamp(max=raw.shape[1] - 1)
        return mean_per_image(F.cross_entropy(raw, target, reduction="none"), weight)


def semantic_loss(
    logits: Float[Tensor, "b k h w"],
    target: Int[Tensor, "b h w"],
    weight: Float[Tensor, "b h w"],
    config: SemanticLossConfig,
    trim_fraction: float = 0.0,
    confidence: Float[Tensor, "b h w"] | None = None,
) -> dict[str, Tensor]:
    """Terms ``cross_entropy``, ``dice``, ``soft``.

    Args:
        logits: Class scores.
        target: Class ids; those beyond the classes count as weight 0.
        weight: Per pixel; 0 leaves it out.
        config: Weights of the terms.
        trim_fraction: Fraction of each image's worst pixels to leave out.
        confidence: Teacher confidence in the id, in [0, 1]; the term ``soft`` needs it.
    """
    classes = logits.shape[1]
    known = target < classes
    target = torch.where(known, target, 0)
    weight = weight * known
    error = F.cross_entropy(logits, target, reduction="none", label_smoothing=config.label_smoothing)
    weight = trim_worst(error, weight, trim_fraction)
    balanced = balance(weight, target, classes, config.balance) if config.balance > 0 else weight
    terms = {"cross_entropy": config.weight * weighted_mean(error, balanced)}
    if config.dice > 0:
        terms["dice"] = config.dice * dice(logits.softmax(dim=1), target, weight)
    if config.soft > 0 and confidence is not None and classes > 1:
        divergence = soft_divergence(logits, target, confidence, config.temperature)
        terms["soft"] = config.soft * weighted_mean(divergence, weight)
    return terms


def soft_divergence(
    logits: Float[Tensor, "b k h w"],
    target: Int[Tensor, "b h w"],
    confidence: Float[Tensor, "b h w"],
    temperature: float,
) -> Float[Tensor, "b h w"]:
    """T^2 KL(teacher || student), both at temperature T, per pixel.

    The teacher's distribution has `confidence` on its class and the rest evenly on the others; a confidence below
    chance counts as chance. Source of the form: Hinton et al., arXiv 1503.02531.
    """
    classes = logits.shape[1]
    sure = confidence.clamp(1.0 / classes, 1.0 - 1e-3)
    # (p^(1/T), normalized) of two values: that of the class, and that of each other class.
    top, rest = sure.pow(1.0 / temperature), ((1.0 - sure) / (classes - 1)).pow(1.0 / temperature)
    total = top + (classes - 1) * rest
    top, rest = top / total, rest / total
    log_answer = (logits / temperature).log_softmax(dim=1)
    on_class = log_answer.gather(1, target[:, None])[:, 0]
    on_others = log_answer.sum(dim=1) - on_class
    entropy = top * top.log() + (classes - 1) * rest * rest.log()
    return temperature**2 * (entropy - top * on_class - rest * on_others)


def balance(
    weight: Float[Tensor, "b h w"], target: Int[Tensor, "b h w"], num_classes: int, power: float
) -> Float[Tensor, "b h w"]:
    """Weights times (fraction of the pixel's class in the batch, by weight)^-power."""
    total = _sum_by_class(weight, target, num_classes)
    share = (total / total.sum().clamp(min=EPSILON)).clamp(min=EPSILON)
    return weight * share.pow(-power)[target]


def dice(
    probability: Float[Tensor, "b k h w"], target: Int[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """1 minus the soft Dice overlap over the whole batch, averaged over the classes present in it."""
    classes = probability.shape[1]
    weighted = probability * weight[:, None]
    predicted = weighted.sum(dim=(0, 2, 3))
    labeled = _sum_by_class(weight, target, classes)
    overlap = _sum_by_class(weighted.gather(1, target[:, None])[:, 0], target, classes)
    present = (labeled > 0).to(overlap.dtype)
    return weighted_mean(1.0 - 2.0 * overlap / (predicted + labeled + EPSILON), present)


def _sum_by_class(
    values: Float[Tensor, "b h w"], target: Int[Tensor, "b h w"], num_classes: int
) -> Float[Tensor, " k"]:
    """Sums over the pixels of each class; per image first, since a GPU serializes additions to one address."""
    first = num_classes * torch.arange(len(target), device=target.device).view(-1, 1, 1)
    sums = values.new_zeros(len(target) * num_classes)
    return sums.index_add_(0, (target + first).flatten(), values.flatten()).view(-1, num_classes).sum(dim=0)


class SemanticScore:
    """Confusion matrix, flattened; rows are labels."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._classes = num_classes
        self.sums = torch.zeros(num_classes**2, dtype=torch.float64, device=device)

    def update(self, outputs: Mapping[str, Tensor], target: Tensor, weight: Tensor) -> None:
        """Add one batch."""
        valid = (weight > 0) & (target < self._classes)
        pairs = target[valid] * self._classes + outputs["semantic"][valid].long()
        self.sums += torch.bincount(pairs, minlength=self._classes**2).double()

    def compute(self) -> tuple[dict[str, float], float] | None:
        """``semantic_miou``, which is the score, over the classes that have labels."""
        if not bool(self.sums.sum() > 0):
            return None
        confusion = self.sums.view(self._classes, self._classes)
        hit = confusion.diagonal()
        union = confusion.sum(dim=0) + confusion.sum(dim=1) - hit
        present = confusion.sum(dim=1) > 0
        miou = float((hit / union.clamp(min=EPSILON))[present].mean())
        return {"semantic_miou": miou}, miou

    def compare_with_constant(self) -> ConstantComparison | None:
        """Of the most frequent class: its IoU is its share of the pixels, that of the other classes 0."""
        found = self.compute()
        if found is None:
            return None
        pixels = self.sums.view(self._classes, self._classes).sum(dim=1)
        constant = float(pixels.max() / pixels.sum() / (pixels > 0).sum())
        return ConstantComparison("mIoU", found[1], constant, found[1] > constant + 1e-6, constant > 1 - 1e-9)


class SemanticTask(StudentTask):
    """Semantic classes on the student side; they can also come from instances or referring masks."""

    task = Task.SEMANTIC
    uses_confidence = True

    @property
    def sources(self) -> tuple[Task, ...]:
        """Semantic labels if there are any, then the classes of instances, then referring phrases."""
        return (Task.SEMANTIC, Task.INSTANCE, Task.REFERRING)

    def output_spec(self, labels: LabelFacts) -> SemanticSpec:
        """Class list of the output.

        Raises:
            UsageError: The labels have no class list.
        """
        if not labels.classes:
            raise UsageError("a semantic student needs a class list, and the labels have none")
        return SemanticSpec(classes=labels.classes)

    def build_head(self, config: StudentConfig, spec: StudentSpec) -> SemanticHead:
        """A new head."""
        assert spec.semantic is not None
        return SemanticHead(config.neck_channels, config.head_channels, len(spec.semantic.classes))

    def from_source(
        self, stored: Shaped[ndarray, "h w"], source: Task, class_of: Mapping[int, int]
    ) -> UInt8[ndarray, "h w"]:
        """Ids of instances or referring phrases as classes; 0 is background, an id without a name is ignored."""
        table = np.full(_NUM_IDS, IGNORE_SEMANTIC, np.uint8)
        table[BACKGROUND_INSTANCE] = 0
        for number, index in class_of.items():
            table[number] = index
        classes: ndarray = table[stored]
        return classes

    def check(
        self, stored: Shaped[ndarray, "h w"], valid: Bool[ndarray, "h w"], num_classes: int | None, name: str
    ) -> None:
        """Raise if a class is beyond the class list."""
        largest = int(np.where(valid, stored, 0).max())
        if num_classes is not None and largest >= num_classes:
            raise DistillError(
                f"{name} holds class {largest}, and the list has {num_classes} (0 to {num_classes - 1})",
                hint="correct the map, or the class list in the shards' dataset.json; 255 means no label",
            )

    def target(self, stored: Shaped[Tensor, "b h w"], depth_kind: DepthKind | None) -> Int[Tensor, "b h w"]:
        """Class ids; arbitrary where the weight is 0."""
        return stored.long()

    def score(self, spec: StudentSpec, device: torch.device) -> TaskScore:
        """A new validation score."""
        assert spec.semantic is not None
        return SemanticScore(len(spec.semantic.classes), device)


TASK = SemanticTask()
