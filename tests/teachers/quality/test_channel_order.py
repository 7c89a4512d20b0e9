"""Order of the color channels of a depth image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from distill.teachers.codecs.depth import encode_depth_rgb
from distill.teachers.quality.channel_order import explain_channels

DEPTH_M = np.geomspace(0.3, 60, 300 * 200).reshape(200, 300)
ORDERS = ["".join(order) for order in itertools.permutations("RGB")]


@pytest.mark.parametrize("colormap", ["cube", "viridis", "plasma"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_order_is_named(order: str, colormap: str) -> None:
    rgb = encode_depth_rgb(DEPTH_M, colormap)
    swapped = rgb[..., ["RGB".index(name) for name in order]]
    assert explain_channels(swapped, colormap) == ("" if order == "RGB" else order)


def test_noise_and_text_are_no_other_order() -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(encode_depth_rgb(DEPTH_M) + rng.normal(0, 25, (*DEPTH_M.shape, 3)), 0, 255).astype(np.uint8)
    assert explain_channels(noisy, "cube") == ""
    assert explain_channels(rng.integers(0, 256, noisy.shape, dtype=np.uint8), "cube") == ""
    assert explain_channels(noisy[:0], "cube") == ""


def test_gray_has_no_order() -> None:
    assert explain_channels(encode_depth_rgb(DEPTH_M, "gray")[..., ::-1], "gray") == ""
