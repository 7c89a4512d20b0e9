"""The sets of shards in and below folders, and labeling jobs that are not sealed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.escaping import for_line
from distill.files import MAX_FILE_BYTES, read_json
from distill.report.markdown import text_table
from distill.shards import MANIFEST, read_manifest

JOB_PLAN = Path(".stats", "plan.json")
"""Of a labeling job in the folder of its shards."""


@dataclass(frozen=True, slots=True)
class SetEntry:
    """One set.

    Attributes:
        folder: Of the set.
        problem: Why it cannot be opened; empty for a set.
        samples: Number of samples.
        counts: Label maps by task; -1: not stated.
        bytes: Of the tars.
        shards: Number of tars.
        teachers: Of the labels.
        licenses: Of the labels.
    """

    folder: Path
    problem: str = ""
    samples: int = 0
    counts: tuple[tuple[str, int], ...] = ()
    bytes: int = 0
    shards: int = 0
    teachers: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {
            "folder": str(self.folder),
            "counts": dict(self.counts),
            "teachers": list(self.teachers),
            "licenses": list(self.licenses),
        }


@dataclass(frozen=True, slots=True)
class SetList:
    """Outcome of `ls`."""

    sets: tuple[SetEntry, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"sets": [entry.to_dict() for entry in self.sets]}

    def to_text(self) -> str:
        """Format for a terminal."""
        whole = [entry for entry in self.sets if not entry.problem]
        rows: list[list[Any]] = [
            [
                str(entry.folder),
                entry.samples,
                entry.shards,
                f"{entry.bytes / 1e6:.1f}",
                ", ".join(f"{task} {count}" if count >= 0 else task for task, count in entry.counts),
                ", ".join(entry.teachers),
                ", ".join(entry.licenses),
            ]
            for entry in whole
        ]
        columns = ["set", "samples", "tars", "MB", "labels", "teachers", "licenses"]
        lines = [text_table(columns, rows)] if rows else []
        lines += [for_line(f"{entry.folder}: {entry.problem}") for entry in self.sets if entry.problem]
        return "\n".join(lines) or "no set of shards"


def ls(folders: str | Path | Sequence[str | Path]) -> SetList:
    """List the sets of shards in and below folders; only manifests are read.

    Args:
        folders: Folders to search, hidden ones left out.

    Returns:
        The sets, and jobs that have shards and no ``dataset.json``.

    Raises:
        UsageError: A folder does not exist.

    Example:
        >>> [entry.folder for entry in distill.data.ls("experiments").sets]
    """
    given = [Path(folders)] if isinstance(folders, str | Path) else [Path(folder) for folder in folders]
    missing = next((folder for folder in given if not folder.is_dir()), None)
    if missing is not None:
        raise UsageError(f"{missing}: no such folder", hint="name a folder of shards, or one above it")
    found = {place.resolve(): place for folder in given for place in _places(folder)}
    return SetList(tuple(_entry(folder) for folder in found.values()))


def _places(folder: Path) -> Iterator[Path]:
    """Folders with a manifest, or with tars of a job, in order."""
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if MANIFEST in files or (Path(place) / JOB_PLAN).is_file():
            yield Path(place)


def _entry(folder: Path) -> SetEntry:
    if not (folder / MANIFEST).is_file():
        finished = sum(1 for _ in folder.glob("shard-*.tar"))
        return SetEntry(
            folder, f"a labeling job with {finished} tars; distill data seal makes it a set", shards=finished
        )
    try:
        manifest = read_manifest(folder)
    except UsageError as error:
        return SetEntry(folder, error.message.removeprefix(f"{folder / MANIFEST}: "))
    return SetEntry(
        folder,
        samples=manifest.samples,
        counts=tuple((str(task), manifest.counts.get(str(task), -1)) for task in manifest.tasks),
        bytes=sum(shard.bytes for shard in manifest.shards),
        shards=len(manifest.shards),
        teachers=manifest.teachers,
        licenses=manifest.licenses,
    )


def planned_tars(folder: Path) -> set[str]:
    """Names of all tars of the labeling job of this folder; empty without one."""
    return {f"shard-{number:06d}.tar" for number in range(len(_read_plan(folder, "shards")))}


def job_classes(folder: Path) -> list[Any]:
    """Names of the semantic ids in the labeling job of this folder; empty without one."""
    return _read_plan(folder, "classes")


def _read_plan(folder: Path, name: str) -> list[Any]:
    try:
        values = read_json(folder / JOB_PLAN, MAX_FILE_BYTES)[name]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return values if isinstance(values, list) else []
