"""The config of the synthetic teacher: how many scenes, how large, and which faults its generated images have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from distill.config import Config
from distill.config.teacher import TeacherConfig
from distill.tasks import Task

Fraction = Annotated[float, Field(ge=0, le=1)]


class FaultsConfig(Config):
    """Dosed faults of a generated image; 0 switches one off, and the defaults switch all of them off.

    Attributes:
        jpeg_probability: Probability that an answer is a JPEG, whatever was asked for.
        jpeg_quality: Of such an answer.
        jpeg_subsampling: Its chroma subsampling; 4:2:0 is what mixes colors across edges.
        color_noise_sigma: Gaussian noise per pixel and channel, in 8-bit levels.
        color_drift: Standard deviation of a smooth color error and of a constant one, in 8-bit levels.
        edge_halo_px: Sigma of a blur at the borders between colors.
        drift_probability: Probability that an answer is displaced (shift, zoom and aspect together).
        shift_px: Largest shift along each axis, in pixels of the answer.
        zoom: Largest zoom about the middle: factors from 1 - zoom to 1 + zoom.
        aspect: Largest stretch of the width against the height.
        output_size: Size of the answer: ``same`` as the photo, ``other`` (larger, sides that divide by 16) or ``api`` (the
            one-megapixel grid of the hosted models, nearest in shape).
        resize_mode: How the photo lies on another canvas; the question says so too.
        wrong_legend_probability: Probability that one class is painted in the color of another.
        missing_instance_probability: Probability, for each thing, that an answer leaves it out.
        refusal_probability: Probability that a question is refused; the same one always is.
        truncated_probability: Probability that an answer's file ends early.
    """

    jpeg_probability: Fraction = 0.0
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    jpeg_subsampling: Literal["444", "422", "420"] = "420"
    color_noise_sigma: float = Field(default=0.0, ge=0, le=64)
    color_drift: float = Field(default=0.0, ge=0, le=64)
    edge_halo_px: float = Field(default=0.0, ge=0, le=8)
    drift_probability: Fraction = 0.0
    shift_px: float = Field(default=0.0, ge=0, le=24)
    zoom: float = Field(default=0.0, ge=0, le=0.07)
    aspect: float = Field(default=0.0, ge=0, le=0.05)
    output_size: Literal["same", "other", "api"] = "same"
    resize_mode: Literal["cover", "fill", "contain"] = "cover"
    wrong_legend_probability: Fraction = 0.0
    missing_instance_probability: Fraction = 0.0
    refusal_probability: Fraction = 0.0
    truncated_probability: Fraction = 0.0


PRESETS = {
    "none": FaultsConfig(),
    "light": FaultsConfig(
        jpeg_probability=0.3, jpeg_quality=95, jpeg_subsampling="444", color_noise_sigma=1.0, edge_halo_px=0.4
    ),
    "moderate": FaultsConfig(
        jpeg_probability=0.5,
        jpeg_quality=90,
        color_noise_sigma=2.0,
        color_drift=2.0,
        edge_halo_px=0.6,
        drift_probability=0.2,
        shift_px=2.0,
        zoom=0.01,
        aspect=0.005,
        output_size="other",
        wrong_legend_probability=0.03,
        missing_instance_probability=0.03,
        refusal_probability=0.01,
        truncated_probability=0.01,
    ),
    "heavy": FaultsConfig(
        jpeg_probability=0.8,
        jpeg_quality=75,
        color_noise_sigma=4.0,
        color_drift=5.0,
        edge_halo_px=1.2,
        drift_probability=0.6,
        shift_px=12.0,
        zoom=0.07,
        aspect=0.02,
        output_size="other",
        wrong_legend_probability=0.12,
        missing_instance_probability=0.12,
        refusal_probability=0.04,
        truncated_probability=0.03,
    ),
}
"""Faults by name. ``moderate`` is what the published answers of a tuned generalist show, and an API's accidents."""


def _by_name(value: Any) -> Any:
    """A preset for its name; mappings pass through."""
    if isinstance(value, str):
        if value not in PRESETS:
            raise ValueError(f"no faults are called {value!r}; choose one of {', '.join(PRESETS)}, or give a mapping")
        return PRESETS[value]
    return value


class SyntheticConfig(TeacherConfig):
    """A teacher that renders its own scenes, knows the truth about them, and paints it with faults.

    Attributes:
        kind: Says that this is the synthetic teacher.
        scenes: How many.
        first: Index of the first scene; ranges that do not overlap give training and held-out sets.
        size_hw: Of the photos.
        seed: Another seed, other scenes.
        tasks: What is asked about each of them.
        faults: ``none``, ``light``, ``moderate``, ``heavy``, or a mapping.
        truth: Labels are the exact truth; nothing is painted or decoded.
        license: Written into every label.
        terms: Where it can be read.
        price_per_image_usd: What a real generator would have charged for an answer; for cost tables.
    """

    kind: Literal["synthetic"] = "synthetic"
    scenes: int = Field(default=600, ge=1)
    first: int = Field(default=0, ge=0)
    size_hw: tuple[Annotated[int, Field(ge=16, le=4096)], Annotated[int, Field(ge=16, le=4096)]] = (144, 192)
    seed: int = Field(default=0, ge=0)
    tasks: tuple[Task, ...] = Field(default=(Task.DEPTH, Task.NORMALS, Task.SEMANTIC), min_length=1)
    faults: Annotated[FaultsConfig, BeforeValidator(_by_name)] = FaultsConfig()
    truth: bool = False
    license: str = "CC0-1.0"
    terms: str = "https://creativecommons.org/publicdomain/zero/1.0/"
    price_per_image_usd: float = Field(default=0.0, ge=0)
