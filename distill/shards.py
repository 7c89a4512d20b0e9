"""Label maps in tar shards: atomic publish, checksums, manifest, read.

A folder of shards holds ``shard-000000.tar`` ... and ``dataset.json``. The tars are plain WebDataset. A shard appears
under its name only when it is whole; equal samples give equal bytes, so a resumed job can be compared with sha256sum.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.errors import DistillError, UsageError
from distill.images import MAX_FILE_BYTES, write_hint, write_atomic
from distill.labels import Label
from distill.labels import decode as decode_label
from distill.tasks import DepthKind, Task

MANIFEST = "dataset.json"


class ShardEntry(BaseModel):
    """One tar of the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    samples: int
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a folder of shards holds: ``dataset.json``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = 1
    tasks: tuple[Task, ...]
    counts: dict[str, int] = Field(default_factory=dict)
    """Samples that hold a label, by task."""
    depth_kind: DepthKind = DepthKind.METRIC
    """Of all depth maps in the set."""
    classes: tuple[str, ...] = ()
    """Semantic ids index this list."""
    referring: tuple[str, ...] = ()
    instance_classes: tuple[str, ...] = ()
    shards: tuple[ShardEntry, ...]
    teachers: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    terms: dict[str, str] = Field(default_factory=dict)
    """License to where its terms can be read."""
    prompts: dict[str, str] = Field(default_factory=dict)
    """Prompt hash to prompt."""

    @property
    def samples(self) -> int:
        """Samples in all shards."""
        return sum(shard.samples for shard in self.shards)


@dataclass(frozen=True)
class Sample:
    """One photo with its labels, still in bytes.

    Attributes:
        key: Unique in the set; no dot.
        files: Extension (``jpg``, ``depth.png``, ``json``, ...) to bytes.
    """

    key: str
    files: dict[str, bytes]

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The sample's json: name, photo_sha256, size_hw, records, quality."""
        try:
            values = json.loads(self.files.get("json", b"{}"))
        except ValueError as error:
            raise DistillError(f"sample {self.key}: its json is damaged", hint="rebuild the shard") from error
        if not isinstance(values, dict):
            raise DistillError(f"sample {self.key}: its json is no object", hint="rebuild the shard")
        return values

    @property
    def photo_suffix(self) -> str:
        """The extension of the photo: the one file that is neither a map nor the json."""
        for extension in self.files:
            if extension != "json" and "." not in extension:
                return extension
        raise DistillError(f"sample {self.key}: it holds no photo", hint="rebuild the shard")

    @property
    def photo(self) -> bytes:
        """The photo's own bytes."""
        return self.files[self.photo_suffix]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that are labeled in this sample."""
        return tuple(task for task in Task if f"{task}.png" in self.files)

    def label(self, task: Task, manifest: Manifest | None = None) -> Label:
        """The label of one task.

        Raises:
            DistillError: It is missing or damaged; names the sample.
        """
        depth_kind = DepthKind(self.meta.get("depth_kind", DepthKind.METRIC)) if task is Task.DEPTH else None
        classes: tuple[str, ...] = ()
        if manifest is not None and task is Task.SEMANTIC:
            classes = manifest.classes
        if task is Task.REFERRING:
            classes = tuple(self.meta.get("referring", ()))
        instances = {int(k): str(v) for k, v in self.meta.get("instances", {}).items()} if task is Task.INSTANCE else {}
        try:
            return decode_label(task, self.files, depth_kind=depth_kind, classes=classes, instance_classes=instances)
        except DistillError as error:
            raise DistillError(f"sample {self.key}: {error.message}", hint=error.hint) from error


def write_shard(path: Path, samples: Iterable[Sample]) -> ShardEntry:
    """Write one tar under a temporary name, fsync, rename; deterministic bytes.

    Raises:
        DistillError: The disk is full or the folder cannot be written; nothing is left under the name.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    count = 0
    try:
        with temporary.open("wb") as file:
            hashing = _HashingWriter(file)
            with tarfile.open(fileobj=hashing, mode="w", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                for sample in samples:
                    _add_sample(tar, sample)
                    count += 1
            file.flush()
            os.fsync(file.fileno())
        digest = hashing.sha256.hexdigest()
        entry = ShardEntry(name=path.name, samples=count, bytes=temporary.stat().st_size, sha256=digest)
        temporary.replace(path)
        return entry
    except OSError as error:
        raise DistillError(
            f"{path}: cannot be written: {error.strerror or error}",
            hint=write_hint(error),
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


class _HashingWriter:
    """A file that is written from front to back, as tars are, and digested on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()


def _add_sample(tar: tarfile.TarFile, sample: Sample) -> None:
    if "." in sample.key or "/" in sample.key:
        raise DistillError(f"sample key {sample.key!r} holds a dot or a slash, which would split it when it is read")
    for extension in sorted(sample.files):
        member = tarfile.TarInfo(f"{sample.key}.{extension}")
        member.size = len(sample.files[extension])
        member.mode = 0o644
        tar.addfile(member, io.BytesIO(sample.files[extension]))


def read_shard(path: Path) -> Iterator[Sample]:
    """The samples of one tar, streamed.

    Raises:
        DistillError: Missing, truncated, or no tar; samples before the damage have been yielded.
    """
    key, files = "", dict[str, bytes]()
    try:
        with tarfile.open(path, mode="r|") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                if member.size > MAX_FILE_BYTES:
                    raise DistillError(f"{path}: {member.name} announces {member.size} bytes", hint="rebuild the shard")
                stem, _, extension = member.name.rpartition("/")[2].partition(".")
                if stem != key:
                    if files:
                        yield Sample(key, files)
                    key, files = stem, {}
                extracted = tar.extractfile(member)
                if extracted is not None:
                    files[extension] = extracted.read()
        if files:
            yield Sample(key, files)
    except FileNotFoundError as error:
        raise DistillError(f"{path}: the shard is missing", hint="copy it again, or run distill label again") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DistillError(
            f"{path}: the shard cannot be read: {error}", hint="delete it and run distill label again"
        ) from error


def read_meta(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, json) of every sample in one tar, pictures and maps passed over; an empty json where there is none.

    Raises:
        DistillError: As `read_shard`.
    """
    key, files = "", dict[str, bytes]()
    try:
        with tarfile.open(path, mode="r:") as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                stem, _, extension = member.name.rpartition("/")[2].partition(".")
                if stem != key:
                    if key:
                        yield key, Sample(key, files).meta
                    key, files = stem, {}
                extracted = tar.extractfile(member) if extension == "json" else None
                if extracted is not None and member.size <= MAX_FILE_BYTES:
                    files["json"] = extracted.read()
        if key:
            yield key, Sample(key, files).meta
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DistillError(f"{path}: the shard cannot be read: {error}", hint="copy it again") from error


def read_samples(folder: Path, shards: Sequence[ShardEntry] | None = None) -> Iterator[Sample]:
    """All samples of a set, in order."""
    for shard in read_manifest(folder).shards if shards is None else shards:
        yield from read_shard(folder / shard.name)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``dataset.json``."""
    write_atomic(folder / MANIFEST, json.dumps(manifest.model_dump(mode="json"), indent=2).encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of shards.

    Raises:
        UsageError: No folder of shards, or its labeling has not finished.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if any(folder.glob("shard-*.tar")):
            raise UsageError(
                f"{folder}: has shards but no {MANIFEST}: the labeling has not finished",
                hint="run distill label again to finish it",
            )
        raise UsageError(f"{folder}: not a folder of shards (no {MANIFEST})", hint="make one with distill label --out")
    try:
        return Manifest.model_validate_json(path.read_text())
    except (ValidationError, OSError) as error:
        raise UsageError(f"{path}: the manifest is damaged", hint="run distill label again to rewrite it") from error


def verify(folder: Path) -> list[str]:
    """What is wrong with a set, one sentence each; empty when every tar has its checksum."""
    problems = []
    for shard in read_manifest(folder).shards:
        path = folder / shard.name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif file_sha256(path) != shard.sha256:
            problems.append(f"{path}: the checksum differs from {MANIFEST}")
    return problems


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
