"""Calibration of quality scores on a small set with ground truth, stored next to the teacher's config.

Per task: weights from the parts of a quality score to the probability that a label is good (logistic regression),
expected error by score, and probability that a pixel is right by confidence (both isotonic regressions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distill.errors import DistillError, UsageError
from distill.files import read_json, write_atomic
from distill.tasks import Task

PARTS = ("color_validity", "registration", "edge_alignment", "cross_task", "agreement", "content")
"""Valid fraction of colors and their confidence; registration with the photo; borders shared with the photo; agreement
with the other tasks; agreement of several images; amount of content."""
WEIGHTS = {
    "color_validity": 8.0,
    "registration": 4.0,
    "edge_alignment": 4.0,
    "cross_task": 5.0,
    "agreement": 4.0,
    "content": 6.0,
}
"""Default weights: colors count most, then content, then agreement with other tasks. With less for those, normals of a
wrong frame and inverted depth passed: their colors and borders are correct."""
TYPICAL = 0.8
"""Default value of unknown parts."""
FORMAT = 4
"""Raised whenever the meaning of a part changes, so that older calibrations are refused."""
MIN_LABELS = 8
"""Minimum number of labels: with fewer, five weights and two curves would fit noise."""
_KNOTS = 33


_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Curve(BaseModel):
    """Monotone curve through knots, constant outside them; empty: the identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: tuple[_Finite, ...] = Field((), max_length=1000)
    value: tuple[_Finite, ...] = Field((), max_length=1000)

    @model_validator(mode="after")
    def _check_knots(self) -> Curve:
        if len(self.at) != len(self.value) or list(self.at) != sorted(self.at):
            raise ValueError("at and value are two lists of equal length, and at increases")
        return self

    def __call__(self, x: Float[ndarray, "*n"]) -> Float[ndarray, "*n"]:
        """Values of the curve."""
        return np.interp(x, self.at, self.value).astype(np.float32) if self.at else np.asarray(x, np.float32)


class TaskCalibration(BaseModel):
    """Calibration of one task.

    Attributes:
        weights: Per part, never negative; missing parts count with their `typical` value.
        offset: Of the logistic curve.
        typical: Mean of each part over the labels of the calibration.
        limit: A label is good if its error (AbsRel, degrees, fraction of wrong pixels) is below this.
        labels: Number of labels compared with ground truth.
        expected: Score to expected error.
        pixels: Confidence to the probability that a pixel is right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[str, _Finite] = Field(default_factory=lambda: dict(WEIGHTS))
    offset: _Finite = 2 - TYPICAL * sum(WEIGHTS.values())
    typical: dict[str, _Finite] = Field(default_factory=lambda: dict.fromkeys(PARTS, TYPICAL))
    limit: _Finite | None = None
    labels: int = 0
    expected: Curve = Curve()
    pixels: Curve = Curve()

    @model_validator(mode="after")
    def _check_parts(self) -> TaskCalibration:
        unknown = self.weights.keys() - set(PARTS) or self.weights.keys() - self.typical.keys()
        if unknown:
            raise ValueError(f"{min(unknown)!r} is not a part with a typical value")
        return self

    def score(self, parts: Mapping[str, float]) -> float:
        """Probability that a label with these parts is good."""
        total = self.offset + sum(w * parts.get(name, self.typical[name]) for name, w in self.weights.items())
        return float(1 / (1 + np.exp(-total)))

    def expected_error(self, score: float) -> float | None:
        """Expected error of a label with this score; None without calibration."""
        return float(self.expected(np.array(score))) if self.expected.at else None

    def calibrate_confidence(self, confidence: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
        """Probability that each pixel is right; the confidence itself without calibration."""
        return self.pixels(confidence)


UNCALIBRATED = TaskCalibration()
"""Default; its scores rank labels, but are not probabilities."""


class Calibration(BaseModel):
    """Calibration of a teacher, stored as a file next to its config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    teacher: str
    tasks: dict[Task, TaskCalibration]


def calibration_path(config: Path) -> Path:
    """Path of the calibration of a config file."""
    return config.with_name(f"{config.stem}.calibration.json")


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write the file atomically."""
    write_atomic(path, calibration.model_dump_json(indent=1).encode())


def read_calibration(path: Path) -> Calibration:
    """Calibration from a file.

    Raises:
        UsageError: Missing, damaged, or of another version.
    """
    again = "make it again with distill label --calibrate TRUTH"
    try:
        calibration = Calibration.model_validate(read_json(path))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}", hint="make one with distill label --calibrate TRUTH"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: not a calibration: {where or 'text'}: {first['msg']}", hint=again) from error
    except ValueError as error:
        raise UsageError(f"{path}: not a calibration: {error}", hint=again) from error
    if calibration.format != FORMAT:
        raise UsageError(f"{path}: calibrated for scores of another version", hint=again)
    return calibration


def calibrate(
    parts: Sequence[Mapping[str, float]],
    errors: Sequence[float],
    *,
    limit: float,
    confidence: Float[ndarray, " n"] | None = None,
    right: Bool[ndarray, " n"] | None = None,
) -> TaskCalibration:
    """Calibration from labels with ground truth.

    Args:
        parts: Of each label.
        errors: Of each label.
        limit: Good labels have smaller errors. If nearly all labels are good (or bad), the median error is used,
            so that the score at least ranks them.
        confidence: Of pixels sampled from all labels.
        right: Whether each of them was right.

    Raises:
        DistillError: Fewer than `MIN_LABELS` labels, or all with the same error.
    """
    measured = np.array(errors, np.float64)
    if measured.size < MIN_LABELS or np.ptp(measured) == 0:
        raise DistillError(
            f"quality cannot be calibrated on {measured.size} labels with {np.unique(measured).size} different errors",
            hint=f"use a set with ground truth for at least {MIN_LABELS} photos, with good and bad labels",
        )
    if not 0.1 <= float((measured < limit).mean()) <= 0.9:
        limit = float(np.median(measured))
        if not (measured < limit).any():
            limit = float(measured[measured > measured.min()].min())
    weights, offset, typical = _logistic(parts, measured < limit)
    plain = TaskCalibration(weights=weights, offset=offset, typical=typical, limit=limit, labels=measured.size)
    scores = np.array([plain.score(one) for one in parts])
    curves = {"expected": _isotonic(scores, measured, increasing=False)}
    if confidence is not None and right is not None and confidence.size:
        curves["pixels"] = _isotonic(confidence, right.astype(np.float64), increasing=True)
    return plain.model_copy(update=curves)


def _logistic(
    parts: Sequence[Mapping[str, float]], good: Bool[ndarray, " n"]
) -> tuple[dict[str, float], float, dict[str, float]]:
    """(weights, offset, typical parts) of a logistic regression with non-negative weights."""
    import scipy.optimize

    names = [name for name in PARTS if any(name in one for one in parts)]
    usual = np.array([WEIGHTS[name] for name in names])
    typical = {name: float(np.mean([one[name] for one in parts if name in one])) for name in names}
    table = np.array([[one.get(name, typical[name]) for name in names] for one in parts])
    sign = np.where(good, 1.0, -1.0)

    def loss(solution: ndarray) -> float:
        signed = (table @ solution[:-1] + solution[-1]) * sign
        # Weak prior at the default weights: forty labels cannot determine five weights.
        return float(np.logaddexp(0, -signed).mean() + 0.002 * ((solution[:-1] - usual) ** 2).mean())

    start = np.array([*usual, -0.9 * usual.sum()])
    bounds = [(0.0, 50.0)] * len(names) + [(-200.0, 200.0)]
    found = scipy.optimize.minimize(loss, start, bounds=bounds, method="L-BFGS-B").x
    return dict(zip(names, found[:-1].tolist(), strict=True)), float(found[-1]), typical


def _isotonic(x: Shaped[ndarray, " n"], y: Float[ndarray, " n"], *, increasing: bool) -> Curve:
    """Best monotone curve through (x, y), reduced to a few knots."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(x, kind="stable")
    places = x[order].astype(np.float64)
    fitted = isotonic_regression(y[order], increasing=increasing).x
    knots = np.unique(np.linspace(0, len(places) - 1, min(_KNOTS, len(places))).round().astype(int))
    # Equal positions become one knot: their mean.
    at, first = np.unique(places[knots], return_inverse=True)
    value = np.bincount(first, fitted[knots]) / np.bincount(first)
    return Curve(at=tuple(at.round(6).tolist()), value=tuple(value.round(6).tolist()))
