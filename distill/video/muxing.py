"""Output files: containers, atomic renaming, joining of segments with sound."""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from distill.errors import DistillError
from distill.files import remove_if_possible, write_hint
from distill.video.audio import AudioChoice, AudioTrack, choose_audio
from distill.video.media.opening import file_url, open_input, reason

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Output suffix to container format."""
PART_SUFFIX = ".nut"
"""Segments are written as NUT, the only container that stores any time base."""
FORMATS = {**CONTAINERS, PART_SUFFIX: "nut"}
_FAST_START = {"movflags": "+faststart"}
"""Moves the index to the front, so that a browser plays while it loads."""
_TAGS = {("hevc", "mp4"): "hvc1", ("hevc", "mov"): "hvc1"}
"""Codec tags that players of Apple require; FFmpeg's default for HEVC is ``hev1``."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""Disk errors after which other videos would fail too."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known about a video only after its last frame.

    Attributes:
        duration_s: Duration of the last frame; 0: as the average frame.
        end_s: End of the last frame.
        offsets_s: Offsets from the time stamps of the source to play times.
        whole: Whether the video was read to its end; its sound is then kept to the end of the sound.
    """

    duration_s: float = 0.0
    end_s: float = math.inf
    offsets_s: tuple[float, ...] = (0.0,)
    whole: bool = True


class _AudioError(Exception):
    """Sound could not be added."""


def join_videos(
    parts: Sequence[Path], path: Path, *, audio_from: Path | None = None, ending: Ending | None = None
) -> str:
    """Join segments of one encoding into a file, packet by packet; atomic.

    Args:
        parts: In order; their times must increase.
        path: Output file.
        audio_from: File whose sound is added: copied, else converted, else left out.
        ending: Of the whole video.

    Returns:
        What a user should know about the sound; empty if nothing.

    Raises:
        DistillError: A segment is damaged, or the disk is full.
    """
    temporary, ending = temporary_path(path), ending or Ending()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        note = ""
        for choice in _audio_choices(audio_from, FORMATS[path.suffix.lower()]):
            remove_if_possible(temporary)  # of the attempt before
            try:
                _join(parts, temporary, audio_from, choice, ending)
            except _AudioError as error:
                note = f"the sound was left out ({reason(error.__cause__ or error)})"
                continue
            note = choice.note or (note if choice.index is None else "")
            break
        commit_file(temporary, path)
    except Exception as error:  # whatever PyAV raises
        raise write_error(path, error) from error
    finally:
        remove_if_possible(temporary)
    return note


def _audio_choices(source: Path | None, container: str) -> Iterator[AudioChoice]:
    """Ways to add the sound, best first; the last one is without sound and cannot fail because of it."""
    if source is not None:
        first = choose_audio(source, container)
        yield first
        if first.index is None:
            return
        if not first.rate:
            converted = choose_audio(source, container, copy=False)
            if converted.index is not None:
                yield converted
    yield AudioChoice()


def _join(parts: Sequence[Path], path: Path, source: Path | None, choice: AudioChoice, ending: Ending) -> None:
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(writing(path))
        with open_input(parts[0]) as first:
            template = first.streams.video[0]
            stream = container.add_stream_from_template(template, opaque=True)
            stream.time_base = template.time_base
            set_tag(stream, template.codec_context.name, FORMATS[path.suffix.lower()])
            frame_s = ending.duration_s or float(1 / (template.average_rate or 25))
            frame = max(1, round(frame_s / template.time_base))
        audio: AudioTrack | None = None
        last_end_s = 0.0
        if source is not None and choice.index is not None:
            with _audio_errors():
                audio = AudioTrack(source, container, choice, ending.offsets_s, ending.end_s)
                stack.callback(audio.close)
        for packet, end in _video_packets(parts, frame):
            last_end_s = float(end * packet.time_base)
            packet.stream = stream
            container.mux_one(packet)
            _mux_audio(audio, container, last_end_s)
        _mux_audio(audio, container, math.inf if ending.whole else last_end_s)
        if audio is None:
            return
        with _audio_errors():  # some muxers refuse a stream only when they write the index
            container.close()


def _video_packets(parts: Sequence[Path], last_duration: int) -> Iterator[tuple[Any, int]]:
    """(packet, end of its frame) of all segments; each frame lasts to the next one."""
    before: Any = None
    for part in parts:
        with open_input(part) as source:
            for packet in source.demux(source.streams.video[0]):
                if packet.pts is None:
                    continue
                if before is not None:
                    before.duration = packet.pts - before.pts
                    yield before, packet.pts
                before = packet
    if before is not None:
        before.duration = last_duration
        yield before, before.pts + last_duration


def _mux_audio(audio: AudioTrack | None, container: Any, end_s: float) -> None:
    if audio is not None:
        with _audio_errors():
            for packet in audio.until(end_s):
                container.mux_one(packet)


@contextmanager
def _audio_errors() -> Iterator[None]:
    """Errors of the sound, except those of the disk."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise _AudioError from error


def set_tag(stream: Any, codec: str, container: str) -> None:
    """Set the codec tag that players expect in this container."""
    tag = _TAGS.get((codec, container))
    if tag is not None:
        stream.codec_context.codec_tag = tag


def temporary_path(path: Path) -> Path:
    """Hidden name of a file while it is written; a file of that name is removed."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
    return temporary


def commit_file(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk, then rename it."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def writing(path: Path) -> Iterator[Any]:
    """Output container for the suffix of a path, closed at the end."""
    kind = FORMATS[path.suffix.lower()]
    # Created here, not by FFmpeg: exclusively, and never through a link.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    with (
        file_url(path) as url,
        av.open(url, "w", format=kind, options=_FAST_START if kind in ("mp4", "mov") else {}) as container,
    ):
        yield container


def write_error(path: Path, error: Exception) -> DistillError:
    """Error for a video that cannot be written."""
    if isinstance(error, DistillError):
        return error
    hint = write_hint(error) if isinstance(error, OSError) else "choose another folder or codec, then run again"
    return DistillError(f"{path}: cannot be written: {reason(error)}", hint=hint)
