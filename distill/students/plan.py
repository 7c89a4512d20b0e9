"""What a training run will cost, before it is begun: a few steps are timed on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from distill.recipe.training import TrainRecipe
from distill.students.data import PhotoSet
from distill.students.fit import Lessons
from distill.students.losses import student_losses
from distill.students.module import StudentModule
from distill.students.student import Student, build_student
from distill.students.targets import unpack

_TIMED_STEPS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that has not been begun.

    Attributes:
        tasks: To be learned.
        photos_train: To learn from.
        photos_val: To score on.
        parameters: Of the student.
        gmacs: Multiply-adds of one photo at the working size, in 10^9.
        epochs: At most.
        steps: At most.
        step_s: Time of one step on this machine.
        train_s: Time of the run, without validation: steps times step, or the time budget if that is less.
        memory_bytes: Of the decoded set.
        in_memory: Whether it is kept there.
        device: Where the steps were timed.
    """

    tasks: tuple[str, ...]
    photos_train: int
    photos_val: int
    parameters: int
    gmacs: float
    epochs: int
    steps: int
    step_s: float
    train_s: float
    memory_bytes: int
    in_memory: bool
    device: str


def plan_training(recipe: TrainRecipe, lessons: Lessons) -> Plan:
    """What `fit` would do with this recipe and these lessons; nothing is written.

    Raises:
        DistillError: A photo cannot be decoded, or pretrained weights cannot be had.
    """
    student = build_student(recipe.student, lessons.spec)
    photos = PhotoSet(lessons.train, lessons.index.tasks, recipe.student.size_hw)
    steps_per_epoch = -(-len(photos) // (recipe.data.batch_size * recipe.train.devices * recipe.train.nodes))
    steps = recipe.train.epochs * steps_per_epoch
    use_gpu = torch.cuda.is_available() and recipe.train.accelerator != "cpu"
    device = torch.device("cuda" if use_gpu else "cpu")
    step_s = _time_step(student, recipe, photos, device)
    budget_s = 60 * recipe.train.minutes if recipe.train.minutes else float("inf")
    held_bytes = photos.num_bytes + len(lessons.val) * (photos.num_bytes // len(photos))
    return Plan(
        tasks=tuple(str(task) for task in lessons.spec.tasks),
        photos_train=len(lessons.train),
        photos_val=len(lessons.val),
        parameters=sum(parameter.numel() for parameter in student.parameters()),
        gmacs=_count_gmacs(student, device),
        epochs=recipe.train.epochs,
        steps=steps,
        step_s=step_s,
        train_s=min(steps * step_s, budget_s),
        memory_bytes=held_bytes,
        in_memory=photos.num_bytes * recipe.train.devices <= recipe.data.cache_gib * 2**30,
        device=torch.cuda.get_device_name() if use_gpu else f"CPU, {torch.get_num_threads()} threads",
    )


def _time_step(student: Student, recipe: TrainRecipe, photos: PhotoSet, device: torch.device) -> float:
    """Seconds of one step: forward, losses, backward, optimiser; the fastest of a few after a first one to warm up."""
    student.to(device).to(memory_format=torch.channels_last).train()
    count = min(recipe.data.batch_size, len(photos))
    stored = {name: values.to(device) for name, values in photos.__getitems__(list(range(count))).items()}
    module = StudentModule(student, recipe, max_steps=1, run_dir=Path())
    optimizer = module.configure_optimizers()
    gauge = student.spec.depth.gauge if student.spec.depth else None
    times_s = []
    for _ in range(_TIMED_STEPS + 1):
        start_s = time.perf_counter()
        batch = unpack(stored, student.spec.tasks, gauge)
        raw = student.raw(batch.image.contiguous(memory_format=torch.channels_last))
        loss = torch.stack(list(student_losses(student, raw, batch, recipe.loss).values())).sum()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times_s.append(time.perf_counter() - start_s)
    return min(times_s[1:])


@torch.no_grad()
def _count_gmacs(student: Student, device: torch.device) -> float:
    counter = FlopCounterMode(display=False)
    with counter:
        student.eval().raw(torch.zeros(1, 3, *student.size_hw, device=device))
    return counter.get_total_flops() / 2e9
