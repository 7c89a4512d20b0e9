"""Frame sources: interface of files, image sequences and cameras."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: Number of frames decoded before this one, skipped ones included.
        pts: Play time in units of the source's `time_base`: starts at 0 and never jumps, as in the overlay.
        pts_s: Time of the source's own clock in seconds.
        rgb: Upright pixels at the requested size.
        play_s: Play time in seconds.
        duration: Stated duration in units of the time base; 0 if unknown. Only that of the last frame is used.
    """

    index: int
    pts: int
    pts_s: float
    rgb: UInt8[ndarray, "h w 3"]
    play_s: float = 0.0
    duration: int = 0


class FrameSource(ABC):
    """Ordered frames of a video.

    Attributes:
        path: The file; None for other sources.
        audio_path: The file, if it contains sound.
        name: Display name.
        size_hw: (height, width), upright.
        rate: Frames per second; an average for variable rates.
        time_base: Seconds per unit of `Frame.pts`.
        num_frames: Stated frame count; None if unknown.
        codec: Name of the codec.
        notes: Changes made to the frames that a user should know, such as tone mapping.
        live: Whether frames arrive in real time.
        fingerprint: Identity of the frames besides the file.
    """

    path: Path | None = None
    audio_path: Path | None = None
    name: str
    size_hw: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    num_frames: int | None = None
    codec: str = ""
    notes: tuple[str, ...] = ()
    live: bool = False
    fingerprint: str = ""

    @abstractmethod
    def frames(self, start: int = 0, *, size_hw: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Frames from `start` on, resized; an error is raised after the last readable frame."""

    def finished(self, index: int) -> None:  # noqa: B027  (only cameras need it)
        """Called when a frame has been processed."""

    def read_stats(self) -> dict[str, Any]:
        """Statistics for the result."""
        return {}
