"""Loss terms and their weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distill.config import Config
from distill.config.base import Fraction, NonNegative, Positive

Side = Annotated[int, Field(ge=32, le=4096)]


class DepthLossConfig(Config):
    """Depth: `metric` for meters, `relative` for depth kinds without a scale."""

    kind: Literal["auto", "metric", "relative"] = "auto"
    """auto: by the depth kind of the labels."""
    weight: NonNegative = 1.0
    l1: NonNegative = 10.0
    """metric: L1 on the warped depth 1 - (1 + d/10)^-2, where one 8-bit level has the same weight at every distance."""
    silog: NonNegative = 0.5
    """metric: scale-invariant log error, lambda 0.5."""
    abs_rel: NonNegative = 0.0
    """metric: the error as a fraction of the true depth, as in AbsRel; 0.5 to 2 if that metric matters."""
    ssi: NonNegative = 1.0
    """relative: L1 after median and mean deviation of both maps are removed, per image."""
    gradient: NonNegative = 0.5
    """Multi-scale gradient matching, for sharp edges."""
    confidence: NonNegative = 0.05
    """Laplace likelihood, which trains the confidence and has no gradient on the depth itself."""


class NormalsLossConfig(Config):
    """Normals: the angle and its confidence."""

    weight: NonNegative = 4.0
    """Of 1 - cos."""
    confidence: NonNegative = 0.05
    """Of the angular likelihood, which trains the confidence and has no gradient on the normals themselves."""


class SemanticLossConfig(Config):
    """Semantic classes."""

    weight: NonNegative = 1.0
    label_smoothing: Fraction = 0.0
    dice: NonNegative = 0.5
    """Soft Dice over the classes present in the batch, for which rare classes count as much as frequent ones."""
    balance: Fraction = 0.0
    """Power of the inverse class frequency: pixels count by (fraction of their class in the batch)^-balance. 1 gives
    all classes the same weight, 0.3 to 0.5 suits classes of a few pixels."""
    soft: NonNegative = 0.0
    """Kullback-Leibler divergence from soft labels. Shards hold a class and its confidence, not the scores of all
    classes: the remaining probability is spread evenly over the other classes."""
    temperature: Positive = 2.0
    """Softmax temperature of `soft`; above 1 the classes that were not chosen count more."""


class InstanceLossConfig(Config):
    """Instances: a heat map of their centers, and from every pixel the offset to its center (Panoptic-DeepLab)."""

    center: NonNegative = 100.0
    """Squared error of the heat map, whose peaks are 1."""
    offset: NonNegative = 5.0
    """Absolute error of the offset, as a fraction of the image's sides."""


class EdgesLossConfig(Config):
    """Edges: class-balanced cross-entropy."""

    weight: NonNegative = 1.0
    balance: Fraction = 1.0
    """Power of the inverse class frequency: 1 is HED's class-balanced loss, 0 plain cross-entropy."""


class NoisyLabelsConfig(Config):
    """Noisy-label filter: labels of whole images with a persistently high error are left out, per task."""

    sigma: NonNegative = 0.0
    """Labels are left out if their error over the last epochs is this many standard deviations above the median: 3 for
    noisy teachers, 0 turns the filter off."""
    start: Fraction = 0.15
    """Fraction of the run after which labels can be left out; before that, errors are not informative."""


class LossConfig(Config):
    """Losses are weighted per pixel by validity and teacher confidence."""

    depth: DepthLossConfig = DepthLossConfig()
    normals: NormalsLossConfig = NormalsLossConfig()
    semantic: SemanticLossConfig = SemanticLossConfig()
    instance: InstanceLossConfig = InstanceLossConfig()
    edges: EdgesLossConfig = EdgesLossConfig()
    consistency: NonNegative = 0.0
    """Agreement of the normals with those of the depth; needs `fov_deg`, metric depth, and neither zoom nor crop,
    which change the field of view."""
    fov_deg: float | None = Field(None, gt=1.0, lt=170.0)
    """Horizontal field of view of the photos."""
    trim_fraction: float = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of each image's worst pixels that is left out (wrong labels); 0.1 to 0.2 for noisy teachers."""
    noisy_labels: NoisyLabelsConfig = NoisyLabelsConfig()
    stride: Literal[1, 2, 4] = 2
    """Each step uses every n-th row and column of the labels, in a random phase."""
    use_confidence: bool = True
    """Weight pixels by the teacher's confidence; false gives every valid pixel the same weight."""
    use_quality: bool = True
    """Weight images by the quality score of their labels."""
