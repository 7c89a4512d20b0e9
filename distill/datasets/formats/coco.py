"""COCO instances: ``annotations/instances.json`` with run lengths, and ``images/``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from distill.datasets.formats.base import (
    IMAGES,
    ImportedSet,
    JsonLists,
    Options,
    count,
    label_at,
    labeled_samples,
    write_photo,
)
from distill.datasets.formats.masks import bounding_box, check_count, decode_segmentation, instance_label
from distill.datasets.formats.reading import inside, load_photo, read_annotations, sample_keys
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.labels.instance_layers import mask_of
from distill.labels.run_lengths import encode_rle
from distill.shards import Sample
from distill.tasks import Task

ANNOTATIONS = "annotations"
_FILE = "instances.json"


class CocoInstances:
    """Reads and writes COCO's annotation of instances."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write photos and annotations; memory stays flat."""
        counts: dict[str, int] = {}
        categories = {name: number for number, name in enumerate(shards.manifest.instance_classes, 1)}
        (folder / ANNOTATIONS).mkdir()
        with JsonLists(folder / ANNOTATIONS / _FILE, ("images", "annotations")) as file:
            for sample in labeled_samples(shards, [Task.INSTANCE], options, counts):
                name, size_hw = write_photo(sample, folder / IMAGES, counts)
                image_id = counts["photos"]
                file.add("images", {"id": image_id, "file_name": name, "height": size_hw[0], "width": size_hw[1]})
                label = label_at(sample, Task.INSTANCE, shards, size_hw)
                for number, class_name in (label.instance_classes if label is not None else {}).items():
                    mask = mask_of(label.instance_layers, number)  # type: ignore[union-attr]
                    count(counts, "instances")
                    row = {"id": counts["instances"], "image_id": image_id, "category_id": categories[class_name]}
                    file.add("annotations", {**row, **mask_entry(mask), "iscrowd": 0})
            file.finish({"categories": [{"id": number, "name": name} for name, number in categories.items()]})
        return counts

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open an annotation file, or the folder of one."""
        file = find_annotations(path, _FILE)
        tables = read_tables(file)
        categories = read_categories(tables, file)
        images = find_images(file, options)
        rows = _by_image(tables, file)
        keys = sample_keys([str(image["file_name"]) for image in tables["images"]])
        classes = tuple(dict.fromkeys(categories.values()))

        def samples() -> Iterator[Sample]:
            for image in options.reporter.track(tables["images"], "import", len(tables["images"])):
                where = f"{file}: image {image['id']}"
                photo = open_listed_photo(image, images, keys, where)
                yield options.sample(
                    photo, _label(rows.get(image["id"], []), categories, classes, photo.size_hw, where)
                )

        return ImportedSet(samples(), len(tables["images"]), (Task.INSTANCE,), instance_classes=classes)


def mask_entry(mask: Bool[ndarray, "h w"]) -> dict[str, Any]:
    """``segmentation``, ``area`` and ``bbox`` of a mask."""
    return {"segmentation": encode_rle(mask), "area": int(np.count_nonzero(mask)), "bbox": bounding_box(mask)}


# Reading


def find_annotations(path: Path, name: str) -> Path:
    """The annotation file: given itself, or in a folder or its ``annotations/``.

    Raises:
        UsageError: There is none, or there are several.
    """
    if path.is_file():
        return path
    for folder in (path / ANNOTATIONS, path):
        if (folder / name).is_file():
            return folder / name
        found = sorted(folder.glob(f"{name.partition('.')[0]}*.json")) if folder.is_dir() else []
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{folder}: has {', '.join(file.name for file in found[:4])}", hint="give the path of one of them"
            )
    raise UsageError(f"{path}: has no {ANNOTATIONS}/{name}", hint="give the JSON file, and --images DIR")


def find_images(file: Path, options: Options) -> Path:
    """Folder of the photos of an annotation file, in the layouts that are in use.

    Raises:
        UsageError: There is none.
    """
    if options.images is not None:
        return options.images
    split = file.stem.partition("_")[2]  # instances_val2017.json: val2017
    for parent in (file.parent.parent, file.parent):
        for name in (split, f"{IMAGES}/{split}", IMAGES):
            if name.strip("/") and (parent / name).is_dir() and not name.endswith("/"):
                return parent / name
    raise UsageError(f"{file}: no folder of photos next to it", hint="give it with --images DIR")


def read_tables(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The lists of an annotation file, their rows checked for what they must have.

    Raises:
        DistillError: A list or a key is missing, or has another type.
    """
    values = read_annotations(file)
    needed = {"images": ("id", "file_name"), "annotations": ("image_id",), "categories": ("id", "name")}
    for name, keys in needed.items():
        rows = values.get(name) if isinstance(values, dict) else None
        if not isinstance(rows, list):
            raise DistillError(f"{file}: has no list {name!r}", hint="give the annotations of instances or panoptic")
        for number, row in enumerate(rows):
            if not isinstance(row, dict) or any(not isinstance(row.get(key), int | str) for key in keys):
                raise DistillError(f"{file}: {name}[{number}] lacks {' or '.join(keys)}", hint="export it again")
    ids = [image["id"] for image in values["images"]]
    if len(set(ids)) < len(ids) or not ids:
        raise DistillError(
            f"{file}: {'two images have the same id' if ids else 'has no images'}", hint="export it again"
        )
    return dict(values)


def read_categories(tables: Mapping[str, Any], file: Path) -> dict[Any, str]:
    """Category id to name, in the order of the file.

    Raises:
        DistillError: Two categories have the same id or name.
    """
    rows = tables["categories"]
    found = {row["id"]: str(row["name"]) for row in rows}
    if len(found) < len(rows) or len(set(found.values())) < len(rows):
        raise DistillError(f"{file}: two categories have the same id or name", hint="correct the categories")
    return found


def open_listed_photo(image: Mapping[str, Any], images: Path, keys: Mapping[str, str], where: str) -> Photo:
    """The photo of a row of ``images``.

    Raises:
        DistillError: It is missing, or its size is not the one that the row states.
    """
    name = str(image["file_name"])
    photo = load_photo(inside(images, name, where), keys[name], name)
    stated = image.get("height"), image.get("width")
    if None not in stated and stated != photo.size_hw:
        raise DistillError(
            f"{where}: {name} has {photo.size_hw[1]}x{photo.size_hw[0]} px, and the annotations state "
            f"{stated[1]}x{stated[0]}",
            hint="give the photos that were annotated; photos that EXIF data rotates must be stored upright",
        )
    return photo


def _by_image(tables: Mapping[str, Any], file: Path) -> dict[Any, list[dict[str, Any]]]:
    known = {image["id"] for image in tables["images"]}
    rows: dict[Any, list[dict[str, Any]]] = {}
    for number, row in enumerate(tables["annotations"]):
        if row["image_id"] not in known:
            raise DistillError(f"{file}: annotations[{number}] is of image {row['image_id']}, which is not listed")
        rows.setdefault(row["image_id"], []).append(row)
    return rows


def _label(
    rows: list[dict[str, Any]],
    categories: Mapping[Any, str],
    classes: tuple[str, ...],
    size_hw: tuple[int, int],
    where: str,
) -> Label:
    check_count(len(rows), where)
    masks: dict[int, ndarray] = {}
    names: dict[int, str] = {}
    ignore = np.zeros(size_hw, bool)
    for row in rows:
        entry = f"{where}, annotation {row.get('id', '?')}"
        if not isinstance(row.get("category_id"), int | str) or row["category_id"] not in categories:
            raise DistillError(f"{entry}: category {row.get('category_id')!r} is not listed", hint="export it again")
        mask = decode_segmentation(row.get("segmentation"), size_hw, entry)
        if row.get("iscrowd"):  # a group whose members are not told apart
            ignore |= mask
            continue
        number = len(masks) + 1
        masks[number], names[number] = mask, categories[row["category_id"]]
    return instance_label(masks, names, size_hw, classes, ignore)
