"""Class lists of configs, and stored ids to the ids of a class list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distill.config import load_config
from distill.config.class_ids import ClassIds
from distill.config.maps import MapsConfig
from distill.errors import DistillError, UsageError
from distill.tasks import IGNORE_SEMANTIC

TWO = ("background", "person")


def convert(ids: list[int], class_ids: ClassIds) -> list[int]:
    stored = np.array([ids])
    return class_ids.convert(stored, np.ones(stored.shape, bool), "m.png")[0].tolist()


def load(**semantic: Any) -> Any:
    config: Any = load_config(MapsConfig, {"semantic": {"pattern": "x", **semantic}})
    return config.semantic


@pytest.mark.parametrize("foreground", [255, 128, 2, 200, 65535, -1])
@pytest.mark.parametrize("remap", [{}, {0: "background", 1: "person"}])
def test_a_mask_whose_foreground_is_another_id_is_refused(foreground: int, remap: dict[int | str, str]) -> None:
    with pytest.raises(DistillError, match=rf"m\.png: .*{foreground}.*50\.0%"):
        convert([0, foreground], ClassIds(TWO, (), remap))
    named = {**remap, foreground: "person"} if remap else {foreground: "person"}
    assert convert([0, foreground], ClassIds(TWO, (), named)) == [0, 1]


def test_255_is_ignore_next_to_a_foreground_and_if_it_is_named() -> None:
    assert convert([0, 1, 255], ClassIds(TWO, (), {})) == [0, 1, IGNORE_SEMANTIC]
    assert convert([0, 0, 255], ClassIds(TWO, (), {255: "ignore"})) == [0, 0, IGNORE_SEMANTIC]
    with pytest.raises(DistillError, match="255"):
        convert([0, 0, 255], ClassIds(("a", "b", "c"), (), {}))


def test_ids_from_1_are_refused_with_a_hint() -> None:
    """NYU: 0 is no class, 40 classes follow."""
    names = tuple(f"c{number}" for number in range(1, 41))
    with pytest.raises(DistillError, match=r"id 40 \(.*start at 1"):
        convert([0, 1, 40], ClassIds(names, (), {}))
    assert convert([0, 1, 40], ClassIds(names, ("", *names), {})) == [IGNORE_SEMANTIC, 0, 39]


def test_every_other_id_can_have_a_target() -> None:
    assert convert([7, 26, 3, 99], ClassIds(("road", "car"), (), {7: "road", 26: "car", "*": "ignore"})) == [
        *(0, 1),
        *(IGNORE_SEMANTIC, IGNORE_SEMANTIC),
    ]
    assert convert([7, 3], ClassIds(("other", "road"), (), {7: "road", "*": "other"})) == [1, 0]


def test_ids_without_an_entry_are_ignored_where_remap_names_every_class_and_fits() -> None:
    class_ids = ClassIds(("road", "car"), (), {7: "road", 26: "car"})
    assert convert([7, 26, 0], class_ids) == [0, 1, IGNORE_SEMANTIC]
    assert class_ids.unlisted(np.array([7, 26, 0, 255])) == (0,)
    with pytest.raises(DistillError, match="id 0 "):  # nothing shows that the remap fits
        convert([7, 7, 0], class_ids)


def test_wide_ranges_of_ids_are_looked_up() -> None:
    class_ids = ClassIds(TWO, (), {-1: "ignore", 10_000_000: "person"})
    assert convert([-1, 0, 10_000_000], class_ids) == [IGNORE_SEMANTIC, 0, 1]


def test_a_number_as_text_is_the_number() -> None:
    config = load(classes=["road", "car"], remap={"7": "road", 26.0: "car"})
    assert config.remap == {7: "road", 26: "car"}
    named = ClassIds(("seven",), ("0", "7"), {7: "seven"})
    assert convert([1], named) == [0]  # the stored class called 7


@pytest.mark.parametrize(
    ("semantic", "words"),
    [
        ({"classes": [False, True]}, "quotes"),
        ({"classes": ["a", None]}, "quotes"),
        ({"classes": ["a", "b"], "remap": {True: "a"}}, "quotes"),
        ({"classes": ["a", "b"], "remap": {3: False}}, "quotes"),
        ({"classes": ["a", "b"], "remap": {"persn": "b"}}, "'persn': no stored class"),
        ({"classes": ["a", "b"], "remap": {7: "a", "7": "b"}}, "7 is given twice"),
        ({"classes": ["a", "b"], "remap": {7: 1}}, "'1' is not among the classes a, b"),
        ({"classes": list(TWO), "stored_classes": ["background", "persn"]}, "persn leads to none.*leads to person"),
        ({"classes": list(TWO), "colors": {"background": [0, 0, 0], "Person": "#ff0000"}}, "Person leads to none"),
        ({"classes": ["a", "a"]}, "named twice"),
    ],
)
def test_names_and_keys_that_lead_nowhere_are_refused(semantic: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(**semantic)


def test_stored_classes_that_are_left_out_on_purpose_are_ignored() -> None:
    config = load(classes=["road", "car"], stored_classes=["void", "road", "tree", "car"])
    assert convert([0, 1, 2, 3], config.class_ids) == [IGNORE_SEMANTIC, 0, IGNORE_SEMANTIC, 1]


@pytest.mark.parametrize("classes", [{0: "road", 26: "car"}, {"road": 0, "car": 26}, {"0": "road", "26": "car"}])
def test_classes_may_be_a_mapping(classes: Any) -> None:
    config = load(classes=classes)
    assert config.classes == ("road", "car") and convert([0, 26], config.class_ids) == [0, 1]


def test_numbers_are_names() -> None:
    assert load(classes=[1, 2]).classes == ("1", "2")
