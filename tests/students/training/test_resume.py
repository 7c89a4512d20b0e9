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
from tests.fakes.killed_training import CURVE, outcome, train_killed

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

SIX_EPOCHS = {"train.epochs": 6, "train.num_validations": 3}


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


KILLS: dict[str, tuple[tuple[str, int], ...]] = {
    # 6 batches an epoch, validations behind 12, 24 and 36: a kill behind batch 6, then behind each kind of write
    "from batch 6": (
        ("checkpoints/last.ckpt", 5),  # the first step of a process is not saved
        ("checkpoints/last.ckpt", 5),
        ("weights.safetensors", 1),
        ("checkpoints/best.ckpt", 1),
        ("checkpoints/last.ckpt", 12),
        ("train.json", 1),
    ),
    "from batch 18": (
        ("history.json", 1),
        ("checkpoints/last.ckpt", 7),
        ("checkpoints/last.ckpt", 5),
        ("logs/batches.csv", 8),
        ("samples/", 1),
    ),
}


@pytest.fixture(scope="module")
def undisturbed(make_shards: MakeShards, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    shards = make_shards(folder / "shards", num_samples=30, shard_size=9)
    code, writes = train_killed(shards, folder / "run", SIX_EPOCHS)
    assert code == 0 and writes.count(CURVE) == 35 and writes.count("history.json") == 3
    return shards, outcome(folder / "run")


@pytest.mark.parametrize("name", KILLS)
def test_kills_behind_writes_change_no_weight_curve_or_sample(
    undisturbed: tuple[Path, dict[str, str]], name: str, tmp_path: Path
) -> None:
    shards, wanted = undisturbed
    out = tmp_path / "run"
    for moment in KILLS[name]:
        code, writes = train_killed(shards, out, SIX_EPOCHS, behind=moment)
        assert code == -signal.SIGKILL and writes[-1].startswith(moment[0]), (moment, code, writes)
    code, _ = train_killed(shards, out, SIX_EPOCHS)
    assert code == 0 and outcome(out) == wanted


def test_the_averaged_weights_are_kept_if_the_run_is_killed_behind_its_last_state(
    make_shards: MakeShards, tmp_path: Path
) -> None:
    shards = make_shards(tmp_path / "shards", num_samples=6)
    short = {"data.val_fraction": 0, "train.epochs": 2}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, writes = train_killed(shards, whole, short)
    last = writes.count("checkpoints/last.ckpt")
    assert train_killed(shards, killed, short, behind=("checkpoints/last.ckpt", last))[0] == -signal.SIGKILL
    assert not (killed / "weights.safetensors").exists()
    assert (code, train_killed(shards, killed, short)[0]) == (0, 0) and outcome(killed) == outcome(whole)


def test_a_run_that_had_stopped_early_does_not_go_on(make_shards: MakeShards, tmp_path: Path) -> None:
    shards, out = make_shards(tmp_path / "shards", num_samples=9), tmp_path / "run"
    stalled = {"train.patience": 1, "train.epochs": 9, "train.num_validations": 9, "optim.lr": 1e-9}
    states = train_killed(shards, tmp_path / "whole", stalled)[1].count("checkpoints/last.ckpt")
    moment = ("checkpoints/last.ckpt", states)
    assert states < 9 * 2 and train_killed(shards, out, stalled, behind=moment)[0] == -signal.SIGKILL
    assert train_killed(shards, out, stalled)[0] == 0 and outcome(out) == outcome(tmp_path / "whole")


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
        (12, 8, 1, ResumePosition(8, 3, 0, step=24, offset=-12)),  # the end of an epoch stays one
        (6, 8, 1, ResumePosition(8, 1, 4, step=12, offset=-6)),  # half of an epoch stays a half
        (6, 7, 2, ResumePosition(7, 1, 2, step=5, offset=-3)),  # rounded down to a full step
        (5, 2, 2, ResumePosition(2, 1, 0, step=1, offset=3)),
    ],
)
def test_a_run_stands_where_it_stood_also_when_batches_change(
    seen: int, batches: int, accumulate: int, wanted: ResumePosition
) -> None:
    position = resume_position(seen, 4, 0, batches_per_epoch=batches, accumulate=accumulate)
    assert position == wanted
    assert position.to_values() == {"batches_per_epoch": batches, "batches_offset": wanted.offset}
    assert resume_position(seen, batches, wanted.offset, batches_per_epoch=batches, accumulate=accumulate) == wanted
