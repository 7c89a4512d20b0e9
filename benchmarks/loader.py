"""Images per second of a training step, fed from memory, disk cache and decoding workers.

    python benchmarks/loader.py shards/camvid --out benchmarks/results/loader.md

The step (augmentation, forward, losses, backward, optimizer) is timed on one constant batch, on batches from memory,
from the disk cache, and decoded by worker processes; rounds of all four alternate, and ratios are medians. A round
begins with as many untimed steps as workers have batches queued, because they worked while others were timed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from machine import results_page
from torch import Tensor

from distill.config import load_config
from distill.config.train import TrainConfig
from distill.report.blocks import Table
from distill.students.data.augment import augment
from distill.students.data.batch_targets import decode_batch
from distill.students.data.dataset import ShardDataset
from distill.students.data.sampler import EpochBatchSampler, build_loader
from distill.students.losses.terms import student_losses
from distill.students.model.student import build_student
from distill.students.training.fit import TrainingData, load_training_data
from distill.students.training.module import StudentModule
from distill.tasks import DepthKind

Feed = Iterator[dict[str, Tensor]]
WARM_UP_STEPS = 4
"""Two workers hold two batches each."""


def build_step(config: TrainConfig, data: TrainingData, device: str) -> Callable[[dict[str, Tensor]], None]:
    """Training step on a stored batch, in the training precision of this device."""
    student = build_student(config.student, data.spec).to(device, memory_format=torch.channels_last).train()
    optimizer = StudentModule(student, config, max_steps=1, run_dir=Path()).configure_optimizers()
    depth_kind = data.spec.depth.depth_kind if data.spec.depth else DepthKind.METRIC
    generator = torch.Generator().manual_seed(0)

    def step(stored: dict[str, Tensor]) -> None:
        here = {name: value.to(device, non_blocking=True) for name, value in stored.items()}
        batch = augment(decode_batch(here, data.spec.tasks, depth_kind), config.augment, depth_kind, generator)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            raw = student.raw(batch.image.contiguous(memory_format=torch.channels_last))
        raw = {task: value.float() for task, value in raw.items()}
        torch.stack(list(student_losses(student, raw, batch, config.loss).values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def endless(photos: ShardDataset, batch_size: int, workers: int) -> Feed:
    """Batches of consecutive epochs."""
    batches = EpochBatchSampler(len(photos), batch_size, seed=0, shuffle=True)
    loader, epoch = build_loader(photos, batches, workers=workers), 0
    while True:
        batches.set_epoch(epoch)
        yield from loader
        epoch += 1


def ready(photos: ShardDataset, batch_size: int, device: str) -> Feed:
    """One batch on the device, repeated."""
    batch = {name: value.to(device) for name, value in photos.__getitems__(list(range(batch_size))).items()}
    while True:
        yield batch


def finish(device: str) -> None:
    """Synchronize with the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6, help="of each feed in a round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--set", action="append", default=[], help="override a key of the config")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    values = {"shards": [str(options.shards)], "data": {"batch_size": 8}}
    config = load_config(TrainConfig, values, options.set)
    data = load_training_data(config)
    step, size = build_step(config, data, options.device), config.data.batch_size
    memory, disk, uncached = (ShardDataset(data.train, data.spec.tasks, config.student.size_hw) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        memory.cache_in_memory()
        disk.cache_on_disk(Path(folder))
        feeds: dict[str, Feed] = {
            "one constant batch": ready(memory, size, options.device),
            "memory": endless(memory, size, 0),
            "disk cache": endless(disk, size, 0),
            f"decoded again, {options.workers} workers": endless(uncached, size, options.workers),
        }
        rates: dict[str, list[float]] = {name: [] for name in feeds}
        for number in range(options.rounds + 1):
            for name, feed in feeds.items():
                for _ in range(WARM_UP_STEPS):
                    step(next(feed))
                finish(options.device)
                start_s = time.perf_counter()
                for _ in range(options.steps):
                    step(next(feed))
                finish(options.device)
                if number:  # the first round warms up
                    rates[name].append(options.steps * size / (time.perf_counter() - start_s))
    first = rates["one constant batch"]
    rows = [
        [name, statistics.median(found), statistics.median(a / b for a, b in zip(found, first, strict=True))]
        for name, found in rates.items()
    ]
    notes = (
        f"{config.student.backbone} at {config.student.size_hw}, batches of {size}, {len(memory)} photos, "
        f"{options.threads} threads; {options.rounds} rounds of {options.steps} steps."
    )
    results_page(
        "Does training wait for its data", notes, [Table(["fed from", "images/s", "of ready"], rows)], options.out
    )


if __name__ == "__main__":
    main()
