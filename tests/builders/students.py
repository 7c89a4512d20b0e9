"""Small students, trained or not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from distill.config import load_config
from distill.config.train import StudentConfig, TrainConfig
from distill.students.model.student import Student, build_spec, build_student
from distill.students.training.fit import FitResult, fit, load_training_data
from distill.tasks import Task
from tests.fakes.runner import CLASSES

BASE: dict[str, Any] = {
    "student": {"size_hw": [32, 32], "neck_channels": 16, "head_channels": 16},
    "data": {"batch_size": 8, "val_fraction": 0.3},
    "train": {"epochs": 2, "accelerator": "cpu"},
}


class RecordingReporter:
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, text: str) -> None:
        self.said.append(text)

    @contextlib.contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[RecordingReporter]:
        yield self

    def advance(self, count: int = 1, note: str = "") -> None:
        pass


def config_for(shards: Path, *overrides: str) -> TrainConfig:
    return load_config(TrainConfig, {**BASE, "shards": [str(shards)]}, overrides)


def train(shards: Path, run_dir: Path, *overrides: str, resume: bool = False) -> FitResult:
    config = config_for(shards, *overrides)
    run_dir.mkdir(exist_ok=True)
    return fit(config, load_training_data(config), run_dir, RecordingReporter(), resume=resume)


def small_student(*tasks: Task, size_hw: tuple[int, int] = (64, 64)) -> Student:
    """A student with random weights, whose answers vary over the picture."""
    torch.manual_seed(0)
    config = StudentConfig.model_validate(
        {
            "preset": None,
            "backbone": "test_efficientnet",  # exports in two thirds of the time of the nano preset
            "size_hw": size_hw,
            "neck_channels": 16,
            "head_channels": 16,
        }
    )
    spec = build_spec(
        config,
        name="small",
        tasks=tasks,
        classes=CLASSES,
        things=CLASSES[1:] if Task.INSTANCE in tasks else (),
        licenses=("test",),
        provenance={"by": "hand"},
    )
    student = build_student(config, spec).eval()
    with torch.no_grad():
        for parameter in student.heads.parameters():
            parameter.mul_(3.0)
    return student
