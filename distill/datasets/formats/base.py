"""What all formats share: options, photos, maps and lists as files, a folder that is complete or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy import ndarray
from PIL import Image

from distill.datasets.formats.new_sample import new_sample
from distill.datasets.operations.copying import read_whole
from distill.datasets.shard_set import ShardSet
from distill.datasets.writer import check_out, remove_stale_parts, write_errors
from distill.errors import DistillError, UsageError
from distill.images import Photo, decode_image, encode_map, image_size_hw, open_image
from distill.labels import Label
from distill.labels.conversions import drop_absent_instances, resample_nearest
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import Manifest, Sample
from distill.tasks import TASKS, Task

IMAGES = "images"
MAX_ANNOTATION_BYTES = 1024 * 1024 * 1024
"""Of one annotation file: that of COCO's training photos has 450 MB."""
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Options:
    """Options of an export or import; a format uses those that it needs.

    Attributes:
        depth_scale: Stored levels per meter of depth maps with 16 bits.
        images: Folder of the photos, if it is not where the format puts it.
        classes: File of the class names, if it is not where the format puts it.
        license: Of the labels that are imported.
        teacher: Their source.
        reporter: Receives the progress.
    """

    depth_scale: float = 1000.0
    images: Path | None = None
    classes: Path | None = None
    license: str = "unknown"
    teacher: str = "imported"
    reporter: Reporter = field(default_factory=SilentReporter)

    def sample(self, photo: Photo, *labels: Label) -> Sample:
        """The sample of an imported photo."""
        return new_sample(photo, labels, teacher=self.teacher, license=self.license)


@dataclass
class ImportedSet:
    """Samples that a format reads.

    Attributes:
        samples: Streamed.
        total: Their number.
        tasks: Of all of them together.
        classes: Names of the semantic ids.
        instance_classes: Names of the classes of instances.
        notes: What the reader should know.
        source: States what the samples do not.
    """

    samples: Iterator[Sample]
    total: int
    tasks: tuple[Task, ...]
    classes: tuple[str, ...] = ()
    instance_classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    source: Manifest | None = None


class FormatModule(Protocol):
    """The module of a format."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write a set into an empty folder; returns counts of what was written and what was left out, for the user.

        Raises:
            UsageError: The set has nothing that the format can hold.
            DistillError: A sample is damaged.
        """
        ...

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open a data set; its annotations are checked as they are read.

        Raises:
            UsageError: There is none of this format.
            DistillError: A file is damaged; names file and entry.
        """
        ...


@contextmanager
def staged_folder(out: Path, inputs: Iterable[Path]) -> Iterator[Path]:
    """A hidden folder next to `out` that gets its name when the block ends without an exception.

    Raises:
        UsageError: `out` has files, or is inside of an input.
        DistillError: The disk is full or the folder cannot be written.
    """
    check_out(out, inputs)
    remove_stale_parts(out)
    folder = out.parent / f".{out.name}.{os.getpid()}.part"
    try:
        with write_errors(out):
            folder.mkdir(parents=True)
            yield folder
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def labeled_samples(
    shards: ShardSet, tasks: Sequence[Task], options: Options, counts: dict[str, int]
) -> Iterator[Sample]:
    """The whole samples that have a label of one of these tasks; the others are counted.

    Raises:
        UsageError: The set has none of these tasks.
        DistillError: A sample is damaged.
    """
    found = [task for task in tasks if task in shards.manifest.tasks]
    if not found:
        raise UsageError(
            f"{shards.folder}: has no labels of {' or '.join(tasks)}, which this format holds",
            hint=f"it has {', '.join(shards.manifest.tasks)}; choose another format",
        )
    for sample in options.reporter.track(read_whole(shards), "export", len(shards)):
        if set(sample.tasks) & set(found):
            yield sample
        else:
            count(counts, "samples without such a label, left out")


def count(counts: dict[str, int], what: str, number: int = 1) -> None:
    """Add to a count."""
    counts[what] = counts.get(what, 0) + number


def label_at(sample: Sample, task: Task, shards: ShardSet, size_hw: tuple[int, int]) -> Label | None:
    """Label of a task at the size of the photo; None if the sample has none.

    Raises:
        DistillError: It has a class that the set does not list.
    """
    if task not in sample.tasks:
        return None
    label, manifest = sample.label(task, shards.manifest), shards.manifest
    unlisted = set(label.instance_classes.values()) - set(manifest.instance_classes)
    if TASKS[task].class_list == "classes":
        ids = np.unique(label.value[label.valid])
        unlisted = {f"id {number}" for number in ids[ids >= len(manifest.classes)]}
    if unlisted:
        raise DistillError(
            f"{shards.folder}: sample {sample.key} has {min(unlisted)} in its {task} label, and dataset.json does not",
            hint=f"distill data verify {shards.folder} lists such samples",
        )
    return drop_absent_instances(resample_nearest(label, size_hw))


def write_photo(sample: Sample, folder: Path, counts: dict[str, int]) -> tuple[str, tuple[int, int]]:
    """Write the photo under the sample's key; returns (file name, (height, width)).

    The file is the photo's own, unless its EXIF data rotates it: other tools do not agree about that, so such a photo
    is stored upright, as PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, suffix = sample.photo, sample.photo_format
    with open_image(data, sample.key) as image:
        is_rotated = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    if is_rotated:
        data, suffix = encode_map(decode_image(data, sample.key).rgb), "png"
        count(counts, "photos stored upright as PNG")
    name = f"{sample.key}.{suffix}"
    (folder / name).write_bytes(data)
    count(counts, "photos")
    return name, image_size_hw(data, sample.key)


def write_map(path: Path, values: ndarray) -> None:
    """Write a map as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_map(values))


def write_palette_map(path: Path, ids: ndarray) -> None:
    """Write uint8 ids as a PNG with the colors of PASCAL VOC, in which viewers show classes apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    image.putpalette(_voc_palette())
    image.save(path, "PNG", compress_level=1)


def _voc_palette() -> bytes:
    """256 colors: bit k of a class sets bits of red, green and blue in turn."""
    colors, ids = np.zeros((256, 3), np.int64), np.arange(256)
    for bit in range(8):
        colors[:, bit % 3] |= ((ids >> bit) & 1) << (7 - bit // 3)
    return colors.astype(np.uint8).tobytes()


class JsonLists:
    """Writes a JSON object of lists row by row: each list is a file until the end.

    Args:
        path: The JSON file.
        names: Keys of the lists.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path, self._names = path, names
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> JsonLists:
        self._files = {name: (self._part(name)).open("w+b") for name in self._names}
        return self

    def _part(self, name: str) -> Path:
        return self._path.with_name(f".{self._path.name}.{name}")

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Append a row to a list."""
        file = self._files[name]
        file.write((",\n" if file.tell() else "").encode() + json.dumps(row, ensure_ascii=False).encode())

    def finish(self, values: Mapping[str, Any]) -> None:
        """Write the file: first these values, then the lists."""
        with self._path.open("wb") as file:
            file.write(json.dumps(values, ensure_ascii=False).encode()[:-1])
            for number, name in enumerate(self._names):
                file.write(f'{", " if values or number else ""}"{name}": [\n'.encode())
                part = self._files[name]
                part.seek(0)
                while block := part.read(1 << 20):
                    file.write(block)
                file.write(b"\n]")
            file.write(b"}\n")

    def __exit__(self, *error: object) -> None:
        for name, file in self._files.items():
            file.close()
            self._part(name).unlink(missing_ok=True)
