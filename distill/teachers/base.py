"""Interfaces of teachers: a generator edits images, a specialist predicts label maps, a teacher labels photos.

No file formats, network access or shards here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import DEPTH_C, DEPTH_LAMBDA, DepthKind, Task

RGB = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class PhotoRef:
    """A photo that is not read: name and origin as in `distill.images.Photo`."""

    name: str
    origin: Mapping[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What decides the labels of one photo, besides the config and the fingerprint of the teacher.

    Attributes:
        text: Such as the rows of a manifest.
        files: Such as its label maps; they may be missing.
    """

    text: str = ""
    files: tuple[Path, ...] = ()


def dependencies_of(source: object, photo: PhotoRef) -> Dependencies:
    """`dependencies` of a specialist, generator or teacher; empty for a plug-in without the method."""
    found = getattr(source, "dependencies", None)
    result: Dependencies = Dependencies() if found is None else found(photo)
    return result


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """One prompt about one photo, and the color code of the generated image.

    Attributes:
        task: Task of the label.
        prompt: The sentence.
        legend: semantic, referring: class name to color, in the order of the sentence.
        class_name: instance: the class of the prompt.
        background: Color of everything outside classes, instances or phrases; None: not named, read from the image.
        unreadable: semantic, referring: class name to the text of a color that cannot be read.
        colormap: depth: ``cube`` (the paper's path), ``gray``, or one of `distill.teachers.codecs.colormaps.COLORMAPS`;
            with ``_r`` reversed.
        depth_kind: depth: meaning of the colors.
        near_is_low: depth by colormap: whether the low end of the map is near.
        frame: normals: name of the axis convention of the colors.
        resize_mode: How the generated image covers the photo: ``cover`` (scaled to cover, center-cropped), ``fill`` or
            ``contain``.
        lam: depth, metric: shape of the warp from meters to color (`distill.tasks.warp_depth`).
        c: depth, metric: scale of the warp.
        reader: instance: ``flood`` (the paper's algorithm) or ``hues`` (for untuned editors, whose colors are uneven).
    """

    task: Task
    prompt: str = ""
    legend: Mapping[str, RGB] = field(default_factory=dict)
    class_name: str = ""
    background: RGB | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    colormap: str = "cube"
    depth_kind: DepthKind = DepthKind.METRIC
    near_is_low: bool = True
    frame: str = "vision_banana"
    resize_mode: str = "cover"
    lam: float = DEPTH_LAMBDA
    c: float = DEPTH_C
    reader: str = "flood"


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """Bytes of a generated image, before decoding."""

    prompt_spec: PromptSpec
    data: bytes
    name: str
    model: str
    cost_usd: float = 0.0
    seed: int = 0
    license: str = ""
    """License of this image, if it differs from the teacher's."""


class ContentRefused(DistillError):  # noqa: N818 - the field's term
    """The service refuses this prompt about this photo; repeating the request costs money without another result."""


class NoAnswer(DistillError):  # noqa: N818 - not a fault: sets may be labeled in part
    """The teacher has nothing about this photo: no map, no row of the manifest."""


@runtime_checkable
class Generator(Protocol):
    """Edits a photo into an image that encodes a label."""

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """Prompts about this photo."""
        ...

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The generated image; its size may differ from the photo's.

        Args:
            photo: The photo.
            prompt_spec: The prompt.
            seed: Seed of the job.
            sample: Number of the sample for the same prompt; each number gives another image.

        Raises:
            ContentRefused: The generator refuses the prompt.
            DistillError: There is no image.
        """
        ...

    def fingerprint(self) -> list[str]:
        """Digests of the files that decide its images, besides the config; empty if there are none."""
        return []

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """Files and text that decide the images of this photo; empty if the photo alone does.

        Raises:
            DistillError: They cannot be found.
        """
        return Dependencies()


@runtime_checkable
class CacheableGenerator(Generator, Protocol):
    """A generator whose images can be stored, keyed by photo, prompt, seed and `parameters`."""

    model: str
    """Exact name of the model."""

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """JSON values that affect the image: steps, guidance, canvas, adapters, ..."""
        ...


@runtime_checkable
class Specialist(Protocol):
    """Predicts label maps directly (a network, or maps on disk)."""

    def predict(self, photo: Photo) -> list[Label]:
        """One label per task; any size, covering the whole photo."""
        ...

    @property
    def min_size_hw(self) -> tuple[int, int] | None:
        """Smallest size (height, width) at which photos may be decoded; None: full size.

        Raises:
            DistillError: The model's input size is not in its config, and the model cannot be opened.
        """
        return None

    def fingerprint(self) -> list[str]:
        """Digests of the files that decide its labels, besides the config; empty if there are none."""
        return []

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """Files and text that decide the labels of this photo; empty if the photo alone does.

        Raises:
            DistillError: They cannot be found.
        """
        return Dependencies()


@dataclass(frozen=True, slots=True)
class TeacherResult:
    """Labels of one photo and their records.

    Attributes:
        labels: At most one per task, each covering the whole photo.
        records: One dictionary per answer: task, teacher, prompt, prompt hash, cost, quality; stored in the sample.
        failures: One dictionary per prompt without a label: task, reason.
        generated: Task to generated image, for reports.
        notes: One dictionary per label with a remark, such as a swapped legend: task, reason.
        costs_usd: Cost of each answer, whether it became a label or not.
    """

    labels: dict[Task, Label]
    records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    generated: dict[str, UInt8[ndarray, "h2 w2 3"]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)
    costs_usd: list[float] = field(default_factory=list)


@runtime_checkable
class Teacher(Protocol):
    """Labels one photo for every task of a job."""

    name: str
    license: str
    terms: str
    """Link to the terms of use; may be empty."""
    tasks: tuple[Task, ...]
    classes: tuple[str, ...]
    """Semantic ids index this list, in every label of the job."""
    max_parallel: int
    """Photos that may be labeled at once, in threads."""
    answer_usd: float
    """Expected price of one answer; 0 for free teachers."""

    @property
    def min_size_hw(self) -> tuple[int, int] | None:
        """Smallest size (height, width) at which photos may be decoded; None: full size."""
        ...

    def fingerprint(self) -> list[str]:
        """Digests of the files that decide all its labels, besides the config: models, source code."""
        ...

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """Files and text that decide the labels of this photo.

        Raises:
            DistillError: They cannot be found.
        """
        ...

    def label(self, photo: Photo) -> list[TeacherResult]:
        """Results for the photo; more than one if there are several prompts for one task, with different legends.

        Raises:
            DistillError: There is no label for this photo; the job continues without it.
        """
        ...
