"""Write a set of shards: samples in, tars and ``dataset.json`` out, complete or absent."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distill.datasets.dataset_card import write_card
from distill.datasets.manifest_builder import ManifestBuilder
from distill.errors import DistillError, UsageError
from distill.files import require_new_folder, write_hint, writer_runs
from distill.shards import Manifest, Sample, ShardEntry, ShardWriter, write_manifest
from distill.tasks import Task

DEFAULT_SHARD_SIZE = 256
"""Samples in a tar."""


@dataclass(frozen=True)
class WrittenSet:
    """A set that was written, or would be.

    Attributes:
        folder: Where.
        samples: In all its tars.
        shards: Number of tars.
        num_bytes: Of the tars; 0 in a plan.
        counts: Label maps by task; empty in a plan.
        notes: What the reader should know, one sentence each.
    """

    folder: Path
    samples: int
    shards: int
    num_bytes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "folder": str(self.folder),
            "samples": self.samples,
            "shards": self.shards,
            "bytes": self.num_bytes,
            "counts": self.counts,
            "notes": list(self.notes),
        }


class ShardSetWriter:
    """Streams samples into the tars of a new set.

    The set is written into a hidden folder next to `out`, which gets the name `out` when the block ends without an
    exception; otherwise nothing is left. Equal samples in equal order give equal bytes.

    Args:
        out: Folder of the set; must not exist, or be empty.
        tasks: Of all its samples together: in the tars, each sample has files for all of them.
        classes: As of `ManifestBuilder`.
        instance_classes: As of `ManifestBuilder`.
        referring: As of `ManifestBuilder`.
        shard_size: Samples in a tar.
    """

    def __init__(
        self,
        out: Path,
        *,
        tasks: Sequence[Task] = (),
        classes: Sequence[str] = (),
        instance_classes: Sequence[str] = (),
        referring: Sequence[str] = (),
        shard_size: int = DEFAULT_SHARD_SIZE,
    ) -> None:
        self.out, self._tasks, self._shard_size = out, tuple(tasks), shard_size
        self._builder = ManifestBuilder(classes, instance_classes, referring)
        self._entries: list[ShardEntry] = []
        self._shard: ShardWriter | None = None
        self._keys: set[int] = set()
        self._folder = out.parent / f".{out.name}.{os.getpid()}.part"
        self.written = WrittenSet(out, 0, 0)

    def __enter__(self) -> Self:
        check_out(self.out)
        remove_stale_parts(self.out)
        with write_errors(self.out):
            self._folder.mkdir(parents=True)
        return self

    def add(self, sample: Sample, *sources: Manifest) -> None:
        """Write a sample; `sources` as of `ManifestBuilder.add`.

        Raises:
            DistillError: Its key is in the set already, its depth kind differs, or the disk is full.
        """
        number = _key_number(sample.key)
        if number in self._keys:
            raise DistillError(f"the key {sample.key} comes twice", hint="rename one of the two photos")
        self._builder.add(sample, *sources)
        self._keys.add(number)
        if self._shard is None:
            self._shard = ShardWriter(self._folder / f"shard-{len(self._entries):06d}.tar", self._tasks)
            self._shard.__enter__()
        with write_errors(self.out):
            self._shard.write(sample)
        if self._shard.samples >= self._shard_size:
            self._close_shard()

    def free_key(self, key: str, photo_sha256: str) -> str:
        """The key, or one with the digest of the photo and if need be a number, that no sample has yet."""
        candidates = [key, f"{key}-{photo_sha256[:8]}", *(f"{key}-{photo_sha256[:8]}-{n}" for n in range(2, 1000))]
        for candidate in candidates:
            if _key_number(candidate) not in self._keys:
                return candidate
        raise DistillError(f"the key {key} comes more than a thousand times", hint="rename the photos")

    def _close_shard(self) -> None:
        if self._shard is not None:
            shard, self._shard = self._shard, None
            shard.__exit__(None, None, None)
            self._entries.append(shard.entry)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._publish()
            elif self._shard is not None:
                # The tar is dropped; the error of the block is the one to report.
                _abort(self._shard)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _publish(self) -> None:
        self._close_shard()
        manifest = self._builder.build(self._entries)
        write_manifest(self._folder, manifest)
        write_card(self._folder, manifest)
        with write_errors(self.out):
            self._folder.rename(self.out)
        num_bytes = sum(entry.bytes for entry in self._entries)
        self.written = WrittenSet(self.out, manifest.samples, len(self._entries), num_bytes, manifest.counts)


def _abort(shard: ShardWriter) -> None:
    """Close a tar without giving it its name."""
    try:
        shard.__exit__(_Aborted, _Aborted(), None)
    except _Aborted:
        return


class _Aborted(Exception):  # noqa: N818 - not an error
    """Ends the block of a tar that is not wanted."""


def check_out(out: Path, inputs: Iterable[Path] = ()) -> None:
    """Refuse to write where files are, and into an input.

    Raises:
        UsageError: `out` is a file, a folder with files, or inside of one of the inputs.
    """
    require_new_folder(out)
    place = out.resolve()
    for given in inputs:
        if place.is_relative_to(given.resolve()):
            raise UsageError(f"{out}: is inside of {given}, which is read", hint="choose another --out")


def remove_stale_parts(out: Path) -> None:
    """Remove hidden folders next to `out` of processes that were killed while they wrote it."""
    for part in out.parent.glob(f".{glob.escape(out.name)}.*.part") if out.parent.is_dir() else ():
        if part.is_dir() and not writer_runs(part):
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def write_errors(out: Path) -> Iterator[None]:
    """Report what the file system refuses.

    Raises:
        DistillError: The disk is full or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise DistillError(f"{out}: cannot be written: {error.strerror or error}", hint=write_hint(error)) from error


def _key_number(key: str) -> int:
    """64 bits of a key's digest, ignoring case: a set of these takes a tenth of the memory of the keys."""
    return int.from_bytes(hashlib.blake2b(key.casefold().encode(), digest_size=8).digest(), "big")
