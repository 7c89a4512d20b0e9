"""COCO run lengths: round trip, the texts of pycocotools, damaged texts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from distill.labels.run_lengths import decode_rle, encode_rle


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_run_lengths_round_trip(mask: np.ndarray) -> None:
    segmentation = encode_rle(mask)
    assert segmentation["size"] == list(mask.shape)
    assert np.array_equal(decode_rle(segmentation), mask)


def test_run_lengths_equal_pycocotools() -> None:
    """Texts made with pycocotools 2.0.11."""
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:5] = True
    assert encode_rle(mask) == {"size": [5, 6], "counts": ";230004"}
    half = np.zeros((2000, 3000), bool)
    half[:, 1500:] = True
    assert encode_rle(half)["counts"] == "Pfak2Pfak2"
    noise = np.random.default_rng(0).random((300, 400)) > 0.7
    text = encode_rle(noise)["counts"].encode()
    assert len(text) == 50442 and hashlib.sha256(text).hexdigest().startswith("55eb549f8e1790e7")


@pytest.mark.parametrize("text", ["", "5", "~", "P" * 40, "é", "0" * 99, "\x00", ";23000"])
def test_damaged_run_lengths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"run length|ordinal"):
        decode_rle({"size": [5, 6], "counts": text})
