"""Audio track: packets copied, or encoded again as AAC if the container does not take the codec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

_COPIED = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}),
    "mov": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le"}),
    "matroska": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "vorbis", "pcm_s16le", "pcm_s24le"}),
}
_AAC = "aac"


class AudioTrack:
    """First audio stream of a file, read in step with the video so that the muxer does not buffer it."""

    def __init__(self, source: Path, target: Any) -> None:
        """Add an audio stream to the target if the source has one.

        Args:
            source: File to copy from.
            target: Output container (`av.open(..., "w")`).
        """
        self._container: Any = av.open(str(source))
        self._waiting: Any = None
        streams = self._container.streams.audio
        if not streams:
            self._packets: Iterator[Any] = iter(())
        elif streams[0].codec_context.name in _COPIED.get(target.format.name.split(",")[0], ()):
            self._packets = self._copied(streams[0], target.add_stream_from_template(streams[0]))
        else:
            context = streams[0].codec_context
            rate = context.sample_rate
            # Raw audio states the number of channels, not their layout: "1 channels" is not a valid name.
            layout = {1: "mono", 2: "stereo"}.get(context.layout.nb_channels, context.layout.name)
            self._packets = self._encoded(streams[0], target.add_stream(_AAC, rate=rate, layout=layout))

    def until(self, time_s: float) -> Iterator[Any]:
        """Packets that start at or before this time."""
        while True:
            if self._waiting is None:
                try:
                    self._waiting = next(self._packets, None)
                except av.FFmpegError:  # damaged audio does not stop the video
                    self._packets = iter(())
            if self._waiting is None or float(self._waiting.dts * self._waiting.time_base) > time_s:
                return
            packet, self._waiting = self._waiting, None
            yield packet

    def close(self) -> None:
        """Close the source."""
        self._container.close()

    def _copied(self, stream: Any, target: Any) -> Iterator[Any]:
        for packet in self._container.demux(stream):
            if packet.dts is not None:
                packet.stream = target
                yield packet

    def _encoded(self, stream: Any, target: Any) -> Iterator[Any]:
        for frame in self._container.decode(stream):
            yield from (packet for packet in target.encode(frame) if packet.dts is not None)
        yield from (packet for packet in target.encode(None) if packet.dts is not None)
