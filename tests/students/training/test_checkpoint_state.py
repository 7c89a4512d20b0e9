"""Checkpoints from someone else: each wrong value is one sentence."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.errors import DistillError, UsageError
from distill.students.model.student import build_student
from distill.students.training.checkpoint_state import read_checkpoint, to_lightning_state
from distill.students.training.fit import FitResult, load_training_data
from distill.students.training.module import StudentModule
from tests.builders.students import config_for, train

SMALL = (
    "train.epochs=2",
    "train.num_validations=1",
    "student.preset=null",
    "student.backbone=test_efficientnet",
    "train.threads=1",
    "train.logger=none",
)


pytestmark = pytest.mark.filterwarnings("ignore:Validating sparse tensor")


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.fixture(scope="module")
def run(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """(shards, run folder, contents of its checkpoint)."""
    folder = tmp_path_factory.mktemp("run")
    shards = make_shards(folder / "shards", num_samples=10)
    train(shards, folder / "run", *SMALL)
    return shards, folder / "run", torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def module(run: tuple[Path, Path, Any]) -> StudentModule:
    """The module that would continue the run."""
    config = config_for(run[0], *SMALL)
    data = load_training_data(config)
    student = build_student(config.student, data.spec)
    return StudentModule(student, config, max_steps=9, run_dir=run[1], num_photos=len(data.train))


def read(path: Path, values: Any, module: StudentModule) -> dict[str, Any]:
    torch.save(values, path)
    found = read_checkpoint(path, module.student)
    return to_lightning_state(path, found, module, found.position(1, 1))


def resume(shards: Path, out: Path, values: Any, *words: str) -> FitResult:
    (out / "checkpoints").mkdir(parents=True)
    torch.save(values, out / "checkpoints" / "last.ckpt")
    return train(shards, out, *SMALL, *words, resume=True)


def test_a_checkpoint_with_the_counters_of_other_loops_continues(run: tuple[Path, Path, Any], tmp_path: Path) -> None:
    shards, _, good = run
    values = copy.deepcopy(good)
    values["loops"] = {"fit_loop": {"epoch_progress": "many"}}
    values["optimizer_states"][0]["param_groups"] = [
        group | {"betas": "odd", "fused": None} for group in values["optimizer_states"][0]["param_groups"]
    ]
    values |= {"epoch": -7, "pytorch-lightning_version": "0.0.1", "lr_schedulers": 5, "hyper_parameters": {"a": 1}}
    found = resume(shards, tmp_path / "run", values, "train.epochs=3")
    assert found.epochs == 3 and found.steps == good["global_step"] * 3 // 2


def replace(*keys: Any, by: Any) -> Callable[[Any], None]:
    def change(values: Any) -> None:
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = by

    return change


VALIDATION, STATE = ("callbacks", "ValidationCallback"), ("optimizer_states", 0, "state")
WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "distill of a number": (replace("distill", by=5), "distill: Input should be a valid dictionary"),
    "student of a number": (replace("distill", "student", by=5), "distill.student: Input should be a valid string"),
    "student no json": (replace("distill", "student", by="{"), "JSONDecodeError"),
    "student a list": (replace("distill", "student", by="[]"), "student and spec are no objects"),
    "student too deep": (replace("distill", "student", by="[" * 100_000), "nested too deeply"),
    "no spec": (lambda values: values["distill"].pop("spec"), "distill.spec: Field required"),
    "seconds in words": (replace("distill", "elapsed_s", by="long"), "distill.elapsed_s"),
    "endless seconds": (replace("distill", "elapsed_s", by=float("inf")), "distill.elapsed_s"),
    "negative batches": (replace("distill", "batches_seen", by=-1), "distill.batches_seen"),
    "huge batches": (replace("distill", "batches_seen", by=10**30), "distill.batches_seen"),
    "half a batch": (replace("distill", "batches_seen", by=1.5), "distill.batches_seen"),
    "no batches an epoch": (replace("distill", "batches_per_epoch", by=0), "distill.batches_per_epoch"),
    "label errors of words": (replace("distill", "label_errors", by="none"), "distill.label_errors"),
    "label errors of integers": (
        replace("distill", "label_errors", by=torch.zeros(1, 1, dtype=torch.long)),
        "distill.label_errors is not as in this student",
    ),
    "steps in words": (replace("global_step", by="many"), "global_step: Input should be a valid integer"),
    "true steps": (replace("global_step", by=True), "global_step: Input should be a valid integer"),
    "no callbacks": (lambda values: values.pop("callbacks"), "callbacks: Field required"),
    "history of numbers": (replace(*VALIDATION, "history", by=[1]), "history.0"),
    "history without a score": (replace(*VALIDATION, "history", by=[{"epoch": 1}]), "a validation without a score"),
    "score in words": (replace(*VALIDATION, "history", by=[{"val_score": "good"}]), "history.0.val_score"),
    "sums of words": (replace(*VALIDATION, "sums", by={"loss": "low"}), "sums.loss"),
    "sums of many": (replace(*VALIDATION, "sums", by={"loss": torch.zeros(3)}), "sums.loss"),
    "comparisons of numbers": (replace(*VALIDATION, "comparisons", by=[1]), "comparisons"),
    "bad samples of numbers": (replace("callbacks", "BadSampleCallback", by={"bad_samples": [7]}), "bad_samples.0"),
    "weights of numbers": (replace("state_dict", by=[1, 2]), "state_dict: Input should be a valid dictionary"),
    "no weights": (replace("state_dict", by={}), "is not as in this student"),
    "weights of another shape": (
        lambda values: values["state_dict"].update({"student.neck.laterals.0.0.weight": torch.zeros(1)}),
        "student.neck.laterals.0.0.weight is not as in this student",
    ),
    "sparse weights": (
        lambda values: values["state_dict"].update({"student.neck.laterals.0.0.weight": torch.eye(2).to_sparse()}),
        "a sparse tensor",
    ),
    "one more tensor": (lambda values: values["state_dict"].update(more=torch.zeros(1)), "more is not as"),
    "averages of another shape": (replace("averaging_state", by={"n_averaged": torch.zeros(2)}), "n_averaged is not"),
    "no optimizer": (replace("optimizer_states", by=[]), "optimizer_states: List should have at least 1 item"),
    "moments of another shape": (replace(*STATE, 0, "exp_avg", by=torch.zeros(10**6)), "exp_avg is not as"),
    "moments of strides": (replace(*STATE, 0, "exp_avg", by=torch.zeros(1).expand(10**6, 10**6)), "exp_avg is not"),
    "moments of unknown weights": (lambda values: values["optimizer_states"][0]["state"].update({9999: {}}), "9999"),
    "scaler of words": (replace("MixedPrecision", by={"scale": "big"}), "MixedPrecision.scale"),
    "a list": (lambda values: [1], "its content: Input should be a valid dictionary"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_named(run: tuple[Path, Path, Any], module: StudentModule, name: str, tmp_path: Path) -> None:
    change, sentence = WRONG[name]
    values = copy.deepcopy(run[2])
    changed = change(values)
    with pytest.raises(DistillError) as caught:
        read(tmp_path / "last.ckpt", changed if isinstance(changed, list) else values, module)
    assert sentence in caught.value.message and "last.ckpt: the checkpoint is damaged: " in caught.value.message
    assert caught.value.message.count("\n") == 0 and len(caught.value.message) < 500


def test_a_good_checkpoint_is_read_with_the_hyperparameters_of_this_run(
    run: tuple[Path, Path, Any], module: StudentModule, tmp_path: Path
) -> None:
    state = read(tmp_path / "last.ckpt", run[2], module)
    assert state["global_step"] == run[2]["global_step"] and state["callbacks"]["ValidationCallback"]["history"]
    ours = module.configure_optimizers().state_dict()["param_groups"]
    assert state["optimizer_states"][0]["param_groups"] == ours


def test_groups_of_another_form_are_refused(run: tuple[Path, Path, Any], module: StudentModule, tmp_path: Path) -> None:
    values = copy.deepcopy(run[2])
    values["optimizer_states"][0]["param_groups"] = [{"params": 5}]
    with pytest.raises(UsageError, match="cannot change within a run"):
        read(tmp_path / "last.ckpt", values, module)


def test_code_in_a_checkpoint_does_not_run(run: tuple[Path, Path, Any], module: StudentModule, tmp_path: Path) -> None:
    values = copy.deepcopy(run[2]) | {"more": Code(tmp_path / "ran")}
    with pytest.raises(DistillError, match="the checkpoint is damaged: it holds more than tensors") as caught:
        read(tmp_path / "last.ckpt", values, module)
    assert "weights_only" not in str(caught.value) and not (tmp_path / "ran").exists()
