"""Numbered images: one bad image does not end the sequence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from distill.errors import DistillError
from distill.video import ImageSequence
from tests.builders.videos import numbered_frame, read_number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(8):
        Image.fromarray(numbered_frame(number, (48, 96))).save(tmp_path / f"{number:04d}.png")
    return tmp_path


@pytest.mark.parametrize("bad", [[3], [7], [1, 2, 5]])
@pytest.mark.parametrize("kind", ["cut", "empty", "size", "folder"])
def test_a_bad_image_is_named_and_the_others_are_read(bad: list[int], kind: str, folder: Path) -> None:
    for number in bad:
        path = folder / f"{number:04d}.png"
        if kind == "folder":
            path.unlink()
            path.mkdir()
        elif kind == "size":
            Image.fromarray(numbered_frame(number, (24, 96))).save(path)
        else:
            path.write_bytes(b"" if kind == "empty" else path.read_bytes()[:90])
    sequence = ImageSequence(str(folder / "%04d.png"), Fraction(10))
    seen = []
    with pytest.raises(DistillError, match=rf"{len(bad)} of 8 images could not be used.*{bad[0]:04d}\.png"):
        for frame in sequence.frames():
            seen.append((read_number(frame.rgb), frame.pts))
    good = [number for number in range(8) if number not in bad]
    assert seen == [(number, number) for number in good]  # at their own times
    with pytest.raises(DistillError):
        assert [frame.index for frame in sequence.frames(4)] == [number for number in good if number >= 4]


def test_the_first_image_may_be_bad(folder: Path) -> None:
    (folder / "0000.png").write_bytes(b"")
    sequence = ImageSequence(str(folder / "%04d.png"))
    with pytest.raises(DistillError, match=r"1 of 8 .*0000\.png: the file is empty"):
        assert [frame.pts for frame in sequence.frames()] == list(range(1, 8))


def test_a_sequence_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a1.png").write_bytes(b"nothing")
    with pytest.raises(DistillError, match=r"a1\.png"):
        ImageSequence(str(tmp_path / "a%d.png"))
