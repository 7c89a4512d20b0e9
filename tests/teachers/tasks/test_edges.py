"""Edges in the teachers: codec, fusion, error and the truth from synthetic scenes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy import ndarray

from distill.config.maps import MapConfig
from distill.config.prompt import PromptConfig
from distill.config.synthetic import SyntheticConfig
from distill.config.teacher_base import OutputConfig
from distill.labels import Label, decode, encode
from distill.metrics.edges import EdgeMetrics
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.builder_options import TeacherContext
from distill.teachers.prompts.prompt_ensemble import SINGLE
from distill.teachers.quality.fusion import fuse_labels, hflip_label
from distill.teachers.registration.align import warp_label
from distill.teachers.synthetic.generator import build_synthetic, scene_photo
from distill.teachers.synthetic.raycaster import Truth
from distill.teachers.synthetic.traced_scene import photo_view
from distill.teachers.tasks import teacher_task

EDGES = teacher_task(Task.EDGES)
PROMPT = PromptSpec(Task.EDGES, colormap="gray")


def label_of(value: ndarray) -> Label:
    valid = np.ones(value.shape, bool)
    return Label(Task.EDGES, value.astype(np.float32), valid, valid.astype(np.float32))


class FakeView:
    """A scene given by its maps at two rays per pixel and axis."""

    photo_hw = size_hw = (24, 32)
    mirrored = False
    class_names = countable = ("ground",)
    instance_classes: ClassVar[dict[int, str]] = {1: "box"}

    def __init__(self, depth_m: ndarray, instance: ndarray | None = None) -> None:
        zeros = np.zeros(depth_m.shape, np.uint8)
        instance = zeros.astype(np.uint16) if instance is None else instance.astype(np.uint16)
        self._truth = Truth(depth_m.astype(np.float32), np.zeros((*depth_m.shape, 3), np.float32), zeros, instance)

    def trace(self, samples: int = 1) -> Truth:
        assert samples == 2
        return self._truth

    def photo_truth(self) -> Truth:
        return self._truth


@settings(max_examples=50)
@given(hnp.arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32)))
def test_generated_images_decode_within_half_a_level(value: ndarray) -> None:
    label = EDGES.decode(EDGES.encode(label_of(value), PROMPT), PROMPT)
    assert label.valid.all() and (label.confidence == 1).all()
    assert np.abs(label.value - value).max() <= 0.5 / 255 + 1e-6


@settings(max_examples=50)
@given(hnp.arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32)), hnp.arrays(bool, (5, 6)))
def test_shards_store_edges_within_half_a_level(value: ndarray, valid: ndarray) -> None:
    back = decode(Task.EDGES, encode(replace(label_of(value), valid=valid)))
    assert (back.valid == valid).all()
    assert np.abs(back.value - value)[valid].max(initial=0) <= 0.5 / 254 + 1e-6
    half = decode(Task.EDGES, encode(label_of(np.full((2, 2), 0.5))))
    assert (half.value == 0.5).all()


def test_colored_pixels_are_invalid_and_tinted_ones_less_confident() -> None:
    generated = np.array([[[200, 200, 200], [200, 190, 200], [200, 100, 200]]], np.uint8)
    label = EDGES.decode(generated, PROMPT)
    assert label.valid.tolist() == [[True, True, False]]
    assert label.confidence[0, 0] == 1 and 0.5 < label.confidence[0, 1] < 0.7 and label.confidence[0, 2] == 0


def test_inverted_images_are_rejected() -> None:
    lines = np.zeros((20, 20))
    lines[:, 10] = 1
    assert EDGES.reject(label_of(lines)) == ""
    assert "light background" in EDGES.reject(label_of(1 - lines))


def test_thin_lines_are_kept_when_a_label_shrinks() -> None:
    lines = np.zeros((64, 96))
    lines[:, 41] = lines[33] = 1
    small = warp_label(label_of(lines), (20, 30), "fill")
    assert small.size_hw == (20, 30)
    assert (small.value.max(axis=0) == 1).all() and (small.value.max(axis=1) == 1).all()
    assert (warp_label(label_of(lines), (64, 96), "fill").value == lines).all()


def test_disagreement_of_answers_lowers_confidence() -> None:
    one, other = np.zeros((4, 6)), np.zeros((4, 6))
    one[:, 2] = other[:, 3] = one[:, 5] = other[:, 5] = 1
    fused = fuse_labels([label_of(one), label_of(other)])
    assert fused.value[0].tolist() == [0, 0, 0.5, 0.5, 0, 1]
    assert fused.confidence[0, 0] == fused.confidence[0, 5] == 1 and fused.confidence[0, 2] < 0.1


def test_the_error_is_tolerant_to_small_shifts() -> None:
    truth = np.zeros((96, 128))
    truth[20:80, 60] = 1
    for shift, low, high in ((0, 0, 0), (1, 0, 0.01), (20, 0.99, 1)):
        found = EDGES.label_error(label_of(np.roll(truth, shift, axis=1)), label_of(truth))
        assert found is not None and low <= found.error <= high
        assert found.right.all() == (shift < 2)
    nothing = EDGES.label_error(label_of(0 * truth), label_of(0 * truth))
    assert nothing is not None and nothing.error == 0


def test_filled_areas_and_empty_maps_have_little_content() -> None:
    lines = np.zeros((60, 60))
    assert EDGES.content(label_of(lines)) == 0
    lines[:, ::20] = 1
    assert EDGES.content(label_of(lines)) == 1
    lines[:, :30] = 1
    assert EDGES.content(label_of(lines)) < 0.5


def test_network_outputs_and_files_become_probabilities(tmp_path: Path) -> None:
    output = OutputConfig(task=Task.EDGES)
    logits = np.array([[[-50.0, 0, 50, np.nan]]])
    label = EDGES.label_from_planes(logits, output, "net")
    assert np.allclose(label.value[0, :3], [0, 0.5, 1]) and label.valid.tolist() == [[True, True, True, False]]
    stored = np.array([[0, 128, 255]], np.uint8)
    config = MapConfig(pattern="{stem}.png", scale=1 / 254, invalid=(255,))
    label = EDGES.label_from_file(stored, config, tmp_path)
    assert np.allclose(label.value[label.valid], [0, 128 / 254]) and not label.valid[0, 2]


def test_every_family_has_a_prompt() -> None:
    for family in ("vision_banana", "open_vision_banana", "editor"):
        (prompt,) = EDGES.prompts(PromptConfig(tasks=(Task.EDGES,), family=family), resize_mode="fill")
        assert prompt.task is Task.EDGES and "black" in prompt.prompt


def test_a_box_before_a_wall_has_one_outline() -> None:
    depth = np.full((48, 64), 5.0)
    instance = np.zeros((48, 64))
    depth[12:36, 16:48], instance[12:36, 16:48] = 3.0, 1
    for view in (FakeView(depth), FakeView(depth, instance), FakeView(np.full((48, 64), 5.0), instance)):
        value = EDGES.true_label(view).value
        across = value[:, 16]
        assert np.isclose(across[:12].sum(), 1, atol=0.01) and np.isclose(across[12:].sum(), 1, atol=0.01)
        across = value[12]
        assert np.isclose(across[:16].sum(), 1, atol=0.01) and np.isclose(across[16:].sum(), 1, atol=0.01)
        assert (value[8:16, 10:22] == 0).all()


@pytest.mark.parametrize("slant_deg", [0, 45, 80, 85])
def test_a_slanted_plane_alone_has_no_edges(slant_deg: float) -> None:
    u = (np.arange(64) + 0.5 - 32) / 64
    inverse = 0.2 * (1 + np.tan(np.radians(slant_deg)) * u)
    depth = np.where(inverse > 0, 1 / np.maximum(inverse, 1e-9), np.inf)
    depth = np.where(depth < 1000, depth, np.inf)
    value = EDGES.true_label(FakeView(np.broadcast_to(depth, (48, 64)))).value
    assert value[:, inverse.reshape(32, 2).min(axis=1) > 0.02].max() == 0


def test_the_truth_of_a_scene_is_antialiased() -> None:
    fine = EDGES.true_label(photo_view(0, 3, (192, 256))).value
    coarse = EDGES.true_label(photo_view(0, 3, (96, 128))).value
    assert 0.005 < (coarse > 0.5).mean() < 0.1
    assert set(np.unique(coarse)) <= {0, 0.25, 0.5, 0.75, 1}
    # The same lines: all edges of one size are near an edge of the other.
    near = cv2.dilate(cv2.resize(fine, (128, 96), interpolation=cv2.INTER_AREA), np.ones((3, 3)))
    assert (near[coarse == 1] > 0).all()


def test_a_mirrored_photo_has_the_mirrored_edges() -> None:
    label = EDGES.true_label(photo_view(0, 3, (96, 128)))
    assert (hflip_label(label).value == label.value[:, ::-1]).all()


@pytest.mark.parametrize(("faults", "least"), [("none", 0.99), ("moderate", 0.9)])
def test_labels_of_generated_edges_match_the_truth(faults: str, least: float) -> None:
    settings = {"tasks": (Task.EDGES,), "size_hw": (120, 160), "faults": faults}
    teacher = build_synthetic(SyntheticConfig(**settings), Path(), TeacherContext(None, SINGLE, None, offline=False))
    exact = build_synthetic(
        SyntheticConfig(**settings, truth=True), Path(), TeacherContext(None, SINGLE, None, offline=False)
    )
    metrics = EdgeMetrics()
    for index in range(4):
        photo = scene_photo(index, SyntheticConfig(**settings))
        found = teacher.label(photo)[0].labels.get(Task.EDGES)
        truth = exact.label(photo)[0].labels[Task.EDGES]
        if found is not None and found.size_hw == truth.size_hw:
            metrics.update(found.value, truth.value, found.valid & truth.valid)
    assert len(metrics) >= 3 and metrics.compute()["ods"] >= least
