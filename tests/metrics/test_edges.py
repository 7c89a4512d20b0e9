"""Edge metrics: ODS, OIS and average precision of probabilities."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from distill.metrics.edges import EdgeMetrics, match_counts, thin

ALL = np.ones((120, 160), bool)


def box(shift: int = 0, width: int = 1) -> np.ndarray:
    """A box outline as probability."""
    edges = np.zeros((120, 160), np.float32)
    cv2.rectangle(edges, (40 + shift, 30), (110 + shift, 90), 1.0, width)
    return edges


def ods(prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray = ALL) -> float:
    metrics = EdgeMetrics()
    metrics.update(prediction, truth, valid)
    return metrics.compute()["ods"]


def test_truth_against_itself_scores_one() -> None:
    assert ods(box(), box()) == pytest.approx(1.0)


def test_a_shift_within_the_tolerance_costs_nothing_and_a_large_one_costs_the_vertical_sides() -> None:
    assert ods(box(1), box()) == pytest.approx(1.0, abs=0.02)  # the radius at 120x160 is 2 px (1.5 rounded)
    assert 0.3 < ods(box(12), box()) < 0.75


def test_broad_answers_and_constants_score_low() -> None:
    assert ods(cv2.dilate(box(), np.ones((15, 15))), box()) < 0.6
    assert ods(np.full((120, 160), 0.7, np.float32), box()) == 0.0


def test_thin_keeps_one_pixel_of_a_line_between_two_columns() -> None:
    line = np.zeros((20, 20), np.float32)
    line[:, 9:11] = 0.5
    assert ((thin(line) > 0).sum(axis=1)[1:-1] == 1).all()


def test_the_best_threshold_is_one_for_the_set_and_one_for_each_image() -> None:
    metrics = EdgeMetrics()
    noise = np.zeros((120, 160), np.float32)
    noise[10::20, 10::20] = 0.3
    metrics.update(np.maximum(0.9 * box(), noise), box(), ALL)
    metrics.update(0.2 * box(), box(), ALL)
    scores = metrics.compute()
    assert scores["ois"] > scores["ods"] > 0.6
    assert 0.6 < scores["ap"] <= 1.0


def test_false_alarms_in_images_without_edges_count() -> None:
    metrics, alone = EdgeMetrics(), EdgeMetrics()
    for scored in (metrics, alone):
        scored.update(box(), box(), ALL)
    result = metrics.update(box(), np.zeros_like(box()), ALL)
    assert result["f"] == 0.0 and metrics.compute()["ods"] < alone.compute()["ods"]
    assert math.isnan(metrics.update(np.zeros_like(box()), np.zeros_like(box()), ALL)["f"])


def test_pixels_without_truth_do_not_count() -> None:
    left = ALL.copy()
    left[:, 80:] = False
    wrong_right = box()
    wrong_right[:, 85:] = 1.0 - wrong_right[:, 85:]
    assert ods(wrong_right, box(), left) > 0.95
    metrics = EdgeMetrics()
    metrics.update(box(), box(), ~ALL)
    assert metrics.compute()["images_skipped"] == 1


def test_values_that_are_not_finite_are_no_edges() -> None:
    prediction = box()
    prediction[30, 40:110] = np.nan
    assert ods(prediction, box()) < 1.0


def test_pooled_scores_are_those_of_the_summed_counts() -> None:
    metrics = EdgeMetrics()
    for shift in (0, 3, 9):
        metrics.update(box(shift), box(), ALL)
    counts = np.sum([match_counts(box(shift), box(), ALL) for shift in (0, 3, 9)], axis=0)
    assert np.allclose(metrics.rows().sum(axis=0)[: len(counts)], counts)
    assert float(EdgeMetrics.pool(metrics.rows().sum(axis=0))["ods"]) == metrics.compute()["ods"]
