"""Estimate of a training run: size, steps and time, from a few steps timed on this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from distill.config.train import TrainConfig
from distill.students.data.bad_samples import count_bad_samples
from distill.students.data.dataset import ShardDataset
from distill.students.data.loaders import steps_per_epoch, train_sampler
from distill.students.model.student import Student, build_student
from distill.students.training.fit import TrainingData
from distill.students.training.step_timing import choose_threads, time_step


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """Estimate of a run.

    Attributes:
        tasks: Dense tasks that are learned.
        photos_train: Training photos.
        photos_val: Validation photos.
        split: How these were chosen.
        num_bad_samples: Samples that cannot be used, as far as known without decoding.
        parameters: Of the student.
        gmacs: Multiply-adds of one photo at the working size, in 10^9.
        activation_bytes: Memory between forward and backward pass of one batch.
        epochs: At most.
        images: Photos seen by the network over the run, at most.
        steps: At most.
        step_s: Time of one optimizer step, with all of its batches, on this machine.
        train_s: Time of the run, without validation: steps times step, or the time budget if that is less.
        memory_bytes: Of the decoded set.
        cache_location: ``memory``, ``disk``, or ``nowhere`` (decoded again each epoch).
        device: Device on which the steps were timed.
    """

    tasks: tuple[str, ...]
    photos_train: int
    photos_val: int
    split: str
    num_bad_samples: int
    parameters: int
    gmacs: float
    activation_bytes: int
    epochs: int
    images: int
    steps: int
    step_s: float
    train_s: float
    memory_bytes: int
    cache_location: str
    device: str

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Format for a terminal."""
        where = "decoded again each epoch" if self.cache_location == "nowhere" else f"cached in {self.cache_location}"
        return "\n".join(
            (
                f"train {', '.join(self.tasks)} on {self.photos_train} images, validate on {self.photos_val}"
                + (f"; {self.num_bad_samples} bad samples are skipped" if self.num_bad_samples else ""),
                self.split,
                f"student: {self.parameters / 1e6:.2f} M parameters, {self.gmacs:.2f} GMACs per image, "
                f"{self.activation_bytes / 2**20:.0f} MiB of activations per batch",
                f"data: {self.memory_bytes / 2**20:.0f} MiB decoded, {where}",
                f"at most {self.epochs} epochs, {self.steps} steps of {self.step_s:.3f} s on {self.device}",
                f"about {self.train_s / 60:.1f} minutes and {self.images:,} images, without validation",
            )
        )


def plan_training(config: TrainConfig, data: TrainingData) -> TrainPlan:
    """Estimate a run of `fit`; no file is written.

    Raises:
        UsageError: A weight of `data.mix` is so small that a folder would not be used.
        DistillError: Pretrained weights cannot be downloaded.
    """
    student = build_student(config.student, data.spec)
    photos = ShardDataset(data.train, data.index.tasks, config.student.size_hw)
    batches = train_sampler(data.train, config)
    in_epoch = steps_per_epoch(batches, config)
    steps = config.train.epochs * in_epoch
    use_gpu = torch.cuda.is_available() and config.train.accelerator != "cpu"
    device = torch.device("cuda" if use_gpu else "cpu")
    if not use_gpu:
        torch.set_num_threads(choose_threads(student, config, photos))
    step_s = time_step(student, config, photos, device, config.data.batch_size) * len(batches) / in_epoch
    budget_s = 60 * config.train.minutes if config.train.minutes else float("inf")
    held_bytes = photos.num_bytes + len(data.val) * (photos.num_bytes // len(photos))
    return TrainPlan(
        tasks=tuple(str(task) for task in data.spec.dense_tasks),
        photos_train=len(data.train),
        photos_val=len(data.val),
        split=data.split,
        num_bad_samples=count_bad_samples(data.index.bad_samples),
        parameters=sum(parameter.numel() for parameter in student.parameters()),
        gmacs=_count_gmacs(student, device),
        activation_bytes=_count_activations(student, device) * config.data.batch_size,
        epochs=config.train.epochs,
        images=round(batches.num_drawn * config.train.epochs * min(1.0, budget_s / max(steps * step_s, 1e-9))),
        steps=steps,
        step_s=step_s,
        train_s=min(steps * step_s, budget_s),
        memory_bytes=held_bytes,
        cache_location=_cache_location(photos, config),
        device=torch.cuda.get_device_name() if use_gpu else f"CPU, {torch.get_num_threads()} threads",
    )


@torch.no_grad()
def _count_gmacs(student: Student, device: torch.device) -> float:
    counter = FlopCounterMode(display=False)
    with counter:
        student.eval().raw(torch.zeros(1, 3, *student.size_hw, device=device))
    return counter.get_total_flops() / 2e9


def _count_activations(student: Student, device: torch.device) -> int:
    """Bytes saved for the backward pass of one photo; tensors that are saved twice count once."""
    held: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)  # or a later tensor could get the same address
        return tensor

    kept: list[torch.Tensor] = []
    own = {parameter.untyped_storage().data_ptr() for parameter in student.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        student.eval().raw(torch.zeros(1, 3, *student.size_hw, device=device))
    return sum(size for address, size in held.items() if address not in own)


def _cache_location(photos: ShardDataset, config: TrainConfig) -> str:
    if photos.num_bytes * config.train.devices <= config.data.memory_cache_gib * 2**30:
        return "memory"
    return "disk" if photos.num_bytes <= config.data.disk_cache_gib * 2**30 else "nowhere"
