"""Sound of a video: packets copied if the container takes them, else converted to AAC, or left out with a reason.

Sound never costs the picture: whatever its rate, layout and codec, the video is finished.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from distill.video.media.opening import open_input, reason
from distill.video.media.timeline import AudioClock

_COPIED = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}),
    "mov": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le"}),
    "matroska": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "vorbis", "pcm_s16le", "pcm_s24le"}),
}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_STANDARD_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_GAP_S = 0.05
"""A larger gap in the source becomes silence, a larger overlap is cut."""
_SILENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class AudioChoice:
    """How the sound of a file gets into a container.

    Attributes:
        index: Number of the stream in the file; None: no sound.
        rate: Sampling rate of the AAC; 0: packets are copied.
        layout: Channel layout of the AAC.
        note: What a user should know; empty if nothing.
    """

    index: int | None = None
    rate: int = 0
    layout: str = ""
    note: str = ""


def choose_audio(source: Path, container: str, *, copy: bool = True) -> AudioChoice:
    """Choose the first usable audio stream of a file, and whether to copy or to convert it.

    Args:
        source: File with the sound.
        container: Format of the output, as FFmpeg names it.
        copy: Whether packets may be copied.
    """
    unusable: list[str] = []
    try:
        with open_input(source) as media:
            streams = [stream for stream in media.streams.audio if stream.codec_context is not None]
            unusable += ["FFmpeg has no decoder for it"] * (len(media.streams.audio) - len(streams))
            indices = [(stream.index, stream.codec_context.name) for stream in streams]
        for index, codec in indices:
            if copy and codec in _COPIED.get(container, ()) and _is_constant(source, index, codec):
                return AudioChoice(index)
            try:
                return AudioChoice(index, *_aac_settings(source, index))
            except Exception as error:  # PyAV raises many types, depending on the codec
                unusable.append(f"{codec}: {reason(error)}")
    except Exception as error:
        unusable.append(reason(error))
    return AudioChoice(note=f"the sound was left out ({unusable[0]})" if unusable else "")


def _is_constant(source: Path, index: int, codec: str) -> bool:
    """Whether rate and channels stay the same; copied packets of a stream that changes would play at a wrong pitch."""
    signature = {"aac": _adts_signature, "mp3": _mp3_signature, "ac3": _ac3_signature}.get(codec)
    with open_input(source) as media:
        stream = media.streams[index]
        if signature is None or (codec == "aac" and stream.codec_context.extradata):
            return True
        found = {signature(bytes(packet)) for packet in media.demux(stream) if packet.size > 7}
    return len(found - {None}) <= 1


def _adts_signature(data: bytes) -> int | None:
    return (data[2] & 0x3D) << 8 | data[3] & 0xC0 if data[0] == 0xFF and data[1] & 0xF6 == 0xF0 else None


def _mp3_signature(data: bytes) -> int | None:
    if data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    return (data[1] & 0x18) << 16 | (data[2] & 0x0C) << 8 | (data[3] & 0xC0 == 0xC0)


def _ac3_signature(data: bytes) -> int | None:
    return (data[4] & 0xC0) << 8 | data[6] & 0xE0 if data[:2] == b"\x0b\x77" else None


def _aac_settings(source: Path, index: int) -> tuple[int, str]:
    """(rate, layout) of an AAC stream that this sound can be converted to.

    Raises:
        ValueError: No frame can be decoded, or no layout fits.
    """
    with open_input(source) as media:
        frame = next(_decoded(media, media.streams[index]), None)
    if frame is None:
        raise ValueError("no sound can be decoded")
    rate = min(_AAC_RATES, key=lambda known: abs(known - frame.sample_rate))
    channels = frame.layout.nb_channels
    for layout in dict.fromkeys([frame.layout.name, _STANDARD_LAYOUTS.get(channels, ""), "stereo", "mono"]):
        try:
            encoder: Any = av.CodecContext.create("aac", "w")
            encoder.sample_rate, encoder.layout, encoder.format = rate, layout, "fltp"
            encoder.open()
            if av.AudioResampler(format="fltp", layout=layout, rate=rate).resample(frame):
                return rate, layout
        except Exception:
            continue
    raise ValueError(f"{channels} channels without a known layout")


def _decoded(media: Any, stream: Any) -> Iterator[Any]:
    """Frames that can be decoded; damaged packets are skipped."""
    packets = media.demux(stream)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return
        except (av.InvalidDataError, av.PatchWelcomeError, ValueError):
            continue
        except Exception:  # the container itself is damaged: the sound ends
            return
        yield from frames


class AudioTrack:
    """Sound of a file on its way into a container, in step with the video so that the muxer does not buffer it."""

    def __init__(
        self,
        source: Path,
        target: Any,
        choice: AudioChoice,
        offsets_s: Sequence[float] = (0.0,),
        end_s: float = math.inf,
    ) -> None:
        """Add an audio stream to the target.

        Args:
            source: File with the sound.
            target: Output container (`av.open(..., "w")`).
            choice: Result of `choose_audio` with a stream.
            offsets_s: Offsets from the time stamps of the file to play times, as in `timeline.offsets_of`.
            end_s: End of the picture.
        """
        self._media: Any = open_input(source)
        stream = self._media.streams[choice.index]
        self._clock = AudioClock(offsets_s, end_s)
        self._waiting: Any = None
        if choice.rate:
            self._packets = self._converted(stream, target.add_stream("aac", rate=choice.rate, layout=choice.layout))
        else:
            self._packets = self._copied(stream, target.add_stream_from_template(stream))

    def until(self, time_s: float) -> Iterator[Any]:
        """Packets that start at or before this time."""
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            if self._waiting is None or float(self._waiting.dts * self._waiting.time_base) > time_s:
                return
            packet, self._waiting = self._waiting, None
            yield packet

    def close(self) -> None:
        """Close the source."""
        self._media.close()

    def _copied(self, stream: Any, target: Any) -> Iterator[Any]:
        end = -math.inf
        packets = self._media.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):  # damaged sound ends
                return
            if packet.size == 0:
                continue
            unit = packet.time_base
            duration = packet.duration or 0
            stamp = packet.pts if packet.pts is not None else packet.dts
            play = self._clock.place(None if stamp is None else float(stamp * unit), float(duration * unit))
            start = round(play / unit)
            if start < end - duration / 2:
                continue  # the end of one recording overlaps the next one
            packet.pts = packet.dts = max(start, math.ceil(end) if end > -math.inf else start)
            end = packet.pts + max(1, duration)
            packet.stream = target
            yield packet

    def _converted(self, stream: Any, target: Any) -> Iterator[Any]:
        """Packets of AAC; gaps become silence and overlaps are cut, so that the sound stays in step."""
        rate, position = target.rate, None
        for frame in self._resampled(stream, target):
            stamp = None if frame.pts is None else float(frame.pts * frame.time_base)
            play = round(self._clock.place(stamp, frame.samples / rate) * rate)
            position = play if position is None else position
            if play - position > _GAP_S * rate:
                for silence in _silence(play - position, target):
                    yield from _encoded(target, silence, position)
                    position += silence.samples
            elif position - play > _GAP_S * rate:
                continue
            yield from _encoded(target, frame, position)
            position += frame.samples
        yield from (packet for packet in target.encode(None) if packet.dts is not None)

    def _resampled(self, stream: Any, target: Any) -> Iterator[Any]:
        """Frames in the format of the encoder; the source may change its rate, layout and format."""
        resampler: Any = None
        form: tuple[int, str, str] | None = None
        for frame in _decoded(self._media, stream):
            now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if now != form:
                if resampler is not None:
                    yield from resampler.resample(None)
                resampler = av.AudioResampler(format="fltp", layout=target.layout.name, rate=target.rate)
                form = now
            try:
                yield from resampler.resample(frame)
            except (av.FFmpegError, ValueError):  # a layout that cannot be mixed: silence until it changes back
                form = None


def _encoded(target: Any, frame: Any, position: int) -> Iterator[Any]:
    frame.pts, frame.time_base = position, Fraction(1, target.rate)
    yield from (packet for packet in target.encode(frame) if packet.dts is not None)


def _silence(samples: int, target: Any) -> Iterator[Any]:
    """Frames of silence."""
    while samples > 0:
        count = min(samples, round(_SILENCE_S * target.rate))
        zeros = np.zeros((target.layout.nb_channels, count), np.float32)
        frame = av.AudioFrame.from_ndarray(zeros, format="fltp", layout=target.layout.name)
        frame.sample_rate = target.rate
        samples -= count
        yield frame
