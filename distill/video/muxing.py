"""Output files: containers, atomic renaming, joining of segments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

from distill.errors import DistillError
from distill.video.audio import AudioTrack
from distill.video.decode import reason

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Output suffix to container format."""
PART_SUFFIX = ".nut"
"""Segments are written as NUT, the only container that stores any time base."""
FORMATS = {**CONTAINERS, PART_SUFFIX: "nut"}
_FAST_START = {"movflags": "+faststart"}
"""Moves the index to the front, so that a browser plays while it loads."""


def join_videos(parts: Sequence[Path], path: Path, *, audio_from: Path | None = None) -> None:
    """Join segments of one encoding into a file, packet by packet; atomic.

    Args:
        parts: In order; their times must increase.
        path: Output file.
        audio_from: File whose first audio stream is copied up to the end of the video.

    Raises:
        DistillError: A segment is damaged, or the disk is full.
    """
    temporary = temporary_path(path)
    audio: AudioTrack | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        container = open_for_writing(temporary)
        with av.open(str(parts[0])) as first:
            template = first.streams.video[0]
            stream = container.add_stream_from_template(template, opaque=True)
            stream.time_base = template.time_base
            audio = AudioTrack(audio_from, container) if audio_from is not None else None
            frame_s = float(1 / (template.average_rate or 25))
        for part in parts:
            _mux_part(part, container, stream, audio, frame_s)
        container.close()
        commit_file(temporary, path)
    except (av.FFmpegError, OSError) as error:
        raise write_error(path, error) from error
    finally:
        if audio is not None:
            audio.close()
        temporary.unlink(missing_ok=True)


def _mux_part(part: Path, container: Any, stream: Any, audio: AudioTrack | None, frame_s: float) -> None:
    with av.open(str(part)) as source:
        for packet in source.demux(source.streams.video[0]):
            if packet.pts is None:
                continue
            end_s = float(packet.pts * packet.time_base) + frame_s
            packet.stream = stream
            container.mux_one(packet)
            if audio is not None:
                for audio_packet in audio.until(end_s):
                    container.mux_one(audio_packet)


def temporary_path(path: Path) -> Path:
    """Hidden name of a file while it is written."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def commit_file(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk, then rename it."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def open_for_writing(path: Path) -> Any:
    """Output container for the suffix of a path."""
    kind = FORMATS[path.suffix.lower()]
    return av.open(str(path), "w", format=kind, options=_FAST_START if kind in ("mp4", "mov") else {})


def write_error(path: Path, error: Exception) -> DistillError:
    """Error for a video that cannot be written."""
    return DistillError(
        f"{path}: cannot be written: {reason(error)}", hint="free space or choose another folder, then run again"
    )
