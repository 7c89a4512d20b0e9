"""Resume after a power cut: bit-identical from the last checkpoint on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distill.errors import DistillError
from distill.students.training.callbacks.checkpointing import AtomicCheckpointIO
from distill.students.training.callbacks.history import BATCHES, BatchLossLog
from distill.students.training.module import StudentModule
from distill.students.training.resume import ResumePosition, resume_position
from tests.builders.cli import Cli

MakeShards = Callable[..., Path]
WORDS = (
    "student.size_hw=[64,64]",
    "student.neck_channels=16",
    "student.head_channels=16",
    "data.batch_size=1",
    "data.val_fraction=0.3",
    "train.epochs=2",
    "train.num_validations=2",
    "train.accelerator=cpu",
    "train.threads=1",
    "train.checkpoint_minutes=1e-9",  # after every step
    "student.dropout=0.2",
    "augment.erase=0.5",
    "augment.tint=0.2",
    "train.logger=none",
)


def rows(out: Path) -> list[str]:
    path = out / "logs" / BATCHES
    return path.read_text().splitlines() if path.is_file() else []


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(cli: Cli, make_shards: MakeShards, tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", shard_size=9)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = ["train", "--shards", shards, "--out"]
    command = [sys.executable, "-m", "tests.fakes.killed_cli", "before", 18, ".ckpt", *words, killed, *WORDS]
    process = subprocess.run(list(map(str, command)), capture_output=True, check=False, start_new_session=True)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert 11 < len(rows(killed)) - 1 < 22  # within the second epoch
    for out in (killed, whole):
        code, _, errors = cli(*words, out, *WORDS)
        assert code == 0, errors
        assert ("continuing from the last checkpoint" in errors) == (out is killed)
    assert len(rows(whole)) == 1 + 22 and rows(killed) == rows(whole)
    for name in ("weights.safetensors", "spec.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    states = [torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for out in (whole, killed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_order_of_an_epoch_follows_the_batches_seen_and_not_the_counter_of_lightning() -> None:
    chosen: list[tuple[int, int]] = []
    sampler = SimpleNamespace(set_epoch=lambda epoch, skip: chosen.append((epoch, skip)))
    module: Any = SimpleNamespace(
        batches_seen=24,
        resume_position=ResumePosition(6, epoch=3, offset=0),
        current_epoch=3,  # one behind, as after two resumes at the ends of epochs
        trainer=SimpleNamespace(train_dataloader=SimpleNamespace(batch_sampler=sampler)),
    )
    position: Any = StudentModule.position
    module.position = position.fget(module)
    StudentModule.on_train_epoch_start(module)
    assert chosen == [(4, 0)]
    module.batches_seen, module.resume_position = 20, ResumePosition(8, epoch=1, batch=4, offset=-6)
    assert position.fget(module) == (3, 2)


def test_the_curve_drops_rows_that_will_be_repeated(tmp_path: Path) -> None:
    curve = BatchLossLog(tmp_path)
    for batch in range(1, 8):
        curve.add(batch, {"loss": torch.tensor(1 / batch)})
    curve.flush()
    path = tmp_path / "logs" / BATCHES
    whole = path.read_text()
    path.write_text(whole + "8,0.3")  # an incomplete row after a power cut
    curve.truncate(5)
    assert path.read_text() == "\n".join(whole.splitlines()[:6]) + "\n"
    assert float(path.read_text().splitlines()[3].split(",")[1]) == float(torch.tensor(1 / 3))
    curve.truncate(0)
    assert not path.exists()


def test_a_state_is_whole_or_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "checkpoints" / "last.ckpt"
    files.save_checkpoint({"a": torch.zeros(2)}, path)

    def full(obj: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed\nmore")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DistillError, match="the checkpoint cannot be written") as caught:
        files.save_checkpoint({"a": torch.ones(2)}, path)
    assert "free space" in caught.value.hint
    assert torch.equal(torch.load(path, weights_only=True)["a"], torch.zeros(2))
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("seen", "batches", "accumulate", "wanted"),
    [
        (12, 4, 1, ResumePosition(4, 3, 0, step=12)),
        (6, 4, 2, ResumePosition(4, 1, 2, step=3)),
        (12, 8, 1, ResumePosition(8, 3, 0, step=24, offset=-12, counted=8)),  # the end of an epoch stays one
        (6, 8, 1, ResumePosition(8, 1, 4, step=12, offset=-6, counted=4)),  # half of an epoch stays a half
        (6, 7, 2, ResumePosition(7, 1, 2, step=5, offset=-3, counted=2)),  # rounded down to a full step
        (5, 2, 2, ResumePosition(2, 1, 0, step=1, offset=3, counted=0)),
    ],
)
def test_a_run_stands_where_it_stood_also_when_batches_change(
    seen: int, batches: int, accumulate: int, wanted: ResumePosition
) -> None:
    found = {"distill": {"batches_seen": seen, "batches_per_epoch": 4}}
    position = resume_position(found, batches, accumulate)
    assert position == wanted
    saved = {"distill": {"batches_seen": seen, **position.to_values()}}
    again = resume_position(saved, batches, accumulate)
    assert (again.epoch, again.batch, again.step, again.offset) == (
        wanted.epoch,
        wanted.batch,
        wanted.step,
        wanted.offset,
    )
