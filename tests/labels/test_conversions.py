"""Instances of several answers in one label."""

from __future__ import annotations

import numpy as np
import pytest

from distill.errors import DistillError
from distill.labels import Label
from distill.labels.conversions import drop_absent_instances, merge_instances, resample_nearest
from distill.labels.instance_layers import mask_of
from distill.tasks import IGNORE_INSTANCE, Task


def instances(rows: list[list[int]], name: str, confidence: float = 1.0) -> Label:
    """All instances of one answer; -1 is invalid."""
    value = np.where(np.array(rows) < 0, IGNORE_INSTANCE, rows).astype(np.uint16)
    valid = value != IGNORE_INSTANCE
    names = {int(i): name for i in np.unique(value[valid]) if i}
    sure = (valid * confidence).astype(np.float32)
    return Label(Task.INSTANCE, value, valid, sure, classes=(name,), instance_classes=names)


def test_instances_apart_share_one_map() -> None:
    joined = merge_instances(instances([[1, 1, 0, 2, -1, -1]], "cup"), instances([[0, 0, 1, 0, 0, 1]], "plate"))
    assert joined.instance_classes == {1: "cup", 2: "cup", 3: "plate"} and joined.layers == ()
    assert joined.value.tolist() == [[1, 1, 3, 2, IGNORE_INSTANCE, 3]]
    assert joined.valid.tolist() == [[True, True, True, True, False, True]]
    assert joined.classes == ("cup", "plate")


def test_a_smaller_instance_is_in_front_and_nothing_is_lost() -> None:
    person, bicycle = instances([[1, 1, 1, 0, -1]], "person", 0.9), instances([[0, 0, 1, 1, 0]], "bicycle", 0.6)
    for joined in (merge_instances(person, bicycle), merge_instances(bicycle, person)):
        number_of = {name: number for number, name in joined.instance_classes.items()}
        layers = joined.instance_layers
        assert mask_of(layers, number_of["person"]).tolist() == [[True, True, True, False, False]]
        assert mask_of(layers, number_of["bicycle"]).tolist() == [[False, False, True, True, False]]
        assert joined.value[0, 2] == number_of["bicycle"] and joined.valid.tolist() == [[True] * 4 + [False]]
        np.testing.assert_allclose(joined.confidence, [[0.9, 0.9, 0.6, 0.6, 0]])


def test_one_mask_of_two_classes_is_two_instances() -> None:
    joined = merge_instances(instances([[0, 1, 1]], "cup"), instances([[0, 1, 1]], "mug"))
    assert joined.value.tolist() == [[0, 1, 1]] and joined.layers[0].tolist() == [[0, 2, 2]]
    assert joined.instance_classes == {1: "cup", 2: "mug"}


def test_three_answers_nest_in_any_order() -> None:
    nested = {"person": [[1, 1, 1, 1, 0]], "shirt": [[0, 1, 1, 0, 0]], "tag": [[0, 0, 1, 0, 0]]}
    for order in (("person", "shirt", "tag"), ("tag", "person", "shirt"), ("shirt", "tag", "person")):
        first, second, third = (instances(nested[name], name) for name in order)
        joined = merge_instances(merge_instances(first, second), third)
        seen = [[joined.instance_classes.get(int(i), "") for i in layer[0]] for layer in joined.instance_layers]
        assert seen == [
            ["person", "shirt", "tag", "person", ""],
            ["", "person", "shirt", "", ""],
            ["", "", "person", "", ""],
        ]


def test_a_torn_instance_is_hidden_in_one_of_its_parts() -> None:
    joined = merge_instances(instances([[1, 1, 0, 0, 1, 1]], "dog"), instances([[0, 0, 0, 0, 0, 2]], "ball"))
    assert mask_of(joined.instance_layers, 1).tolist() == [[True, True, False, False, True, True]]
    assert joined.value[0, 5] == 3 and joined.layers[0].tolist() == [[0, 0, 0, 0, 0, 1]]


def test_layers_are_resampled_with_their_map() -> None:
    joined = merge_instances(instances([[1, 1, 0, 0]], "cup"), instances([[0, 1, 1, 1]], "plate"))
    larger = resample_nearest(joined, (2, 8))
    assert larger.layers[0].shape == (2, 8) and (larger.layers[0][:, ::2] == joined.layers[0]).all()


def test_instances_without_a_pixel_lose_their_name() -> None:
    joined = merge_instances(instances([[1, 1, 2, 0]], "cup"), instances([[1, 1, 0, 0]], "plate"))
    smaller = drop_absent_instances(resample_nearest(joined, (1, 1)))
    assert smaller.value.tolist() == [[2]] and smaller.instance_classes == {2: "cup"}
    hidden = drop_absent_instances(joined)
    assert hidden.instance_classes == {1: "cup", 2: "cup", 3: "plate"}


def test_maps_of_different_sizes_cannot_be_merged() -> None:
    with pytest.raises(DistillError, match="cannot be merged"):
        merge_instances(instances([[1, 1]], "cup"), instances([[1, 1, 1]], "plate"))
