"""Maps that stand for a label that a sample lacks."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from distill.images import encode_map
from distill.labels import Label, decode, encode
from distill.labels.placeholders import is_placeholder, placeholders
from distill.tasks import TASKS, DepthKind, Task


@pytest.mark.parametrize("task", Task)
def test_placeholders_have_no_value_and_are_known(task: Task) -> None:
    files = placeholders(task)
    assert set(files) == {f"{task}.png", f"{task}.confidence.png"}
    assert all(is_placeholder(name, data) for name, data in files.items())
    assert not decode(task, files).valid.any()
    for data in files.values():  # by any reader of images
        assert Image.open(io.BytesIO(data)).size == (1, 1)


def test_labels_of_one_pixel_are_no_placeholders() -> None:
    one = np.ones((1, 1), bool)
    depth = Label(Task.DEPTH, np.full((1, 1), 2.0, np.float32), one, one.astype(np.float32), DepthKind.METRIC)
    assert not any(is_placeholder(name, data) for name, data in encode(depth).items())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("depth.png", encode_map(np.zeros((1, 2), np.uint16))),
        ("depth.png", b"\x89PNG\r\n\x1a\n broken"),
        ("json", b"{}"),
        ("other.png", encode_map(np.zeros((1, 1), np.uint16))),
        ("semantic.png", encode_map(np.zeros((1, 1), np.uint8))),
    ],
)
def test_other_files_are_no_placeholders(name: str, data: bytes) -> None:
    assert not is_placeholder(name, data)


def test_every_ignored_value_is_that_of_the_task() -> None:
    for task, info in TASKS.items():
        stored = np.asarray(Image.open(io.BytesIO(placeholders(task)[f"{task}.png"])))
        assert (stored == info.ignore).all()
