"""What gives frames, whatever it is: a file, numbered pictures, a camera."""

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
        index: Number of frames decoded before this one, also when they were skipped.
        pts: When it is shown, in units of the source's `time_base`.
        pts_s: The same in seconds.
        rgb: Pixels, upright, all of the size that was asked for.
    """

    index: int
    pts: int
    pts_s: float
    rgb: UInt8[ndarray, "h w 3"]


class FrameSource(ABC):
    """Frames, in order.

    Attributes:
        path: The file, if it is one.
        name: How to name it to a person.
        size_hw: (height, width), upright.
        rate: Frames per second; for a variable rate only an orientation.
        time_base: Seconds per unit of `Frame.pts`.
        num_frames: How many are announced; None where nobody knows.
        codec: Name of the decoder.
        notes: What was done to the frames that a person should know, such as tone mapping.
        live: Whether frames come whether or not anyone takes them.
        fingerprint: What decides the frames besides the file.
    """

    path: Path | None = None
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
        """The frames from `start` on, shrunk to this size; an error comes behind the last good one."""

    def finished(self, index: int) -> None:  # noqa: B027  (only cameras care)
        """Told when a frame went through everything."""

    def read_stats(self) -> dict[str, Any]:
        """What was seen on the way, for the result."""
        return {}
