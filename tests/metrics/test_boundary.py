from __future__ import annotations

import math

import numpy as np
import pytest

from distill.metrics import DepthMetrics, SegmentationMetrics
from distill.metrics.boundary import boundary_f1, depth_boundary_counts, semantic_boundary_counts

ALL = np.ones((60, 80), bool)


def halves(column: int) -> np.ndarray:
    ids = np.zeros((60, 80), np.uint8)
    ids[:, column:] = 1
    return ids


def test_a_border_within_the_tolerance_is_found_and_one_beyond_is_not() -> None:
    same, near, far = (semantic_boundary_counts(halves(column), halves(40), ALL) for column in (40, 41, 50))
    assert same.tolist() == near.tolist() == [60, 60, 60, 60] and far.tolist() == [0, 60, 0, 60]
    assert boundary_f1(*same) == 1 and boundary_f1(*far) == 0
    assert np.isnan(boundary_f1(*semantic_boundary_counts(halves(80), halves(80), ALL)))


def test_borders_beside_pixels_that_do_not_count_are_no_borders() -> None:
    valid = ALL.copy()
    valid[:, 40] = False
    assert semantic_boundary_counts(halves(40), halves(40), valid).tolist() == [0, 0, 0, 0]


def test_jumps_have_a_size_a_place_and_a_direction() -> None:
    truth = np.where(halves(40) == 1, 2.24, 2.0)  # a jump of 12 %
    counts = depth_boundary_counts(truth, truth, ALL)
    assert counts[:, 0].tolist() == [60, 60, 0, 0, 0]
    assert np.array_equal(counts[:, 0], counts[:, 1]) and np.array_equal(counts[:, 0], counts[:, 2])
    moved = depth_boundary_counts(np.where(halves(41) == 1, 2.24, 2.0), truth, ALL)
    turned = depth_boundary_counts(4.24 - truth, truth, ALL)
    assert moved[0].tolist() == turned[0].tolist() == [0, 60, 60]


def test_metrics_say_the_f1_of_edges() -> None:
    truth = np.where(halves(40) == 1, 5.0, 2.0).astype(np.float32)
    depth, classes = DepthMetrics(), SegmentationMetrics(2)
    depth.update(truth, truth, ALL)
    depth.update(np.full_like(truth, 3), truth, ALL)  # no jump at all
    depth.update(truth * 0 + 2, truth * 0 + 2, ALL)  # none to be found: left out of the mean
    classes.update(halves(50), halves(40), ALL)
    assert depth.compute()["boundary_f1"] == pytest.approx(0.5)
    assert classes.compute()["boundary_f1"] == 0
    assert math.isnan(DepthMetrics().compute()["boundary_f1"])


def test_errors_are_sorted_by_distance_and_by_class() -> None:
    truth = np.where(halves(40) == 1, 5.0, 2.0).astype(np.float32)
    metrics = DepthMetrics()
    metrics.update(truth * np.where(halves(40) == 1, 1.5, 1.1), truth, ALL, halves(40))
    bands = metrics.bands()
    assert bands["2 to 5 m"] == {"abs_rel": pytest.approx(0.1), "delta1": 1.0, "pixels": 2400}
    assert bands["5 to 10 m"] == {"abs_rel": pytest.approx(0.5), "delta1": 0.0, "pixels": 2400} and len(bands) == 2
    expected: object = {0: (pytest.approx(0.1), 2400), 1: (pytest.approx(0.5), 2400)}
    assert metrics.by_group.means() == expected
