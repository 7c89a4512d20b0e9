"""COCO panoptic: one PNG of segment ids (R + 256 G + 65536 B) per photo, and ``annotations/panoptic.json``.

Things are classes that have instances; a segment of a thing with ``iscrowd`` is a region whose instances are not told
apart. Segment 0 has no label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt32
from numpy import ndarray

from distill.datasets.formats.base import (
    IMAGES,
    ImportedSet,
    JsonLists,
    Options,
    count,
    label_at,
    labeled_samples,
    write_map,
    write_photo,
)
from distill.datasets.formats.coco import (
    ANNOTATIONS,
    find_annotations,
    find_images,
    open_listed_photo,
    read_categories,
    read_tables,
)
from distill.datasets.formats.masks import bounding_box, check_count
from distill.datasets.formats.reading import certain, inside, read_bytes, sample_keys
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError
from distill.images import decode_map
from distill.labels import Label
from distill.shards import Sample
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, MAX_CLASSES, Task

_FILE = "panoptic.json"


class CocoPanoptic:
    """Reads and writes COCO's panoptic annotation."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write photos, PNGs and annotations."""
        counts: dict[str, int] = {}
        manifest = shards.manifest
        names = tuple(dict.fromkeys((*manifest.classes, *manifest.instance_classes)))
        number_of, things = {name: number for number, name in enumerate(names, 1)}, set(manifest.instance_classes)
        (folder / ANNOTATIONS).mkdir()
        with JsonLists(folder / ANNOTATIONS / _FILE, ("images", "annotations")) as file:
            for sample in labeled_samples(shards, [Task.SEMANTIC, Task.INSTANCE], options, counts):
                name, size_hw = write_photo(sample, folder / IMAGES, counts)
                image_id = counts["photos"]
                semantic, instance = (
                    label_at(sample, task, shards, size_hw) for task in (Task.SEMANTIC, Task.INSTANCE)
                )
                segments, rows = _segments(semantic, instance, size_hw, number_of, things)
                png = f"{sample.key}.png"
                write_map(folder / ANNOTATIONS / "panoptic" / png, _to_rgb(segments))
                file.add("images", {"id": image_id, "file_name": name, "height": size_hw[0], "width": size_hw[1]})
                file.add("annotations", {"image_id": image_id, "file_name": png, "segments_info": rows})
                count(counts, "segments", len(rows))
            categories = [
                {"id": number, "name": name, "isthing": int(name in things)} for name, number in number_of.items()
            ]
            file.finish({"categories": categories})
        return counts

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open an annotation file, or the folder of one."""
        file = find_annotations(path, _FILE)
        tables = read_tables(file)
        categories = read_categories(tables, file)
        if len(categories) > MAX_CLASSES:
            raise DistillError(f"{file}: {len(categories)} categories; a map holds at most {MAX_CLASSES}")
        things = tuple(str(row["name"]) for row in tables["categories"] if row.get("isthing"))
        pngs = next((one for one in (file.with_suffix(""), file.parent / "panoptic") if one.is_dir()), file.parent)
        images, of_image = find_images(file, options), {row["image_id"]: row for row in tables["annotations"]}
        listed = [image for image in tables["images"] if image["id"] in of_image]
        keys = sample_keys([str(image["file_name"]) for image in listed])

        def samples() -> Iterator[Sample]:
            for image in options.reporter.track(listed, "import", len(listed)):
                where = f"{file}: image {image['id']}"
                photo = open_listed_photo(image, images, keys, where)
                row = of_image[image["id"]]
                png = inside(pngs, str(row.get("file_name", "")), where)
                segments = _from_rgb(decode_map(read_bytes(png), str(png)), photo.size_hw, str(png))
                yield options.sample(photo, *_labels(segments, row, categories, things, where))

        tasks = (Task.SEMANTIC, Task.INSTANCE) if things else (Task.SEMANTIC,)
        return ImportedSet(samples(), len(listed), tasks, tuple(categories.values()), things)


def _segments(
    semantic: Label | None,
    instance: Label | None,
    size_hw: tuple[int, int],
    number_of: Mapping[str, int],
    things: set[str],
) -> tuple[UInt32[ndarray, "h w"], list[dict[str, Any]]]:
    """(segment ids, ``segments_info``): instances first, then the classes of the other pixels."""
    segments, rows = np.zeros(size_hw, np.uint32), list[dict[str, Any]]()

    def add(mask: ndarray, name: str, *, is_crowd: bool) -> None:
        if mask.any():
            segments[mask] = number = len(rows) + 1
            entry = {"area": int(np.count_nonzero(mask)), "bbox": bounding_box(mask), "iscrowd": int(is_crowd)}
            rows.append({"id": number, "category_id": number_of[name], **entry})

    if instance is not None:
        front = instance.instance_layers[0]
        for number, name in sorted(instance.instance_classes.items()):
            add(front == number, name, is_crowd=False)
    if semantic is not None:
        free = semantic.valid & (segments == 0)
        for index in np.unique(semantic.value[free]).tolist():
            name = semantic.classes[index]
            add(free & (semantic.value == index), name, is_crowd=name in things)
    return segments, rows


def _labels(
    segments: UInt32[ndarray, "h w"],
    row: Mapping[str, Any],
    categories: Mapping[Any, str],
    things: tuple[str, ...],
    where: str,
) -> list[Label]:
    infos = row.get("segments_info")
    if not isinstance(infos, list) or not all(isinstance(info, dict) for info in infos):
        raise DistillError(f"{where}: has no list segments_info", hint="export it again")
    for info in infos:
        if not isinstance(info.get("id"), int) or not isinstance(info.get("category_id"), int | str):
            raise DistillError(f"{where}: a row of segments_info lacks id or category_id", hint="export it again")
    check_count(len(infos), where)
    names, index_of = list(categories.values()), {number: index for index, number in enumerate(categories)}
    present, places = np.unique(segments, return_inverse=True)
    by_id = {info.get("id"): info for info in infos}
    class_of = np.full(present.size, IGNORE_SEMANTIC, np.uint8)
    instance_of = np.zeros(present.size, np.uint16)
    instance_names: dict[int, str] = {}
    for place, segment in enumerate(present.tolist()):
        if segment == 0:
            instance_of[place] = IGNORE_INSTANCE
            continue
        info = by_id.get(segment)
        if info is None or info["category_id"] not in categories:
            what = "is missing in segments_info" if info is None else "has a category that is not listed"
            raise DistillError(f"{where}: segment {segment} of its PNG {what}", hint="export it again")
        name = categories[info["category_id"]]
        class_of[place] = index_of[info["category_id"]]
        if name in things and info.get("iscrowd"):
            instance_of[place] = IGNORE_INSTANCE
        elif name in things:
            number = len(instance_names) + 1
            instance_of[place], instance_names[number] = number, name
    shape = segments.shape
    semantic, instance = class_of[places].reshape(shape), instance_of[places].reshape(shape)
    valid = semantic != IGNORE_SEMANTIC
    labels = [Label(Task.SEMANTIC, semantic, valid, certain(valid), classes=tuple(names))]
    if things:
        known = instance != IGNORE_INSTANCE
        labels.append(
            Label(Task.INSTANCE, instance, known, certain(known), classes=things, instance_classes=instance_names)
        )
    return labels


def _to_rgb(segments: UInt32[ndarray, "h w"]) -> ndarray:
    return np.stack([segments & 255, (segments >> 8) & 255, (segments >> 16) & 255], -1).astype(np.uint8)


def _from_rgb(values: ndarray, size_hw: tuple[int, int], name: str) -> UInt32[ndarray, "h w"]:
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[:2] != size_hw:
        raise DistillError(
            f"{name}: has {values.dtype} of shape {values.shape}, and the photo has {size_hw[1]}x{size_hw[0]} px",
            hint="panoptic maps are RGB images of the photo's size",
        )
    wide = values.astype(np.uint32)
    return wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]
