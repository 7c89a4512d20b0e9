"""Arithmetic that the fusion of several labels shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from distill.labels import Label


def masked_median(values: Float[ndarray, "n h w"], valid: Bool[ndarray, "n h w"]) -> Float[ndarray, "h w"]:
    """Lower median of the valid values; one of them, so that no depth between two surfaces appears."""
    ordered = np.sort(np.where(valid, values, np.inf), axis=0)
    middle = np.maximum(valid.sum(axis=0) - 1, 0) // 2
    found = np.take_along_axis(ordered, middle[None], axis=0)[0]
    return np.where(np.isfinite(found), found, 0)


def combine_confidence(
    labels: Sequence[Label], valid: Bool[ndarray, "n h w"], agreement: Float[ndarray, "h w"], kept: Bool[ndarray, "h w"]
) -> Float[ndarray, "h w"]:
    """Mean confidence of the valid labels times their agreement times the valid fraction."""
    own = np.stack([label.confidence for label in labels])
    mean = (own * valid).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    confidence: ndarray = (mean * agreement * (valid.sum(axis=0) / len(labels)) * kept).astype(np.float32)
    return confidence
