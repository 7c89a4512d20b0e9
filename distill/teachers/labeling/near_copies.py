"""Near-duplicates among the photos of a labeling job, so that none is paid for twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from distill.images import Photo
from distill.images.photo_hash import hash_photo, keep_different, read_hash
from distill.teachers.labeling.job import Job
from distill.teachers.labeling.shard_plan import read_plan

_AT_ONCE = 64
_SIZE_HW = (72, 72)
"""Enough for a hash; large JPEGs are decoded at a fraction of their size."""


def without_copies(job: Job, advance: Callable[[int], None]) -> tuple[Job, dict[str, str]]:
    """The job without photos that look like an earlier one, and what was left out: name to the photo that is kept.

    Photos that are in the set already stay; so do photos of a single color and those that cannot be read.

    Args:
        job: The job.
        advance: Called with the number of photos that have been compared.

    Raises:
        UsageError: The source cannot be opened, or the folder has a set of another version.
    """
    plan = read_plan(job.out)
    planned = {name for shard in plan.shards for name in shard} if plan else set[str]()
    positions, hashes = list[int](), list[np.ndarray]()
    for start in range(0, len(job.source), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(job.source))
        for position, photo in enumerate(job.source.read(start, stop, _SIZE_HW), start):
            bits = read_hash(hash_photo(photo.rgb)) if isinstance(photo, Photo) else None
            if bits is not None:
                positions.append(position)
                hashes.append(bits)
        advance(stop - start)
    names, found = job.names, dict[str, str]()
    # Photos of the set first, so that they stay; of each group the first is kept.
    order = sorted(range(len(positions)), key=lambda row: (names[positions[row]] not in planned, row))
    numbers = [int.from_bytes(hashes[row].tobytes(), "big") for row in order]
    kept_of = keep_different(numbers, range(len(numbers)))
    for row, kept in enumerate(kept_of):
        name = names[positions[order[row]]]
        if kept != row and name not in planned:
            found[name] = names[positions[order[kept]]]
    return replace(job, copies=frozenset(found)), found
