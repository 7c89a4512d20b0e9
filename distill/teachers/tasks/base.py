"""Interface of a task in the teachers: prompts, decoding, fusion, checks, other label sources, synthetic scenes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8, UInt16
from numpy import ndarray
from numpy.random import Generator

from distill.config.maps import MapConfig
from distill.config.prompt import PromptConfig
from distill.config.synthetic import FaultsConfig
from distill.config.teacher_base import OutputConfig
from distill.errors import DistillError, UsageError
from distill.labels import Label
from distill.labels.conversions import resample_nearest
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.unnamed_colors import Completion
from distill.teachers.quality.color_stats import ColorStats
from distill.teachers.synthetic.raycaster import Truth

MOSTLY = 0.9
"""Fraction of the image with colors of its legend, from which it is a segmentation."""
LEAST_SHOWN, LEAST_EXPLAINED = 0.003, 0.4
"""Of everything but the most frequent class, if it covers the first fraction of the image, the second one must have
colors of the legend: instances on black are no classes on black."""
_ONE_COLOR = 12
"""Difference of a channel from the median color of an area of one color."""
BordersOf = Callable[[Label], Bool[ndarray, "h w"]]
"""Borders of a label at the size of comparison; may be cached."""
Comparison = Callable[[Label, Label, BordersOf], tuple[float, Float[ndarray, "h w"]] | None]
"""(own label, other label, borders) to (agreement, agreement per pixel); None where they cannot be compared."""


@dataclass(frozen=True, slots=True)
class LabelError:
    """Comparison of a label with the ground truth.

    Attributes:
        error: Of the whole label; unit as in `TaskInfo.good_below`.
        right: Per pixel of the label.
        known: Where label and truth are valid.
    """

    error: float
    right: Bool[ndarray, "h w"]
    known: Bool[ndarray, "h w"]


@runtime_checkable
class SceneView(Protocol):
    """One synthetic scene through the pixels of a generated image or of the photo."""

    photo_hw: tuple[int, int]
    size_hw: tuple[int, int]
    """Of the view."""
    mirrored: bool
    """Whether the view shows the left-right mirrored photo."""
    class_names: tuple[str, ...]
    countable: tuple[str, ...]
    """Classes with instances."""
    instance_classes: Mapping[int, str]
    """Of all instances of the scene."""

    def trace(self, samples: int = 1) -> Truth:
        """Truth at ``samples`` x ``samples`` points of each pixel; a map of ``samples`` times the view's size."""
        ...

    def photo_truth(self) -> Truth:
        """Truth at the photo's pixels, with all objects."""
        ...


class TeacherTask(ABC):
    """Prompts, decoding, fusion and checks of one task; stateless."""

    task: ClassVar[Task]
    masks_background: ClassVar[bool] = False
    """Whether pixels of a named background color are invalid: the image has a value for every pixel, or that color."""
    survives_flip: ClassVar[bool] = True
    """Whether a prompt stays true for the mirrored photo."""
    comparisons: ClassVar[Mapping[Task, Comparison]] = {}
    """Comparisons with labels of other tasks; each pair of tasks is listed once."""
    uncertainty_sigma: ClassVar[float] = 0.05
    """Spread of a model's own samples (uncertainty map of diffusers) at which its confidence is exp(-1/2)."""
    can_miss_objects: ClassVar[bool] = False
    """Whether a generated image can leave out an object of a synthetic scene."""
    answer_noun: ClassVar[str] = "a segmentation"
    """Name of its generated images in messages."""
    copy_similarity: ClassVar[float] = 0.55
    """Similarity to the photo from which a generated image is a copy of it (`quality.wrong_image.similarity`): good
    segmentations reach 0.44, posterized photos start at 0.5."""
    max_off_code: ClassVar[float] = 1.0
    """Largest `quality.off_code.off_code_fraction` of a usable image; classes that no legend names may be larger."""

    # Prompts.

    @abstractmethod
    def prompts(self, config: PromptConfig, *, resize_mode: str) -> list[PromptSpec]:
        """Prompts of a config.

        Raises:
            UsageError: A name that cannot be part of a sentence, or more classes than colors.
        """

    def permute(self, prompt_spec: PromptSpec, seed: int) -> PromptSpec:
        """The same prompt with another color legend, where that changes the answer."""
        return prompt_spec

    def things(self, prompt_spec: PromptSpec) -> list[str]:
        """Names of the objects that a prompt segments; empty if it is about the whole image."""
        return []

    # Generated images.

    @abstractmethod
    def decode(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
        """Label of a generated image, at the image's own size."""

    def decode_gray16(self, gray: UInt16[ndarray, "h w"], prompt_spec: PromptSpec) -> Label | None:
        """Label of a gray image of 16 bits, with all its bits; None if 8 bits hold all that it says."""
        return None

    @abstractmethod
    def encode(self, label: Label, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
        """Generated image that decodes to this label."""

    def complete(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Completion:
        """The prompt with the colors that it leaves open, read from its image.

        Raises:
            UsageError: The legend gives one color to two classes.
        """
        return Completion(prompt_spec)

    def shown(self, label: Label) -> float:
        """Fraction of pixels with a class of the legend, background excepted."""
        return 0.0

    def remarks(self, label: Label) -> list[str]:
        """Sentences about parts of a decoded label that may be missing."""
        return []

    def informative(self, label: Label) -> Bool[ndarray, "h w"]:
        """Pixels with a usable value."""
        return label.valid & (label.confidence > 0)

    def reject(self, label: Label) -> str:
        """Reason why a decoded label cannot be right; empty if there is none."""
        return ""

    def explain_impossible(self, label: Label) -> str:
        """Why a generated image shows what no photo can show; empty if it does not."""
        return ""

    def explain_colors(self, rgb: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> str:
        """Why the colors of a generated image are not those of its prompt, though most of them are; else empty."""
        return ""

    def recognizes(self, colors: ColorStats) -> bool:
        """Whether an image with these colors is clearly a generated image of this task; default: of flat areas."""
        return colors.are_flat and not colors.are_edges

    def admits(self, colors: ColorStats, label: Label, prompt_spec: PromptSpec) -> bool:
        """Whether an image that decodes to this label may be a generated image of this task."""
        if colors.are_edges:
            return False
        other = colors.are_depth or colors.are_normals or colors.are_gray_depth
        if not prompt_spec.legend:
            return not other
        shown, explained = _shown(label)
        if shown > LEAST_SHOWN and explained < LEAST_EXPLAINED:
            return False
        return not other or label.valid_fraction > MOSTLY

    def off_code(
        self, areas: Bool[ndarray, "h w"], value: Shaped[ndarray, "h w *c"], colors: UInt8[ndarray, "h w 3"]
    ) -> float:
        """Fraction of the image in these areas without meaning; 0 for one color, which shows sky or a background."""
        shown = colors[areas].astype(np.int16)
        apart = np.abs(shown - np.median(shown, axis=0)).max(axis=1)
        return 0.0 if (apart <= _ONE_COLOR).mean() > MOSTLY else float(areas.mean())

    def before_shrinking(self, label: Label, ratio_hw: tuple[float, float]) -> Label:
        """The label prepared for nearest-neighbor reduction by this ratio (label pixels per result pixel)."""
        return label

    # Labels.

    def hflip(self, value: Shaped[ndarray, "h w *c"]) -> Shaped[ndarray, "h w *c"]:
        """Values of the left-right mirrored photo."""
        return np.ascontiguousarray(value[:, ::-1])

    @abstractmethod
    def fuse(self, labels: Sequence[Label]) -> Label:
        """One label from at least two of the same size and depth kind."""

    def joins(self, known: Label, label: Label) -> bool:
        """Whether a label of another prompt extends a known one instead of competing with it."""
        return False

    def label_error(self, label: Label, truth: Label) -> LabelError | None:
        """Error against the truth, resampled to the label's grid; None where they share no valid pixel."""
        picked = resample_nearest(truth, label.size_hw)
        known = label.valid & picked.valid
        return self.error_on_grid(label, picked, known) if known.any() else None

    @abstractmethod
    def error_on_grid(self, label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> LabelError:
        """`label_error` for a truth of the label's size."""

    def restrict(self, truth: Label, label: Label) -> Label:
        """The part of the truth that the label was prompted for."""
        return truth

    # Quality.

    def color_validity(self, label: Label) -> float:
        """Valid fraction times mean confidence of the valid pixels."""
        # The confidence of invalid pixels is 0.
        return float(label.confidence.mean()) if label.valid.any() else 0.0

    @abstractmethod
    def borders(self, value: Shaped[ndarray, "h w *c"], label: Label) -> Bool[ndarray, "h w"]:
        """Borders in the label's values, which may be resampled."""

    @abstractmethod
    def content(self, label: Label) -> float:
        """0 for a constant label, 1 for a plausible amount of content; the label has valid pixels."""

    # Other label sources.

    def planes(self, values: Shaped[ndarray, ...], name: str) -> Shaped[ndarray, "c h w"]:
        """Output of a Python function, channel first.

        Raises:
            DistillError: Another shape.
        """
        if values.ndim not in (2, 3):
            raise DistillError(f"{name}: {self.task} has shape {values.shape}", hint=f"return {self.task} as (h, w)")
        return values[None] if values.ndim == 2 else values

    def label_from_planes(self, planes: Shaped[ndarray, "c h w"], output: OutputConfig, name: str) -> Label:
        """Label of a network's output planes; ``name`` is the model's, for errors.

        Raises:
            DistillError: The number of channels differs from the config.
            UsageError: Networks have no outputs of this task.
        """
        raise UsageError(f"{name}: outputs cannot be read as {self.task}", hint="remove the task from outputs")

    def label_from_file(self, stored: Shaped[ndarray, "h w *c"], config: MapConfig, path: Path) -> Label:
        """Label of the numbers in a map file, not mirrored; ``path`` is for errors.

        Raises:
            DistillError: The file is not a map of this task.
            UsageError: Files have no maps of this task.
        """
        raise UsageError(f"{path}: files cannot be read as {self.task}", hint="remove the task from the config")

    def contradiction(self, label: Label, labels: Mapping[Task, Label], frame: str) -> str:
        """Why a label cannot be right next to those of other tasks, and what would fit; empty if it can be.

        Args:
            label: The label.
            labels: All labels of the photo.
            frame: Axes that its config states.
        """
        return ""

    # Synthetic scenes.

    @abstractmethod
    def synthetic_prompts(self, view: SceneView, *, resize_mode: str) -> list[PromptSpec]:
        """Prompts about a scene, seen through the photo."""

    @abstractmethod
    def true_label(self, view: SceneView) -> Label:
        """Exact label of a scene."""

    def render(
        self, view: SceneView, prompt_spec: PromptSpec, faults: FaultsConfig, rng: Generator
    ) -> UInt8[ndarray, "h w 3"]:
        """Generated image about a scene; faults other than those of single classes are added later."""
        return self.encode(self.true_label(view), prompt_spec)


def _shown(label: Label) -> tuple[float, float]:
    """(fraction of the image without the most frequent class, valid fraction of that).

    Rows and columns without a valid pixel are beyond a shifted image.
    """
    value, valid = label.value[::3, ::3], label.valid[::3, ::3]
    rows, columns = valid.any(axis=1), valid.any(axis=0)
    value, valid = value[rows][:, columns], valid[rows][:, columns]
    counts = np.bincount(value[valid].astype(np.int64), minlength=1)
    others = int(valid.size - counts.max())
    return others / max(1, valid.size), (int(counts.sum()) - int(counts.max())) / max(1, others)


def check_channels(num_channels: int, expected: int, name: str, *, last_axis: int = 0) -> None:
    """Raise if a network output has another number of channels than its config.

    `last_axis` is the length of its last axis, for the message.
    """
    if num_channels != expected:
        last = last_axis == expected
        raise DistillError(
            f"{name}: the output has {num_channels} channels instead of {expected}"
            + (", which are its last axis" if last else ""),
            hint="put the channels first, or state layout: NHWC"
            if last
            else "check layout, model_classes and the output's name in the config",
        )
