"""Time of a training step on this machine, and the fastest number of threads."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import torch

from distill.config.train import TrainConfig
from distill.students.data.augment import augment
from distill.students.data.batch_targets import decode_batch
from distill.students.data.dataset import ShardDataset
from distill.students.losses.terms import student_losses
from distill.students.model.backbone import memory_format
from distill.students.model.student import Student
from distill.students.training.module import StudentModule
from distill.tasks import DepthKind

_TIMED_STEPS = 10
_TIMED_S = 20.0
"""Time limit of a measurement, after at least three steps."""
_PROBE_PHOTOS = 4


def time_step(
    student: Student, config: TrainConfig, photos: ShardDataset, device: torch.device, num_photos: int
) -> float:
    """Seconds of one step of this many photos: augmentation, forward, losses, backward, optimizer; the fastest of ten.

    A copy of the student is trained; the student itself stays as it is.
    """
    order = memory_format(student, device)
    student = copy.deepcopy(student).to(device).to(memory_format=order).train()
    rows = list(range(min(num_photos, len(photos))))
    stored = {name: values.to(device) for name, values in photos.__getitems__(rows).items()}
    optimizer = StudentModule(student, config, max_steps=1, run_dir=Path()).configure_optimizers()
    depth_kind = student.spec.depth.depth_kind if student.spec.depth else None
    times_s: list[float] = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(_TIMED_STEPS + 1):
        if len(times_s) > 3 and sum(times_s) > _TIMED_S:
            break
        start_s = time.perf_counter()
        batch = augment(
            decode_batch(stored, student.spec.tasks, depth_kind),
            config.augment,
            depth_kind or DepthKind.METRIC,
            generator,
        )
        raw = student.raw(batch.image.contiguous(memory_format=order))
        loss = torch.stack(list(student_losses(student, raw, batch, config.loss).values())).sum()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times_s.append(time.perf_counter() - start_s)
    return min(times_s[1:])


def choose_threads(student: Student, config: TrainConfig, photos: ShardDataset, before: int | None = None) -> int:
    """Number of CPU threads for training: that of the config, or all or half of them, whichever is faster.

    On a busy machine, threads that wait for each other are slower than one: with six other jobs on two cores a step of
    nano took 0.83 s with two threads and 0.13 s with one. A resumed run keeps its number (`before`): sums of other
    parts differ in their last bits.
    """
    everything = torch.get_num_threads()
    if config.train.threads or everything == 1:
        return config.train.threads or 1
    if before is not None and before <= everything:
        return before
    by_count = {}
    for count in (everything, everything // 2):
        torch.set_num_threads(count)
        by_count[count] = time_step(student, config, photos, torch.device("cpu"), _PROBE_PHOTOS)
    torch.set_num_threads(everything)
    return min(by_count, key=lambda count: by_count[count])
