"""What a teacher is: a Generator paints, a Specialist predicts, a Decoder reads; a Teacher answers all about a photo.

Knows no file formats, no network, no shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import DEPTH_C, DEPTH_LAMBDA, DepthKind, Task

RGB = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """One thing to ask about one photo, and how the answer will be painted.

    Attributes:
        task: What is asked.
        prompt: The sentence.
        legend: semantic, referring: class name to color, in the order of the sentence.
        class_name: instance: the one class asked for.
        background: instance, referring: the color of everything else.
        colormap: depth: ``cube`` (the paper's path), ``gray``, ``viridis``, ``plasma``, ``inferno``, ``magma`` or
            ``turbo``.
        depth_kind: depth: what the colors mean; metric unless the teacher says otherwise.
        near_is_low: depth by colormap: whether the low end of the map is near.
        frame: normals: name of the axis convention in which the answer is painted.
        resize_mode: How the answer lies over the photo: ``cover`` (resized to cover, center-cropped), ``fill`` or
            ``contain``.
        lam: depth, metric: shape of the warp from meters to color (`distill.tasks.warp_depth`).
        c: depth, metric: scale of the warp.
        reader: instance: ``flood`` (the paper's algorithm) or ``hues`` (for untuned editors, whose colors are uneven).
    """

    task: Task
    prompt: str = ""
    legend: Mapping[str, RGB] = field(default_factory=dict)
    class_name: str = ""
    background: RGB = (0, 0, 0)
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
    """A generated image as it came: bytes first, so that nothing paid for depends on our reading of it."""

    prompt_spec: PromptSpec
    data: bytes
    name: str
    model: str
    cost_usd: float = 0.0
    seed: int = 0
    license: str = ""
    """Of this answer, where it differs from the teacher's."""


class ContentRefused(DistillError):  # noqa: N818 - what the field calls it
    """The teacher will not answer this question about this photo; asking again costs money and changes nothing."""


class Generator(Protocol):
    """Paints answers."""

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """What this generator can be asked about this photo."""
        ...

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The generated image; its size may differ from the photo's.

        Args:
            photo: What is asked about.
            question: What is asked.
            seed: Of the job.
            sample: Which of several answers to the same question; another number, another answer.

        Raises:
            Refusal: The generator will not answer.
            DistillError: The answer could not be had.
        """
        ...

    def fingerprint(self) -> list[str]:
        """Digests of the files that decide its images, besides the config; empty if there are none."""
        return []


class CacheableGenerator(Generator, Protocol):
    """A generator whose answers can be stored: it says what else, besides photo, sentence and seed, decides them."""

    model: str
    """Which model paints, exactly."""

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """Plain values (as JSON holds them) that decide the answer: steps, guidance, canvas, adapters, ..."""
        ...


class Decoder(Protocol):
    """Reads one kind of generated image."""

    def __call__(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
        """The label, at the answer's own size."""
        ...


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


@dataclass(frozen=True, slots=True)
class TeacherResult:
    """All that a teacher said about one photo.

    Attributes:
        labels: At most one per task, each covering the whole photo.
        records: One dictionary per answer: task, teacher, prompt, prompt hash, cost, quality; goes into the sample.
        failures: One dictionary per question that gave no label: task, reason.
        generated: task to generated image, for reports.
        notes: One dictionary per label that was read in another way than asked: task, reason.
        paid_usd: What each answer cost, whether it became a label or not.
    """

    labels: dict[Task, Label]
    records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    generated: dict[str, UInt8[ndarray, "h2 w2 3"]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)
    costs_usd: list[float] = field(default_factory=list)


class Teacher(Protocol):
    """Answers every task of a job about one photo."""

    name: str
    license: str
    terms: str
    """Link to what may be done with its answers; may be empty."""
    tasks: tuple[Task, ...]
    classes: tuple[str, ...]
    """Semantic ids index this list, in every label of the job."""
    max_parallel: int
    """Photos that may be labeled at once, in threads."""
    answer_usd: float
    """Expected price of one answer; 0 for teachers that cost nothing."""

    @property
    def min_size_hw(self) -> tuple[int, int] | None:
        """Smallest size (height, width) at which photos may be decoded; None: full size."""
        ...

    def fingerprint(self) -> list[str]:
        """Digests of the files that decide its labels, besides the config: models, manifests, source code."""
        ...

    def label(self, photo: Photo) -> list[TeacherResult]:
        """Lessons about the photo; more than one when it was asked the same task with different legends.

        Raises:
            DistillError: Nothing could be learned about this photo; the job goes on without it.
        """
        ...
