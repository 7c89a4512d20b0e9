"""Interface that each task module of this package implements, with the defaults of a plain per-pixel map.

`student_task` finds the module by the task's name. A task is added by adding a module; no list has to be edited.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from pydantic import BaseModel
from torch import Tensor, nn

from distill.config.loss import LossConfig
from distill.config.train import StudentConfig
from distill.spec import StudentSpec
from distill.students.model.neck import separable
from distill.tasks import TASKS, DepthKind, Task, TaskInfo, task_module

Outputs = dict[str, Tensor]
"""Final values by output name: ``<task>`` and ``<task>_confidence``."""


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """Properties of the labels that a student's spec depends on.

    Attributes:
        depth_kind: Of the depth labels.
        classes: Semantic class list.
        things: Classes that have instances.
    """

    depth_kind: DepthKind
    classes: tuple[str, ...] = ()
    things: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PostprocessContext:
    """Sizes and earlier results for `TaskHead.postprocess`.

    Attributes:
        size_hw: Size of the final values.
        work_hw: Working size of the network, at which classes are compared.
        outputs: Final values of the tasks before this one, at `size_hw`.
    """

    size_hw: tuple[int, int]
    work_hw: tuple[int, int]
    outputs: Outputs


@dataclass(frozen=True, slots=True)
class LossInputs:
    """One task's part of a batch.

    Attributes:
        raw: Raw map on the grid of the target.
        target: As decoded by `StudentTask.target`.
        weight: Per pixel; 0 leaves it out.
        confidence: Teacher confidence in [0, 1], for tasks that use it beyond the weight.
        config: All loss settings.
    """

    raw: Float[Tensor, "b c h w"]
    target: Shaped[Tensor, "b *vector h w"]
    weight: Float[Tensor, "b h w"]
    confidence: Float[Tensor, "b h w"] | None
    config: LossConfig


@dataclass(frozen=True, slots=True)
class TaskLoss:
    """Loss terms of one task.

    Attributes:
        terms: Weighted and ready to be summed.
        activated: Prediction that losses across tasks compare.
    """

    terms: dict[str, Tensor]
    activated: Tensor | None = None


class TaskHead(nn.Module, ABC):
    """Predicts one task's raw map at head stride, with its losses and its final values."""

    filters_noise: ClassVar[bool] = True
    """Whether the noisy-label filter applies."""
    layers: nn.Sequential

    def forward(self, fused: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        """The raw map."""
        raw: Tensor = self.layers(fused)
        return raw

    @abstractmethod
    def postprocess(self, raw: Float[Tensor, "b c h w"], context: PostprocessContext) -> Outputs:
        """``<task>`` and ``<task>_confidence`` at ``context.size_hw``."""

    @abstractmethod
    def losses(self, inputs: LossInputs) -> TaskLoss:
        """Loss terms of one batch."""

    def label_error(
        self, raw: Float[Tensor, "b c h w"], target: Shaped[Tensor, "b *vector h w"], weight: Float[Tensor, "b h w"]
    ) -> Float[Tensor, " b"]:
        """Distance of each image's prediction from its label, for the noisy-label filter; 0 without a label."""
        raise NotImplementedError


def head_layers(channels_in: int, channels: int, channels_out: int) -> nn.Sequential:
    """Layers of a head: one separable convolution, one pointwise projection."""
    return nn.Sequential(separable(channels_in, channels), nn.Conv2d(channels, channels_out, 1))


@dataclass(frozen=True, slots=True)
class ConstantComparison:
    """A student's validation score, compared with the best prediction that is the same for all pixels of all photos.

    Attributes:
        name: Of the score.
        score: The student's.
        constant: That of the best constant prediction.
        is_better: Whether the student is better.
        is_constant: Whether the labels themselves are constant, so that there is nothing to learn.
    """

    name: str
    score: float
    constant: float
    is_better: bool
    is_constant: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.score:.3f}, {self.constant:.3f} for the best constant prediction"


@runtime_checkable
class TaskScore(Protocol):
    """Validation score of one task, as sums that processes can add up in place.

    Plain tensors instead of a module: weight averaging swaps all buffers of the module around a validation.
    """

    sums: Tensor

    def update(self, outputs: Mapping[str, Tensor], target: Tensor, weight: Tensor) -> None:
        """Add the final values of one batch."""

    def compute(self) -> tuple[dict[str, float], float] | None:
        """(named scores, one score in [0, 1] where 1 is best); None without a labeled pixel."""

    def compare_with_constant(self) -> ConstantComparison | None:
        """Comparison with the best constant prediction; None without a labeled pixel."""


class StudentTask(ABC):
    """A task on the student side; stateless."""

    task: ClassVar[Task]
    needs: ClassVar[tuple[Task, ...]] = ()
    """Tasks that a student must learn as well."""
    uses_confidence: ClassVar[bool] = False
    """Whether losses read the teacher confidence beyond the pixel weight."""

    @property
    def info(self) -> TaskInfo:
        """The task's properties."""
        return TASKS[self.task]

    @property
    def sources(self) -> tuple[Task, ...]:
        """Stored tasks from which targets can be made; the first one that a sample has is used."""
        return (self.task,)

    @abstractmethod
    def output_spec(self, labels: LabelFacts) -> BaseModel:
        """The task's block of the student spec.

        Raises:
            UsageError: The labels lack something that the task needs.
        """

    @abstractmethod
    def build_head(self, config: StudentConfig, spec: StudentSpec) -> TaskHead:
        """A new head."""

    # -- stored values -> targets

    def from_source(self, stored: ndarray, source: Task, class_of: Mapping[int, int]) -> ndarray:
        """Stored values of one of the other `sources` as stored values of this task."""
        raise NotImplementedError

    def resize(self, stored: Shaped[ndarray, "h w *c"], size_hw: tuple[int, int]) -> Shaped[ndarray, "h2 w2 *c"]:
        """Stored values at another size.

        Nearest: interpolation would invent depths and normals between two surfaces, and ids that no label has.
        """
        return resize_nearest(stored, size_hw)

    def valid(self, stored: Shaped[ndarray, "h w *c"]) -> Bool[ndarray, "h w"]:
        """Pixels that have a label."""
        known: ndarray = stored != self.info.ignore
        return np.asarray(known.any(axis=-1)) if known.ndim == 3 else known

    def check(
        self, stored: Shaped[ndarray, "h w *c"], valid: Bool[ndarray, "h w"], num_classes: int | None, name: str
    ) -> None:
        """Raise DistillError if valid stored values are impossible; `name` is that of the file."""
        return

    @abstractmethod
    def target(
        self, stored: Shaped[Tensor, "b h w *c"], depth_kind: DepthKind | None
    ) -> Shaped[Tensor, "b *vector h w"]:
        """Stored values as the values that losses compare, channels first."""

    # -- augmentation of targets that have been resampled already

    def flip(
        self, target: Shaped[Tensor, "b *vector h w"], chosen: Bool[Tensor, " b"]
    ) -> Shaped[Tensor, "b *vector h w"]:
        """Values after the chosen images were mirrored left to right."""
        return target

    def zoom(
        self, target: Shaped[Tensor, "b *vector h w"], zoom: Float[Tensor, " b"], depth_kind: DepthKind
    ) -> Shaped[Tensor, "b *vector h w"]:
        """Values after each image was enlarged by its zoom."""
        return target

    @abstractmethod
    def score(self, spec: StudentSpec, device: torch.device) -> TaskScore:
        """A new validation score."""


def resize_nearest(stored: Shaped[ndarray, "h w *c"], size_hw: tuple[int, int]) -> Shaped[ndarray, "h2 w2 *c"]:
    """Nearest resize with half-pixel centers."""
    resized: ndarray = cv2.resize(stored, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def student_task(task: Task) -> StudentTask:
    """The student side of a task.

    Raises:
        UsageError: A student has no head for this task.
    """
    found: StudentTask = task_module("distill.students.tasks", task).TASK
    return found
