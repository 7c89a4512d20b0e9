"""Synthetic generator: exact without faults, and simulated faults with their probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest

from distill.config.synthetic import PRESETS, FaultsConfig, SyntheticConfig
from distill.errors import DistillError
from distill.images import Photo, decode_rgb, encode_jpeg, read_photo
from distill.tasks import Task, warp_depth
from distill.teachers.base import ContentRefused, GeneratedImage, PromptSpec
from distill.teachers.synthetic.corruptions import API_CANVASES_WH, CanvasTransform, corrupt, draw_canvas_transform
from distill.teachers.synthetic.generator import SyntheticGenerator, SyntheticTruth, scene_photo
from distill.teachers.tasks import decode_answer

PLAIN = SyntheticConfig(size_hw=(48, 64), tasks=tuple(Task))


def generator(tasks: tuple[Task, ...] = tuple(Task), **faults: object) -> SyntheticGenerator:
    return SyntheticGenerator(PLAIN.model_copy(update={"tasks": tasks, "faults": FaultsConfig(**faults)}))


def picture(answer: GeneratedImage) -> np.ndarray:
    return decode_rgb(answer.data, answer.name)[0]


@lru_cache(maxsize=200)
def plain_photo(index: int) -> Photo:
    return scene_photo(index, PLAIN)


def prompted(editor: SyntheticGenerator, scenes: int, first: int = 0) -> Iterator[tuple[Photo, PromptSpec]]:
    for photo in map(plain_photo, range(first, first + scenes)):
        yield from ((photo, prompt_spec) for prompt_spec in editor.prompt_specs(photo))


def share_changed(task: Task, scenes: int = 120, **faults: object) -> float:
    """The share of answers that differ from the faultless ones at all."""
    changed = []
    faulty, right = generator((task,), **faults), generator((task,))
    for photo, prompt_spec in prompted(right, scenes):
        one, other = faulty.generate(photo, prompt_spec, seed=3), right.generate(photo, prompt_spec, seed=3)
        changed.append((picture(one) != picture(other)).any())
    return float(np.mean(changed))


def test_images_without_faults_decode_to_the_truth() -> None:
    config = SyntheticConfig(size_hw=(96, 128), tasks=tuple(Task))
    editor, teller = SyntheticGenerator(config), SyntheticTruth(config)
    for index in range(8):
        photo = scene_photo(index, config)
        truth = {label.task: label for label in teller.predict(photo)}
        for prompt_spec in editor.prompt_specs(photo):
            label = decode_answer(picture(editor.generate(photo, prompt_spec, seed=0)), prompt_spec)
            right = truth[prompt_spec.task]
            if prompt_spec.task is Task.DEPTH:
                # One color level is 1/1785 of the warp; the far end is where sky begins.
                error = np.abs(warp_depth(label.value) - warp_depth(right.value))
                assert error[warp_depth(right.value) < 0.985].max() < 1 / 1785
                assert label.valid.mean() > 0.97
            elif prompt_spec.task is Task.NORMALS:
                assert (label.valid == right.valid).all()
                cosine = (label.value * right.value).sum(-1)[right.valid]
                assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 0.6
            elif prompt_spec.task is Task.INSTANCE:
                names = right.instance_classes
                numbers = [number for number, name in names.items() if name == prompt_spec.class_name]
                wanted = np.isin(right.value, numbers)
                assert ((label.value > 0) == wanted)[label.valid].all()
            elif prompt_spec.task is Task.EDGES:
                assert np.abs(label.value - right.value).max() <= 0.5 / 255 + 1e-6
            else:
                assert label.classes == right.classes
                assert (label.value == right.value)[label.valid].all() and label.valid.all()


def test_images_do_not_depend_on_the_order() -> None:
    forward: dict[Any, bytes] = {}
    editor = SyntheticGenerator(PLAIN.model_copy(update={"faults": PRESETS["heavy"]}))
    pairs = list(prompted(editor, 3))
    for turn in (pairs, pairs[::-1]):
        for photo, prompt_spec in turn:
            try:
                data = editor.generate(photo, prompt_spec, seed=5).data
            except ContentRefused:
                data = b"refused"
            key = photo.key, prompt_spec.prompt
            assert forward.setdefault(key, data) == data
    assert len(set(forward.values()) - {b"refused"}) > 9


def test_another_seed_gives_another_sample() -> None:
    editor = generator((Task.DEPTH,), color_noise_sigma=2.0)
    photo, prompt_spec = next(prompted(editor, 1))
    assert editor.generate(photo, prompt_spec, seed=1).data != editor.generate(photo, prompt_spec, seed=2).data


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_refusals_have_their_probability_and_repeat(share: float) -> None:
    editor = generator((Task.DEPTH, Task.SEMANTIC), refusal_probability=share)
    refused = []
    for photo, prompt_spec in prompted(editor, 100):
        outcomes = set()
        for seed in (0, 1):
            try:
                editor.generate(photo, prompt_spec, seed=seed)
                outcomes.add(False)
            except ContentRefused:
                outcomes.add(True)
        assert len(outcomes) == 1
        refused.append(outcomes.pop())
    assert abs(np.mean(refused) - share) < 0.12


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_truncated_files_have_their_probability(share: float) -> None:
    editor = generator((Task.SEMANTIC,), truncated_probability=share)
    broken = []
    for photo, prompt_spec in prompted(editor, 120):
        try:
            picture(editor.generate(photo, prompt_spec, seed=0))
            broken.append(False)
        except DistillError:
            broken.append(True)
    assert abs(np.mean(broken) - share) < 0.1


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_jpegs_have_their_probability(share: float) -> None:
    editor = generator((Task.SEMANTIC,), jpeg_probability=share, jpeg_quality=80)
    jpegs = [
        editor.generate(photo, prompt_spec, seed=0).data.startswith(b"\xff\xd8")
        for photo, prompt_spec in prompted(editor, 100)
    ]
    assert abs(np.mean(jpegs) - share) < 0.13


def test_wrong_colors_have_their_probability() -> None:
    assert share_changed(Task.SEMANTIC, wrong_legend_probability=0.0) == 0
    assert abs(share_changed(Task.SEMANTIC, wrong_legend_probability=0.3) - 0.3) < 0.1
    assert share_changed(Task.SEMANTIC, scenes=20, wrong_legend_probability=1.0) == 1
    assert share_changed(Task.DEPTH, scenes=10, wrong_legend_probability=1.0) == 0


def test_a_wrong_color_is_one_of_the_legend() -> None:
    editor = generator((Task.SEMANTIC,), wrong_legend_probability=1.0)
    for photo, prompt_spec in prompted(editor, 10):
        colors = {
            tuple(color) for color in picture(editor.generate(photo, prompt_spec, seed=0)).reshape(-1, 3).tolist()
        }
        assert colors <= set(prompt_spec.legend.values())


def test_missing_instances_have_their_probability() -> None:
    right, faulty = generator((Task.INSTANCE,)), generator((Task.INSTANCE,), missing_instance_probability=0.3)
    counts = {right: 0, faulty: 0}
    for photo, prompt_spec in prompted(right, 60):
        for editor in counts:
            colors = np.unique(picture(editor.generate(photo, prompt_spec, seed=1)).reshape(-1, 3), axis=0)
            counts[editor] += len(colors) - 1  # less the background
    assert abs(counts[faulty] / counts[right] - 0.7) < 0.08


def test_misalignments_have_their_probability() -> None:
    assert share_changed(Task.NORMALS, scenes=100, drift_probability=0.0, shift_px=6, zoom=0.05, aspect=0.02) == 0
    share = share_changed(Task.NORMALS, scenes=100, drift_probability=0.4, shift_px=6, zoom=0.05, aspect=0.02)
    assert abs(share - 0.4) < 0.13


def test_canvas_transform_maps_pixels_to_the_photo() -> None:
    x, y = CanvasTransform((4, 6), (1.0, 1.0), (2.0, -1.0)).photo_positions((4, 6))
    # Content moved 2 down and 1 left: pixel (row 2, column 0) shows what the photo has at row 0, column 1.
    assert (x.reshape(4, 6)[2, 0], y.reshape(4, 6)[2, 0]) == (1.5, 0.5)
    x, y = CanvasTransform((8, 12), (2.0, 2.0), (0.0, 0.0)).photo_positions((4, 6))
    assert (x.reshape(8, 12)[0, 0], y.reshape(8, 12)[7, 11]) == (0.25, 3.75)


@pytest.mark.parametrize(
    ("faults", "largest"), [({"shift_px": 5.0}, 5.0), ({"zoom": 0.07}, 0.07), ({"aspect": 0.03}, 0.03)]
)
def test_misalignments_are_within_their_limits(faults: dict[str, float], largest: float) -> None:
    config, rng = FaultsConfig(drift_probability=1.0, **faults), np.random.default_rng(0)
    placings = [draw_canvas_transform(config, (96, 128), "cover", rng) for _ in range(300)]
    shifts = np.array([transform.shift_yx_px for transform in placings])
    scales = np.array([transform.scale_yx for transform in placings])
    seen = {
        "shift_px": shifts,
        "zoom": scales[:, 0] - 1,
        "aspect": scales[:, 1] / scales[:, 0] - 1,
    }
    for name, values in seen.items():
        expected = largest if name in faults else 0.0
        assert np.abs(values).max() <= expected + 1e-9
        assert np.abs(values).max() >= 0.9 * expected


@pytest.mark.parametrize("resize_mode", ["cover", "fill", "contain"])
def test_api_sizes_cover_the_photo_by_the_resize_mode(resize_mode: Any) -> None:
    config = FaultsConfig(output_size="api", resize_mode=resize_mode)
    transform = draw_canvas_transform(config, (1051, 1440), resize_mode, np.random.default_rng(0))
    height, width = transform.size_hw
    assert (width, height) in API_CANVASES_WH and (width, height) == (1200, 896)
    covered = np.array([1051 * transform.scale_yx[0] / height, 1440 * transform.scale_yx[1] / width])
    assert {"cover": covered.min(), "contain": covered.max(), "fill": covered.mean()}[resize_mode] == pytest.approx(1)
    assert {"cover": covered.max() > 1.001, "contain": covered.min() < 0.999, "fill": np.ptp(covered) < 1e-9}[
        resize_mode
    ]


def test_other_sizes_are_multiples_of_16() -> None:
    editor = generator((Task.DEPTH,), output_size="other")
    sizes = {
        picture(editor.generate(photo, prompt_spec, seed=0)).shape[:2] for photo, prompt_spec in prompted(editor, 20)
    }
    assert len(sizes) == 2 and all(side % 16 == 0 for size in sizes for side in size)


def test_letterboxed_images_have_black_bars() -> None:
    editor = generator((Task.NORMALS,), output_size="api", resize_mode="contain")
    photo = scene_photo(0, SyntheticConfig(size_hw=(32, 64)))
    answer = picture(editor.generate(photo, editor.prompt_specs(photo)[0], seed=0))
    assert answer.shape[:2] == (768, 1376)
    assert not answer[:30].any() and not answer[-30:].any()
    assert answer[60:-60].any(axis=-1).all()


def test_halos_change_borders_only() -> None:
    flat = np.full((40, 40, 3), 200, np.uint8)
    flat[:, 20:] = (10, 90, 30)
    haloed = corrupt(flat, FaultsConfig(edge_halo_px=1.0), np.random.default_rng(0))
    assert (haloed[:, :14] == flat[:, :14]).all() and (haloed[:, 26:] == flat[:, 26:]).all()
    assert (haloed[:, 19] != flat[:, 19]).all()


def test_noise_and_drift_have_their_size() -> None:
    gray = np.full((256, 256, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    noisy = corrupt(gray, FaultsConfig(color_noise_sigma=4.0), rng).astype(float)
    assert noisy.std() == pytest.approx(4, rel=0.05)
    drifted = np.stack([corrupt(gray, FaultsConfig(color_drift=4.0), rng) for _ in range(40)]).astype(float)
    assert 4 < drifted.std() < 8  # a smooth error and a constant one, each of 4
    assert np.abs(np.diff(drifted, axis=2)).max() <= 2  # and it is smooth
    assert (corrupt(gray, FaultsConfig(), rng) == gray).all()


def test_chroma_subsampling_mixes_colors() -> None:
    errors = {}
    for subsampling in ("444", "420"):
        faulty = generator((Task.SEMANTIC,), jpeg_probability=1.0, jpeg_quality=95, jpeg_subsampling=subsampling)
        right = generator((Task.SEMANTIC,))
        pairs = [(faulty.generate(p, q, seed=0), right.generate(p, q, seed=0)) for p, q in prompted(right, 5)]
        errors[subsampling] = np.mean([cv2.absdiff(picture(a), picture(b)).mean() for a, b in pairs])
    assert errors["420"] > 1.5 * errors["444"] > 0


def test_other_photos_are_refused() -> None:
    rgb = np.zeros((32, 32, 3), np.uint8)
    stranger = read_photo(encode_jpeg(rgb), key="holiday", name="holiday.jpg")
    editor = generator()
    with pytest.raises(DistillError, match=r"holiday\.jpg: the synthetic teacher labels only scenes"):
        editor.generate(stranger, PromptSpec(Task.DEPTH), seed=0)


def test_relative_depth_is_an_error() -> None:
    photo, prompt_spec = next(prompted(generator((Task.DEPTH,)), 1))
    with pytest.raises(DistillError, match="generates metric depth"):
        generator().generate(photo, replace(prompt_spec, depth_kind="scale_invariant"), seed=0)
