"""Overlay video: the frames with a panel per task, or one task over the frames; with the original sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from distill.export.inference.panels import Panels
from distill.export.inference.stages import PipelineItem
from distill.export.runners import Outputs
from distill.export.sinks.base import Sink
from distill.video import PART_SUFFIX, Encoding, VideoWriter, join_videos


class OverlayVideoSink(Sink):
    """An overlay video."""

    name = "overlay"
    stages = ("draw", "encode")

    def __init__(
        self,
        work: Path,
        out: Path,
        panels: Panels,
        *,
        time_base: Fraction,
        rate: Fraction,
        encoding: Encoding,
        audio_from: Path | None,
        workers: int = 1,
    ) -> None:
        super().__init__(work, workers=workers)
        self.out, self._panels, self._audio_from = out, panels, audio_from
        self._time_base, self._rate, self._encoding = time_base, rate, encoding
        self._writer: VideoWriter | None = None
        self._free: deque[ndarray] = deque()
        self._partial = work / f"overlay.partial{PART_SUFFIX}"

    def prepare(self, item: PipelineItem, outputs: Outputs) -> UInt8[ndarray, "h w 3"]:
        """Draw the canvas; canvases are reused after encoding."""
        try:
            canvas = self._free.pop()
        except IndexError:
            canvas = self._panels.blank()
        return self._panels.draw(item.rgb, outputs, canvas)

    def write(self, item: PipelineItem, prepared: UInt8[ndarray, "h w 3"]) -> None:
        """Encode the canvas."""
        if self._writer is None:
            self._writer = VideoWriter(
                self._partial,
                self._panels.size_hw,
                time_base=self._time_base,
                rate=self._rate,
                encoding=self._encoding,
            )
        self._writer.write(prepared, item.pts, lambda: self._free.append(prepared))

    def end_segment(self, segment: int) -> list[Path]:
        """Close the part; none if there was no frame."""
        if self._writer is None:
            return []
        path = self.work / f"overlay.{segment:05d}{PART_SUFFIX}"
        self._writer.close()
        self._writer = None
        return [self._partial.replace(path)]

    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """Join the parts and add the sound."""
        parts = [path for files in segments for path in files]
        note = join_videos(parts, self.out, audio_from=self._audio_from, ending=self.ending)
        self.notes = (note,) if note else ()
        return [self.out]

    def abandon(self) -> None:
        """Drop the current part."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
