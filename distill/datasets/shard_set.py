"""A set of shards as a sequence of samples: in order, by position, by key, filtered.

The members of a tar are found by one scan of its headers when a sample of it is first read (0.1 s for 1,000 samples
with eight members each). Scans are kept for the last few tars only and not on disk: memory stays flat, and a tar that
is replaced is read as it is.
"""

from __future__ import annotations

import tarfile
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from distill.datasets.tar_groups import scan_tar, unreadable_tar
from distill.files import open_regular
from distill.labels import Label
from distill.shards import Manifest, Sample, read_manifest, read_shard
from distill.tar_files import TarMember
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.datasets.torch_dataset import TorchSet

_KEPT_SCANS = 8
"""Tars whose members stay in memory; one of 64 samples needs 0.1 MB."""


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """A sample without its photo and maps.

    Attributes:
        key: Unique in the set.
        shard: Name of its tar.
        position: In the set, from 0.
        meta: Its json.
        sizes: Bytes of its files by extension.
    """

    key: str
    shard: str
    position: int
    meta: dict[str, Any]
    sizes: dict[str, int]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks with a label."""
        return tuple(task for task in Task if f"{task}.png" in self.sizes)

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())


@dataclass(frozen=True)
class ShardSet(Sequence[Sample]):
    """The samples of a folder of shards; `open` makes one.

    Attributes:
        folder: Of the shards.
        manifest: Its ``dataset.json``.
        positions: Samples that a filter kept, ascending; None: all.
    """

    folder: Path
    manifest: Manifest
    positions: Int64[ndarray, " n"] | None = None
    _scans: OrderedDict[int, list[list[TarMember]]] = field(
        default_factory=OrderedDict[int, "list[list[TarMember]]"], repr=False, compare=False
    )

    def __len__(self) -> int:
        return self.manifest.samples if self.positions is None else len(self.positions)

    def __iter__(self) -> Iterator[Sample]:
        """Samples in order; tars are read from beginning to end."""
        if self.positions is None:
            for shard in self.manifest.shards:
                yield from read_shard(self.folder / shard.name)
        else:
            for position in self.positions:
                yield self._read(int(position))

    @overload
    def __getitem__(self, index: int | str) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> ShardSet: ...

    def __getitem__(self, index: int | str | slice) -> Sample | ShardSet:
        """Sample by position or key, or a part of the set.

        Raises:
            IndexError: There is no such position.
            KeyError: There is no such key.
            DistillError: The tar cannot be read.
        """
        if isinstance(index, slice):
            return self._with_positions(self._all_positions[index])
        if isinstance(index, str):
            return self._read(self._position_of_key[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.folder}: has {len(self)} samples, and no sample {index}")
        return self._read(int(self._all_positions[index]))

    def __contains__(self, key: object) -> bool:
        """Whether there is a sample of this key."""
        return isinstance(key, str) and key in self._position_of_key

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be read again: a set is sent to worker processes."""
        return {"folder": self.folder, "manifest": self.manifest, "positions": self.positions, "_scans": OrderedDict()}

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys in order."""
        return tuple(self._position_of_key)

    def infos(self) -> Iterator[SampleInfo]:
        """Samples in order without their photos and maps: only headers and json are read."""
        wanted = None if self.positions is None else set(self.positions.tolist())
        for number, shard in enumerate(self.manifest.shards):
            first, path = self._starts[number], self.folder / shard.name
            if wanted is not None and wanted.isdisjoint(range(first, first + shard.samples)):
                continue
            with open_regular(path) as tar:
                for position, members in enumerate(self._scan(number), first):
                    if wanted is None or position in wanted:
                        json = {member.extension: member.read(tar) for member in members if member.extension == "json"}
                        meta = Sample(members[0].key, json).meta
                        sizes = {member.extension: member.size for member in members}
                        yield SampleInfo(members[0].key, shard.name, position, meta, sizes)

    def filter(self, predicate: Callable[[SampleInfo], bool]) -> ShardSet:
        """The samples for which `predicate` is true; reads headers and json of all."""
        kept = [info.position for info in self.infos() if predicate(info)]
        return self._with_positions(np.array(kept, np.int64))

    def select(self, positions: Int64[ndarray, " k"]) -> ShardSet:
        """The samples at these positions of this set, ascending."""
        return self._with_positions(self._all_positions[positions])

    def label(self, index: int | str, task: Task) -> Label:
        """Decoded label map of a sample.

        Raises:
            DistillError: It is missing or damaged.
        """
        return self[index].label(task, self.manifest)

    def to_torch(self, tasks: Sequence[Task] = ()) -> TorchSet:
        """A map-style dataset of torch with decoded photos and label maps, each at its own size.

        Args:
            tasks: Labels to decode; empty: all of the set.
        """
        from distill.datasets.torch_dataset import TorchSet

        return TorchSet(self, self.manifest, tuple(tasks) or self.manifest.tasks)

    def _with_positions(self, positions: Int64[ndarray, " n"]) -> ShardSet:
        return ShardSet(self.folder, self.manifest, positions, self._scans)

    @cached_property
    def _starts(self) -> list[int]:
        """Position of the first sample of each tar."""
        return [0, *accumulate(shard.samples for shard in self.manifest.shards)][:-1]

    @property
    def _all_positions(self) -> Int64[ndarray, " n"]:
        return np.arange(self.manifest.samples) if self.positions is None else self.positions

    @cached_property
    def _position_of_key(self) -> dict[str, int]:
        """Position in the whole set of each key of this one; reads all headers."""
        wanted = None if self.positions is None else set(self.positions.tolist())
        found = {}
        for number in range(len(self.manifest.shards)):
            for position, members in enumerate(self._scan(number), self._starts[number]):
                if wanted is None or position in wanted:
                    found[members[0].key] = position
        return found

    def _read(self, position: int) -> Sample:
        number = bisect_right(self._starts, position) - 1
        members = self._scan(number)[position - self._starts[number]]
        path = self.folder / self.manifest.shards[number].name
        try:
            with open_regular(path) as tar:
                return Sample(members[0].key, {member.extension: member.read(tar) for member in members})
        except (OSError, tarfile.TarError) as error:
            raise unreadable_tar(path, error) from error

    def _scan(self, number: int) -> list[list[TarMember]]:
        """Members of each sample of a tar."""
        if number in self._scans:
            self._scans.move_to_end(number)
            return self._scans[number]
        shard = self.manifest.shards[number]
        found = scan_tar(self.folder / shard.name, shard)
        self._scans[number] = found
        if len(self._scans) > _KEPT_SCANS:
            self._scans.popitem(last=False)
        return found


def open(path: str | Path) -> ShardSet:
    """Open a folder of shards as a sequence of samples.

    Args:
        path: Folder that `distill label`, `distill data` or `distill data seal` wrote.

    Raises:
        UsageError: Not a folder of shards, or an unfinished one.

    Example:
        >>> shards = distill.datasets.open("shards")
        >>> len(shards), shards[0].key, shards["kitchen_0001"].label(Task.DEPTH, shards.manifest).value.shape
        >>> good = shards.filter(lambda info: "depth" in info.tasks).to_torch()
    """
    return ShardSet(Path(path), read_manifest(Path(path)))
