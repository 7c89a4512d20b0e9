"""Dataset of shards: photos and labels decoded once at the student's working size, cached in memory or on disk.

A batch is a dictionary of stored integers, as in the shards: ``image`` uint8 RGB, ``<task>`` in the task's stored type,
``<task>_confidence`` uint8 (0: ignore this pixel), ``quality`` float32 (batch, task), ``row`` int64 (indices of the
photos in the set). They take a quarter of the bytes of floats; `decode_batch` makes targets of them on the device.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset

from distill.errors import DistillError
from distill.files import read_file, write_atomic
from distill.images import image_size_hw
from distill.students.data.bad_samples import BAD_SAMPLES, BadSample, read_bad_samples, to_bad_sample, write_bad_samples
from distill.students.data.decode import decode_photo, decode_task
from distill.students.data.shard_index import SampleRef
from distill.tasks import TASKS, Task


class ShardDataset(Dataset[dict[str, Tensor]]):
    """Decoded samples by index.

    The row ~i (that is, -1 - i) is photo i with all confidences 0, so it has no effect on losses. A sample that turns
    out to be damaged when it is read is replaced by such a row, with the photo of another sample.

    Attributes:
        entries: The samples; without the bad ones once the set is cached.
        bad_samples: Samples that were skipped by `cache_in_memory` or `cache_on_disk`.
    """

    def __init__(
        self,
        entries: Sequence[SampleRef],
        tasks: Sequence[Task],
        size_hw: tuple[int, int],
        num_classes: int | None = None,
    ) -> None:
        """Describe the set; no photo is read yet.

        Args:
            entries: The samples.
            tasks: Labels to decode.
            size_hw: Working size.
            num_classes: Samples with a larger class id are bad; None: not checked.
        """
        self.entries, self.tasks, self.size_hw = entries, tuple(tasks), size_hw
        self.bad_samples: list[BadSample] = []
        self._num_classes = num_classes
        self._arrays: dict[str, ndarray] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def num_bytes(self) -> int:
        """Memory that the decoded set needs."""
        return len(self) * sum(array.nbytes for array in self._empty(1).values())

    def cache_in_memory(self, advance: Callable[[], None] = lambda: None) -> None:
        """Decode all samples into memory and skip bad ones. `advance` is called after each photo."""
        arrays = self._empty(len(self))
        self._drop_bad_samples(self._decode_into(arrays, advance))
        self._arrays = {name: array[: len(self)] for name, array in arrays.items()}

    def cache_on_disk(self, folder: Path, advance: Callable[[], None] = lambda: None) -> None:
        """Decode all good samples into memory-mapped files, or reuse the folder's files of the same samples.

        Several processes may use the same folder: one decodes, the others wait for it.

        Raises:
            DistillError: The disk is full.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._cache_in_folder(folder, self._fingerprint(), advance)
        except (OSError, ValueError) as error:
            raise DistillError(
                f"{folder}: the decoded photos cannot be kept here: {getattr(error, 'strerror', None) or error}",
                hint="free space, delete the folder, or set data.disk_cache_gib=0 to decode again each epoch",
            ) from error

    def _cache_in_folder(self, folder: Path, wanted: str, advance: Callable[[], None]) -> None:
        # Opened without following links or emptying a file: the folder may come from someone else.
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = folder / "done"
            if not (done.is_file() and read_file(done) == wanted.encode()):
                done.unlink(missing_ok=True)
                write_bad_samples(folder / BAD_SAMPLES, self._write_files(folder, advance))
                write_atomic(done, wanted.encode())
            self._drop_bad_samples(read_bad_samples(folder / BAD_SAMPLES))
        finally:
            os.close(lock)
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in self._empty(0)}
        for name, one in self._empty(1).items():
            found = arrays[name]
            if found.dtype != one.dtype or found.shape[1:] != one.shape[1:] or len(found) < len(self):
                raise ValueError(f"{name}.npy is damaged")
        self._arrays = {name: array[: len(self)] for name, array in arrays.items()}

    def _drop_bad_samples(self, bad_samples: list[BadSample]) -> None:
        lost = {(part.shard, part.key) for part in bad_samples}
        self.entries = [entry for entry in self.entries if (str(entry.shard), entry.key) not in lost]
        self.bad_samples = bad_samples

    def _write_files(self, folder: Path, advance: Callable[[], None]) -> list[BadSample]:
        free = shutil.disk_usage(folder).free
        if self.num_bytes > free:
            raise DistillError(
                f"{folder}: the decoded photos need {self.num_bytes / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
                hint="set data.disk_cache_gib=0 to decode again each epoch, or data.cache_dir to another disk",
            )
        arrays = dict[str, np.memmap[Any, Any]]()
        for name, one in self._empty(1).items():
            path = folder / f"{name}.npy"
            path.unlink(missing_ok=True)  # a new file: links are not followed
            arrays[name] = np.lib.format.open_memmap(
                path, mode="w+", dtype=one.dtype, shape=(len(self), *one.shape[1:])
            )
            # Reserved, because a full disk would end the process at a write through the mapping.
            _reserve(path)
        bad_samples = self._decode_into(arrays, advance)
        for array in arrays.values():
            array.flush()
        return bad_samples

    def _decode_into(self, arrays: Mapping[str, ndarray], advance: Callable[[], None]) -> list[BadSample]:
        """Fill the arrays without gaps; returns the bad samples."""
        row, bad_samples = 0, list[BadSample]()
        # Threads: Pillow and OpenCV release the interpreter lock while they decode.
        with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:
            for sample in pool.map(self._decode_or_bad, self.entries):
                if isinstance(sample, BadSample):
                    bad_samples.append(sample)
                else:
                    for name, value in sample.items():
                        arrays[name][row] = value
                    row += 1
                advance()
        return bad_samples

    def _fingerprint(self) -> str:
        """Hash of everything that the cached files depend on."""
        places = [(str(entry.shard), entry.key, sorted(entry.members.items())) for entry in self.entries]
        stamps = {str(entry.shard): entry.shard.stat().st_mtime_ns for entry in self.entries}
        text = json.dumps([places, stamps, list(self.tasks), self.size_hw, self._num_classes])
        return hashlib.sha256(text.encode()).hexdigest()

    def unlabeled_tasks(self) -> tuple[Task, ...]:
        """Tasks without a usable pixel in any photo; empty for a set that is not cached."""
        arrays = self._arrays or {}
        names = {task: f"{task}_confidence" for task in self.tasks if arrays and len(self)}
        return tuple(task for task, name in names.items() if not any(rows.any() for rows in arrays[name]))

    @property
    def is_cached(self) -> bool:
        """Whether all samples are decoded already."""
        return self._arrays is not None

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        """A whole batch; called by torch's loader instead of `__getitem__` per row."""
        wanted = [row if row >= 0 else ~row for row in rows]
        if self._arrays is not None:
            batch = {name: torch.from_numpy(array[wanted]) for name, array in self._arrays.items()}
        else:
            samples = [self._decode_or_bad(self.entries[row]) for row in wanted]
            # A good sample in place of a bad one, so that batch norms see an ordinary image. The reason of the fault is
            # not sent between processes; `error` finds it again.
            whole = next((sample for sample in samples if not isinstance(sample, BadSample)), None) or self._blank()
            filled = [whole if isinstance(sample, BadSample) else sample for sample in samples]
            batch = {name: torch.from_numpy(np.stack([sample[name] for sample in filled])) for name in whole}
            rows = [
                ~row if isinstance(sample, BadSample) and row >= 0 else row
                for row, sample in zip(rows, samples, strict=True)
            ]
        for place, row in enumerate(rows):
            if row < 0:
                for task in self.tasks:
                    batch[f"{task}_confidence"][place] = 0
        return batch | {"row": torch.tensor(rows)}

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([row]).items()}

    def _empty(self, count: int) -> dict[str, ndarray]:
        arrays = {"image": np.empty((count, *self.size_hw, 3), np.uint8)}
        for task in self.tasks:
            info = TASKS[task]
            arrays[str(task)] = np.empty((count, *self.size_hw, *info.channels), info.dtype)
            arrays[f"{task}_confidence"] = np.empty((count, *self.size_hw), np.uint8)
        arrays["quality"] = np.empty((count, len(self.tasks)), np.float32)
        return arrays

    def _blank(self) -> dict[str, ndarray]:
        return {name: np.zeros_like(array[0]) for name, array in self._empty(1).items()}

    def error(self, row: int) -> BadSample | None:
        """The fault of this sample; None if it is good."""
        sample = self._decode_or_bad(self.entries[row])
        return sample if isinstance(sample, BadSample) else None

    def _decode_or_bad(self, entry: SampleRef) -> dict[str, ndarray] | BadSample:
        try:
            return self._decode(entry)
        except Exception as error:  # Pillow and OpenCV raise a dozen types on damaged bytes
            return to_bad_sample(entry.shard, entry.key, error)

    def _decode(self, entry: SampleRef) -> dict[str, ndarray]:
        sample = entry.read()
        name = f"{entry.shard}: {entry.key}"
        decoded: dict[str, ndarray] = {"image": decode_photo(sample.photo, self.size_hw, name)}
        photo_hw = image_size_hw(sample.photo, name)
        for task in self.tasks:
            value, confidence = decode_task(
                task, sample.files, entry.class_of, self.size_hw, name, self._num_classes, photo_hw, entry.slivers
            )
            decoded[str(task)], decoded[f"{task}_confidence"] = value, confidence
        decoded["quality"] = np.array([entry.quality[task] for task in self.tasks], np.float32)
        return decoded


def _reserve(path: Path) -> None:
    """Reserve the disk space of a sparse file: a full disk would end the process at a write through a mapping."""
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # file systems that cannot reserve
                raise
