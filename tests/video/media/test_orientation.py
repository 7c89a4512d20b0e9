"""Geometry: eight orientations, pixels that are not square, pictures that change their size."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.video import VideoReader
from distill.video.media.orientation import Orientation, display_size_hw
from tests.builders.videos import make_clip, read_number, with_matrix, write_stream

SIGNS = [(1, 1), (-1, 1), (1, -1), (-1, -1)]
MATRICES = [(x, 0, 0, y) for x, y in SIGNS] + [(0, x, y, 0) for x, y in SIGNS]


@pytest.mark.parametrize("matrix", MATRICES)
def test_eight_orientations(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    """Each point (x, y) is shown at (a x + c y, b x + d y)."""
    clip = make_clip(tmp_path / "a.mp4", num_frames=2, codec="mpeg4")
    stored = next(VideoReader(clip).frames()).rgb
    a, b, c, d = matrix
    rows, columns = np.mgrid[: stored.shape[0], : stored.shape[1]]
    x, y = a * columns + c * rows, b * columns + d * rows
    wanted = np.zeros((int(np.ptp(y)) + 1, int(np.ptp(x)) + 1, 3), np.uint8)
    wanted[y - y.min(), x - x.min()] = stored
    reader = VideoReader(with_matrix(clip, matrix))
    shown = next(reader.frames()).rgb
    assert shown.shape[:2] == reader.size_hw == wanted.shape[:2]
    assert np.abs(shown.astype(int) - wanted).mean() < 1
    half = next(reader.frames(size_hw=(reader.height // 2, reader.width // 2))).rgb
    assert np.abs(half.astype(int) - cv2.resize(wanted, half.shape[1::-1], interpolation=cv2.INTER_AREA)).mean() < 4


def test_orientations_are_distinct() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    found = {Orientation(*map(bool, (n & 4, n & 2, n & 1))).apply(image).tobytes() for n in range(8)}
    assert len(found) == 8


@pytest.mark.parametrize(
    ("aspect", "wanted"),
    [
        (None, (576, 720)), (Fraction(1), (576, 720)), (Fraction(64, 45), (576, 1024)), (Fraction(8, 9), (648, 720)),
        (Fraction(1000), (576, 720)), (Fraction(0), (576, 720)), (Fraction(12, 11), (576, 785)),
    ],
)  # fmt: skip
def test_sizes_in_square_pixels(aspect: Fraction | None, wanted: tuple[int, int]) -> None:
    assert display_size_hw(576, 720, aspect) == wanted


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mpg", "mpeg2video"), ("a.mkv", "mpeg4"), ("a.ts", "mpeg2video")]
)
def test_pixels_become_square(name: str, codec: str, tmp_path: Path) -> None:
    aspect = Fraction(64, 45) if codec == "mpeg2video" else Fraction(2)
    clip = write_stream(tmp_path / name, range(12), codec=codec, size_hw=(72, 90), aspect=aspect)
    reader = VideoReader(clip)
    wide = (72, 128) if codec == "mpeg2video" else (72, 180)
    assert reader.size_hw == wide and [frame.rgb.shape[:2] for frame in reader.frames()] == [wide] * 12
    assert any("pixels are not square" in note for note in reader.notes)
    assert [read_number(frame.rgb) for frame in reader.frames()] == list(range(12))


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_picture_that_changes_its_size(interlaced: bool, tmp_path: Path) -> None:
    first = write_stream(tmp_path / "a.ts", range(8), size_hw=(96, 96), interlaced=interlaced)
    second = write_stream(tmp_path / "b.ts", range(8, 16), size_hw=(96, 192), start_s=0.32, interlaced=interlaced)
    (tmp_path / "c.ts").write_bytes(first.read_bytes() + second.read_bytes())
    reader = VideoReader(tmp_path / "c.ts")
    frames = list(reader.frames())
    # FFmpeg's decoder drops the frame that it holds back when the size changes.
    assert len(frames) in (15, 16) and {frame.rgb.shape for frame in frames} == {(96, 96, 3)}
    numbers = [read_number(frame.rgb[24:72]) for frame in frames[-7:]]
    assert numbers == list(range(9, 16))  # fitted in, not stretched
    assert frames[-1].rgb[:20].max() < 20 and frames[-1].rgb[-20:].max() < 20
    assert any("the size of the picture changes" in note for note in reader.notes)
