"""Semantic maps as PNGs of class ids with a palette: ``images/``, ``labels/*.png`` and ``classes.txt``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from distill.datasets.formats.base import (
    IMAGES,
    ImportedSet,
    Options,
    label_at,
    labeled_samples,
    write_palette_map,
    write_photo,
)
from distill.datasets.formats.reading import certain, load_photo, photo_files, read_bytes, read_names, sample_keys
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.images import decode_map
from distill.labels import Label
from distill.shards import Sample
from distill.tasks import IGNORE_SEMANTIC, Task

LABELS, CLASSES = "labels", "classes.txt"


class IndexedPng:
    """Reads and writes PNGs of class ids; 255 is ignored."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write photos, maps and class names."""
        counts: dict[str, int] = {}
        for name in shards.manifest.classes:
            if name.strip().splitlines() != [name]:
                raise UsageError(
                    f"{shards.folder}: the class {name!r} is no line of text", hint="rename it with relabel-classes"
                )
        for sample in labeled_samples(shards, [Task.SEMANTIC], options, counts):
            _, size_hw = write_photo(sample, folder / IMAGES, counts)
            label = label_at(sample, Task.SEMANTIC, shards, size_hw)
            if label is not None:
                write_palette_map(folder / LABELS / f"{sample.key}.png", label.value)
        (folder / CLASSES).write_text("".join(f"{name}\n" for name in shards.manifest.classes), encoding="utf-8")
        return counts

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open a folder with ``images/``, ``labels/`` and ``classes.txt``."""
        classes = read_names(options.classes or path / CLASSES)
        photos = photo_files(options.images or path / IMAGES)
        found, notes = pair_maps(photos, path / LABELS)
        keys = sample_keys(list(found))

        def samples() -> Iterator[Sample]:
            for stem, png in options.reporter.track(found.items(), "import", len(found)):
                photo = load_photo(photos[stem], keys[stem], photos[stem].relative_to(photos_root(photos)).as_posix())
                yield options.sample(photo, semantic_map(png, classes, photo.size_hw))

        return ImportedSet(samples(), len(found), (Task.SEMANTIC,), classes, notes=notes)


def pair_maps(photos: Mapping[str, Path], folder: Path, suffix: str = ".png") -> tuple[dict[str, Path], list[str]]:
    """(map of each photo that has one, notes about the others).

    Raises:
        UsageError: No photo has one.
    """
    found = {stem: path for stem in photos if (path := folder / f"{stem}{suffix}").is_file()}
    if not found:
        raise UsageError(
            f"{folder}: has no map {next(iter(photos))}{suffix} of a photo", hint="a map has the name of its photo"
        )
    missing = [stem for stem in photos if stem not in found]
    notes = [f"{len(missing)} photos have no map, such as {missing[0]}, and were left out"] if missing else []
    return found, notes


def photos_root(photos: Mapping[str, Path]) -> Path:
    """Folder that the names of photos are relative to."""
    stem, path = next(iter(photos.items()))
    return path.parents[stem.count("/")]


def semantic_map(png: Path, classes: Sequence[str], size_hw: tuple[int, int]) -> Label:
    """The label of a map of class ids.

    Raises:
        DistillError: It has another size than the photo, or ids without a class.
    """
    ids = decode_map(read_bytes(png), str(png))
    if ids.dtype != np.uint8 or ids.shape != size_hw:
        raise DistillError(
            f"{png}: has {ids.dtype} of shape {ids.shape}, and the photo has {size_hw[1]}x{size_hw[0]} px",
            hint="a map has one 8-bit id per pixel of the photo; a maps teacher reads other layouts",
        )
    valid = ids != IGNORE_SEMANTIC
    highest = int(ids[valid].max(initial=0))
    if highest >= len(classes):
        raise DistillError(
            f"{png}: has id {highest}, and there are {len(classes)} classes", hint="name every id, or store it as 255"
        )
    return Label(Task.SEMANTIC, ids, valid, certain(valid), classes=tuple(classes))
