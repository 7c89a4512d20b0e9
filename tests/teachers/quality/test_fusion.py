"""Fused labels are better than single ones, with low confidence where they differ."""

from __future__ import annotations

import numpy as np
import pytest

from distill.errors import DistillError
from distill.labels import Label
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, DepthKind, Task
from distill.teachers.quality.fusion import fuse_labels, hflip_label

DICE = np.random.default_rng(0)


def whole(task: Task, value: np.ndarray, **more: object) -> Label:
    valid = np.ones(value.shape[:2], bool)
    return Label(task, value, valid, valid.astype(np.float32), **more)


def test_votes_repair_wrong_classes_across_permuted_legends() -> None:
    truth = DICE.integers(0, 4, (40, 40)).astype(np.uint8)
    names = np.array(["road", "sky", "car", "tree"])
    labels = []
    for seed in range(5):
        dice = np.random.default_rng(seed)
        wrong = np.where(dice.random(truth.shape) < 0.2, dice.integers(0, 4, truth.shape), truth)
        order = dice.permutation(4)
        labels.append(whole(Task.SEMANTIC, np.argsort(order)[wrong].astype(np.uint8), classes=tuple(names[order])))
    fused = fuse_labels(labels)
    expected = np.array([fused.classes.index(name) for name in names], np.uint8)[truth]
    single = np.mean(np.array(labels[0].classes)[labels[0].value] == names[truth])
    assert (fused.value == expected)[fused.valid].mean() > 0.98 > single
    right = fused.value == expected
    assert fused.confidence[right & fused.valid].mean() > fused.confidence[~right & fused.valid].mean()


def test_a_single_vote_is_ignored() -> None:
    said = whole(Task.SEMANTIC, np.zeros((4, 4), np.uint8), classes=("a",))
    silent = Label(
        Task.SEMANTIC,
        np.full((4, 4), IGNORE_SEMANTIC, np.uint8),
        np.zeros((4, 4), bool),
        np.zeros((4, 4), np.float32),
        classes=("a",),
    )
    fused = fuse_labels([said, silent, silent])
    assert not fused.valid.any()
    assert (fused.value == IGNORE_SEMANTIC).all()


def test_the_depth_median_drops_an_outlier_with_low_confidence() -> None:
    good = np.full((6, 6), 2.0, np.float32)
    bad = good.copy()
    bad[:3] = 9.0
    fused = fuse_labels([whole(Task.DEPTH, v, depth_kind=DepthKind.METRIC) for v in (good, bad, good * 1.01)])
    np.testing.assert_allclose(fused.value, 2.0, rtol=0.02)
    spread = fuse_labels([whole(Task.DEPTH, v, depth_kind=DepthKind.METRIC) for v in (good, good * 1.5, good * 2)])
    assert spread.confidence.max() < 0.1 < 0.9 < fused.confidence.min()


def test_depth_of_two_is_one_of_the_two() -> None:
    fused = fuse_labels(
        [whole(Task.DEPTH, np.full((2, 2), v, np.float32), depth_kind=DepthKind.METRIC) for v in (1.0, 9.0)]
    )
    assert set(np.unique(fused.value)) <= {1.0, 9.0}


@pytest.mark.parametrize("depth_kind", [DepthKind.SCALE_INVARIANT, DepthKind.AFFINE_INVARIANT_DISPARITY])
def test_relative_depths_are_aligned_first(depth_kind: DepthKind) -> None:
    base = DICE.random((30, 30)).astype(np.float32) * 0.5 + 0.2
    shift = 0.0 if depth_kind is DepthKind.SCALE_INVARIANT else 0.1
    fused = fuse_labels(
        [whole(Task.DEPTH, v, depth_kind=depth_kind) for v in (base, base * 0.7 + shift, base * 1.2 - shift)]
    )
    np.testing.assert_allclose(fused.value, base, atol=1e-4)
    assert fused.confidence.min() > 0.99


def test_normals_take_the_mean_direction() -> None:
    tilted = [np.array([np.sin(a), 0, np.cos(a)], np.float32) for a in (-0.2, 0.0, 0.2)]
    fused = fuse_labels([whole(Task.NORMALS, np.tile(v, (4, 4, 1))) for v in tilted])
    np.testing.assert_allclose(fused.value[0, 0], (0, 0, 1), atol=1e-6)
    apart = fuse_labels(
        [whole(Task.NORMALS, np.tile(v, (4, 4, 1))) for v in (tilted[0], np.array([0.9, 0, 0.436], np.float32))]
    )
    assert apart.confidence.max() < fused.confidence.min()


def test_opposite_normals_are_invalid() -> None:
    up = np.tile(np.array([0, 1, 0], np.float32), (2, 2, 1))
    assert not fuse_labels([whole(Task.NORMALS, up), whole(Task.NORMALS, -up)]).valid.any()


def boxes(*corners: tuple[int, int]) -> Label:
    value = np.zeros((60, 60), np.uint16)
    for number, (top, left) in enumerate(corners, start=1):
        value[top : top + 20, left : left + 20] = number
    return whole(
        Task.INSTANCE, value, classes=("box",), instance_classes=dict.fromkeys(range(1, len(corners) + 1), "box")
    )


def test_instances_are_matched_independently_of_their_ids() -> None:
    fused = fuse_labels([boxes((5, 5), (35, 35)), boxes((36, 35), (5, 6)), boxes((5, 5), (35, 35), (5, 35))])
    assert dict(fused.instance_classes) == {1: "box", 2: "box"}
    assert fused.value[15, 15] != fused.value[45, 45]
    assert fused.value[15, 15] not in (0, IGNORE_INSTANCE)
    assert fused.value[15, 45] == 0  # seen by one of three: two say background
    assert fused.confidence[15, 45] < fused.confidence[15, 15]


def test_a_single_label_is_unchanged() -> None:
    label = boxes((5, 5))
    assert fuse_labels([label]) is label


def test_mirroring_twice_is_the_identity() -> None:
    value = np.zeros((3, 4, 3), np.float32)
    value[:, 0] = (1, 0, 0)
    value[:, 1:] = (0, 0, 1)
    label = whole(Task.NORMALS, value)
    assert hflip_label(label).value[0, 3].tolist() == [-1, 0, 0]
    np.testing.assert_array_equal(hflip_label(hflip_label(label)).value, value)


def test_incompatible_labels_are_refused() -> None:
    with pytest.raises(DistillError, match="no labels"):
        fuse_labels([])
    with pytest.raises(DistillError, match="cannot be fused"):
        fuse_labels([boxes((1, 1)), whole(Task.SEMANTIC, np.zeros((60, 60), np.uint8))])
