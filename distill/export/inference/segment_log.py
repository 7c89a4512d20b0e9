"""Log of the finished segments of one video, from which an interrupted job resumes with equal results.

The folder is next to the results and is removed at the end. A line is written when all files of its segment are
complete; a resume checks their sizes, truncates the log at the first difference, and continues from there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.export.inference.stages import SegmentEnd
from distill.export.sinks import make_folder, write_error, write_file
from distill.files import parse_json, read_file

_FORMAT = 3
_SAMPLED_BYTES = 65536
_FINGERPRINT = "fingerprint"
_MAPS = "maps"
"""The sink whose files are final results, in any folder; the files of others are joined."""
FrameTime = tuple[int, float, int]


class _SegmentLine(BaseModel):
    """One line of the log after the first."""

    model_config = ConfigDict(frozen=True)

    segment: int = Field(ge=0)
    stop: int = Field(ge=0)
    times: list[FrameTime]
    files: dict[str, list[tuple[Annotated[str, Field(pattern=r"^[^\x00]+$")], int]]]
    end: bool
    failure: tuple[str, str] | None
    has_state: bool


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A finished segment.

    Attributes:
        number: Its number.
        stop: Index of the first frame after it.
        times: (pts, seconds of the source, duration in units of pts) of each of its frames.
        files: Sink to (path, size in bytes) of its files.
        end: Whether it is the last one.
        failure: Message and hint of the error that ended the video early.
        has_state: Whether the next segment needs the state saved with this one.
    """

    number: int
    stop: int
    times: list[FrameTime]
    files: dict[str, list[tuple[str, int]]]
    end: bool
    failure: tuple[str, str] | None
    has_state: bool

    def paths(self, sink: str) -> list[Path]:
        """Files of one sink."""
        return [Path(path) for path, _ in self.files.get(sink, [])]

    def is_intact(self) -> bool:
        """Whether all files exist with their recorded sizes."""
        pairs = [pair for files in self.files.values() for pair in files]
        return all(Path(path).is_file() and Path(path).stat().st_size == size for path, size in pairs)


class SegmentLog:
    """Segment log of one video.

    Attributes:
        folder: Folder of the segments' files.
        segments: Finished segments.
        settings: Choices of the first call that a resume has to repeat, such as the batch size.
        note: Sentence for the user if progress of another format was discarded, else empty.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Open the log, or begin a new one if its fingerprint or format differs.

        Args:
            folder: Used by this log alone.
            fingerprint: Equal for two jobs if and only if their results are equal.

        Raises:
            DistillError: The folder cannot be used.
        """
        self.folder, self._path = folder, folder / "segments.jsonl"
        self.segments: list[SegmentRecord] = []
        self.settings: dict[str, Any] = {}
        self._fingerprint = fingerprint
        self.note = ""
        lines = _read_lines(self._path)
        if lines and lines[0].get("format") != _FORMAT:
            self.note = (
                f"discarded the unfinished segments of another version of distill (format {lines[0].get('format')},"
                f" not {_FORMAT}) and started at the first frame"
            )
        if not lines or lines[0].get(_FINGERPRINT) != fingerprint or lines[0].get("format") != _FORMAT:
            shutil.rmtree(folder, ignore_errors=True)
            make_folder(folder)
            return
        settings = lines[0].get("settings")
        self.settings = settings if isinstance(settings, dict) else {}
        for line in lines[1:]:
            segment = _parse(line, folder)
            if segment is None or segment.number != len(self.segments) or not segment.is_intact():
                break
            self.segments.append(segment)
        if self.segments and self.segments[-1].has_state and not self._state_path(len(self.segments) - 1).is_file():
            self.segments = []  # a resume without the last state would change results
        self._rewrite()

    @property
    def stop(self) -> int:
        """Index of the first unfinished frame."""
        return self.segments[-1].stop if self.segments else 0

    @property
    def is_complete(self) -> bool:
        """Whether all frames are finished."""
        return bool(self.segments) and self.segments[-1].end

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Save the settings of this job."""
        self.settings = dict(settings)
        self._rewrite()

    def state(self) -> dict[str, ndarray]:
        """State of the stages at the end of the last segment."""
        path = self._state_path(len(self.segments) - 1)
        if not self.segments or not self.segments[-1].has_state:
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def commit(self, segment_end: SegmentEnd, times: list[FrameTime]) -> None:
        """Append a segment with complete files.

        Raises:
            DistillError: The disk is full.
        """
        number = len(self.segments)
        if segment_end.state:
            buffer = io.BytesIO()
            np.savez(buffer, **segment_end.state)  # type: ignore[arg-type]
            write_file(self._state_path(number), buffer.getvalue())
            self._state_path(number - 2).unlink(missing_ok=True)
        files = {
            sink: [(str(path), path.stat().st_size) for path in paths] for sink, paths in segment_end.files.items()
        }
        failure = (segment_end.failure.message, segment_end.failure.hint) if segment_end.failure else None
        has_state = bool(segment_end.state)
        self.segments.append(SegmentRecord(number, segment_end.stop, times, files, segment_end.end, failure, has_state))
        self._append(_line(self.segments[-1]))

    def close(self) -> None:
        """Remove the folder, after all results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _state_path(self, number: int) -> Path:
        return self.folder / f"state.{number:05d}.npz"

    def _append(self, line: dict[str, Any]) -> None:
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self._path, error) from error

    def _rewrite(self) -> None:
        head = {"format": _FORMAT, _FINGERPRINT: self._fingerprint, "settings": self.settings}
        lines = [head, *map(_line, self.segments)]
        write_file(self._path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def fingerprint(path: Path | None, facts: Mapping[str, Any]) -> str:
    """Digest of an input file and of all other facts that determine the results.

    The file is represented by size, modification time, and its first and last 64 kB.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    if path is not None and path.is_file():
        info = path.stat()
        digest.update(os.fsencode(path.resolve()) + f" {info.st_size} {info.st_mtime_ns}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(0, info.st_size - _SAMPLED_BYTES))
            digest.update(file.read(_SAMPLED_BYTES))
    return digest.hexdigest()


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines of the log; a truncated last line is dropped."""
    try:
        text = read_file(path).decode()
    except (OSError, UnicodeDecodeError):
        return []
    lines = []
    for line in text.splitlines():
        try:
            values = parse_json(line)
        except ValueError:
            break
        if not isinstance(values, dict):
            break
        lines.append(values)
    return lines


def _line(segment: SegmentRecord) -> dict[str, Any]:
    return {
        "segment": segment.number,
        "stop": segment.stop,
        "times": segment.times,
        "files": segment.files,
        "end": segment.end,
        "failure": segment.failure,
        "has_state": segment.has_state,
    }


def _parse(line: dict[str, Any], folder: Path) -> SegmentRecord | None:
    """A finished segment; None if the line is damaged, or names files that are not of this job."""
    try:
        found = _SegmentLine.model_validate(line)
    except ValidationError:
        return None
    results = folder.parent.resolve()
    for sink, pairs in found.files.items():
        if sink != _MAPS and not all(Path(path).resolve().is_relative_to(results) for path, _ in pairs):
            return None
    return SegmentRecord(
        found.segment, found.stop, list(found.times), dict(found.files), found.end, found.failure, found.has_state
    )
