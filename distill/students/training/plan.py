"""What a training run will cost, before it is begun: a few steps are timed on this machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from distill.config.train import TrainRecipe
from distill.students.data.bad_samples import count
from distill.students.data.dataset import PhotoSet
from distill.students.data.loaders import steps_per_epoch, train_batches
from distill.students.model.student import Student, build_student
from distill.students.training.fit import Lessons
from distill.students.training.step_timing import choose_threads, time_step


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that has not been begun.

    Attributes:
        tasks: To be learned.
        photos_train: To learn from.
        photos_val: To score on.
        left_out: Samples that cannot be used, as far as is known without decoding them.
        parameters: Of the student.
        gmacs: Multiply-adds of one photo at the working size, in 10^9.
        activation_bytes: Held between forward and backward of one batch.
        epochs: At most.
        images: Photos seen by the network over the run, at most.
        steps: At most.
        step_s: Time of one step, with all the batches that make it, on this machine.
        train_s: Time of the run, without validation: steps times step, or the time budget if that is less.
        memory_bytes: Of the decoded set.
        kept: Where: ``memory``, ``disk``, or ``nowhere`` (decoded anew each epoch).
        device: Where the steps were timed.
    """

    tasks: tuple[str, ...]
    photos_train: int
    photos_val: int
    left_out: int
    parameters: int
    gmacs: float
    activation_bytes: int
    epochs: int
    images: int
    steps: int
    step_s: float
    train_s: float
    memory_bytes: int
    kept: str
    device: str


def plan_training(recipe: TrainRecipe, lessons: Lessons) -> Plan:
    """What `fit` would do with this recipe and these lessons; nothing is written.

    Raises:
        UsageError: A weight of `data.mix` is so small that it leaves a folder out.
        DistillError: Pretrained weights cannot be had.
    """
    student = build_student(recipe.student, lessons.spec)
    photos = PhotoSet(lessons.train, lessons.index.tasks, recipe.student.size_hw)
    batches = train_batches(lessons.train, recipe)
    in_epoch = steps_per_epoch(batches, recipe)
    steps = recipe.train.epochs * in_epoch
    use_gpu = torch.cuda.is_available() and recipe.train.accelerator != "cpu"
    device = torch.device("cuda" if use_gpu else "cpu")
    if not use_gpu:
        torch.set_num_threads(choose_threads(student, recipe, photos))
    step_s = time_step(student, recipe, photos, device, recipe.data.batch_size) * len(batches) / in_epoch
    budget_s = 60 * recipe.train.minutes if recipe.train.minutes else float("inf")
    held_bytes = photos.num_bytes + len(lessons.val) * (photos.num_bytes // len(photos))
    return Plan(
        tasks=tuple(str(task) for task in lessons.spec.tasks),
        photos_train=len(lessons.train),
        photos_val=len(lessons.val),
        left_out=count(lessons.index.broken),
        parameters=sum(parameter.numel() for parameter in student.parameters()),
        gmacs=_count_gmacs(student, device),
        activation_bytes=_count_activations(student, device) * recipe.data.batch_size,
        epochs=recipe.train.epochs,
        images=round(batches.num_drawn * recipe.train.epochs * min(1.0, budget_s / max(steps * step_s, 1e-9))),
        steps=steps,
        step_s=step_s,
        train_s=min(steps * step_s, budget_s),
        memory_bytes=held_bytes,
        kept=_where_kept(photos, recipe),
        device=torch.cuda.get_device_name() if use_gpu else f"CPU, {torch.get_num_threads()} threads",
    )


@torch.no_grad()
def _count_gmacs(student: Student, device: torch.device) -> float:
    counter = FlopCounterMode(display=False)
    with counter:
        student.eval().raw(torch.zeros(1, 3, *student.size_hw, device=device))
    return counter.get_total_flops() / 2e9


def _count_activations(student: Student, device: torch.device) -> int:
    """Bytes that the backward pass of one photo needs to find again; tensors saved twice are counted once."""
    held: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)  # or a later tensor might be put at the same address
        return tensor

    kept: list[torch.Tensor] = []
    own = {parameter.untyped_storage().data_ptr() for parameter in student.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        student.eval().raw(torch.zeros(1, 3, *student.size_hw, device=device))
    return sum(size for address, size in held.items() if address not in own)


def _where_kept(photos: PhotoSet, recipe: TrainRecipe) -> str:
    if photos.num_bytes * recipe.train.devices <= recipe.data.cache_gib * 2**30:
        return "memory"
    return "disk" if photos.num_bytes <= recipe.data.disk_gib * 2**30 else "nowhere"
