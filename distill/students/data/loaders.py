"""The lessons' photos as sets of decoded samples, and which of them make a batch in this run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.config.train import TrainRecipe
from distill.errors import DistillError, UsageError
from distill.runtime.progress import Voice
from distill.spec import StudentSpec
from distill.students.data.bad_samples import Broken, check_enough
from distill.students.data.dataset import PhotoSet
from distill.students.data.sampler import EpochBatches
from distill.students.data.shard_index import Entry
from distill.tasks import Task


def open_photos(
    entries: Sequence[Entry], tasks: Sequence[Task], spec: StudentSpec, recipe: TrainRecipe, cache: Path, voice: Voice
) -> PhotoSet:
    """The photos, decoded into memory or onto the disk (the folder `cache`) where the recipe leaves room for them.

    What is broken is left out of them.

    Raises:
        DistillError: The disk is full.
    """
    num_classes = len(spec.semantic.classes) if spec.semantic else None
    photos = PhotoSet(entries, tasks, recipe.student.size_hw, num_classes)
    if not entries:
        return photos
    # Every process of a machine holds its own copy in memory; files are shared.
    in_memory = photos.num_bytes * recipe.train.devices <= recipe.data.cache_gib * 2**30
    if in_memory or photos.num_bytes <= recipe.data.disk_gib * 2**30:
        with voice.progress("reading photos", len(photos)) as bar:
            if in_memory:
                photos.fill(bar.advance)
            else:
                folder = recipe.data.cache_dir / cache.name if recipe.data.cache_dir else cache
                photos.spill(folder, bar.advance)
    return photos


def check_left(broken: Sequence[Broken], photos: PhotoSet, held_out: PhotoSet, has_val: bool) -> None:
    """Nothing, if enough is left to learn from and, where there were photos to score on, to score on.

    Raises:
        DistillError: It is not; names the first sample that is broken.
    """
    check_enough(broken, len(photos) + len(held_out))
    if not photos or (has_val and not held_out):
        side = "to score on" if photos else "to learn from"
        raise DistillError(f"every photo {side} is broken; the first is {broken[0]}", hint="label more photos")


def train_batches(entries: Sequence[Entry], recipe: TrainRecipe, rank: int = 0) -> EpochBatches:
    """The batches of one rank to learn from.

    Raises:
        UsageError: A weight of `data.mix` is so small that it leaves a folder out.
    """
    return _batches(entries, recipe, rank, _mix(entries, recipe), shuffle=True)


def val_batches(entries: Sequence[Entry], recipe: TrainRecipe, rank: int = 0) -> EpochBatches:
    """The batches of one rank to score on: every photo once, in their order."""
    return _batches(entries, recipe, rank, [], shuffle=False)


def steps_per_epoch(batches: EpochBatches, recipe: TrainRecipe) -> int:
    """Optimizer steps of an epoch: what is left of the batches at its end makes a step as well."""
    return -(-len(batches) // recipe.optim.accumulate)


def _batches(
    entries: Sequence[Entry], recipe: TrainRecipe, rank: int, mix: Sequence[tuple[int, float]], *, shuffle: bool
) -> EpochBatches:
    return EpochBatches(
        len(entries),
        recipe.data.batch_size,
        seed=recipe.train.seed,
        shuffle=shuffle,
        rank=rank,
        num_ranks=recipe.train.devices * recipe.train.nodes,
        mix=mix,
    )


def _mix(entries: Sequence[Entry], recipe: TrainRecipe) -> list[tuple[int, float]]:
    """(photos, weight) of each folder of shards; empty when all count alike.

    Raises:
        UsageError: A folder's weight is so small that none of its photos would ever come.
    """
    if not recipe.data.mix:
        return []
    counts = [sum(entry.shard.parent == folder for entry in entries) for folder in recipe.shards]
    for folder, count, weight in zip(recipe.shards, counts, recipe.data.mix, strict=True):
        if count and round(count * weight) == 0:
            raise UsageError(
                f"data.mix: with a weight of {weight:g} none of the {count} photos of {folder} comes in an epoch",
                hint=f"raise it to {1 / count:.2g} at least, or leave the folder out",
            )
    return list(zip(counts, recipe.data.mix, strict=True))
