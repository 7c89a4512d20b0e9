"""Layouts of Ultralytics: ``images/train``, ``labels|masks|depth/train`` and ``data.yaml``.

Paths are relative to ``data.yaml``. A polygon of YOLO goes through the centers of border pixels; Ultralytics cuts its
coordinates to whole pixels and fills it with its border.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy import ndarray

from distill.config import read_yaml
from distill.datasets.formats.base import (
    IMAGES,
    ImportedSet,
    Options,
    count,
    label_at,
    labeled_samples,
    write_map,
    write_photo,
)
from distill.datasets.formats.depth_png import depth_levels, read_depth
from distill.datasets.formats.indexed import pair_maps, photos_root, semantic_map
from distill.datasets.formats.masks import check_count, fill, instance_label, join_outlines, outline
from distill.datasets.formats.reading import inside, load_photo, photo_files, read_bytes, sample_keys
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.labels.instance_layers import mask_of
from distill.shards import Sample
from distill.tasks import Task

DATA, TRAIN = "data.yaml", "train"
LABELS, MASKS, DEPTH = "labels", "masks", "depth"


class YoloSegments:
    """Reads and writes one polygon per instance."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write photos and polygons."""
        index = {name: number for number, name in enumerate(shards.manifest.instance_classes)}
        (folder / LABELS / TRAIN).mkdir(parents=True)

        def write_one(sample: Sample, size_hw: tuple[int, int], counts: dict[str, int]) -> None:
            label = label_at(sample, Task.INSTANCE, shards, size_hw)
            lines = []
            for number, name in (label.instance_classes if label is not None else {}).items():
                points = join_outlines(outline(mask_of(label.instance_layers, number)))  # type: ignore[union-attr]
                points = np.concatenate([points] * (3 if len(points) < 3 else 1))  # three points make a polygon
                scaled = (points + 0.5) / np.array(size_hw[::-1])
                lines.append(" ".join([str(index[name]), *(f"{value:.8g}" for value in scaled.ravel())]))
                count(counts, "instances")
            (folder / LABELS / TRAIN / f"{sample.key}.txt").write_text("".join(f"{line}\n" for line in lines))

        return _write(shards, Task.INSTANCE, folder, options, write_one, {"names": dict(enumerate(index))})

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open ``data.yaml`` or its folder."""
        root, values = _open(path)
        classes = _names(values, root)
        return _read(
            root,
            values,
            Task.INSTANCE,
            options,
            _pair_texts,
            lambda text, photo: _polygons(text, classes, photo.size_hw),
            instance_classes=classes,
        )


class YoloSemantic:
    """Reads and writes masks of class ids; 255 is ignored."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write photos and masks."""

        def write_one(sample: Sample, size_hw: tuple[int, int], counts: dict[str, int]) -> None:
            label = label_at(sample, Task.SEMANTIC, shards, size_hw)
            if label is not None:
                write_map(folder / MASKS / TRAIN / f"{sample.key}.png", label.value)

        values = {"masks_dir": MASKS, "names": dict(enumerate(shards.manifest.classes))}
        return _write(shards, Task.SEMANTIC, folder, options, write_one, values)

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open ``data.yaml`` or its folder."""
        root, values = _open(path)
        if values.get("label_mapping"):
            raise UsageError(f"{root / DATA}: label_mapping is not supported", hint="use a maps teacher with ids")
        classes, masks = _names(values, root), str(values.get("masks_dir") or MASKS)
        return _read(
            root,
            values,
            Task.SEMANTIC,
            options,
            lambda photos: pair_maps(photos, inside(photos_root(photos).parent, masks, str(root / DATA))),
            lambda png, photo: semantic_map(png, classes, photo.size_hw),
            classes=classes,
        )


class YoloDepth:
    """Reads and writes 16-bit depth with ``depth_scale`` levels per meter."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write photos and depth."""

        def write_one(sample: Sample, size_hw: tuple[int, int], counts: dict[str, int]) -> None:
            label = label_at(sample, Task.DEPTH, shards, size_hw)
            if label is not None:
                levels = depth_levels(label, options.depth_scale, counts)
                write_map(folder / DEPTH / TRAIN / f"{sample.key}.png", levels)

        values = {"nc": 1, "names": {0: "depth"}, "depth_scale": options.depth_scale}
        return _write(shards, Task.DEPTH, folder, options, write_one, values)

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open ``data.yaml`` or its folder."""
        root, values = _open(path)
        scale = values.get("depth_scale", 1000)
        if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < 1e9:
            raise UsageError(
                f"{root / DATA}: depth_scale is {scale!r}", hint="write the levels per meter, such as 1000"
            )
        return _read(
            root,
            values,
            Task.DEPTH,
            options,
            lambda photos: pair_maps(photos, photos_root(photos).parent / DEPTH),
            lambda png, photo: read_depth(png, float(scale), photo.size_hw),
        )


def _write(
    shards: ShardSet,
    task: Task,
    folder: Path,
    options: Options,
    write_one: Callable[[Sample, tuple[int, int], dict[str, int]], None],
    values: Mapping[str, Any],
) -> Mapping[str, int]:
    """Write all photos with `write_one`, and ``data.yaml`` with these values."""
    counts: dict[str, int] = {}
    for sample in labeled_samples(shards, [task], options, counts):
        _, size_hw = write_photo(sample, folder / IMAGES / TRAIN, counts)
        write_one(sample, size_hw, counts)
    # Ultralytics needs both; `distill data split` makes parts, of which each is exported.
    places = {"train": f"{IMAGES}/{TRAIN}", "val": f"{IMAGES}/{TRAIN}"}
    text = yaml.safe_dump({**places, **values}, sort_keys=False, allow_unicode=True)
    (folder / DATA).write_text(f"# val has to be set to other photos than train\n{text}", encoding="utf-8")
    return counts


# Reading


def _open(path: Path) -> tuple[Path, dict[str, Any]]:
    """(folder, values) of a ``data.yaml``; its ``path`` is not followed: it is one of another machine."""
    file = path if path.is_file() else path / DATA
    if not file.is_file():
        found = sorted(path.glob("*.yaml")) if path.is_dir() else []
        if len(found) != 1:
            raise UsageError(f"{path}: has no {DATA}", hint="give the YAML file of the data set")
        file = found[0]
    return file.parent, read_yaml(file)


def _names(values: Mapping[str, Any], root: Path) -> tuple[str, ...]:
    names = values.get("names")
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or len(names) > 255 or len(set(map(str, names))) < len(names):
        raise UsageError(f"{root / DATA}: names must give each id from 0 on its own name", hint="correct names")
    return tuple(map(str, names))


def _read(
    root: Path,
    values: Mapping[str, Any],
    task: Task,
    options: Options,
    pair: Callable[[Mapping[str, Path]], tuple[dict[str, Path], list[str]]],
    read_one: Callable[[Path, Photo], Label],
    *,
    classes: Sequence[str] = (),
    instance_classes: Sequence[str] = (),
) -> ImportedSet:
    """Photos of all splits with their labels."""
    photos = photo_files(options.images or root / IMAGES)
    found, notes = pair(photos)
    keys = sample_keys(list(found))

    def samples() -> Iterator[Sample]:
        for stem, file in options.reporter.track(found.items(), "import", len(found)):
            photo = load_photo(photos[stem], keys[stem], photos[stem].relative_to(photos_root(photos)).as_posix())
            yield options.sample(photo, read_one(file, photo))

    splits = [name for name in ("train", "val", "test") if values.get(name)]
    if len({str(values[name]) for name in splits}) > 1:
        notes.append(f"{', '.join(splits)} become one set; the names of the samples begin with their folder")
    return ImportedSet(samples(), len(found), (task,), tuple(classes), tuple(instance_classes), notes)


def _pair_texts(photos: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    return pair_maps(photos, photos_root(photos).parent / LABELS, ".txt")


def _polygons(text: Path, classes: tuple[str, ...], size_hw: tuple[int, int]) -> Label:
    """The instances of a label file.

    Raises:
        DistillError: A line is no polygon of a class.
    """
    masks, names = dict[int, ndarray](), dict[int, str]()
    lines = read_bytes(text).decode("utf-8", "replace").splitlines()
    check_count(len(lines), str(text))
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            values = np.array(words, np.float64)
        except ValueError as error:
            raise DistillError(f"{text}, line {number}: has no numbers only", hint="export it again") from error
        if len(words) == 5:
            raise DistillError(
                f"{text}, line {number}: is a box and no polygon", hint="export the data set for segmentation"
            )
        index, points = values[0], values[1:]
        if len(words) < 7 or len(words) % 2 == 0 or not ((points >= 0) & (points <= 1)).all():
            raise DistillError(
                f"{text}, line {number}: no class and three or more points between 0 and 1", hint="export it again"
            )
        if index != int(index) or not 0 <= index < len(classes):
            raise DistillError(f"{text}, line {number}: class {words[0]} has no name", hint=f"correct {DATA}")
        # As Ultralytics does: cut to whole pixels.
        pixels = np.trunc(points.reshape(-1, 2) * np.array(size_hw[::-1]) + 1e-4).astype(np.int64)
        instance = len(masks) + 1
        masks[instance], names[instance] = fill(pixels, size_hw), classes[int(index)]
    return instance_label(masks, names, size_hw, classes)
