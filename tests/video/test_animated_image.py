"""Animations that were cut off: what is there is read, and the rest is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError
from distill.video.animated_image import AnimatedImage
from tests.builders.videos import numbered_frame, read_number


def animation(path: Path) -> bytes:
    frames = [numbered_frame(number, (48, 96)) for number in range(6)]
    for number, frame in enumerate(frames):  # each as large as the others
        frame[24:] = np.random.default_rng(number).integers(0, 256, (24, 96, 3))
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=80, lossless=True)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_the_frames_before_a_cut_are_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    data = animation(path)
    assert [read_number(frame.rgb) for frame in AnimatedImage(path).frames()] == list(range(6))
    found = set()
    for share in (0.5, 0.8, 0.999):
        path.write_bytes(data[: int(share * len(data))])
        numbers = []
        with pytest.raises(DistillError, match=r"animation is (cut off|damaged)"):
            for frame in AnimatedImage(path).frames():
                numbers.append(read_number(frame.rgb))
        assert numbers == list(range(len(numbers)))
        found.add(len(numbers))
    assert len(found) == 3 and max(found) == 5 and min(found) > 0


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_a_cut_before_the_first_frame_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(animation(path)[:60])
    with pytest.raises(DistillError, match=r"not a readable animation"):
        AnimatedImage(path)
