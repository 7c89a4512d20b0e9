"""What a student's answers are compared with labels by, and how much each comparison weighs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distill.config import Config
from distill.config.base import Fraction, NonNegative, Positive

Side = Annotated[int, Field(ge=32, le=4096)]


class DepthLossConfig(Config):
    """Depth: `metric` for meters, `relative` for depth kinds without a scale."""

    kind: Literal["auto", "metric", "relative"] = "auto"
    """auto follows the labels' depth kind."""
    weight: NonNegative = 1.0
    l1: NonNegative = 10.0
    """metric: L1 on the warped depth 1 - (1 + d/10)^-2, where one painted level weighs the same at every distance."""
    silog: NonNegative = 0.5
    """metric: scale-invariant log error, lambda 0.5."""
    abs_rel: NonNegative = 0.0
    """metric: the error as a share of the true depth, which is what AbsRel scores; 0.5 to 2 where that counts."""
    ssi: NonNegative = 1.0
    """relative: L1 after median and mean deviation of both maps are removed, per image."""
    gradient: NonNegative = 0.5
    """Multi-scale gradient matching, which keeps edges sharp."""
    confidence: NonNegative = 0.05
    """Laplace likelihood that teaches the confidence; it does not touch the depth itself."""


class NormalsLossConfig(Config):
    """Normals: the angle, and how sure the student is of it."""

    weight: NonNegative = 4.0
    """Of 1 - cos."""
    confidence: NonNegative = 0.05
    """Of the angular likelihood, which trains the confidence and has no gradient on the normals themselves."""


class SemanticLossConfig(Config):
    """Semantic classes."""

    weight: NonNegative = 1.0
    label_smoothing: Fraction = 0.0
    dice: NonNegative = 0.5
    """Soft Dice over the classes present in the batch: rare classes count as much as frequent ones."""
    balance: Fraction = 0.0
    """How much rarer classes weigh more: pixels count by (share of their class in the batch)^-balance; 1 makes all
    classes equal, 0.3 to 0.5 suits classes of a few pixels."""
    soft: NonNegative = 0.0
    """Kullback-Leibler divergence from soft labels. Shards hold a class and how sure the teacher is of it, not all of
    its scores: what is left over is spread evenly over the other classes."""
    temperature: Positive = 2.0
    """At which soft labels and answers are compared; above 1 the classes that were not chosen count more."""


class InstanceLossConfig(Config):
    """Instances: a heat map of their centers, and from every pixel the way to its center (Panoptic-DeepLab)."""

    center: NonNegative = 100.0
    """Squared error of the heat map, whose peaks are 1."""
    offset: NonNegative = 5.0
    """Absolute error of the way, in parts of the picture's sides."""


class EdgesLossConfig(Config):
    """Edges: class-balanced cross-entropy."""

    weight: NonNegative = 1.0
    balance: Fraction = 1.0
    """Power of the inverse class frequency: 1 is HED's class-balanced loss, 0 plain cross-entropy."""


class NoisyLabelsConfig(Config):
    """The filter of noisy labels: whole labels that the student keeps disagreeing with are left out, task by task."""

    sigma: NonNegative = 0.0
    """Labels whose error over the last epochs is this many standard deviations above that of most labels are left out:
    3 for noisy teachers, 0 turns the filter off."""
    start: Fraction = 0.15
    """Fraction of the run after which labels can be left out; before, the student knows too little."""


class LossConfig(Config):
    """Losses are weighted per pixel by validity and teacher confidence."""

    depth: DepthLossConfig = DepthLossConfig()
    normals: NormalsLossConfig = NormalsLossConfig()
    semantic: SemanticLossConfig = SemanticLossConfig()
    instance: InstanceLossConfig = InstanceLossConfig()
    edges: EdgesLossConfig = EdgesLossConfig()
    consistency: NonNegative = 0.0
    """Agreement of the normals with those of the depth; needs `fov_deg`, metric depth, and no zoom and no crop, which
    would bend one against the other."""
    fov_deg: float | None = Field(None, gt=1.0, lt=170.0)
    """Horizontal field of view of the photos."""
    trim_fraction: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the worst pixels of each image that is left out (wrong labels); 0.1 to 0.2 for noisy teachers."""
    noisy_labels: NoisyLabelsConfig = NoisyLabelsConfig()
    stride: Literal[1, 2, 4] = 2
    """Each step compares every n-th row and column of the labels, in another phase each time."""
    use_confidence: bool = True
    """Weight pixels by the teacher's confidence; false trusts every valid pixel alike."""
    use_quality: bool = True
    """Weight images by the quality score that the labels carry."""
