"""Calibration turns quality scores into expected errors and confidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.errors import DistillError, UsageError
from distill.tasks import Task
from distill.teachers.quality.calibration import (
    FORMAT,
    PARTS,
    UNCALIBRATED,
    Calibration,
    Curve,
    TaskCalibration,
    calibrate,
    read_calibration,
    write_calibration,
)


def test_calibration_learns_which_part_matters() -> None:
    dice = np.random.default_rng(0)
    parts = [dict(zip(PARTS, dice.random(len(PARTS)).tolist(), strict=True)) for _ in range(200)]
    errors = [1 - one["edge_alignment"] for one in parts]
    calibration = calibrate(parts, errors, limit=0.5)
    assert calibration.weights["edge_alignment"] > 3 * max(
        w for n, w in calibration.weights.items() if n != "edge_alignment"
    )
    scores = np.array([calibration.score(one) for one in parts])
    assert np.mean((scores > 0.5) == (np.array(errors) < 0.5)) > 0.9
    assert all(weight >= 0 for weight in calibration.weights.values())
    # The error to expect falls as the score rises, and is about the true one.
    expected = [float(calibration.expected_error(score) or 0.0) for score in (0.05, 0.5, 0.95)]
    assert expected[0] > expected[1] > expected[2]
    assert np.abs(np.array([calibration.expected_error(s) for s in scores]) - errors).mean() < 0.1


def test_calibrated_confidence_is_the_probability_of_a_right_pixel() -> None:
    dice = np.random.default_rng(0)
    parts = [dict(zip(PARTS, dice.random(len(PARTS)).tolist(), strict=True)) for _ in range(20)]
    stated = dice.random(20_000)
    right = dice.random(20_000) < stated**2  # too sure
    calibration = calibrate(
        parts, [1 - one["edge_alignment"] for one in parts], limit=0.5, confidence=stated, right=right
    )
    places = np.array([0.3, 0.6, 0.9], np.float32)
    np.testing.assert_allclose(calibration.calibrate_confidence(places), places**2, atol=0.04)


def test_the_score_ranks_labels_that_are_nearly_all_good() -> None:
    dice = np.random.default_rng(0)
    parts = [dict(zip(PARTS, dice.random(len(PARTS)).tolist(), strict=True)) for _ in range(60)]
    calibration = calibrate(parts, [0.01 - 0.01 * one["edge_alignment"] for one in parts], limit=0.5)
    assert calibration.limit is not None and calibration.limit < 0.01
    assert calibration.weights["edge_alignment"] == max(calibration.weights.values())


def test_a_missing_part_counts_as_typical() -> None:
    whole_parts = dict.fromkeys(PARTS, 0.8)
    fewer = {name: value for name, value in whole_parts.items() if name != "cross_task"}
    assert UNCALIBRATED.score(fewer) == pytest.approx(UNCALIBRATED.score(whole_parts))


@pytest.mark.parametrize("errors", [[], [0.1] * 40, [0.1, 0.2]])
def test_few_or_equal_labels_cannot_be_calibrated(errors: list[float]) -> None:
    with pytest.raises(DistillError, match="cannot be calibrated"):
        calibrate([dict.fromkeys(PARTS, 0.5)] * len(errors), errors, limit=0.15)


def test_confidence_is_unchanged_without_calibration() -> None:
    confidence = np.linspace(0, 1, 7, dtype=np.float32)
    np.testing.assert_array_equal(TaskCalibration().calibrate_confidence(confidence), confidence)
    assert TaskCalibration().expected_error(0.5) is None
    assert Curve(at=(0.0, 1.0), value=(0.0, 0.5))(np.array([0.5])) == pytest.approx(0.25)


def test_calibration_files_round_trip_and_have_a_version(tmp_path: Path) -> None:
    path, calibration = tmp_path / "t.calibration.json", Calibration(teacher="t", tasks={Task.DEPTH: TaskCalibration()})
    write_calibration(path, calibration)
    assert read_calibration(path) == calibration
    path.write_text(calibration.model_copy(update={"format": FORMAT - 1}).model_dump_json())
    with pytest.raises(UsageError, match="another version") as refused:
        read_calibration(path)
    assert "--calibrate" in (refused.value.hint or "")
    path.write_text("{")
    with pytest.raises(UsageError, match="not a calibration"):
        read_calibration(path)
