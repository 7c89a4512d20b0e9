"""Config of the synthetic teacher: number and size of the scenes, and faults of its generated images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from distill.config import Config
from distill.config.base import Fraction
from distill.config.teacher_base import TeacherConfig
from distill.tasks import Task


class FaultsConfig(Config):
    """Simulated faults of a generated image; 0 switches one off, and by default all are off.

    Attributes:
        jpeg_probability: Probability that an image is a JPEG instead of a PNG.
        jpeg_quality: Quality of such an image.
        jpeg_subsampling: Its chroma subsampling; 4:2:0 mixes colors across edges.
        color_noise_sigma: Gaussian noise per pixel and channel, in 8-bit levels.
        color_drift: Standard deviation of a smooth and of a constant color error, in 8-bit levels.
        edge_halo_px: Sigma of a blur at the borders between colors.
        drift_probability: Probability that an image is misaligned (shift, zoom and aspect together).
        shift_px: Largest shift along each axis, in pixels of the image.
        zoom: Largest zoom about the center: factors from 1 - zoom to 1 + zoom.
        aspect: Largest change of the width relative to the height.
        output_size: Size of the image: ``same`` as the photo, ``other`` (larger, sides that are multiples of 16) or
            ``api`` (the one-megapixel sizes of the hosted models, nearest ratio).
        resize_mode: How the photo is fitted into another image size; part of the prompt spec.
        wrong_legend_probability: Probability that one class has the color of another.
        missing_instance_probability: Probability, for each object, that an image omits it.
        refusal_probability: Probability that a prompt is refused; the same prompt and photo are always refused.
        truncated_probability: Probability that an image file is truncated.
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
"""Faults by name. ``moderate`` has the faults seen in published images of a tuned generalist, and those of an API."""


def _by_name(value: Any) -> Any:
    """The preset of a name; mappings are unchanged."""
    if isinstance(value, str):
        if value not in PRESETS:
            raise ValueError(f"no preset {value!r}; choose one of {', '.join(PRESETS)}, or give a mapping")
        return PRESETS[value]
    return value


class SyntheticConfig(TeacherConfig):
    """A teacher that renders scenes with known ground truth and generates images of it, with faults.

    Attributes:
        scenes: Number of scenes.
        first: Index of the first scene; use disjoint ranges for training and test sets.
        size_hw: Size (height, width) of the photos.
        seed: Another seed gives other scenes.
        tasks: Tasks per scene.
        faults: ``none``, ``light``, ``moderate``, ``heavy``, or a mapping.
        truth: The labels are the exact ground truth; no images are generated.
        license: License of the labels.
        terms: Link to its text.
        price_per_image_usd: Assumed price of an image, for cost tables.
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
