"""Shards to batches: photos and labels decoded at the student's working size, once, and kept in memory or on disk.

A batch is a dictionary of stored integers, as in the shards: ``image`` uint8 RGB, ``depth`` uint16, ``normals`` uint8,
``semantic`` uint8, ``<task>_confidence`` uint8 (0 = leave this pixel out), ``quality`` float32 (batch, task), ``row``
int64 (which photos of the set these are). A quarter of the bytes of floats; `distill.students.targets` makes floats of
them on the device.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from distill.errors import DistillError
from distill.images import MAX_PIXELS, decode_map, decode_rgb
from distill.students.index import Entry
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, Task

_CHANNELS = {Task.DEPTH: (), Task.NORMALS: (3,), Task.SEMANTIC: (), Task.INSTANCE: ()}
_STORED = {Task.DEPTH: np.uint16, Task.NORMALS: np.uint8, Task.SEMANTIC: np.uint8, Task.INSTANCE: np.uint16}
_NUM_IDS = 65536
_EXIF_ORIENTATION = 0x0112
_FIRST_SIDEWAYS = 5
"""EXIF orientations from this one on swap height and width."""


class PhotoSet(Dataset[dict[str, Tensor]]):
    """Decoded samples by index; `fill` and `spill` keep them, in memory or on disk, from then on.

    The row ~i (that is, -1 - i) is photo i with nothing to learn from: all its confidences are 0.
    """

    def __init__(self, entries: Sequence[Entry], tasks: Sequence[Task], size_hw: tuple[int, int]) -> None:
        self.entries, self.tasks, self.size_hw = entries, tuple(tasks), size_hw
        self._arrays: dict[str, ndarray] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def num_bytes(self) -> int:
        """What the decoded set takes in memory."""
        return len(self) * sum(array.nbytes for array in self._empty(1).values())

    def fill(self, advance: Callable[[], None] = lambda: None) -> None:
        """Decode everything into memory; `advance` is called after each photo.

        Raises:
            DistillError: A photo or a label cannot be decoded; names it.
        """
        arrays = self._empty(len(self))
        self._decode_into(arrays, advance)
        self._arrays = arrays

    def spill(self, folder: Path, advance: Callable[[], None] = lambda: None) -> None:
        """Decode everything into files that are mapped into memory; what lies there already is used as it is.

        Several processes may ask for the same folder: one decodes, the others wait for it.

        Raises:
            DistillError: A photo or a label cannot be decoded, or the disk is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        wanted = self._fingerprint()
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = folder / "done"
            if not (done.is_file() and done.read_text() == wanted):
                done.unlink(missing_ok=True)
                self._write_files(folder, advance)
                done.write_text(wanted)
        self._arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in self._empty(0)}

    def _write_files(self, folder: Path, advance: Callable[[], None]) -> None:
        free = shutil.disk_usage(folder).free
        if self.num_bytes > free:
            raise DistillError(
                f"{folder}: the decoded photos need {self.num_bytes / 2**30:.1f} GiB, {free / 2**30:.1f} are free",
                hint="set data.disk_gib=0 to decode anew each epoch, or data.cache_dir to another disk",
            )
        arrays = {
            name: np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
                folder / f"{name}.npy", mode="w+", dtype=one.dtype, shape=(len(self), *one.shape[1:])
            )
            for name, one in self._empty(1).items()
        }
        self._decode_into(arrays, advance)
        for array in arrays.values():
            array.flush()

    def _decode_into(self, arrays: Mapping[str, ndarray], advance: Callable[[], None]) -> None:
        # Threads: Pillow and OpenCV let go of the interpreter while they decode.
        with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:
            for row, sample in enumerate(pool.map(self._decode, self.entries)):
                for name, value in sample.items():
                    arrays[name][row] = value
                advance()

    def _fingerprint(self) -> str:
        """What the files would be decoded from."""
        places = [(str(entry.shard), entry.key, sorted(entry.members.items())) for entry in self.entries]
        stamps = {str(entry.shard): entry.shard.stat().st_mtime_ns for entry in self.entries}
        text = json.dumps([places, stamps, list(self.tasks), self.size_hw])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def is_kept(self) -> bool:
        """Whether nothing has to be decoded any more."""
        return self._arrays is not None

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        """A whole batch at once: the loader asks for all rows of a batch in one call."""
        wanted = [row if row >= 0 else ~row for row in rows]
        if self._arrays is not None:
            batch = {name: torch.from_numpy(array[wanted]) for name, array in self._arrays.items()}
        else:
            samples = [self._decode(self.entries[row]) for row in wanted]
            batch = {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
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
            arrays[str(task)] = np.empty((count, *self.size_hw, *_CHANNELS[task]), _STORED[task])
            arrays[f"{task}_confidence"] = np.empty((count, *self.size_hw), np.uint8)
        arrays["quality"] = np.empty((count, len(self.tasks)), np.float32)
        return arrays

    def _decode(self, entry: Entry) -> dict[str, ndarray]:
        sample = entry.read()
        name = f"{entry.shard}: {entry.key}"
        decoded: dict[str, ndarray] = {"image": decode_photo(sample.photo, self.size_hw, name)}
        for task in self.tasks:
            value, confidence = _decode_task(task, sample.files, entry.class_of, self.size_hw, name)
            decoded[str(task)], decoded[f"{task}_confidence"] = value, confidence
        decoded["quality"] = np.array([entry.quality[task] for task in self.tasks], np.float32)
        return decoded


class EpochBatches(Sampler[list[int]]):
    """The rows of each batch of one rank; over all ranks every row once an epoch, and equally many batches per rank.

    Batches differ by at most one row in size. A tail that is dropped would lose rows; a padded one would repeat them;
    ranks with unequal numbers of batches would wait for each other forever. Where there are fewer rows than batches, a
    batch without one holds the row ~0, which has nothing to learn from.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        num_ranks: int = 1,
        mix: Sequence[tuple[int, float]] = (),
    ) -> None:
        """Choose the rows of one rank.

        Args:
            num_rows: Of the set.
            batch_size: Rows of a batch, at most.
            seed: Of the shuffles.
            shuffle: Whether the order changes from epoch to epoch.
            rank: Of this process.
            num_ranks: Processes in all.
            mix: (rows, weight) of each part of the set, in order: a row of weight 2.5 comes two or three times an
                epoch, one of weight 0.5 in half of the epochs. None: every row once.
        """
        self._seed, self._shuffle = seed, shuffle
        self._rank, self._num_ranks = rank, num_ranks
        self._mix = tuple(mix) or ((num_rows, 1.0),)
        self.num_drawn = sum(round(rows * weight) for rows, weight in self._mix)
        self._per_rank = -(-self.num_drawn // (batch_size * num_ranks))
        self._epoch = self._skip = 0

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Choose the shuffle; the first `skip` batches are left out once (they were seen before an interruption)."""
        self._epoch, self._skip = epoch, skip

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = self._draw(rng)
        if self._shuffle:
            order = rng.permutation(order)
        batches = np.array_split(order, self._per_rank * self._num_ranks)[self._rank :: self._num_ranks]
        skip, self._skip = self._skip, 0
        return iter([batch.tolist() or [~0] for batch in batches[skip:]])

    def _draw(self, rng: np.random.Generator) -> ndarray:
        """The rows of this epoch, in order of the set."""
        drawn, first = [], 0
        for rows, weight in self._mix:
            whole, rest = int(weight), round(rows * weight) - rows * int(weight)
            part = np.arange(first, first + rows)
            drawn += [np.repeat(part, whole), rng.choice(part, rest, replace=False) if rest else part[:0]]
            first += rows
        return np.concatenate(drawn)

    def __len__(self) -> int:
        return self._per_rank


def build_loader(photos: PhotoSet, batches: EpochBatches, *, workers: int) -> DataLoader[dict[str, Tensor]]:
    """Batches of a set; `workers` processes decode, unless the set is kept."""
    workers = 0 if photos.is_kept else workers
    return DataLoader(
        photos,
        batch_sampler=batches,
        collate_fn=_as_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def decode_photo(data: bytes, size_hw: tuple[int, int], name: str) -> UInt8[ndarray, "h w 3"]:
    """The photo at this size, orientation applied; bilinear and antialiased, as the student's own graph resizes.

    JPEGs are decoded at a reduced scale of at least twice the size: 3 times faster at 2 megapixels, 20 times at 24,
    and 0.9 of 255 levels away from the full decode on average.
    """
    height, width = size_hw
    picture = _open_reduced(data, size_hw)
    if picture is None:
        picture = Image.fromarray(decode_rgb(data, name)[0])
    try:
        # Pillow's bilinear filter is the antialiased triangle that torch's antialias=True was ported from.
        return np.asarray(
            ImageOps.exif_transpose(picture).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        )
    except OSError as error:
        raise DistillError(f"{name}: the photo is damaged: {error}", hint="label the photos again") from error


def _open_reduced(data: bytes, size_hw: tuple[int, int]) -> Image.Image | None:
    """The JPEG, to be decoded at a reduced scale; None for every other format, which must be decoded whole."""
    try:
        picture = Image.open(io.BytesIO(data), formats=["JPEG"])
    except OSError:
        return None
    if picture.mode not in ("RGB", "L") or picture.width * picture.height > MAX_PIXELS:
        return None
    height, width = size_hw
    if picture.getexif().get(_EXIF_ORIENTATION, 1) >= _FIRST_SIDEWAYS:
        height, width = width, height
    picture.draft(None, (2 * width, 2 * height))
    return picture


def _decode_task(
    task: Task, files: dict[str, bytes], class_of: Mapping[int, int], size_hw: tuple[int, int], name: str
) -> tuple[Shaped[ndarray, "h w *c"], UInt8[ndarray, "h w"]]:
    """(stored values, confidence; 0 where invalid) at this size; all invalid where the sample lacks the task."""
    source = task
    if task is Task.SEMANTIC and "semantic.png" not in files:
        source = Task.INSTANCE if "instance.png" in files else Task.REFERRING
    if f"{source}.png" not in files:
        return np.zeros((*size_hw, *_CHANNELS[task]), _STORED[task]), np.zeros(size_hw, np.uint8)
    stored = decode_map(files[f"{source}.png"], f"{name}.{source}.png")
    if source is not task:
        stored = _as_classes(stored, source, class_of)
    if stored.dtype != _STORED[task] or stored.shape[2:] != _CHANNELS[task]:
        raise DistillError(f"{name}.{task}.png holds {stored.dtype} of shape {stored.shape}", hint="rebuild the shard")
    value = _resize_nearest(stored, size_hw)
    if task is Task.SEMANTIC:
        valid = value != IGNORE_SEMANTIC
    elif task is Task.INSTANCE:
        valid = value != IGNORE_INSTANCE
    elif task is Task.NORMALS:
        valid = value.any(axis=-1)
    else:
        valid = value > 0
    confidence_name = f"{source}.confidence.png"
    if confidence_name not in files:
        return value, np.where(valid, 255, 0).astype(np.uint8)
    confidence = _resize_nearest(decode_map(files[confidence_name], f"{name}.{confidence_name}"), size_hw)
    return value, np.where(valid, confidence, 0).astype(np.uint8)


def _as_classes(stored: Shaped[ndarray, "h w"], source: Task, class_of: Mapping[int, int]) -> UInt8[ndarray, "h w"]:
    """Ids of instances, or of things referred to, as classes; 0 is background."""
    table = np.zeros(_NUM_IDS, np.uint8)
    table[IGNORE_INSTANCE if source is Task.INSTANCE else IGNORE_SEMANTIC] = IGNORE_SEMANTIC
    for number, index in class_of.items():
        table[number] = index
    return table[stored]


def _resize_nearest(stored: Shaped[ndarray, "h w *c"], size_hw: tuple[int, int]) -> Shaped[ndarray, "h2 w2 *c"]:
    # Nearest: anything smoother invents depths and normals between two surfaces, and classes that nobody painted.
    return cv2.resize(stored, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT)


def _as_is(batch: Any) -> Any:
    return batch
