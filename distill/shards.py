"""Label maps in tar shards: atomic publish, checksums, manifest, read.

A folder of shards holds ``shard-000000.tar`` ... and ``dataset.json``. The tars are plain WebDataset. A shard gets its
name only when it is complete; equal samples give equal bytes, so a resumed job can be checked with sha256sum.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.errors import DistillError, UsageError
from distill.files import create_file, open_regular, parse_json, read_json, write_atomic
from distill.labels import Label
from distill.labels import decode as decode_label
from distill.labels import read_meta as read_label_meta
from distill.labels.placeholders import is_placeholder, may_be_placeholder, placeholders
from distill.labels.sample_digest import manifest_with_digest, with_digest
from distill.labels.sample_json import from_uniform, to_uniform
from distill.tar_files import TarMember, iter_members
from distill.tasks import DepthKind, Task

MANIFEST = "dataset.json"
FORMAT: Final = 4
"""Of `MANIFEST`; 1 had other key names, 2 no instances that overlap, 3 samples with different files."""


MAX_SHARD_SAMPLES = 100_000_000
_CHANGED_HINT = "copy the set again; distill data verify lists every difference"
_PHOTO = "jpg"
"""Extension of the photo, of any format, in a tar."""


class ShardEntry(BaseModel):
    """One tar of the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,250}$")
    """Plain name: a path would lead out of the folder."""
    samples: int = Field(ge=0, le=MAX_SHARD_SAMPLES)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """Contents of a folder of shards: ``dataset.json``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal[4] = FORMAT
    tasks: tuple[Task, ...]
    counts: dict[str, int] = Field(default_factory=dict)
    """Labeled samples by task."""
    depth_kind: DepthKind = DepthKind.METRIC
    """Of all depth maps in the set."""
    classes: tuple[str, ...] = ()
    """Names of the semantic ids."""
    referring: tuple[str, ...] = ()
    instance_classes: tuple[str, ...] = ()
    shards: tuple[ShardEntry, ...]
    teachers: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    terms: dict[str, str] = Field(default_factory=dict)
    """License to the address of its terms."""
    prompts: dict[str, str] = Field(default_factory=dict)
    """Prompt hash to prompt."""

    @property
    def samples(self) -> int:
        """Samples in all shards."""
        return sum(shard.samples for shard in self.shards)


class _Record(BaseModel):
    """One label's origin in a sample's json; other keys are free."""

    model_config = ConfigDict(extra="allow", frozen=True)

    quality: float | None = Field(None, allow_inf_nan=False, ge=-1e6, le=1e6)


class SampleMeta(BaseModel):
    """Types of those keys of a sample's json that are read; `distill.labels` checks ``instances``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    photo_sha256: str | None = Field(None, pattern=r"^([0-9a-f]{64})?$")
    photo_hash: str | None = Field(None, pattern=r"^[0-9a-f]{0,64}$")
    records: list[_Record] | None = None
    depth_kind: DepthKind | None = None
    referring: list[str] | None = None


@dataclass(frozen=True)
class Sample:
    """One photo with its labels, encoded.

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
            values = parse_json(self.files.get("json", b"{}"))
        except ValueError as error:
            raise DistillError(f"sample {self.key}: its json is damaged", hint="label the photo again") from error
        if not isinstance(values, dict):
            raise DistillError(f"sample {self.key}: its json is not an object", hint="label the photo again")
        values = from_uniform(values)
        try:
            SampleMeta.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DistillError(
                f"sample {self.key}: its json is wrong: {where}: {first['msg']}", hint="label the photo again"
            ) from error
        return values

    @property
    def photo_suffix(self) -> str:
        """File extension of the photo, the only file that is neither a map nor the json."""
        for extension in self.files:
            if extension != "json" and "." not in extension:
                return extension
        raise DistillError(f"sample {self.key}: it contains no photo", hint="label the photo again")

    @property
    def photo_format(self) -> str:
        """Suffix for the photo outside of a shard, by its format."""
        return str(self.meta.get("photo_format") or self.photo_suffix)

    @property
    def photo(self) -> bytes:
        """Bytes of the photo file."""
        return self.files[self.photo_suffix]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks with a label in this sample."""
        return tuple(task for task in Task if f"{task}.png" in self.files)

    def label(self, task: Task, manifest: Manifest | None = None) -> Label:
        """The label of one task.

        Raises:
            DistillError: It is missing or damaged; names the sample.
        """
        try:
            context = read_label_meta(task, self.meta, manifest.classes if manifest is not None else ())
            return decode_label(task, self.files, context)
        except DistillError as error:
            raise DistillError(f"sample {self.key}: {error.message}", hint=error.hint) from error


def write_shard(path: Path, samples: Iterable[Sample], tasks: Sequence[Task] = ()) -> ShardEntry:
    """Write one tar under a temporary name, fsync, rename; deterministic bytes.

    Args:
        path: The tar.
        samples: Its content.
        tasks: As of `ShardWriter`.

    Raises:
        DistillError: The disk is full or the folder cannot be written; no file of that name is left.
    """
    with ShardWriter(path, tasks) as writer:
        for sample in samples:
            writer.write(sample)
    return writer.entry


class ShardWriter:
    """Tar that gets its name when the block ends without an exception; then `entry` describes it.

    All samples get the same files and json keys, from which loaders infer columns: photos of any format are named
    ``jpg``, and a placeholder stands for the label of a task that a sample lacks.

    Args:
        path: The tar.
        tasks: Of the set: each sample has files for all of them.
    """

    def __init__(self, path: Path, tasks: Sequence[Task] = ()) -> None:
        self._path, self._tasks, self._stack, self.samples = path, tuple(tasks), ExitStack(), 0

    def __enter__(self) -> ShardWriter:
        with ExitStack() as stack:
            self._hashing = _HashingWriter(stack.enter_context(create_file(self._path)))
            self._tar = stack.enter_context(_tar_writer(self._hashing))
            self._stack = stack.pop_all()
        return self

    def write(self, sample: Sample) -> None:
        """Append a sample.

        Raises:
            DistillError: Its key would be split by readers.
            OSError: The disk is full; the block reports it as a `DistillError`.
        """
        _check_key(sample.key)
        missing = [placeholders(task) for task in self._tasks if f"{task}.png" not in sample.files]
        files = with_digest(sample.key, _uniform_files(sample, self._tasks))
        self._tar.write(
            {"__key__": sample.key, **files} | {name: data for one in missing for name, data in one.items()}
        )
        self.samples += 1

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def entry(self) -> ShardEntry:
        """Row of the manifest, after the block."""
        return ShardEntry(
            name=self._path.name,
            samples=self.samples,
            bytes=self._hashing.num_bytes,
            sha256=self._hashing.sha256.hexdigest(),
        )


def _uniform_files(sample: Sample, tasks: Sequence[Task]) -> dict[str, bytes]:
    """Files with the photo as ``jpg`` and all keys in the json; a sample without a readable json stays as it is."""
    try:
        suffix, meta = sample.photo_suffix, sample.meta
    except DistillError:
        return dict(sample.files)
    if "json" not in sample.files:
        return dict(sample.files)
    files = {(_PHOTO if name == suffix else name): data for name, data in sample.files.items()}
    meta = {"photo_format": suffix} | {name: value for name, value in meta.items() if name != "sample_sha256"}
    text = json.dumps(to_uniform(meta, tasks), sort_keys=True, ensure_ascii=False)
    return files | {"json": text.encode(errors="replace")}


class _HashingWriter:
    """Write-only file that counts its bytes and computes their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256, self.num_bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.num_bytes += len(data)
        return self._file.write(data)


def _tar_writer(file: _HashingWriter) -> Any:
    """WebDataset's writer with fixed time, owner and mode, so that equal samples give equal bytes."""
    from webdataset.writer import TarWriter  # imports torch

    return TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False)


def _check_key(key: str) -> None:
    if "." in key or "/" in key:
        raise DistillError(
            f"sample key {key!r} contains a dot or a slash, at which readers would split it", hint="rename the photo"
        )


def iter_sample_files(path: Path) -> Iterator[TarMember]:
    """Files of the samples of a tar, in order, without placeholders; only headers and tiny maps are read.

    Raises:
        OSError: As `iter_members`.
        tarfile.TarError: As `iter_members`.
    """
    with ExitStack() as stack:
        tar: BinaryIO | None = None
        for member in iter_members(path):
            if may_be_placeholder(member.extension, member.size):
                tar = tar or stack.enter_context(open_regular(path))
                if is_placeholder(member.extension, member.read(tar)):
                    continue
            yield member


def read_shard(path: Path) -> Iterator[Sample]:
    """Samples of one tar, streamed.

    Raises:
        DistillError: The shard is missing, truncated or not a tar; samples before the damage are yielded first.
    """
    key, files = "", dict[str, bytes]()
    try:
        with open_regular(path) as tar:
            for member in iter_sample_files(path):
                if member.key != key:
                    if files:
                        yield Sample(key, files)
                    key, files = member.key, {}
                files[member.extension] = member.read(tar)
        if files:
            yield Sample(key, files)
    except FileNotFoundError as error:
        raise DistillError(f"{path}: the shard is missing", hint="copy it again, or run distill label again") from error
    except (tarfile.TarError, OSError) as error:
        raise DistillError(
            f"{path}: the shard cannot be read: {error}", hint="delete it and run distill label again"
        ) from error


def read_meta(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, json) of every sample in one tar without reading images and maps; {} for a sample without json.

    Raises:
        DistillError: As `read_shard`.
    """
    key, files = "", dict[str, bytes]()
    try:
        with open_regular(path) as tar:
            for member in iter_sample_files(path):
                if member.key != key:
                    if key:
                        yield key, Sample(key, files).meta
                    key, files = member.key, {}
                if member.extension == "json":
                    files["json"] = member.read(tar)
        if key:
            yield key, Sample(key, files).meta
    except (tarfile.TarError, OSError) as error:
        raise DistillError(f"{path}: the shard cannot be read: {error}", hint="copy it again") from error


def read_samples(folder: Path, shards: Sequence[ShardEntry] | None = None) -> Iterator[Sample]:
    """Samples of all shards, in order.

    Raises:
        DistillError: As `read_shard`, or a tar has another length than the manifest states.
    """
    for shard in read_manifest(folder).shards if shards is None else shards:
        fault = length_fault(folder, shard)
        if fault:
            raise DistillError(f"{folder / shard.name}: {fault}", hint=_CHANGED_HINT)
        yield from read_shard(folder / shard.name)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``dataset.json``."""
    text = manifest_with_digest(json.dumps(manifest.model_dump(mode="json"), indent=2))
    write_atomic(folder / MANIFEST, text.encode())


def read_manifest(folder: Path) -> Manifest:
    """Manifest of a folder of shards.

    Raises:
        UsageError: Not a folder of shards, an unfinished one, or one of an earlier format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if any(folder.glob("shard-*.tar")):
            raise UsageError(
                f"{folder}: has shards but no {MANIFEST}: the labeling has not finished",
                hint="distill data seal makes a set of the finished shards; distill label, run again, finishes it",
            )
        raise UsageError(f"{folder}: not a folder of shards (no {MANIFEST})", hint="make one with distill label --out")
    try:
        values = read_json(path)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise UsageError(
                f"{path}: format {values.get('format')!r} of the shard set is not {FORMAT}, the only one that this"
                " version reads",
                hint="label the photos again with distill label; stored answers are used again",
            )
        return Manifest.model_validate(values)
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{path}: the manifest is damaged",
            hint="copy it again; where the set was labeled, distill data seal writes it again",
        ) from error


def verify(folder: Path) -> list[str]:
    """Problems of a set, one sentence each; empty if every tar has its checksum."""
    problems = []
    for shard in read_manifest(folder).shards:
        path = folder / shard.name
        fault = length_fault(folder, shard)
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif fault:
            problems.append(f"{path}: {fault}")
        elif file_sha256(path) != shard.sha256:
            problems.append(f"{path}: the checksum differs from {MANIFEST}")
    return problems


def check_digests(folder: Path) -> None:
    """Compare every tar of a set with its checksum, for a job that must not use changed labels.

    Raises:
        DistillError: A tar is missing or was changed; names the first one.
    """
    problems = verify(folder)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DistillError(f"{problems[0]}{more}", hint=_CHANGED_HINT)


def length_fault(folder: Path, shard: ShardEntry) -> str:
    """How the length of a tar differs from its manifest; empty if it does not, or if the tar cannot be found."""
    try:
        size = (folder / shard.name).stat().st_size
    except OSError:
        return ""
    return "" if size == shard.bytes else f"has {size} bytes, and {MANIFEST} states {shard.bytes}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
