"""Templates of paths."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from distill.config import load_config
from distill.config.maps import MapsConfig
from distill.errors import UsageError
from distill.teachers.adapters.path_template import match_path


def test_words_of_a_path() -> None:
    found = match_path("left/{split}/{city}/{id}_left.png", Path("/data/left/train/ulm/ulm_0_1_left.png"))
    assert found is not None and found.base == Path("/data")
    assert found.words == {"split": "train", "city": "ulm", "id": "ulm_0_1"}
    assert match_path("rgb/{a}.png", Path("/x/RGB/1.png")) is None
    assert match_path("{a}/{a}.png", Path("/x/7/8.png")) is None and match_path("{a}/{a}.png", Path("/x/7/7.png"))
    assert match_path("rgb/{a}.png", Path("/xrgb/1.png")) is None  # a whole part of the path
    found = match_path("{a}_{b}/{a}.png", Path("/x/p_q_r/p_q.png"))
    assert found is not None and found.words == {"a": "p_q", "b": "r"}
    assert match_path("{a}.p+g", Path("/x/1.ppg")) is None  # no expression


def test_names_made_to_take_long_are_matched_at_once() -> None:
    start = time.process_time()
    assert match_path("{a}_{b}_{c}/{d}_{e}_{f}.png", Path("/" + "_" * 250 + "/" + "_" * 250)) is None
    assert time.process_time() - start < 5  # a bound against hours, not a speed


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pattern": "{id}.png"}, "pattern .*only {folder}, {name}, {stem} are replaced"),
        ({"pattern": "{id.x}.png", "photo": "{id}.jpg"}, "pattern .*are replaced"),
        ({"pattern": "{id}.png", "photo": "{id!r}.jpg"}, "photo .*plain words"),
        ({"pattern": "{id}.png", "photo": "{id}{a}{b}{c}.jpg"}, "at most 3"),
        ({"pattern": "{stem}.png", "photo": "{stem}.jpg"}, "already has a meaning"),
        ({"pattern": "*/{stem}.png"}, r"\* stands in the name of the file only"),
        ({"pattern": "{stem}.png", "valid": "{mask}.png"}, "valid .*are replaced"),
        ({"pattern": "{stem}.png", "photo": "a/{x}.jpg", "replace": {"a": "b"}}, "either photo, replace or pairs"),
    ],
)
def test_wrong_templates(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_config(MapsConfig, {"kind": "maps", "depth": values})
