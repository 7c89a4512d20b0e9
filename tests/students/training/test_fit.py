from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.errors import DistillError, UsageError
from distill.images import decode_map
from distill.students.checkpoint import load_matching_weights, load_student
from distill.students.data.dataset import ShardDataset
from distill.students.data.sampler import PrefetchLoader, build_loader
from distill.students.model.student import build_student
from distill.students.training import fit as fitting
from distill.students.training import step_timing as timing
from distill.students.training.callbacks.validation_metrics import ValidationMetrics
from distill.students.training.checkpoint_state import read_checkpoint
from distill.students.training.estimate import plan_training
from distill.students.training.fit import fit, load_training_data
from distill.students.training.module import NAN_BATCH, StudentModule
from distill.students.training.optimizer import layer_lr_multipliers, lr_factor
from distill.students.training.step_timing import choose_threads
from distill.students.training.trainer import explain_errors
from distill.tasks import DepthKind, Task
from tests.builders.students import RecordingReporter, config_for, train

MakeShards = Callable[..., Path]


@pytest.fixture(scope="module")
def shards(make_shards: MakeShards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


def test_a_short_training_lowers_the_loss_and_leaves_a_student(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, "train.epochs=6", "data.batch_size=3", "train.num_validations=6")
    assert len(result.history) == 6 and not result.interrupted and result.steps == 24
    assert result.history[-1]["train_loss"] < 0.9 * result.history[0]["train_loss"]
    assert json.loads((tmp_path / "history.json").read_text()) == result.history
    assert (tmp_path / "logs" / "metrics.csv").read_text().count("\n") == 7
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    student, spec = load_student(tmp_path)
    assert spec.dense_tasks == (Task.DEPTH, Task.NORMALS, Task.SEMANTIC) and spec.licenses == ("CC0",)
    # The weights are those of the best validation: its checkpoint answers the same.
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, best[f"student.{name}"]), name


def test_an_interrupted_run_goes_on_bit_for_bit(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(shards, tmp_path / "whole", "train.epochs=3", "data.batch_size=4")
    step = StudentModule.training_step

    def step_and_signal(self: StudentModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 7:  # in the middle of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(StudentModule, "training_step", step_and_signal)
        broken = train(shards, tmp_path / "broken", "train.epochs=3", "data.batch_size=4")
    assert broken.interrupted and broken.steps == 8
    resumed = train(shards, tmp_path / "broken", "train.epochs=3", "data.batch_size=4", resume=True)
    assert not resumed.interrupted and resumed.steps == whole.steps
    last = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("whole", "broken")
    ]
    for name, tensor in last[0]["current_model_state"].items():
        assert torch.equal(tensor, last[1]["current_model_state"][name]), name
    for name, tensor in last[0]["state_dict"].items():
        assert torch.equal(tensor, last[1]["state_dict"][name]), name
    assert [row["val_score"] for row in resumed.history] == [row["val_score"] for row in whole.history]


def test_a_student_that_learned_under_rounding_is_a_plain_one(shards: Path, tmp_path: Path) -> None:
    config, reporter = config_for(shards, "train.fake_quant=true", "train.epochs=1"), RecordingReporter()
    fit(config, load_training_data(config), tmp_path, reporter)
    assert any("layers are trained with simulated 8-bit rounding" in text for text in reporter.said)
    student, _ = load_student(tmp_path)
    assert not [layer for layer in student.modules() if type(layer).__name__.startswith("Rounded")]


def test_resuming_a_finished_run_takes_no_step(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path)
    weights = (tmp_path / "weights.safetensors").read_bytes()
    again = train(shards, tmp_path, resume=True)
    assert again.steps == 4 and (tmp_path / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("first", "then", "steps"),
    [
        (("train.epochs=2",), ("train.epochs=4",), 8),
        (("train.epochs=2",), ("train.epochs=4", "data.batch_size=4"), 4 + 2 * 3),
        (("train.epochs=2", "data.batch_size=4"), ("train.epochs=4", "data.batch_size=8"), 6 + 2 * 2),
        (("train.epochs=2",), ("train.epochs=4", "optim.accumulate=2"), 4 + 2),
    ],
    ids=["longer", "smaller batches", "larger batches", "fewer steps"],
)
def test_resume_with_another_batch_size_and_length(
    first: tuple[str, ...], then: tuple[str, ...], steps: int, shards: Path, tmp_path: Path
) -> None:
    train(shards, tmp_path, *first, "train.num_validations=4")
    rates = dict[int, float]()
    step = StudentModule.on_train_batch_start

    def note(self: StudentModule, batch: Any, batch_idx: int) -> None:
        step(self, batch, batch_idx)
        rates.setdefault(self.global_step, self.optimizers().param_groups[0]["lr"])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StudentModule, "on_train_batch_start", note)
        result = train(shards, tmp_path, *then, "train.num_validations=4", resume=True)
    assert result.epochs == 4 and result.steps == steps and not result.interrupted
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4] and result.history[-1]["step"] == steps
    halfway = 3e-3 * lr_factor(0.5, 0.05)
    assert next(iter(rates.values())) == pytest.approx(halfway)  # two of four epochs, whatever their steps
    assert list(rates.values()) == sorted(rates.values(), reverse=True)
    assert (
        len((tmp_path / "logs" / "batches.csv").read_text().splitlines()) - 1
        == torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["distill"]["batches_seen"]
    )


def test_resume_within_an_epoch_with_smaller_batches(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StudentModule.training_step

    def step_and_signal(self: StudentModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 4:  # the first of two batches of the third epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(StudentModule, "training_step", step_and_signal)
        assert train(shards, tmp_path, "train.epochs=4").steps == 5
    result = train(shards, tmp_path, "train.epochs=4", "data.batch_size=4", resume=True)
    assert result.epochs == 4 and result.steps == 5 + 2 + 3 and result.history[-1]["epoch"] == 4


def test_resume_uses_the_new_weight_decay(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path, "train.epochs=1")
    train(shards, tmp_path, "train.epochs=2", "optim.weight_decay=0.5", resume=True)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert [group["weight_decay"] for group in last["optimizer_states"][0]["param_groups"]] == [0.5, 0.0]


def test_changed_learning_rate_groups_are_refused_on_resume(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path, "train.epochs=1")
    message = "optim.backbone_lr_ratio or optim.layer_decay cannot change within a run"
    for setting in ("optim.backbone_lr_ratio=0.1", "optim.layer_decay=0.8"):
        with pytest.raises(UsageError, match=message) as caught:
            train(shards, tmp_path, "train.epochs=2", setting, resume=True)
        assert f"init={tmp_path}" in caught.value.hint


def test_another_students_checkpoint_is_refused(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path, "train.epochs=1")
    with pytest.raises(UsageError, match=r"belongs to another student \(student: neck_channels was 16, is 24\)"):
        train(shards, tmp_path, "student.neck_channels=24", resume=True)
    with pytest.raises(UsageError, match="belongs to another student"):
        train(shards, tmp_path, "tasks=[depth]", resume=True)
    config = config_for(shards)
    student = build_student(config.student, load_training_data(config).spec)
    with pytest.raises(UsageError, match="no checkpoint to resume from"):
        read_checkpoint(tmp_path / "empty" / "checkpoints" / "last.ckpt", student)
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK nothing")
    with pytest.raises(DistillError, match="the checkpoint is damaged"):
        read_checkpoint(tmp_path / "checkpoints" / "last.ckpt", student)


def test_a_nonfinite_loss_stops_the_run_and_keeps_the_weights(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(shards, tmp_path, "train.epochs=1")
    weights = (tmp_path / "weights.safetensors").read_bytes()
    losses = StudentModule.training_step.__globals__["student_losses"]

    def broken(*args: Any) -> dict[str, torch.Tensor]:
        return {name: loss * float("nan") for name, loss in losses(*args).items()}

    monkeypatch.setitem(StudentModule.training_step.__globals__, "student_losses", broken)
    with pytest.raises(DistillError, match="the loss is not a finite number at step 2; its batch is saved") as caught:
        train(shards, tmp_path, "train.epochs=2", resume=True)
    assert "optim.lr" in caught.value.hint and "the last good weights are kept" in caught.value.hint
    assert (tmp_path / NAN_BATCH).is_file() and (tmp_path / "weights.safetensors").read_bytes() == weights


def test_a_run_whose_scores_are_never_numbers_fails_in_words(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = ValidationMetrics.compute

    def diverged(self: ValidationMetrics) -> dict[str, float]:
        return dict.fromkeys(compute(self), float("nan"))

    monkeypatch.setattr(ValidationMetrics, "compute", diverged)
    with pytest.raises(DistillError, match="the training diverged: no validation has a finite score"):
        train(shards, tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()
    rows = json.loads((tmp_path / "history.json").read_text(), parse_constant=pytest.fail)
    assert rows and all(row["val_score"] is None for row in rows)


def test_a_missing_gpu_is_refused_before_reading_shards(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"train\.accelerator=gpu: torch finds no GPU"):
        train(shards, tmp_path, "train.accelerator=gpu")


def test_a_gradient_that_is_no_number_does_not_reach_the_weights(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = StudentModule.backward

    def poison(self: StudentModule, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        backward(self, loss, *args, **kwargs)
        next(iter(self.student.parameters())).grad.fill_(float("inf"))

    monkeypatch.setattr(StudentModule, "backward", poison)
    with pytest.raises(DistillError, match="the gradient is not a finite number at step 0") as caught:
        train(shards, tmp_path)
    assert "optim.lr" in caught.value.hint and "kept" not in caught.value.hint  # there are none yet


def test_the_time_budget_ends_the_run_with_a_low_rate(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, "train.epochs=100000", "train.minutes=0.05", "train.num_validations=2")
    assert 2.9 < result.elapsed_s < 20 and result.history[-1]["step"] == result.steps
    assert (tmp_path / "weights.safetensors").is_file()
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] < 0.3 * 3e-3


def test_time_in_which_the_process_is_suspended_does_not_count(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(shards)
    module = StudentModule(
        build_student(config.student, load_training_data(config).spec), config, max_steps=9, run_dir=tmp_path
    )
    now_s = 100.0
    monkeypatch.setattr("distill.students.training.module.time.monotonic", lambda: now_s)
    module.on_train_start()
    for took_s in (1.0, 1.0, 3600.0, 2.0, 15.0):  # an hour with the lid closed; a slow step is a slow step
        now_s += took_s
        module.on_train_batch_end(None, {}, 0)
    assert module.elapsed_s == pytest.approx(1 + 1 + 1 + 2 + 15)


def test_without_validation_the_last_weights_are_kept(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, "data.val_fraction=0", "train.epochs=1")
    assert result.history == [] and result.best == {} and result.steps == 3
    assert load_student(tmp_path)[1].tasks


def test_mixed_precision_learns_the_same(shards: Path, tmp_path: Path) -> None:
    exact = train(shards, tmp_path / "exact", "train.epochs=3", "train.num_validations=3")
    mixed = train(shards, tmp_path / "mixed", "train.epochs=3", "train.num_validations=3", "train.precision=bf16-mixed")
    for one, two in zip(exact.history, mixed.history, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=0.03)
        assert two["train_loss"] != one["train_loss"]


def test_patience_stops_early(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, "train.epochs=9", "train.num_validations=9", "train.patience=1", "optim.lr=1e-9")
    assert result.epochs < 9


def test_a_relative_teacher_is_learned(make_shards: MakeShards, tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "shards", tasks=(Task.DEPTH,), depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY)
    settings = ("train.epochs=16", "train.num_validations=4", "data.batch_size=3", "augment.zoom=1")
    result = train(folder, tmp_path / "run", *settings)
    assert result.history[-1]["train_depth_ssi"] < result.history[0]["train_depth_ssi"]
    assert "val_depth_aligned_error" in result.best
    assert load_student(tmp_path / "run")[1].depth.unit == "none"
    with pytest.raises(UsageError, match=r"loss.depth.kind=metric cannot be used on"):
        load_training_data(config_for(folder, "loss.depth.kind=metric"))


def test_a_plan_writes_no_file_and_estimates_the_run(shards: Path, tmp_path: Path) -> None:
    config = config_for(shards, "data.memory_cache_gib=0")
    plan = plan_training(config, load_training_data(config))
    assert plan.photos_train + plan.photos_val == 24 and plan.steps == plan.epochs * -(-plan.photos_train // 8)
    assert 0 < plan.step_s < 10 and plan.gmacs > 0 and plan.cache_location == "disk" and plan.parameters > 300_000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "times"), [("data.mix=[4]", 4.0), ("data.mix=[0.5]", 0.5), ("optim.accumulate=2", 1.0)]
)
def test_a_plan_counts_as_the_run_does(word: str, times: float, shards: Path, tmp_path: Path) -> None:
    words = ("data.batch_size=4", "train.epochs=2", word)
    config = config_for(shards, *words)
    plan = plan_training(config, load_training_data(config))
    assert plan.steps == train(shards, tmp_path, *words).steps
    assert plan.images == 2 * round(times * plan.photos_train)


def test_the_faster_number_of_threads_is_taken(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_for(shards)
    data = load_training_data(config)
    student = build_student(config.student, data.spec)
    photos = ShardDataset(data.train, data.index.tasks, config.student.size_hw)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert choose_threads(student, config, photos) == 1
    torch.set_num_threads(2)
    assert choose_threads(student, config, photos) in (1, 2) and torch.get_num_threads() == 2
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    monkeypatch.setattr(timing, "time_step", lambda *args: float(torch.get_num_threads()))
    assert choose_threads(student, config, photos) == 1
    monkeypatch.setattr(timing, "time_step", lambda *args: -float(torch.get_num_threads()))
    assert choose_threads(student, config, photos) == 2
    assert choose_threads(student, config_for(shards, "train.threads=5"), photos) == 5


def test_init_loads_matching_weights_of_an_earlier_student(
    make_shards: MakeShards, shards: Path, tmp_path: Path
) -> None:
    train(shards, tmp_path / "first", "train.epochs=1")
    earlier = load_student(tmp_path / "first")[0].state_dict()
    other = make_shards(tmp_path / "other", tasks=(Task.SEMANTIC,), classes=("green", "blue", "Background"))
    config = config_for(other, f"init={tmp_path / 'first'}", "student.size_hw=[64,64]")
    student = build_student(config.student, load_training_data(config).spec)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    said = load_matching_weights(tmp_path / "first", student)
    assert said == f"{tmp_path / 'first'}: used {len(before)} of {len(before)} tensors; 2 of 3 classes matched"
    last = "heads.semantic.layers.1.weight"
    for name, tensor in student.state_dict().items():
        if name.startswith("heads.semantic.layers.1."):
            assert torch.equal(tensor[[0, 2]], earlier[name][[2, 0]])  # green, background
            assert torch.equal(tensor[1], before[name][1])  # blue is new
        else:
            assert torch.equal(tensor, earlier[name]), name
    assert last in before
    result = train(other, tmp_path / "second", f"init={tmp_path / 'first'}", "train.epochs=1")
    assert result.steps and load_student(tmp_path / "second")[1].semantic.classes == (
        "green",
        "blue",
        "Background",
    )
    with pytest.raises(UsageError, match="its backbone is mobilenetv4_conv_small_050, not repvit_m0_9"):
        train(other, tmp_path / "third", f"init={tmp_path / 'first'}", "student.backbone=repvit_m0_9")
    with pytest.raises(UsageError, match="not a trained student"):
        train(other, tmp_path / "third", f"init={tmp_path / 'nowhere'}")


def test_memory_disk_and_no_cache_train_the_same_weights(shards: Path, tmp_path: Path) -> None:
    base = ("train.epochs=1", "data.workers=0")
    train(shards, tmp_path / "memory", *base)
    train(shards, tmp_path / "disk", *base, "data.memory_cache_gib=0")
    kept = ("data.memory_cache_gib=0", f"data.cache_dir={tmp_path / 'kept'}")
    train(shards, tmp_path / "shared", *base, *kept)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*.npy")}
    assert len(files) == 16
    train(shards, tmp_path / "again", *base, *kept)  # cached files are reused
    assert {path: path.stat().st_mtime_ns for path in files} == files
    train(shards, tmp_path / "anew", *base, "data.memory_cache_gib=0", "data.disk_cache_gib=0")
    curves = {(tmp_path / name / "logs" / "batches.csv").read_text() for name in ("memory", "disk", "shared", "anew")}
    assert len(curves) == 1 and not (tmp_path / "disk" / "cache").exists()
    with pytest.raises(UsageError, match=r"data.mix has 2 weights for 1 folders"):
        config_for(shards, "data.mix=[1,2]")


def test_batches_gathered_ahead_teach_the_same(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(shards, tmp_path / "plain")
    monkeypatch.setattr(fitting, "build_loader", lambda *given, **named: PrefetchLoader(build_loader(*given, **named)))
    train(shards, tmp_path / "ahead")
    one, two = (load_student(tmp_path / name)[0].state_dict() for name in ("plain", "ahead"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_gradients_of_several_batches_make_one_step(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, "data.batch_size=3", "optim.accumulate=3", "train.epochs=2")
    batches = len((tmp_path / "logs" / "batches.csv").read_text().splitlines()) - 1
    assert result.steps == 2 * -(-batches // 2 // 3) < batches


def test_every_option_of_the_losses_learns(shards: Path, tmp_path: Path) -> None:
    settings = (
        "loss.consistency=0.5",
        "loss.fov_deg=60",
        "loss.depth.abs_rel=0.5",
        "loss.semantic.soft=0.5",
        "loss.semantic.balance=0.4",
        "augment.zoom=1",
        "optim.layer_decay=0.8",
    )
    result = train(shards, tmp_path, "train.epochs=4", "train.num_validations=4", "data.batch_size=4", *settings)
    row = result.history[-1]
    assert row["train_loss"] < result.history[0]["train_loss"] and row["train_normals_consistency"] > 0
    assert {"train_depth_abs_rel", "train_semantic_soft"} <= row.keys()
    with pytest.raises(UsageError, match=r"loss.consistency needs the field of view"):
        config_for(shards, "loss.consistency=1")
    with pytest.raises(UsageError, match=r"loss.consistency needs augment.zoom=1"):
        config_for(shards, "loss.consistency=1", "loss.fov_deg=60")


def test_sample_images_are_drawn(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path, "train.epochs=1", "train.sample_images=2")
    (picture,) = (tmp_path / "samples").iterdir()
    assert picture.name == f"step-{result.steps:07d}.png"
    height, width, _ = decode_map(picture.read_bytes(), "x").shape
    assert width == 7 * 160 and height > 2 * 160  # photo and three pairs in two rows, a header and legends


def test_stages_of_the_backbone_learn_slower_toward_the_input(shards: Path) -> None:
    config = config_for(shards, "optim.layer_decay=0.5", "optim.backbone_lr_ratio=0.1")
    student = build_student(config.student, load_training_data(config).spec)
    shares = layer_lr_multipliers(student, config.optim)
    assert {share for name, share in shares.items() if not name.startswith("backbone.")} == {1.0}
    blocks = [shares[f"backbone.trunk.blocks.{stage}.0.conv.weight"] for stage in (0, 1, 4)]
    assert max(shares[name] for name in shares if name.startswith("backbone.")) == pytest.approx(0.1)
    assert blocks[1] == pytest.approx(2 * blocks[0]) and blocks[2] == pytest.approx(0.1)
    optimizer = StudentModule(student, config, max_steps=1, run_dir=Path()).configure_optimizers()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(student.parameters()))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_logger_is_one_sentence(
    name: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DistillError, match=f"the package '{name}' is needed to log to") as caught:
        train(shards, tmp_path, f"train.logger={name}")
    assert f"distill[{name}]" in caught.value.hint


def test_a_batch_too_small_for_its_norms_is_one_sentence(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one value per channel") as caught:
        train(shards, tmp_path, "data.batch_size=1")
    assert "data.batch_size" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "run: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", "logs/x"), "logs/x: Read-only file system"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "the memory of the GPU is too small"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "the memory of this machine is too",
        ),
        (MemoryError(), "the memory of this machine is too small for a training step"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "a process that decodes photos has"),
    ],
)
def test_failures_of_the_system_are_one_sentence(error: Exception, sentence: str) -> None:
    with pytest.raises(DistillError) as caught, explain_errors(Path("run")):
        raise error
    assert sentence in caught.value.message and caught.value.hint
    with pytest.raises(RuntimeError, match="unknown"), explain_errors(Path("run")):
        raise RuntimeError("unknown")


@pytest.mark.parametrize("name", ["logs", "samples", "checkpoints", "history.json", "logs/batches.csv"])
def test_what_cannot_be_written_is_named(name: str, shards: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix:
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(DistillError, match=f"{re.escape(str(path))}.*(cannot be|directory)") as caught:
        train(shards, tmp_path, "train.epochs=1", "train.logger=none", "train.checkpoint_minutes=1e-9")
    assert "\n" not in caught.value.message and caught.value.hint


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [lr_factor(progress / 100, 0.1) for progress in range(101)]
    assert rates[10] == max(rates) == 1.0 and rates[100] == pytest.approx(0.0)
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
