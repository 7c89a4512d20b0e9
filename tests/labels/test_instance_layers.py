"""Instances that overlap: order, counts, overlap, run lengths of what is hidden."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distill.errors import DistillError
from distill.labels import Label, decode, encode, read_meta, write_meta
from distill.labels.instance_layers import (
    count_pixels,
    decode_covered,
    encode_covered,
    keep_ids,
    mask_of,
    match_pairs,
    pair_ious,
    present_ids,
    sort_layers,
    stack_masks,
)
from distill.labels.run_lengths import encode_rle
from distill.tasks import IGNORE_INSTANCE, Task

masks_of_a_photo = st.lists(hnp.arrays(bool, (5, 7)), max_size=6)


def number(masks: list[np.ndarray]) -> list[tuple[int, np.ndarray]]:
    return [(index * 10 + 3, mask) for index, mask in enumerate(masks)]


@given(masks_of_a_photo)
def test_layers_keep_every_mask_and_the_smaller_one_is_in_front(masks: list[np.ndarray]) -> None:
    layers = sort_layers(stack_masks(number(masks), (5, 7)))
    sizes = {found: mask.sum() for found, mask in number(masks)}
    assert present_ids(layers) == [found for found, size in sizes.items() if size]
    for found, mask in number(masks):
        assert (mask_of(layers, found) == mask).all() and count_pixels(layers)[found] == mask.sum()
    assert all(layer.any() for layer in layers[1:])
    for front, behind in itertools.pairwise(layers):
        for one, other in zip(front[behind > 0], behind[behind > 0], strict=True):
            assert (sizes[int(one)], one) < (sizes[int(other)], other)


@given(masks_of_a_photo, hnp.arrays(bool, (5, 7)))
def test_hidden_parts_round_trip_through_the_files_of_a_sample(masks: list[np.ndarray], known: np.ndarray) -> None:
    front, *behind = sort_layers(stack_masks([(found, mask & known) for found, mask in number(masks)], (5, 7)))
    names = {found: f"class {found % 4}" for found, _ in number(masks)}
    value = np.where(known, front, np.uint16(IGNORE_INSTANCE))
    label = Label(Task.INSTANCE, value, known, known.astype(np.float32), None, (), names, tuple(behind))
    meta = json.loads(json.dumps(write_meta(label)))
    back = decode(Task.INSTANCE, encode(label), read_meta(Task.INSTANCE, meta))
    np.testing.assert_array_equal(back.value, value)
    assert len(back.layers) == len(behind)
    assert all((one == other).all() for one, other in zip(back.layers, behind, strict=True))
    rows = meta["instances"]
    assert [row["id"] for row in rows] == [found for found, mask in number(masks) if (mask & known).any()]
    assert all(set(row) == {"id", "class", "pixels", "visible_pixels", "covered"} for row in rows)
    assert sum(row["visible_pixels"] for row in rows) == np.count_nonzero(front)
    assert all((row["covered"] == "") == (row["pixels"] == row["visible_pixels"]) for row in rows)


@given(masks_of_a_photo, masks_of_a_photo)
def test_overlap_is_that_of_the_whole_masks(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    first, second = (stack_masks(number(masks), (5, 7)) for masks in (ours, theirs))
    found = pair_ious(first, [i for i, _ in number(ours)], second, [i for i, _ in number(theirs)])
    assert found.shape == (len(ours), len(theirs))
    for row, one in zip(found, ours, strict=True):
        for iou, other in zip(row, theirs, strict=True):
            assert iou == (one & other).sum() / max((one | other).sum(), 1)


def test_pairs_have_the_largest_total() -> None:
    rows, columns = match_pairs(np.array([[0.6, 0.5], [0.55, 0.0]]))
    assert list(zip(rows, columns, strict=True)) == [(0, 1), (1, 0)]
    assert match_pairs(np.zeros((0, 3)))[0].size == 0


def test_300_instances_fit_between_two_that_fill_the_photo() -> None:
    ids = np.arange(1, 301, dtype=np.uint16).reshape(15, 20)
    everywhere = np.ones((15, 20), bool)
    masks = [(i, ids == i) for i in range(1, 301)] + [(301, everywhere), (302, everywhere)]
    layers = sort_layers(stack_masks(masks, (15, 20)))
    assert len(layers) == 3 and (layers[0] == ids).all() and (layers[1] == 301).all() and (layers[2] == 302).all()
    assert set(encode_covered(layers)) == {301, 302}
    assert len(keep_ids(layers, [5, 302])) == 3 and present_ids(keep_ids(layers, [5, 302])) == [5, 302]


FRONT = np.array([[1, 1, 0, IGNORE_INSTANCE]], np.uint16)


@pytest.mark.parametrize(
    ("covered", "match"),
    [
        ({2: "???"}, "instance 2 is damaged"),
        ({2: encode_rle(np.ones((4, 4), bool))["counts"]}, "do not fill"),
        ({2: encode_rle(np.array([[True, False, True, False]]))["counts"]}, "covered where no other"),
        ({2: encode_rle(np.array([[False, False, False, True]]))["counts"]}, "covered where no other"),
        ({1: encode_rle(np.array([[True, False, False, False]]))["counts"]}, "covered where no other"),
    ],
)
def test_hidden_parts_that_cannot_be_are_refused(covered: dict[int, str], match: str) -> None:
    with pytest.raises(DistillError, match=match):
        decode_covered(FRONT, covered)


@pytest.mark.parametrize(
    "rows",
    [
        [1],
        {"1": "cup"},
        [{"id": 1}],
        [{"id": 0, "class": "cup"}],
        [{"id": 65535, "class": "cup"}],
        [{"id": "1", "class": "cup"}],
        [{"id": 1, "class": "cup", "covered": 5}],
        [{"id": 1, "class": "cup", "pixels": 0}],
        [{"id": 1, "class": "cup"}, {"id": 1, "class": "mug"}],
    ],
)
def test_a_wrong_list_of_instances_is_one_sentence(rows: object) -> None:
    with pytest.raises(DistillError, match="the sample's json: "):
        read_meta(Task.INSTANCE, {"instances": rows})


def test_an_instance_without_a_name_is_no_label() -> None:
    valid = np.ones((1, 4), bool)
    label = Label(Task.INSTANCE, FRONT, valid, valid.astype(np.float32), instance_classes={1: "cup"})
    with pytest.raises(DistillError, match="holds instance 1, which the sample's json does not name"):
        decode(Task.INSTANCE, encode(label), read_meta(Task.INSTANCE, {"instances": []}))
