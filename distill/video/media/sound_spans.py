"""Tell a gap in the picture from a jump of the clock: sound that runs on through it has the same clock."""

from __future__ import annotations

from pathlib import Path

from distill.video.media.opening import open_input

_BREAK_S = 2.0
"""Sound that pauses for longer, or goes back, begins a new span."""


class SoundSpans:
    """Times in which the sound of a file runs without a break; the file is read when they are needed first."""

    def __init__(self, path: Path) -> None:
        """Use a file that can be opened."""
        self._path = path
        self._spans: list[tuple[float, float]] | None = None

    def cover(self, start_s: float, end_s: float) -> bool:
        """Whether sound runs on from one time of the source to a later one."""
        if self._spans is None:
            self._spans = self._read()
        return any(first <= start_s + _BREAK_S and last >= end_s - _BREAK_S for first, last in self._spans)

    def _read(self) -> list[tuple[float, float]]:
        """(start, end) of each span in the order of the file; joined recordings have spans of their own."""
        spans: list[tuple[float, float]] = []
        try:
            with open_input(self._path) as container:
                sound = next(iter(container.streams.audio), None)
                packets = () if sound is None else container.demux(sound)
                for packet in packets:
                    if packet.pts is None:
                        continue
                    start_s = float(packet.pts * packet.time_base)
                    end_s = start_s + float((packet.duration or 0) * packet.time_base)
                    if spans and abs(start_s - spans[-1][1]) <= _BREAK_S:
                        spans[-1] = (spans[-1][0], max(spans[-1][1], end_s))
                    else:
                        spans.append((start_s, end_s))
        except Exception:  # whatever PyAV raises: damaged sound proves nothing from here on
            return spans
        return spans
