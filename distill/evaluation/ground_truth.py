"""Ground-truth sources: a folder of shards, or a public data set in its official layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from distill.errors import DistillError
from distill.files import read_file
from distill.labels import Label
from distill.shards import Manifest, Sample, length_fault, read_manifest, read_shard
from distill.tasks import Task


@runtime_checkable
class GroundTruth(Protocol):
    """Photos with true labels."""

    name: str
    manifest: Manifest
    """Tasks, classes and depth kind; the rest is not used."""
    count: int
    read_errors: list[str]
    """Files that could not be read so far, one sentence each."""

    def samples(self) -> Iterator[Sample]:
        """Photos in a fixed order."""
        ...


class ShardGroundTruth:
    """Labels of a folder of shards."""

    def __init__(self, folder: Path) -> None:
        self.name, self.manifest = str(folder), read_manifest(folder)
        self.count, self._folder = self.manifest.samples, folder
        self.read_errors: list[str] = []

    def samples(self) -> Iterator[Sample]:
        """All samples of the set; those after a damaged part of a shard, or of one that was changed, are lost."""
        for shard in self.manifest.shards:
            fault = length_fault(self._folder, shard)
            if fault:
                self.read_errors.append(f"{self._folder / shard.name}: {fault}")
                continue
            try:
                yield from read_shard(self._folder / shard.name)
            except DistillError as error:
                self.read_errors.append(error.message)


@dataclass(frozen=True)
class FileSample(Sample):
    """A photo and maps in separate files; labels are read on request."""

    readers: Mapping[Task, Callable[[], Label]] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks that have a map."""
        return tuple(self.readers)

    def label(self, task: Task, manifest: Manifest | None = None) -> Label:
        """True label of one task."""
        return self.readers[task]()


@dataclass(frozen=True, slots=True)
class FileItem:
    """Paths of one photo of a data set.

    Attributes:
        photo: Path of the image.
        readers: Task to a function that reads its map.
    """

    photo: Path
    readers: Mapping[Task, Callable[[], Label]]


class FileGroundTruth:
    """Photos of a data set in its official layout."""

    def __init__(self, name: str, root: Path, manifest: Manifest, items: list[FileItem]) -> None:
        self.name, self.manifest, self.count = name, manifest, len(items)
        self._root, self._items = root, items
        self.read_errors: list[str] = []

    def samples(self) -> Iterator[Sample]:
        """All photos that can be read."""
        for item in self._items:
            name = str(item.photo.relative_to(self._root))
            try:
                data = read_file(item.photo)
            except OSError as error:
                self.read_errors.append(f"{item.photo}: cannot be read: {error.strerror}")
                continue
            meta = {"name": name, "photo_sha256": hashlib.sha256(data).hexdigest()}
            files = {item.photo.suffix.lstrip(".").lower(): data, "json": json.dumps(meta).encode()}
            yield FileSample(item.photo.stem.replace(".", "_"), files, item.readers)
