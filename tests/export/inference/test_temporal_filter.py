"""The temporal filter: less flicker in still scenes, no larger errors in moving ones, no lag at edges."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from distill.export.inference.temporal_filter import TemporalFilter, TemporalFilterConfig
from distill.export.runners.base import Outputs
from distill.metrics import TemporalMetrics
from distill.spec import DepthSpec, StudentSpec
from distill.tasks import DepthKind, Task
from tests.fakes.runner import SPEC

SIZE_HW = (120, 160)
NOISE = 0.04
"""Relative noise of the student."""


def texture(size_hw: tuple[int, int], seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (size_hw[0] // 8, size_hw[1] // 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def scene(number: int, speed_px: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A textured box in front of a textured slope that pans: (photo without noise, truth)."""
    wide = (SIZE_HW[0], SIZE_HW[1] + 200)
    start = round(number * speed_px / 2)
    back = texture(wide, 1)[:, start : start + SIZE_HW[1]]
    depth = np.repeat(np.linspace(8, 3, SIZE_HW[0], dtype=np.float32)[:, None], SIZE_HW[1], 1)
    normals = np.zeros((*SIZE_HW, 3), np.float32)
    normals[:] = (0.0, 0.6, 0.8)
    ids = np.zeros(SIZE_HW, np.uint8)
    left = 20 + round(number * speed_px)
    box = (slice(30, 90), slice(left, left + 50))
    rgb = back.copy()
    rgb[box] = texture((60, 50), 2)[:, : rgb[box].shape[1]]
    depth[box], normals[box], ids[box] = 1.5, (0.0, 0.0, 1.0), 1
    return rgb, {"depth": depth, "normals": normals, "semantic": ids}


def answer(truth: dict[str, np.ndarray], random: np.random.Generator, noise: float = NOISE) -> dict[str, np.ndarray]:
    """Outputs of a flickering student: smooth noise, and a few percent of wrong classes."""

    def smooth(channels: int) -> np.ndarray:
        coarse = random.normal(0, 1, (*(side // 4 for side in SIZE_HW), channels)).astype(np.float32)
        return cv2.resize(coarse, SIZE_HW[::-1], interpolation=cv2.INTER_LINEAR).reshape(*SIZE_HW, channels)

    depth = truth["depth"] * np.exp(noise * smooth(1)[..., 0] + noise * random.normal())
    normals = truth["normals"] + 2 * noise * smooth(3)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    wrong = smooth(1)[..., 0] > 1.5
    ids = np.where(wrong, 1 - truth["semantic"], truth["semantic"]).astype(np.uint8)
    sure = np.where(wrong, 0.55, 0.9).astype(np.float32)
    outputs: dict[str, np.ndarray] = {
        "depth": depth.astype(np.float32),
        "normals": normals.astype(np.float32),
        "semantic": ids,
    }
    return outputs | {f"{name}_confidence": sure for name in list(outputs)}


def run(
    speed_px: float, frames: int, temporal_filter: TemporalFilterConfig | None, spec: StudentSpec = SPEC
) -> Iterator[tuple[np.ndarray, Outputs, Outputs, Outputs]]:
    """(rgb, truth, raw, filtered) of every frame."""
    random = np.random.default_rng(0)
    smoothed = TemporalFilter(spec, temporal_filter)
    for number in range(frames):
        rgb, truth = scene(number, speed_px)
        noisy = np.clip(rgb + random.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)
        raw = answer(truth, random)
        yield noisy, truth, raw, smoothed.apply(noisy, raw, number)


def flicker(runs: list, which: int, *, with_truth: bool = False) -> dict[str, float]:
    metrics = TemporalMetrics(SPEC)
    for entry in runs:
        metrics.update(entry[0], entry[which], entry[1] if with_truth else None)
    return metrics.compute()


def errors(runs: list, which: int, settled: int = 5) -> dict[str, float]:
    """Mean errors of the frames after the first few."""
    rows = []
    for _, truth, *answers in runs[settled:]:
        found = answers[which - 2]
        cosine = np.clip((found["normals"] * truth["normals"]).sum(-1), -1, 1)
        rows.append(
            (
                np.abs(found["depth"] / truth["depth"] - 1).mean(),
                np.degrees(np.arccos(cosine)).mean(),
                (found["semantic"] != truth["semantic"]).mean(),
            )
        )
    return dict(zip(("depth", "normals", "semantic"), np.mean(rows, axis=0), strict=True))


@pytest.fixture(scope="module")
def still() -> list:
    return list(run(0.0, 20, TemporalFilterConfig(0.5)))


@pytest.fixture(scope="module")
def moving() -> list:
    return list(run(3.0, 20, TemporalFilterConfig(0.5)))


def test_flicker_of_a_still_scene_falls_by_more_than_half(still: list) -> None:
    raw, steadied = flicker(still, 2), flicker(still, 3)
    for name in (
        "depth_change_percent",
        "depth_scale_jitter_percent",
        "normals_change_deg",
        "semantic_change_percent",
    ):
        assert steadied[name] < 0.5 * raw[name], (name, raw[name], steadied[name])


def test_flicker_of_a_moving_scene_falls_too(moving: list) -> None:
    raw, steadied = flicker(moving, 2, with_truth=True), flicker(moving, 3, with_truth=True)
    assert steadied["depth_change_percent"] < 0.8 * raw["depth_change_percent"]
    assert steadied["semantic_change_percent"] < 0.8 * raw["semantic_change_percent"]


@pytest.mark.parametrize("name", ["depth", "normals", "semantic"])
def test_errors_do_not_grow(still: list, moving: list, name: str) -> None:
    for runs in (still, moving):
        assert errors(runs, 3)[name] <= 1.01 * errors(runs, 2)[name]


def test_edges_lag_by_one_frame_at_most() -> None:
    """A box jumps by 12 px; one frame later depth and class show the new position."""
    temporal_filter = TemporalFilter(SPEC, TemporalFilterConfig(1.0))
    random = np.random.default_rng(0)
    for number in range(12):
        rgb, truth = scene(number, 0.0)
        temporal_filter.apply(rgb, answer(truth, random, 0.0))
    for number in (4, 4):  # at 3 px a frame: 12 px to the right
        rgb, truth = scene(number, 3.0)
        steadied = temporal_filter.apply(rgb, answer(truth, random, 0.0))
    near = cv2.erode((truth["semantic"] == 1).astype(np.uint8), np.ones((3, 3), np.uint8)) == 1
    left_behind = np.zeros(SIZE_HW, bool)
    left_behind[32:88, 21:30] = True  # was box, is background now
    for region, depth in ((near, 1.5), (left_behind, None)):
        wanted = truth["depth"][region] if depth is None else depth
        assert np.mean(np.abs(steadied["depth"][region] / wanted - 1) < 0.1) > 0.97
    assert np.mean(steadied["semantic"][left_behind] == 0) > 0.9


def test_a_moving_camera_causes_no_lag() -> None:
    """Depth falls by 1.5 % with every frame; averaging alone would lag by several percent."""
    temporal_filter, random, errors_raw, errors_steady = TemporalFilter(SPEC), np.random.default_rng(0), [], []
    rgb, truth = scene(0, 0.0)
    for number in range(40):
        now = {**truth, "depth": truth["depth"] * np.float32(0.985**number)}
        raw = answer(now, random)
        steadied = temporal_filter.apply(rgb, raw, number)
        errors_raw.append(np.abs(raw["depth"] / now["depth"] - 1).mean())
        errors_steady.append(np.abs(steadied["depth"] / now["depth"] - 1).mean())
    assert np.mean(errors_steady[10:]) <= 1.01 * np.mean(errors_raw[10:])


def test_a_cut_resets_the_filter() -> None:
    temporal_filter = TemporalFilter(SPEC, TemporalFilterConfig(1.0))
    random = np.random.default_rng(0)
    for number in range(8):
        rgb, truth = scene(0, 0.0)
        temporal_filter.apply(rgb, answer(truth, random), number)
    other = 255 - texture(SIZE_HW, 77)
    raw = answer({**truth, "depth": truth["depth"] * 1.05}, random)
    steadied = temporal_filter.apply(other, raw, 8)
    assert temporal_filter.cuts == [8]
    for name in raw:
        assert np.array_equal(steadied[name], raw[name])


def test_relative_depth_keeps_its_scale() -> None:
    spec = SPEC.model_copy(
        update={
            "depth": DepthSpec(depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY, unit="none"),
            "normals": None,
            "semantic": None,
        }
    )
    random = np.random.default_rng(0)
    locked, free = (
        TemporalFilter(spec, TemporalFilterConfig(0.01)),
        TemporalFilter(spec, TemporalFilterConfig(0.01, match_scale=False)),
    )
    means: dict[str, list[float]] = {"raw": [], "locked": [], "free": []}
    for number in range(20):
        rgb, truth = scene(number, 0.0)
        value = (0.5 / truth["depth"]) * random.uniform(0.85, 1.15) + random.uniform(0.0, 0.05)
        raw = {"depth": value.astype(np.float32), "depth_confidence": np.ones(SIZE_HW, np.float32)}
        for name, found in (("raw", raw), ("locked", locked.apply(rgb, raw)), ("free", free.apply(rgb, raw))):
            means[name].append(float(found["depth"].mean()))
    assert np.std(means["locked"][2:]) < 0.25 * np.std(means["raw"][2:])
    assert np.std(means["free"][2:]) > 0.5 * np.std(means["raw"][2:])  # so it is the lock that does it


def test_restoring_a_state_continues_the_filter() -> None:
    one, other = TemporalFilter(SPEC), TemporalFilter(SPEC)
    random = np.random.default_rng(3)
    answers = [(scene(n, 2.0)[0], answer(scene(n, 2.0)[1], random)) for n in range(6)]
    for rgb, raw in answers[:3]:
        one.apply(rgb, raw)
    other.restore({name: value.copy() for name, value in one.state().items()})
    for rgb, raw in answers[3:]:
        first, second = one.apply(rgb, raw), other.apply(rgb, raw)
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_holes_are_filled_by_the_first_value() -> None:
    temporal_filter = TemporalFilter(SPEC)
    random = np.random.default_rng(3)
    rgb, truth = scene(0, 0.0)
    for number in range(3):
        raw = answer(truth, random)
        if number == 1:
            raw["depth"][10:20, 10:20] = np.nan
        steadied = temporal_filter.apply(rgb, raw)
    assert np.isfinite(steadied["depth"]).all()


def test_flicker_of_the_truth_is_zero(still: list) -> None:
    metrics = TemporalMetrics(SPEC)
    for rgb, truth, *_ in still:
        metrics.update(rgb, truth)
    found = metrics.compute()
    assert found["semantic_change_percent"] < 0.5 and found["normals_change_deg"] < 0.5 and found["cuts"] == 0
    assert found["depth_change_percent"] < 0.5


def test_flicker_is_measured_in_its_own_unit() -> None:
    """Depth that alternates by 10 % changes by 10 % from frame to frame."""
    metrics = TemporalMetrics(SPEC)
    rgb, truth = scene(0, 0.0)
    for number in range(10):
        metrics.update(rgb, {"depth": truth["depth"] * (1.1 if number % 2 else 1.0)})
    found = metrics.compute()
    assert found["depth_change_percent"] == pytest.approx(100 * np.log(1.1), rel=0.02)
    assert found["depth_scale_jitter_percent"] == pytest.approx(100 * np.log(1.1), rel=0.05)
    assert "normals_change_deg" not in found and Task.SEMANTIC not in found


def test_instances_keep_their_numbers() -> None:
    """The student numbers instances by heat in every frame; a new instance gets a new number."""
    temporal_filter, random = TemporalFilter(SPEC), np.random.default_rng(0)
    numbers: dict[str, list[int]] = {"left": [], "right": [], "late": []}
    for number in range(8):
        rgb, truth = scene(number, 3.0)
        ids = np.zeros(SIZE_HW, np.uint8)
        names = random.permutation(3) + 1
        ids[truth["semantic"] == 1] = names[0]
        ids[100:118, 120:150] = names[1]
        if number >= 4:
            ids[2:20, 5:40] = names[2]
        raw = answer(truth, random) | {"instance": ids}
        tracks = temporal_filter.apply(rgb, raw, number)["instance"]
        numbers["left"].append(int(np.median(tracks[truth["semantic"] == 1])))
        numbers["right"].append(int(tracks[110, 135]))
        if number >= 4:
            numbers["late"].append(int(tracks[10, 20]))
    assert all(len(set(found)) == 1 for found in numbers.values()), numbers
    assert len({found[0] for found in numbers.values()}) == 3
