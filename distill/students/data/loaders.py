"""Open datasets and build batch samplers as the training config describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.config.train import TrainConfig
from distill.errors import DistillError, UsageError
from distill.runtime.progress import Reporter
from distill.spec import StudentSpec
from distill.students.data.bad_samples import BadSample, check_bad_fraction
from distill.students.data.dataset import ShardDataset
from distill.students.data.sampler import EpochBatchSampler
from distill.students.data.shard_index import SampleRef
from distill.tasks import Task


def open_dataset(
    entries: Sequence[SampleRef],
    tasks: Sequence[Task],
    spec: StudentSpec,
    config: TrainConfig,
    cache: Path,
    reporter: Reporter,
) -> ShardDataset:
    """The dataset, decoded into memory or into files in the folder `cache`, if the config allows for its size.

    Bad samples are skipped.

    Raises:
        DistillError: The disk is full.
    """
    num_classes = len(spec.semantic.classes) if spec.semantic else None
    photos = ShardDataset(entries, tasks, config.student.size_hw, num_classes)
    if not entries:
        return photos
    # Every process of a machine has its own copy in memory; files are shared.
    in_memory = photos.num_bytes * config.train.devices <= config.data.memory_cache_gib * 2**30
    if in_memory or photos.num_bytes <= config.data.disk_cache_gib * 2**30:
        with reporter.progress("reading photos", len(photos)) as bar:
            if in_memory:
                photos.cache_in_memory(bar.advance)
            else:
                folder = config.data.cache_dir / cache.name if config.data.cache_dir else cache
                photos.cache_on_disk(folder, bar.advance)
    return photos


def check_remaining(
    bad_samples: Sequence[BadSample], photos: ShardDataset, held_out: ShardDataset, has_val: bool
) -> None:
    """Raise if too many samples are bad, or none is left for training or for validation.

    Raises:
        DistillError: Names the first bad sample.
    """
    check_bad_fraction(bad_samples, len(photos) + len(held_out))
    if not photos or (has_val and not held_out):
        side = "validation" if photos else "training"
        raise DistillError(f"every {side} photo is damaged; the first is {bad_samples[0]}", hint="label more photos")


def check_labeled(photos: ShardDataset) -> None:
    """Raise if no photo of a decoded training set has a usable pixel of a task.

    Raises:
        DistillError: Names the task.
    """
    for task in photos.unlabeled_tasks():
        raise DistillError(
            f"no training photo has a usable pixel of {task}: all of its labels are invalid or to be ignored",
            hint=f"look at the report of distill label, label the photos again, or leave {task} out of tasks",
        )


def train_sampler(entries: Sequence[SampleRef], config: TrainConfig, rank: int = 0) -> EpochBatchSampler:
    """Training batches of one process.

    Raises:
        UsageError: A weight of `data.mix` is so small that a folder would not be used.
    """
    return _batches(entries, config, rank, _mix(entries, config), shuffle=True)


def val_sampler(entries: Sequence[SampleRef], config: TrainConfig, rank: int = 0) -> EpochBatchSampler:
    """Validation batches of one process: every photo once, in order."""
    return _batches(entries, config, rank, [], shuffle=False)


def steps_per_epoch(batches: EpochBatchSampler, config: TrainConfig) -> int:
    """Optimizer steps of an epoch; an incomplete group of batches at its end counts as a step."""
    return -(-len(batches) // config.optim.accumulate)


def _batches(
    entries: Sequence[SampleRef], config: TrainConfig, rank: int, mix: Sequence[tuple[int, float]], *, shuffle: bool
) -> EpochBatchSampler:
    return EpochBatchSampler(
        len(entries),
        config.data.batch_size,
        seed=config.train.seed,
        shuffle=shuffle,
        rank=rank,
        num_ranks=config.train.devices * config.train.nodes,
        mix=mix,
    )


def _mix(entries: Sequence[SampleRef], config: TrainConfig) -> list[tuple[int, float]]:
    """(photos, weight) of each folder of shards; empty if all have the same weight.

    Raises:
        UsageError: A folder's weight is so small that none of its photos would be used.
    """
    if not config.data.mix:
        return []
    counts = [sum(entry.shard.parent == folder for entry in entries) for folder in config.shards]
    for folder, count, weight in zip(config.shards, counts, config.data.mix, strict=True):
        if count and round(count * weight) == 0:
            raise UsageError(
                f"data.mix: with a weight of {weight:g} none of the {count} photos of {folder} is used in an epoch",
                hint=f"raise it to {1 / count:.2g} at least, or leave the folder out",
            )
    return list(zip(counts, config.data.mix, strict=True))
