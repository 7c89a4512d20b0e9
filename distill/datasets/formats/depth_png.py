"""Metric depth as PNGs of 16 bits: ``images/`` and ``depth/*.png``, 0 = invalid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from numpy import ndarray

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
from distill.datasets.formats.indexed import pair_maps, photos_root
from distill.datasets.formats.reading import certain, load_photo, photo_files, read_bytes, sample_keys
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.images import decode_map
from distill.labels import Label
from distill.shards import Sample
from distill.tasks import DepthKind, Task

DEPTH = "depth"
_LEVELS = 65535


class DepthPng:
    """Reads and writes 16-bit depth; `Options.depth_scale` is not stored and must be given again."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write photos and maps."""
        counts: dict[str, int] = {}
        for sample in labeled_samples(shards, [Task.DEPTH], options, counts):
            _, size_hw = write_photo(sample, folder / IMAGES, counts)
            label = label_at(sample, Task.DEPTH, shards, size_hw)
            if label is not None:
                write_map(folder / DEPTH / f"{sample.key}.png", depth_levels(label, options.depth_scale, counts))
        return counts

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open a folder with ``images/`` and ``depth/``."""
        photos = photo_files(options.images or path / IMAGES)
        found, notes = pair_maps(photos, path / DEPTH)
        keys = sample_keys(list(found))

        def samples() -> Iterator[Sample]:
            for stem, png in options.reporter.track(found.items(), "import", len(found)):
                photo = load_photo(photos[stem], keys[stem], photos[stem].relative_to(photos_root(photos)).as_posix())
                yield options.sample(photo, read_depth(png, options.depth_scale, photo.size_hw))

        return ImportedSet(samples(), len(found), (Task.DEPTH,), notes=notes)


def depth_levels(label: Label, scale: float, counts: dict[str, int]) -> UInt16[ndarray, "h w"]:
    """Stored levels of metric depth; what is too far is invalid and counted.

    Raises:
        UsageError: The depth is not metric.
    """
    if label.depth_kind is not DepthKind.METRIC:
        raise UsageError(f"the depth is {label.depth_kind}, and this format holds meters", hint="choose parquet")
    scaled = np.rint(np.where(label.valid, label.value, 0) * scale)
    too_far = label.valid & (scaled > _LEVELS)
    if too_far.any():
        name = f"pixels beyond {_LEVELS / scale:g} m, stored as invalid"
        count(counts, name, int(np.count_nonzero(too_far)))
    stored = np.where(label.valid & ~too_far, np.maximum(scaled, 1), 0)
    levels: ndarray = stored.astype(np.uint16)
    return levels


def read_depth(png: Path, scale: float, size_hw: tuple[int, int]) -> Label:
    """The label of a map of 16 bits.

    Raises:
        DistillError: It has 8 bits, or another size than the photo.
    """
    stored = decode_map(read_bytes(png), str(png))
    if stored.dtype != np.uint16 or stored.shape != size_hw:
        raise DistillError(
            f"{png}: has {stored.dtype} of shape {stored.shape}, and the photo has {size_hw[1]}x{size_hw[0]} px",
            hint="depth has one level of 16 bits per pixel of the photo; a maps teacher reads other layouts",
        )
    valid = stored > 0
    return Label(
        Task.DEPTH, stored.astype(np.float32) / np.float32(scale), valid, certain(valid), depth_kind=DepthKind.METRIC
    )
