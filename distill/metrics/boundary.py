"""Boundary F1 of class borders and of depth jumps."""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from distill.metrics.base import Values

_TOLERANCE = 0.0075
"""Part of the diagonal within which borders match. Source: DAVIS 2016 (Perazzi et al.), 0.008 there."""
RATIOS = np.linspace(1.05, 1.25, 5)
"""Source: Depth Pro, arXiv 2410.02073, section 3.3: neighbors that differ by 5 to 25 % in depth are a jump."""


def semantic_boundary_counts(
    prediction: UInt8[ndarray, "h w"], truth: UInt8[ndarray, "h w"], valid: Bool[ndarray, "h w"]
) -> Float[ndarray, " 4"]:
    """(predicted border pixels near a true one, predicted ones, true ones near a predicted one, true ones)."""
    height, width = valid.shape
    radius = max(1, round(_TOLERANCE * math.hypot(height, width)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    said, true = _borders(prediction, valid), _borders(truth, valid)
    near_true, near_said = (cv2.dilate(edge.astype(np.uint8), disc).astype(bool) for edge in (true, said))
    counts = [(said & near_true).sum(), said.sum(), (true & near_said).sum(), true.sum()]
    return np.array(counts, np.float64)


def depth_boundary_counts(
    prediction_m: Float[ndarray, "h w"], truth_m: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"]
) -> Float[ndarray, "t 3"]:
    """(jumps in both, predicted, true) at each of the ratios; a jump has a direction, and no tolerance."""
    counts = np.zeros((len(RATIOS), 3))
    prediction, truth = (np.where(valid, np.maximum(depth, 1e-6), 1.0) for depth in (prediction_m, truth_m))
    for axis in (0, 1):
        near, far = [slice(None)] * 2, [slice(None)] * 2
        near[axis], far[axis] = slice(None, -1), slice(1, None)
        both = valid[tuple(near)] & valid[tuple(far)]
        said = (prediction[tuple(far)] / prediction[tuple(near)])[both]
        true = (truth[tuple(far)] / truth[tuple(near)])[both]
        for row, ratio in enumerate(RATIOS):
            for one, other in ((said > ratio, true > ratio), (said < 1 / ratio, true < 1 / ratio)):
                counts[row] += [(one & other).sum(), one.sum(), other.sum()]
    return counts


def boundary_f1(hits_predicted: Values, predicted: Values, hits_true: Values, true: Values) -> ndarray:
    """F1 of counts; 0 without a match, NaN where neither side has an edge."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(np.asarray(predicted) > 0, hits_predicted / predicted, 0.0)
        recall = np.where(true > 0, hits_true / true, 0.0)
        total = precision + recall
        score = np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1.0), 0.0)
    return np.where((predicted > 0) | (true > 0), score, np.nan)


def _borders(ids: UInt8[ndarray, "h w"], valid: Bool[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """Pixels whose right or lower neighbor is of another class; both must count."""
    edge = np.zeros(ids.shape, bool)
    edge[:, :-1] |= (ids[:, :-1] != ids[:, 1:]) & valid[:, :-1] & valid[:, 1:]
    edge[:-1] |= (ids[:-1] != ids[1:]) & valid[:-1] & valid[1:]
    return edge
