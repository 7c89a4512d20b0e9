"""Samples of photos and labels that come from other data sets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from distill.images import Photo
from distill.images.photo_hash import hash_photo
from distill.labels import Label, encode, write_meta
from distill.shards import Sample


def new_sample(
    photo: Photo, labels: Iterable[Label], *, teacher: str, license: str, terms: str = "", quality: float | None = None
) -> Sample:
    """A sample of a photo and its labels, with the same keys in its json as those of `distill label`.

    Args:
        photo: The photo; its key is that of the sample.
        labels: At most one of each task.
        teacher: Source of the labels.
        license: Of the labels.
        terms: Link to the terms of the license.
        quality: Of the labels in [0, 1]; None where it is not known.
    """
    meta: dict[str, Any] = {
        "name": photo.name,
        "photo_sha256": photo.sha256,
        "photo_hash": hash_photo(photo.rgb),
        "size_hw": list(photo.size_hw),
        "origin": {"frame": None, "scene": None, "seed": None},
        "records": [],
        "failures": [],
        "depth_kind": None,
        "instances": [],
        "referring": [],
    }
    files = {photo.suffix: photo.data}
    for label in labels:
        files |= encode(label)
        meta |= write_meta(label)
        meta["records"].append(
            {"task": str(label.task), "teacher": teacher, "license": license, "terms": terms, "quality": quality}
        )
    files["json"] = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
    return Sample(photo.key, files)
