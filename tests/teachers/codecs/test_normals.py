"""Normal colors decode exactly in the axes of every tool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distill.errors import UsageError
from distill.labels.formats import label_format
from distill.tasks import TASKS, Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.normals import FRAMES, decode_normals_rgb, encode_normals_rgb, frame_matrix
from distill.teachers.tasks import decode_answer

GOLDEN = Path(__file__).parents[2] / "golden" / "normals.txt"
ORDERS = ["+x+z-y", "-z+x+y", "+y-x+z"]


def sphere(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(1, count, 3))
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_golden_directions() -> None:
    rows = [line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    vectors = np.array([row[1:4] for row in rows], np.float32)[None]
    colors = np.array([row[4:] for row in rows], np.uint8)[None]
    np.testing.assert_array_equal(encode_normals_rgb(vectors), colors)
    np.testing.assert_allclose(decode_normals_rgb(colors).value, vectors, atol=0.006)


@pytest.mark.parametrize("frame", [*FRAMES, *ORDERS])
def test_round_trip_within_one_level(frame: str) -> None:
    normals = sphere(10_000)
    label = decode_normals_rgb(encode_normals_rgb(normals, frame), frame)
    assert label.valid.all()
    # Half a level in each channel: at most sqrt(3)/255 of a unit vector, 0.39 degrees.
    angle_deg = np.degrees(np.arccos(np.clip((label.value * normals).sum(-1), -1, 1)))
    assert angle_deg.max() < 0.40
    np.testing.assert_allclose(np.linalg.norm(label.value, axis=-1), 1, atol=1e-5)


def test_frames_have_the_axes_of_their_tools() -> None:
    right, up, toward = np.eye(3, dtype=np.float32)[:, None, None]
    assert encode_normals_rgb(right, "vision_banana")[0, 0, 0] == 0
    assert encode_normals_rgb(right, "dsine")[0, 0, 0] == 0
    assert encode_normals_rgb(right, "marigold")[0, 0, 0] == 255
    assert encode_normals_rgb(up, "opencv")[0, 0, 1] == 0  # y down
    assert encode_normals_rgb(toward, "opencv")[0, 0, 2] == 0  # z forward
    assert encode_normals_rgb(up, "opengl")[0, 0, 1] == 255
    assert encode_normals_rgb(up, "+x+z-y")[0, 0, 2] == 0


@pytest.mark.parametrize("frame", [*FRAMES, *ORDERS])
def test_frame_matrices_are_orthogonal(frame: str) -> None:
    matrix = frame_matrix(frame)
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))


def test_generated_colors_equal_stored_colors() -> None:
    normals = sphere(1000)
    stored = label_format(Task.NORMALS).encode_value(
        normals, np.ones(normals.shape[:2], bool), TASKS[Task.NORMALS], None
    )
    np.testing.assert_array_equal(encode_normals_rgb(normals), stored)


def test_colors_of_sky_and_gray_are_invalid() -> None:
    label = decode_normals_rgb(np.array([[[255, 0, 255], [128, 128, 128], [128, 128, 255]]], np.uint8))
    assert label.valid.tolist() == [[False, False, True]]
    assert label.confidence[0, 0] == label.confidence[0, 1] == 0
    assert label.confidence[0, 2] > 0.99


@pytest.mark.parametrize("frame", ["+x+y", "+x+x+z", "xyz", "mars", "+x+y+z "])
def test_unknown_frames_are_refused(frame: str) -> None:
    with pytest.raises(UsageError, match="frame"):
        decode_answer(np.zeros((8, 8, 3), np.uint8), PromptSpec(Task.NORMALS, frame=frame))


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))))
def test_any_image_gives_a_consistent_label(generated: np.ndarray) -> None:
    label = decode_answer(generated, PromptSpec(Task.NORMALS))
    assert label.size_hw == generated.shape[:2]
    assert np.isfinite(label.value).all()
    assert not label.confidence[~label.valid].any()
    np.testing.assert_allclose(np.linalg.norm(label.value[label.valid], axis=-1), 1, atol=1e-5)


def test_decoding_in_strips_changes_no_pixel() -> None:
    generated = np.random.default_rng(0).integers(0, 256, (600, 500, 3), dtype=np.uint8)
    whole = decode_normals_rgb(generated)
    part = decode_normals_rgb(generated[250:350])
    np.testing.assert_array_equal(whole.value[250:350], part.value)
    np.testing.assert_array_equal(whole.confidence[250:350], part.confidence)
