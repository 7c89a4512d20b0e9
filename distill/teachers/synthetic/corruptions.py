"""Simulated faults of generated images: misalignment, halos, color drift, noise, JPEG, truncated files."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from numpy.random import Generator
from PIL import Image

from distill.config.synthetic import FaultsConfig
from distill.images import encode_map

API_CANVASES_WH = (
    (1024, 1024),
    (848, 1264),
    (1264, 848),
    (896, 1200),
    (1200, 896),
    (928, 1152),
    (1152, 928),
    (768, 1376),
    (1376, 768),
    (1584, 672),
)
"""Image sizes (width, height) of Gemini 3 Pro Image at "1K"."""

_SUBSAMPLINGS = {"444": 0, "422": 1, "420": 2}
_EDGE_THRESHOLD = 24
"""Smallest step between neighbors that counts as a border between colors, in 8-bit levels."""


@dataclass(frozen=True, slots=True)
class CanvasTransform:
    """Position of a generated image over its photo.

    Attributes:
        size_hw: Size (height, width) of the image.
        scale_yx: Image pixels per photo pixel.
        shift_yx_px: Shift of the content in image pixels; down and right are positive.
    """

    size_hw: tuple[int, int]
    scale_yx: tuple[float, float]
    shift_yx_px: tuple[float, float]

    def photo_positions(self, photo_hw: tuple[int, int]) -> Float[ndarray, "2 n"]:
        """Continuous (x, y) in the photo of each image pixel's center, row by row; some are outside the photo."""
        axes = []
        for side, photo_side, scale, shift in zip(self.size_hw, photo_hw, self.scale_yx, self.shift_yx_px, strict=True):
            centers = np.arange(side) + 0.5
            axes.append(((centers - side / 2 - shift) / scale + photo_side / 2).astype(np.float32))
        y, x = np.meshgrid(*axes, indexing="ij")
        return np.stack([x.ravel(), y.ravel()])


def draw_canvas_transform(
    faults: FaultsConfig, photo_hw: tuple[int, int], resize_mode: str, rng: Generator
) -> CanvasTransform:
    """A size of the given kind, and a misalignment with probability `drift_probability`."""
    size_hw = _canvas(faults.output_size, photo_hw, rng)
    ratio_y, ratio_x = size_hw[0] / photo_hw[0], size_hw[1] / photo_hw[1]
    if resize_mode != "fill":
        ratio_y = ratio_x = max(ratio_y, ratio_x) if resize_mode == "cover" else min(ratio_y, ratio_x)
    # Drawn in any case, so that one fault does not change the random numbers of another.
    drifts = rng.random() < faults.drift_probability
    zoom, aspect = 1 + faults.zoom * rng.uniform(-1, 1), 1 + faults.aspect * rng.uniform(-1, 1)
    down, right = faults.shift_px * rng.uniform(-1, 1, 2)
    if not drifts:
        return CanvasTransform(size_hw, (ratio_y, ratio_x), (0.0, 0.0))
    return CanvasTransform(size_hw, (ratio_y * zoom, ratio_x * zoom * aspect), (float(down), float(right)))


def _canvas(kind: str, photo_hw: tuple[int, int], rng: Generator) -> tuple[int, int]:
    if kind == "api":
        shape = photo_hw[1] / photo_hw[0]
        width, height = min(API_CANVASES_WH, key=lambda wh: abs(np.log(wh[0] / wh[1] / shape)))
        return height, width
    if kind == "other":
        enlarged = float(rng.choice((1.25, 1.5)))
        # Real images have sides that are multiples of 16, so their ratio differs slightly from the photo's.
        height, width = (max(16, round(side * enlarged / 16) * 16) for side in photo_hw)
        return height, width
    return photo_hw


def corrupt(generated: UInt8[ndarray, "h w 3"], faults: FaultsConfig, rng: Generator) -> UInt8[ndarray, "h w 3"]:
    """The image with halos at borders, drifted colors and noise."""
    if faults.edge_halo_px:
        generated = _add_halo(generated, faults.edge_halo_px)
    if not (faults.color_drift or faults.color_noise_sigma):
        return generated
    shown = generated.astype(np.float32)
    if faults.color_drift:
        smooth = rng.standard_normal((4, 5, 3), np.float32) + rng.standard_normal(3, np.float32)
        size_wh = generated.shape[1], generated.shape[0]
        shown += np.float32(faults.color_drift) * cv2.resize(smooth, size_wh, interpolation=cv2.INTER_CUBIC)
    if faults.color_noise_sigma:
        shown += np.float32(faults.color_noise_sigma) * rng.standard_normal(shown.shape, np.float32)
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def _add_halo(generated: UInt8[ndarray, "h w 3"], sigma_px: float) -> UInt8[ndarray, "h w 3"]:
    """Blur at borders between colors; the inside of a surface is unchanged."""
    red, green, blue = cv2.split(cv2.morphologyEx(generated, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    step = cv2.max(red, cv2.max(green, blue))
    reach = 2 * int(np.ceil(2 * sigma_px)) + 1
    border = cv2.dilate((step > _EDGE_THRESHOLD).astype(np.uint8), np.ones((reach, reach), np.uint8))
    haloed = generated.copy()
    cv2.copyTo(cv2.GaussianBlur(generated, (0, 0), sigma_px), border, haloed)
    return haloed


def encode_file(generated: UInt8[ndarray, "h w 3"], faults: FaultsConfig, rng: Generator) -> bytes:
    """The image file: PNG or JPEG, complete or truncated, by the probabilities of the config."""
    jpeg, cut, kept = (
        rng.random() < faults.jpeg_probability,
        rng.random() < faults.truncated_probability,
        rng.uniform(0.05, 0.8),
    )
    if jpeg:
        buffer = io.BytesIO()
        subsampling = _SUBSAMPLINGS[faults.jpeg_subsampling]
        Image.fromarray(generated).save(buffer, "JPEG", quality=faults.jpeg_quality, subsampling=subsampling)
        data = buffer.getvalue()
    else:
        data = encode_map(generated)
    return data[: int(len(data) * kept)] if cut else data
