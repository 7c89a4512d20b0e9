"""Shards to batches: photos and labels decoded at the student's working size, once, and kept in memory or on disk.

A batch is a dictionary of stored integers, as in the shards: ``image`` uint8 RGB, ``depth`` uint16, ``normals`` uint8,
``semantic`` uint8, ``<task>_confidence`` uint8 (0 = leave this pixel out), ``quality`` float32 (batch, task), ``row``
int64 (which photos of the set these are). A quarter of the bytes of floats; `distill.students.data.batch` makes floats of
them on the device.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset

from distill.errors import DistillError
from distill.images import image_size_hw
from distill.students.data.bad_samples import BAD_SAMPLES, BadSample, read_bad_samples, to_bad_sample, write_bad_samples
from distill.students.data.decode import decode_photo, decode_task
from distill.students.data.shard_index import SampleRef
from distill.tasks import TASKS, Task


class ShardDataset(Dataset[dict[str, Tensor]]):
    """Decoded samples by index; `cache_in_memory` and `cache_on_disk` keep them, in memory or on disk, from then on.

    A class id beyond `num_classes` is a fault of its sample, where the number is given.

    The row ~i (that is, -1 - i) is photo i with nothing to learn from: all its confidences are 0. A sample that turns
    out to be broken when it is asked for comes as such a row, under the picture of another one.

    Attributes:
        entries: The samples; without the broken ones once the set is kept.
        bad_samples: Those that were left out.
    """

    def __init__(
        self,
        entries: Sequence[SampleRef],
        tasks: Sequence[Task],
        size_hw: tuple[int, int],
        num_classes: int | None = None,
    ) -> None:
        self.entries, self.tasks, self.size_hw = entries, tuple(tasks), size_hw
        self.bad_samples: list[BadSample] = []
        self._num_classes = num_classes
        self._arrays: dict[str, ndarray] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def num_bytes(self) -> int:
        """What the decoded set takes in memory."""
        return len(self) * sum(array.nbytes for array in self._empty(1).values())

    def cache_in_memory(self, advance: Callable[[], None] = lambda: None) -> None:
        """Decode everything into memory; what is broken is left out. `advance` is called after each photo."""
        arrays = self._empty(len(self))
        self._drop_bad_samples(self._decode_into(arrays, advance))
        self._arrays = {name: array[: len(self)] for name, array in arrays.items()}

    def cache_on_disk(self, folder: Path, advance: Callable[[], None] = lambda: None) -> None:
        """Decode everything that is whole into files that are mapped into memory; what lies there is used as it is.

        Several processes may ask for the same folder: one decodes, the others wait for it.

        Raises:
            DistillError: The disk is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        wanted = self._fingerprint()
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = folder / "done"
            if not (done.is_file() and done.read_text() == wanted):
                done.unlink(missing_ok=True)
                write_bad_samples(folder / BAD_SAMPLES, self._write_files(folder, advance))
                done.write_text(wanted)
            self._drop_bad_samples(read_bad_samples(folder / BAD_SAMPLES))
        names = self._empty(0)
        self._arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r")[: len(self)] for name in names}

    def _drop_bad_samples(self, bad_samples: list[BadSample]) -> None:
        lost = {(part.shard, part.key) for part in bad_samples}
        self.entries = [entry for entry in self.entries if (str(entry.shard), entry.key) not in lost]
        self.bad_samples = bad_samples

    def _write_files(self, folder: Path, advance: Callable[[], None]) -> list[BadSample]:
        free = shutil.disk_usage(folder).free
        if self.num_bytes > free:
            raise DistillError(
                f"{folder}: the decoded photos need {self.num_bytes / 2**30:.1f} GiB, {free / 2**30:.1f} are free",
                hint="set data.disk_cache_gib=0 to decode anew each epoch, or data.cache_dir to another disk",
            )
        arrays = {
            name: np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
                folder / f"{name}.npy", mode="w+", dtype=one.dtype, shape=(len(self), *one.shape[1:])
            )
            for name, one in self._empty(1).items()
        }
        bad_samples = self._decode_into(arrays, advance)
        for array in arrays.values():
            array.flush()
        return bad_samples

    def _decode_into(self, arrays: Mapping[str, ndarray], advance: Callable[[], None]) -> list[BadSample]:
        """What is broken; the others lie without gaps."""
        row, bad_samples = 0, list[BadSample]()
        # Threads: Pillow and OpenCV let go of the interpreter while they decode.
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
        """What the files would be decoded from."""
        places = [(str(entry.shard), entry.key, sorted(entry.members.items())) for entry in self.entries]
        stamps = {str(entry.shard): entry.shard.stat().st_mtime_ns for entry in self.entries}
        text = json.dumps([places, stamps, list(self.tasks), self.size_hw, self._num_classes])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def is_cached(self) -> bool:
        """Whether nothing has to be decoded any more."""
        return self._arrays is not None

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        """A whole batch at once: the loader asks for all rows of a batch in one call."""
        wanted = [row if row >= 0 else ~row for row in rows]
        if self._arrays is not None:
            batch = {name: torch.from_numpy(array[wanted]) for name, array in self._arrays.items()}
        else:
            samples = [self._decode_or_bad(self.entries[row]) for row in wanted]
            # In the place of a broken one stands a whole one, for the norms; of an error, workers keep no sentence.
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
        """What is wrong with this sample; None if it is whole."""
        sample = self._decode_or_bad(self.entries[row])
        return sample if isinstance(sample, BadSample) else None

    def _decode_or_bad(self, entry: SampleRef) -> dict[str, ndarray] | BadSample:
        try:
            return self._decode(entry)
        except Exception as error:  # over damaged bytes Pillow and OpenCV raise a dozen kinds
            return to_bad_sample(entry.shard, entry.key, error)

    def _decode(self, entry: SampleRef) -> dict[str, ndarray]:
        sample = entry.read()
        name = f"{entry.shard}: {entry.key}"
        decoded: dict[str, ndarray] = {"image": decode_photo(sample.photo, self.size_hw, name)}
        photo_hw = image_size_hw(sample.photo, name)
        for task in self.tasks:
            value, confidence = decode_task(
                task, sample.files, entry.class_of, self.size_hw, name, self._num_classes, photo_hw
            )
            decoded[str(task)], decoded[f"{task}_confidence"] = value, confidence
        decoded["quality"] = np.array([entry.quality[task] for task in self.tasks], np.float32)
        return decoded
