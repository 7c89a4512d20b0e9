"""Overlay videos read back by PyAV and by ffprobe, against what their sources are known to contain."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from distill.export.inference.panels import Panels
from tests.builders.videos import read_number
from tests.fakes.runner import SPEC


@dataclass(frozen=True)
class Contents:
    """What a source contains.

    Attributes:
        numbers: Numbers of its frames, in the order in which they are shown.
        seconds: From the start of the first frame to the end of the last one.
        size_hw: Upright, in square pixels.
        sound_s: Seconds of sound; 0: none.
        frame_s: Seconds of a frame: the tolerance.
        undo: Turns the picture as it is shown back to that of `numbered_frame`.
    """

    numbers: Sequence[int]
    seconds: float
    size_hw: tuple[int, int] = (48, 96)
    sound_s: float = 0.0
    frame_s: float = 0.04
    undo: Callable[[np.ndarray], np.ndarray] = np.asarray


def check_overlay(path: Path, source: Contents) -> None:
    """Check frames, duration, sound, geometry and colors' tags of an overlay with all panels."""
    canvas_hw = tuple(side + side % 2 for side in Panels(SPEC, source.size_hw).size_hw)
    found = {"PyAV": _by_pyav(path)}
    if shutil.which("ffprobe"):
        found["ffprobe"] = _by_ffprobe(path)
    for reader, facts in found.items():
        where = f"{path.name} by {reader}: {facts}"
        assert facts["frames"] == len(source.numbers), where
        assert abs(facts["seconds"] - source.seconds) <= source.frame_s, where
        assert (facts["sound_s"] > 0) == (source.sound_s > 0), where
        assert abs(facts["sound_s"] - source.sound_s) <= max(source.frame_s, 0.07), where  # a block of AAC at 16 kHz
        assert facts["size_hw"] == canvas_hw and facts["aspect"] == 1 and not facts["turned"], where
        assert facts["matrix"] in (1, "bt709") and facts["range"] in (1, "tv"), where
    assert _numbers(path, source) == list(source.numbers), path


def _numbers(path: Path, source: Contents) -> list[int]:
    """Numbers of the frames, read off the panel that shows the photo."""
    panels = Panels(SPEC, source.size_hw)
    (top, left), (height, width) = panels._places[0], panels.panel_hw
    with av.open(str(path)) as container:
        canvases = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [read_number(source.undo(canvas[top : top + height, left : left + width])) for canvas in canvases]


def _by_pyav(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        first, last, base = frames[0], frames[-1], stream.time_base or Fraction(1)
        end = (last.pts or 0) + (last.duration or 0)
        facts = {
            "frames": len(frames),
            "seconds": float((end - (first.pts or 0)) * base),
            "size_hw": (first.height, first.width),
            "aspect": stream.sample_aspect_ratio or 1,
            "turned": "DISPLAYMATRIX" in first.side_data,
            "matrix": int(first.colorspace),
            "range": int(first.color_range),
            "sound_s": 0.0,
        }
    with av.open(str(path)) as container:
        if container.streams.audio:
            heard = list(container.decode(audio=0))
            facts["sound_s"] = sum(frame.samples / frame.sample_rate for frame in heard)
            assert all(np.isfinite(frame.to_ndarray()).all() for frame in heard)
    return facts


def _by_ffprobe(path: Path) -> dict[str, Any]:
    words = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", f"file:{path}"]
    found = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    video = next(stream for stream in found["streams"] if stream["codec_type"] == "video")
    sound = next((stream for stream in found["streams"] if stream["codec_type"] == "audio"), None)
    whole = float(found["format"]["duration"])
    # Matroska states a duration for the file alone, which is that of its longest stream.
    seconds = float(video.get("duration", whole))
    return {
        "frames": int(video["nb_read_frames"]),
        "seconds": seconds,
        "size_hw": (video["height"], video["width"]),
        "aspect": Fraction(video["sample_aspect_ratio"].replace(":", "/")),
        "turned": bool(video.get("side_data_list")),
        "matrix": video["color_space"],
        "range": video["color_range"],
        "sound_s": float(sound.get("duration", whole)) if sound else 0.0,
    }


def find_chromium() -> str:
    """The browser; the test is skipped where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("needs Chromium (chromium, chromium-browser or google-chrome on the PATH)")
