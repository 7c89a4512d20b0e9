"""Targets decode to the label again, and prompts vary; the prompt alone says how."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, DepthKind, Task, unwarp_depth, warp_depth
from distill.teachers.codecs.colormaps import CUBE_LEVELS
from distill.teachers.prompts.legend_parser import parse_legend
from distill.teachers.tasks import teacher_task
from distill.teachers.tuning.targets import OTHER_COLORMAPS, draw_prompts, draw_rng, target_image

SIZE_HW = (24, 32)
NAMES = ("road", "car", "sky", "traffic light", "person", "background")


def valid_label(task: Task, value: ndarray, **facts: object) -> Label:
    valid = np.ones(value.shape[:2], bool)
    return Label(task, value, valid, valid.astype(np.float32), **facts)


def blocks(seed: int, count: int) -> ndarray:
    """Ids in blocks of 8x8, so that no pixel is at a border only."""
    ids = np.random.default_rng(seed).integers(0, count, (3, 4))
    return np.kron(ids, np.ones((8, 8), np.int64))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.floats(0.2, 60))
def test_depth_is_within_one_level(seed: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    label = valid_label(Task.DEPTH, rng.uniform(0.1, far, SIZE_HW).astype(np.float32), depth_kind=DepthKind.METRIC)
    (prompt_spec,) = draw_prompts(label, rng)
    decoded = teacher_task(Task.DEPTH).decode(target_image(label, prompt_spec), prompt_spec)
    # One level of 8-bit color on the cube path; where a map's color hardly changes, rounding moves it by two entries.
    level = 1 / CUBE_LEVELS if prompt_spec.colormap == "cube" else 2 / 255
    off = np.abs(np.asarray(warp_depth(decoded.value)) - np.asarray(warp_depth(label.value)))
    assert off.max() <= level + 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 30))
def test_normals_and_edges_are_within_one_level(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(*SIZE_HW, 3))
    label = valid_label(Task.NORMALS, (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32))
    (prompt_spec,) = draw_prompts(label, rng)
    decoded = teacher_task(Task.NORMALS).decode(target_image(label, prompt_spec), prompt_spec)
    assert np.abs(decoded.value - label.value).max() <= 2 / 255
    edges = valid_label(Task.EDGES, rng.uniform(0, 1, SIZE_HW).astype(np.float32))
    (prompt_spec,) = draw_prompts(edges, rng)
    decoded = teacher_task(Task.EDGES).decode(target_image(edges, prompt_spec), prompt_spec)
    assert np.abs(decoded.value - edges.value).max() <= 0.5 / 255 + 1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, len(NAMES)))
def test_classes_are_the_same_and_the_sentence_says_the_colors(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    label = valid_label(Task.SEMANTIC, blocks(seed, count).astype(np.uint8), classes=NAMES)
    (prompt_spec,) = draw_prompts(label, rng, classes=NAMES)
    decoded = teacher_task(Task.SEMANTIC).decode(target_image(label, prompt_spec), prompt_spec)
    assert decoded.valid.all()
    assert [[decoded.classes[i] for i in row] for row in decoded.value] == [
        [NAMES[i] for i in row] for row in label.value
    ]
    assert dict(parse_legend(prompt_spec.prompt).colors) == dict(prompt_spec.legend)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 30))
def test_instances_are_the_same(seed: int) -> None:
    # One block each: the decoder takes equal colors far from each other for two instances.
    places = np.random.default_rng(seed).permutation([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).reshape(3, 4)
    ids = np.kron(places, np.ones((8, 8), np.int64)).astype(np.uint16)
    names = {1: "car", 2: "car", 3: "person", 4: "car"}
    label = valid_label(Task.INSTANCE, ids, classes=("car", "person"), instance_classes=names)
    rng = np.random.default_rng(seed)
    prompts = draw_prompts(label, rng)
    assert [one.class_name for one in prompts] == list(dict.fromkeys(names.values()))
    for prompt_spec in prompts:
        decoded = teacher_task(Task.INSTANCE).decode(target_image(label, prompt_spec), prompt_spec)
        wanted = [number for number, name in names.items() if name == prompt_spec.class_name]
        truth = np.where(np.isin(ids, wanted), ids, 0).astype(np.uint16)
        assert np.array_equal(decoded.value != BACKGROUND_INSTANCE, truth != BACKGROUND_INSTANCE)
        found = [set(decoded.value[ids == number].tolist()) for number in wanted]
        assert all(len(one) == 1 for one in found) and len(set.union(*found)) == len(wanted)


def test_referring_areas_are_the_same() -> None:
    phrases = ("the red chair", "the chair by the window", "background")
    label = valid_label(Task.REFERRING, blocks(3, 3).astype(np.uint8), classes=phrases)
    for seed in range(8):
        (prompt_spec,) = draw_prompts(label, np.random.default_rng(seed))
        decoded = teacher_task(Task.REFERRING).decode(target_image(label, prompt_spec), prompt_spec)
        names = np.array(decoded.classes)[decoded.value]
        assert (names == np.array(phrases)[label.value]).all()


def test_prompts_vary_and_are_repeatable() -> None:
    label = valid_label(Task.DEPTH, np.full(SIZE_HW, 2, np.float32), depth_kind=DepthKind.METRIC)
    drawn = [draw_prompts(label, draw_rng(1, 0, str(key), Task.DEPTH))[0].colormap for key in range(200)]
    assert set(drawn) == {"cube", *OTHER_COLORMAPS} and 90 < drawn.count("cube") < 150
    semantic = valid_label(Task.SEMANTIC, blocks(1, 3).astype(np.uint8), classes=NAMES)
    prompts = {draw_prompts(semantic, draw_rng(1, epoch, "a", Task.SEMANTIC))[0].prompt for epoch in range(20)}
    again = {draw_prompts(semantic, draw_rng(1, epoch, "a", Task.SEMANTIC))[0].prompt for epoch in range(20)}
    assert len(prompts) == 20 and prompts == again


def test_relative_depth_is_never_asked_in_meters() -> None:
    value = np.linspace(0, 1, 24 * 32, dtype=np.float32).reshape(SIZE_HW)
    label = valid_label(Task.DEPTH, value, depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY)
    (prompt_spec,) = draw_prompts(label, np.random.default_rng(0))
    assert "metric" not in prompt_spec.prompt and prompt_spec.depth_kind is DepthKind.AFFINE_INVARIANT_DISPARITY
    decoded = teacher_task(Task.DEPTH).decode(target_image(label, prompt_spec), prompt_spec)
    assert np.abs(decoded.value - value).max() < 1 / 255
    with pytest.raises(UsageError, match="no prompt for depth"):
        draw_prompts(replace(label, depth_kind=DepthKind.SCALE_INVARIANT), np.random.default_rng(0))


def test_sky_stays_sky() -> None:
    label = valid_label(
        Task.DEPTH, np.full(SIZE_HW, float(unwarp_depth(0.9999)), np.float32), depth_kind=DepthKind.METRIC
    )
    (prompt_spec,) = draw_prompts(label, np.random.default_rng(1))
    assert (
        float(warp_depth(teacher_task(Task.DEPTH).decode(target_image(label, prompt_spec), prompt_spec).value).min())
        > 0.99
    )
