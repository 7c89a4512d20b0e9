"""Options of a prediction, and their checks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from distill.errors import UsageError


class Write(StrEnum):
    """Files that are written for a video."""

    OVERLAY = "overlay"
    MAPS = "maps"
    FFV1 = "ffv1"
    MASKS = "masks"
    STATISTICS = "statistics"
    PARQUET = "parquet"
    POINTS = "points"


class Codec(StrEnum):
    """Codec of overlay videos."""

    H264 = "h264"
    HEVC = "hevc"


class DecoderChoice(StrEnum):
    """Decoder of video files."""

    AUTO = "auto"
    THREADS = "threads"
    SINGLE = "single"
    NVDEC = "nvdec"


class DropPolicy(StrEnum):
    """Treatment of camera frames that arrive faster than they are processed."""

    LATE = "late"
    NEVER = "never"


@dataclass(frozen=True)
class CameraOptions:
    """Options of cameras and streams.

    Attributes:
        seconds: Stop after this time; None: when the camera ends.
        latency_s: A frame that waited longer is dropped.
        drop_policy: Drop late frames, or never.
        timeout_s: Time without a frame after which a camera counts as disconnected.
    """

    seconds: float | None = None
    latency_s: float = 0.5
    drop_policy: DropPolicy = DropPolicy.LATE
    timeout_s: float = 10.0


@dataclass(frozen=True)
class PredictOptions:
    """Options of a prediction; `distill.predict` describes them.

    Raises:
        UsageError: A rate or a time is not a positive number.
    """

    out: Path | None = None
    write: tuple[Write, ...] = ()
    show: str = "all"
    maps: Path | None = None
    confidence: bool = False
    temporal_smoothing: float = 0.0
    codec: Codec = Codec.H264
    decoder: DecoderChoice = DecoderChoice.AUTO
    points: tuple[int, ...] = ()
    fov_deg: float | None = None
    rate: float = 25.0
    batch: int | None = None
    threads: int | None = None
    parallel: int = 1
    checkpoint_every: int = 240
    no_resume: bool = False
    allow_native: bool = False
    camera: CameraOptions = CameraOptions()

    def __post_init__(self) -> None:
        for option, value in (
            ("--rate", self.rate),
            ("--seconds", self.camera.seconds),
            ("--latency", self.camera.latency_s),
            ("--camera-timeout", self.camera.timeout_s),
        ):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{option} {value:g}: not a positive number", hint=f"such as {option} 10")

    @property
    def frame_rate(self) -> Fraction:
        """Frame rate of numbered images and of raw streams that state none, exact for rates such as 29.97."""
        return Fraction(self.rate).limit_denominator(1001)
