"""Smaller sets: a random sample, and one without near-duplicates."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from distill.datasets.operations.copying import LEFT_OUT, OperationResult, copy_parts, task_bits
from distill.datasets.shard_set import SampleInfo, ShardSet, open
from distill.datasets.writer import DEFAULT_SHARD_SIZE
from distill.errors import UsageError
from distill.images import decode_rgb
from distill.images.photo_hash import MAX_COPY_BITS, hash_photo, keep_different, read_hash
from distill.runtime.progress import Reporter, SilentReporter


def sample(
    shards: str | Path,
    amount: float,
    *,
    out: str | Path,
    seed: int = 0,
    shard_size: int = DEFAULT_SHARD_SIZE,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> OperationResult:
    """Copy a random choice of the samples into a new set, in their order.

    Args:
        shards: Folder of shards.
        amount: Number of samples, or a fraction below 1.
        out: Folder of the new set.
        seed: Another number gives another choice; a larger amount contains a smaller one of the same seed.
        shard_size: Samples in a tar.
        plan: Count, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: There are fewer samples, or `out` has files.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> distill.data.sample("shards", 0.1, out="tenth", seed=1)
    """
    source, reporter = open(shards), reporter or SilentReporter()
    count = round(amount * len(source)) if 0 < amount < 1 else round(amount)
    if not (0 < amount < 1 or amount == count >= 1):
        raise UsageError(f"an amount of {amount:g} samples", hint="give a whole number, or a fraction such as 0.1")
    if not 1 <= count <= len(source):
        raise UsageError(f"{source.folder}: has {len(source)} samples, and {count} are wanted", hint="change --amount")
    ranks, tasks_of = np.empty(len(source), np.uint64), np.zeros(len(source), np.uint8)
    for info in reporter.track(source.infos(), "sample: read", len(source)):
        digest = hashlib.blake2b(f"{seed}\0{info.key}".encode(errors="surrogateescape"), digest_size=8).digest()
        ranks[info.position] = int.from_bytes(digest, "big")
        tasks_of[info.position] = task_bits(info.tasks)
    part_of = np.full(len(source), LEFT_OUT, np.int8)
    part_of[np.argsort(ranks, kind="stable")[:count]] = 0
    return copy_parts(
        source, [Path(out)], part_of, tasks_of, operation="sample", shard_size=shard_size, plan=plan, reporter=reporter
    )


def dedupe(
    shards: str | Path,
    *,
    out: str | Path,
    max_bits: int = MAX_COPY_BITS,
    shard_size: int = DEFAULT_SHARD_SIZE,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> OperationResult:
    """Copy the samples without near-duplicates into a new set.

    Of photos that look the same, the one with labels of the most tasks is kept, then the first. Several samples of one
    photo, which have different labels, are kept or left out together.

    Args:
        shards: Folder of shards.
        out: Folder of the new set.
        max_bits: Two photos look the same if their hashes of 128 bits differ in at most this number; saved and resized
            copies differ in up to 8, neighbors of a slow video in some more, other photos in 31 and more.
        shard_size: Samples in a tar.
        plan: Count, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: `out` has files, or `max_bits` is out of range.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> distill.data.dedupe("shards", out="different")
    """
    if not 0 <= max_bits <= 30:
        raise UsageError(f"max_bits is {max_bits}", hint="give 0 to 30: different photos differ in 31 and more")
    source, reporter = open(shards), reporter or SilentReporter()
    photos = dict[str, int]()
    photo_of, tasks_of = np.empty(len(source), np.int64), np.zeros(len(source), np.uint8)
    num_labels, hashes = list[int](), list[int | str]()
    for info in reporter.track(source.infos(), "dedupe: read", len(source)):
        digest = str(info.meta.get("photo_sha256") or "") or hashlib.sha256(source[info.position].photo).hexdigest()
        number = photos.setdefault(f"{info.meta.get('name') or info.key}\0{digest}", len(photos))
        photo_of[info.position] = number
        tasks_of[info.position] = task_bits(info.tasks)
        if number == len(hashes):
            hashes.append(_hash_number(source, info) or digest)
            num_labels.append(0)
        num_labels[number] += len(info.tasks)
    order = sorted(range(len(hashes)), key=lambda number: -num_labels[number])
    kept = np.array(keep_different(hashes, order, max_bits)) == np.arange(len(hashes))
    part_of = np.where(kept[photo_of], 0, LEFT_OUT).astype(np.int8)
    return copy_parts(
        source,
        [Path(out)],
        part_of,
        tasks_of,
        operation="dedupe",
        shard_size=shard_size,
        plan=plan,
        reporter=reporter,
        notes=[f"{int(np.count_nonzero(~kept))} of {len(kept)} photos look like one that is kept"],
    )


def _hash_number(source: ShardSet, info: SampleInfo) -> int | None:
    """The perceptual hash as a number; None for a photo of one color."""
    text = info.meta.get("photo_hash")
    if text is None:  # a set of another program
        text = hash_photo(decode_rgb(source[info.position].photo, info.key)[0])
    return int(text, 16) if read_hash(str(text)) is not None else None
