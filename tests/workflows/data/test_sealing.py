"""A stopped, killed or running labeling job becomes a set, and continues to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import distill
from distill.console import Console
from distill.errors import DistillError, UsageError
from distill.shards import file_sha256, read_manifest
from tests.builders.cli import Cli
from tests.builders.cli import distill as run

SCENES = 10


def words(out: Path) -> list[str]:
    job = (
        f"label --teacher synthetic --set scenes={SCENES} --set size_hw=[24,32] --shard-size 2 --previews 0 --no-check"
    )
    return [*job.split(), "--workers", "1", "--out", str(out)]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in [*folder.glob("*.tar"), folder / "dataset.json"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("seal") / "whole"
    run(*words(out))
    return out


def kill(out: Path, moment: str, number: int) -> None:
    command = [sys.executable, "-m", "tests.fakes.killed_cli", moment, str(number), ".tar", *words(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_sealed_trained_and_continued_jobs_end_with_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    """`benchmarks/data_seal.py` does the same at ten random moments."""
    out, before = tmp_path / "out", 0
    for moment, number in (("before", 2), ("after", 2)):
        kill(out, moment, number)
        sealed = distill.data.seal(out)
        assert not sealed.complete and before < sealed.shards < 5 and sealed.samples == 2 * sealed.shards
        report = distill.data.verify(out)
        assert not report.num_faults and report.unsealed == (moment == "after")
        before = sealed.shards
    steps = ("train.epochs=5", "data.batch_size=2", "data.val_fraction=0.3", "train.accelerator=cpu")
    assert Cli()("train", "--shards", out, "--out", tmp_path / "run", "student.size_hw=[32,32]", *steps)[0] == 0
    run(*words(out))
    assert distill.data.seal(out).complete and contents(out) == contents(whole)
    assert not distill.data.verify(out).num_faults


def interrupted(out: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | int) -> str:
    """Run the job; after its second shard an exception or a signal comes. Returns what was printed."""
    from distill.teachers.labeling import label_shard as module

    real, done = module.label_shard, list[int]()

    def label_shard(job: Any, index: int, *rest: Any) -> Any:
        if len(done) == 2:
            if isinstance(error, BaseException):
                raise error
            os.kill(os.getpid(), error)
        done.append(index)
        return real(job, index, *rest)

    monkeypatch.setattr(module, "label_shard", label_shard)
    code, _, errors = Cli()(*words(out))
    monkeypatch.setattr(module, "label_shard", real)
    assert code == (1 if isinstance(error, Exception) else 130)
    return errors


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), DistillError("the disk is full"), ValueError("defect"), int(signal.SIGTERM)], ids=str
)
def test_label_itself_seals_on_every_stop(
    error: BaseException | int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    printed = interrupted(out, monkeypatch, error)
    assert f"2 of 5 shards are finished: {out} is a set of 4 samples that can be trained on" in printed
    assert read_manifest(out).samples == 4 and not distill.data.verify(out).num_faults
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    run(*words(out))
    assert contents(out) == contents(whole)


def test_sealing_a_running_job(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill.teachers.labeling import label_shard as module

    out, real, sealed = tmp_path / "out", module.label_shard, list[int]()

    def label_shard(job: Any, index: int, *rest: Any) -> Any:
        found = distill.data.seal(out)
        sealed.append(found.samples)
        assert not distill.data.verify(out).num_faults if found.samples else found.shards == 0
        return real(job, index, *rest)

    monkeypatch.setattr(module, "label_shard", label_shard)
    run(*words(out))
    assert sealed == [0, 2, 4, 6, 8] and contents(out) == contents(whole)


def test_sealing_a_finished_set_changes_nothing(whole: Path) -> None:
    before = (whole / "dataset.json").read_bytes(), (whole / "dataset.json").stat().st_mtime_ns
    result = distill.data.seal(whole)
    assert result.complete and result.samples == SCENES and result.to_dict()["complete"] is True
    assert ((whole / "dataset.json").read_bytes(), (whole / "dataset.json").stat().st_mtime_ns) == before


def test_a_damaged_manifest_is_written_again(whole: Path, tmp_path: Path) -> None:
    import shutil

    out = shutil.copytree(whole, tmp_path / "out")
    (out / "dataset.json").write_text("{")
    planned = distill.data.seal(out, plan=True)
    assert planned.samples == SCENES and "would be a set" in planned.to_text()
    assert (out / "dataset.json").read_text() == "{"
    distill.data.seal(out)
    assert contents(out) == contents(whole)


def test_parts_of_a_job_array_are_sealed(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(*words(out), "--job-index", "1/2")
    assert read_manifest(out).samples == 6
    run(*words(out), "--job-index", "2/2")
    assert contents(out) == contents(whole)


def test_a_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no labeling job"):
        distill.data.seal(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_job_without_a_finished_shard_is_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill.teachers.labeling import label_shard as module

    def fails(*_: Any) -> Iterator[Any]:
        raise DistillError("no")

    monkeypatch.setattr(module, "label_shard", fails)
    assert Cli()(*words(tmp_path / "out"))[0] == 1
    result = distill.data.seal(tmp_path / "out")
    assert result.samples == 0 and "no finished shard" in result.to_text()
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_signals_are_left_alone_outside_of_the_main_thread(tmp_path: Path) -> None:
    from distill.workflows.label.stopping import sealed_on_stop

    seen: list[Any] = []

    def work() -> None:
        with sealed_on_stop(tmp_path, Console()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
