"""Label maps to bytes and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distill.errors import DistillError
from distill.images import encode_map
from distill.labels import (
    Label,
    decode,
    encode,
    is_beyond_range,
    read_meta,
    write_meta,
)
from distill.labels.formats import FORMATS, label_format
from distill.tasks import (
    FAR_DEPTH_M,
    IGNORE_INSTANCE,
    IGNORE_SEMANTIC,
    TASKS,
    DepthKind,
    Task,
    unwarp_depth,
    warp_depth,
)

SIZE_HW = (6, 7)
valid_maps = hnp.arrays(bool, SIZE_HW)
shares = hnp.arrays(np.float32, SIZE_HW, elements=st.floats(0, 1, width=32))


def round_trip(label: Label) -> Label:
    return decode(label.task, encode(label), read_meta(label.task, write_meta(label), label.classes))


def confident(valid: np.ndarray, confidence: np.ndarray | None = None) -> np.ndarray:
    return np.where(valid, 1.0 if confidence is None else confidence, 0).astype(np.float32)


@given(hnp.arrays(np.float32, SIZE_HW, elements=st.floats(0.015625, 80, width=32)), valid_maps, shares)
def test_metric_depth_round_trips_within_a_level(depth_m: np.ndarray, valid: np.ndarray, share: np.ndarray) -> None:
    back = round_trip(Label(Task.DEPTH, depth_m, valid, confident(valid, share), DepthKind.METRIC))
    level_m = 5 * (1 + depth_m / 10) ** 3 / 65535
    assert (back.valid == valid).all()
    assert (np.abs(back.value - depth_m)[valid] <= level_m[valid] + 1e-5).all()
    assert np.abs(back.confidence - confident(valid, share)).max() <= 0.5 / 255 + 1e-6


@given(shares, valid_maps, st.sampled_from([g for g in DepthKind if g is not DepthKind.METRIC]))
def test_relative_depth_round_trips_within_a_level(value: np.ndarray, valid: np.ndarray, depth_kind: DepthKind) -> None:
    back = round_trip(Label(Task.DEPTH, value, valid, confident(valid), depth_kind))
    assert back.depth_kind is depth_kind
    assert (back.valid == valid).all()
    assert (np.abs(back.value - value)[valid] <= 0.5 / 65534 + 1e-6).all()


@given(hnp.arrays(np.float64, (*SIZE_HW, 3), elements=st.floats(-1, 1)), valid_maps)
def test_normals_round_trip_within_a_degree(vector: np.ndarray, valid: np.ndarray) -> None:
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    unit = np.where(length > 0.1, vector / np.maximum(length, 0.1), (0, 0, 1)).astype(np.float32)
    back = round_trip(Label(Task.NORMALS, unit, valid, confident(valid)))
    assert (back.valid == valid).all()
    cosine = np.clip((back.value * unit).sum(-1)[valid], -1, 1)
    assert (np.degrees(np.arccos(cosine)) < 0.6).all()
    assert np.allclose(np.linalg.norm(back.value[valid], axis=-1), 1, atol=1e-5)


@given(hnp.arrays(np.uint8, SIZE_HW, elements=st.integers(0, 254)), valid_maps)
def test_semantic_ids_round_trip(value: np.ndarray, valid: np.ndarray) -> None:
    back = round_trip(Label(Task.SEMANTIC, value, valid, confident(valid)))
    assert (back.valid == valid).all()
    assert (back.value == np.where(valid, value, IGNORE_SEMANTIC)).all()


@given(hnp.arrays(np.uint16, SIZE_HW, elements=st.integers(0, 65534)), valid_maps)
def test_instance_ids_round_trip(value: np.ndarray, valid: np.ndarray) -> None:
    names = {int(number): f"class {number}" for number in np.unique(value[value > 0])}
    back = round_trip(Label(Task.INSTANCE, value, valid, confident(valid), instance_classes=names))
    assert set(back.instance_classes) == set(np.unique(value[valid]).tolist()) - {0}
    assert (back.value == np.where(valid, value, IGNORE_INSTANCE)).all()


def test_infinity_is_far_and_stays_finite() -> None:
    depth_m = np.array([[1, FAR_DEPTH_M - 1, FAR_DEPTH_M + 10, np.inf]], np.float32)
    valid = np.ones((1, 4), bool)
    back = round_trip(Label(Task.DEPTH, depth_m, valid, confident(valid), DepthKind.METRIC))
    assert np.isfinite(back.value).all()
    assert is_beyond_range(back).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize(("meters", "warped"), [(0, 0), (1, 0.173554), (2, 0.305556), (10, 0.75), (80, 0.987654)])
def test_the_warp_has_its_golden_values(meters: float, warped: float) -> None:
    assert warp_depth(float(meters)) == pytest.approx(warped, abs=1e-6)
    assert unwarp_depth(warp_depth(float(meters))) == pytest.approx(meters, abs=1e-9)


@given(st.floats(0, 200), st.floats(-8, -1.5), st.floats(0.5, 10))
def test_the_warp_is_inverted_for_every_parameter(meters: float, lam: float, c: float) -> None:
    # Near 1 the warp has no digits left: the inverse is exact to what float64 can hold there.
    warped = warp_depth(meters, lam, c)
    tolerance = 1e-6 * (1 + meters) + 1e-12 / max(1 - warped, 1e-12) ** 2
    assert unwarp_depth(warped, lam, c) == pytest.approx(meters, abs=tolerance)


def test_missing_and_wrong_maps_are_errors() -> None:
    with pytest.raises(DistillError, match=r"no depth\.png"):
        decode(Task.DEPTH, {})
    with pytest.raises(DistillError, match="uint8"):
        decode(Task.DEPTH, {"depth.png": encode_map(np.zeros((4, 4), np.uint8))})
    with pytest.raises(DistillError, match=r"depth\.png"):
        decode(Task.DEPTH, {"depth.png": b"GIF89a"})


@given(shares, valid_maps, st.sampled_from([("uint8", 255), ("uint16", 0), ("uint16", 65535)]))
def test_unit_maps_round_trip_within_half_a_level(
    value: np.ndarray, valid: np.ndarray, stored_as: tuple[str, int]
) -> None:
    info = replace(TASKS[Task.EDGES], dtype=stored_as[0], ignore=stored_as[1])
    stored = FORMATS["unit"].encode_value(value, valid, info, None)
    back, known = FORMATS["unit"].decode(stored, info, None)
    assert stored.dtype == stored_as[0] and (known == valid).all()
    assert (np.abs(back - value)[valid] <= 0.5 / (np.iinfo(stored.dtype).max - 1) + 1e-6).all()


@pytest.mark.parametrize("task", Task)
def test_context_round_trips_through_the_json_of_a_sample(task: Task) -> None:
    info, threes = TASKS[task], np.full((2, 2, *TASKS[task].channels), 3, TASKS[task].dtype)
    names = ("a", "b") if info.class_list else ()
    label = Label(
        task,
        threes,
        np.ones((2, 2), bool),
        np.ones((2, 2), np.float32),
        DepthKind.SCALE_INVARIANT if info.has_depth_kind else None,
        names,
        {3: "b"} if info.class_list == "instance_classes" else {},
    )
    context = read_meta(task, write_meta(label), names)
    assert context.depth_kind is label.depth_kind and context.instance_classes == label.instance_classes
    assert context.classes == (names if info.class_list in ("classes", "referring") else ())
    assert label_format(task).formula(info, label.depth_kind)
