"""What all formats share: photos and maps as files, paths that stay inside, a folder that is complete or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from PIL import Image

from distill.datasets.new_sample import new_sample
from distill.datasets.operations.copying import read_whole
from distill.datasets.shard_set import ShardSet
from distill.datasets.writer import check_out, remove_stale_parts, write_errors
from distill.errors import DistillError, UsageError
from distill.files import read_file, read_json
from distill.images import Photo, decode_image, encode_map, image_size_hw, open_image, read_photo
from distill.images.file_format import SUFFIXES
from distill.inputs.keys import unique_keys
from distill.labels import Label
from distill.labels.conversions import resample_nearest
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import Manifest, Sample
from distill.tasks import Task

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
    """Label of a task at the size of the photo; None if the sample has none."""
    if task not in sample.tasks:
        return None
    return resample_nearest(sample.label(task, shards.manifest), size_hw)


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


# Reading


def read_annotations(path: Path) -> Any:
    """Parse a JSON file of annotations.

    Raises:
        DistillError: It cannot be read.
    """
    try:
        return read_json(path, MAX_ANNOTATION_BYTES)
    except OSError as error:
        raise DistillError(
            f"{path}: cannot be read: {error.strerror}", hint="give the folder of the data set"
        ) from error
    except (ValueError, MemoryError) as error:
        raise DistillError(f"{path}: is no JSON: {error}", hint="export or copy it again") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a file of the data set.

    Raises:
        DistillError: It is missing, no regular file, or too large.
    """
    try:
        return read_file(path)
    except OSError as error:
        raise DistillError(f"{path}: cannot be read: {error.strerror}", hint="copy the data set again") from error


def inside(folder: Path, name: str, where: str) -> Path:
    """A file that annotations name, in the folder of the photos or below it.

    Raises:
        DistillError: The name leads out of the folder.
    """
    path = folder / name.replace("\\", "/")
    if not name or "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise DistillError(f"{where}: the file name {name!r} leads out of {folder}", hint="correct the annotations")
    return path


def load_photo(path: Path, key: str, name: str) -> Photo:
    """Decode the photo of a sample.

    Raises:
        DistillError: It cannot be read.
    """
    return read_photo(read_bytes(path), key=key, name=name)


def photo_files(folder: Path) -> dict[str, Path]:
    """Photos in and below a folder by relative name without suffix, in order.

    Raises:
        UsageError: There is none.
        DistillError: Two photos differ in their suffix only.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", hint="give the folder of the data set, or --images DIR")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in found:
                raise DistillError(f"{path}: {found[stem].name} has the same name", hint="rename one of them")
            found[stem] = path
    if not found:
        raise UsageError(f"{folder}: has no photos", hint="give the folder of the data set, or --images DIR")
    return found


def sample_keys(names: Sequence[str]) -> dict[str, str]:
    """Sample key of each photo name."""
    return dict(zip(names, unique_keys(list(names)), strict=True))


def read_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line; the first is that of id 0.

    Raises:
        UsageError: Missing, empty, or a name comes twice.
    """
    if not path.is_file():
        raise UsageError(
            f"{path}: missing", hint="write one class name a line, that of id 0 first, or give --classes FILE"
        )
    try:
        names = tuple(line.strip() for line in read_bytes(path).decode("utf-8-sig").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is no UTF-8 text", hint="save it as UTF-8") from error
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            raise UsageError(f"{path}, line {number + 1}: {name!r} is empty or comes twice", hint="give each id a name")
    if not 0 < len(names) <= 255:
        raise UsageError(f"{path}: has {len(names)} classes", hint="a map holds 1 to 255")
    return names


def certain(valid: Bool[ndarray, "h w"]) -> ndarray:
    """Confidence of labels whose format has none: 1 where valid."""
    return valid.astype(np.float32)
