from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from distill.commands.train import split_words
from distill.config import dump_config, load_config
from distill.config.train import PRESETS, StudentConfig, TrainConfig
from distill.console import run_cli
from distill.errors import UsageError
from distill.images import encode_jpeg
from distill.labels import Label, encode
from distill.runtime.folder_lock import hold_output
from distill.shards import Manifest, Sample, read_manifest, read_shard, write_manifest, write_shard
from distill.tasks import DepthKind, Task
from distill.workflows.train.config import list_keys, read_train_config
from distill.workflows.train.result import TrainResult
from distill.workflows.train.run import run_train

TINY = ("student.size_hw=[32,32]", "data.val_fraction=0.3", "train.epochs=1", "train.accelerator=cpu")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    from distill.cli import app

    monkeypatch.setattr("sys.argv", ["distill", *map(str, words)])
    return run_cli(app)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve noisy photos with relative depth, and nothing else."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    samples = []
    for number in range(12):
        photo = encode_jpeg(rng.integers(0, 256, (40, 40, 3), np.uint8))
        depth = rng.random((40, 40), np.float32)
        valid = np.ones((40, 40), bool)
        depth_kind = DepthKind.AFFINE_INVARIANT_DISPARITY
        files = {"jpg": photo, **encode(Label(Task.DEPTH, depth, valid, valid.astype(np.float32), depth_kind))}
        meta = {"photo_sha256": hashlib.sha256(photo).hexdigest(), "depth_kind": depth_kind}
        files["json"] = json.dumps(meta).encode()
        samples.append(Sample(f"noise-{number:02d}", files))
    entry = write_shard(folder / "shard-000000.tar", samples)
    write_manifest(
        folder, Manifest(tasks=(Task.DEPTH,), depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY, shards=(entry,))
    )
    return folder


@pytest.mark.parametrize("preset", PRESETS)
def test_the_readme_lists_the_values_of_each_preset(repository: Path, preset: str) -> None:
    student = load_config(StudentConfig, {"preset": preset})
    size = "{} x {}".format(*student.size_hw)
    row = f"`{preset}` | `{student.backbone}` | {size} | {student.neck_channels} | {student.head_channels} |"
    assert row in (repository / "configs" / "README.md").read_text()


RUNS = sorted((Path(__file__).resolve().parents[2] / "configs" / "runs").glob("*.yaml"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_run_config_loads(path: Path) -> None:
    config = load_config(TrainConfig, path)
    assert config.student.preset == "nano" and config.tasks and config.train.minutes


def test_a_dumped_config_loads_as_itself(tmp_path: Path) -> None:
    config = read_train_config(None, "a", ["student.preset=small", "student.neck_channels=40", "train.minutes=3"])
    (tmp_path / "x.yaml").write_text(dump_config(config))
    assert load_config(TrainConfig, tmp_path / "x.yaml") == config
    assert config.student.backbone == "mobilenetv4_conv_small" and config.shards == (Path("a"),)


def test_overrides_come_from_words_and_from_set(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: {epochs: 3}\noptim: {lr: 1e-3}\n")
    config = read_train_config(path, (), ["train.epochs=5", "student.backbone=repvit_m0_9"])
    assert (config.train.epochs, config.optim.lr, config.student.backbone) == (5, 1e-3, "repvit_m0_9")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["student.presett=nano"], "command line: unknown key 'student.presett'; did you mean 'preset'?"),
        (
            ["tasks=[pose]"],
            "tasks.0: Input should be 'depth', 'normals', 'semantic', 'instance', 'referring' or 'edges'",
        ),
        (["data.mix=[1,2]"], "data.mix has 2 weights for 0 folders of shards"),
        (["name=../../elsewhere"], "name: must be a plain name"),
        (["name=a/b"], "name: must be a plain name"),
        (["name="], "name"),
        (["train.epochs=0"], "train.epochs: Input should be greater than or equal to 1"),
        (["train.minutes=.inf"], "train.minutes: Input should be a finite number"),
        (["optim.lr=.inf"], "optim.lr: Input should be a finite number"),
        (["augment.noise=.nan"], "augment.noise: Input should be a finite number"),
        (["data.batch_size=true"], "data.batch_size: true and false are not numbers"),
        (["train.logger=false"], "train.logger: Input should be 'tensorboard'"),
        (["student.size_hw=[64,true]"], "student.size_hw: true and false are not numbers"),
        (["a.yaml", "b.yaml"], "b.yaml: a second config; one run has one config"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_wrong_words_are_refused_in_a_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        path, overrides = split_words(words)
        read_train_config(path, (), overrides)
    assert sentence in caught.value.message


def test_every_key_is_listed_with_type_default_and_meaning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "train", "--keys") == 0
    text = capsys.readouterr().out
    assert "train.minutes = null   (float | null)\n    Time limit" in text
    assert "augment.flip = 0.5   (float)" in text and "student.preset = nano   (nano | small | base | null)" in text
    keys = {key.key for key in list_keys().keys}
    assert {"shards", "optim.lr", "loss.depth.l1", "data.batch_size"} <= keys and "optim" not in keys


def test_a_run_leaves_its_files_and_goes_on_by_itself(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(monkeypatch, "train", "--shards", shards, "--out", out, "--json", *TINY) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["run"] == str(out) and result["epochs"] == 1 and result["best"]["val_score"] >= 0
    assert "Tip" not in printed.err and "warning" not in printed.err.lower() and "GPU available" not in printed.err
    names = {path.name for path in out.iterdir()}
    assert names == {
        "spec.json",
        "weights.safetensors",
        "history.json",
        "train.config.yaml",
        "train.provenance.json",
        "train.html",
        "train.json",
        "checkpoints",
        "logs",
        "samples",
    }
    provenance = json.loads((out / "train.provenance.json").read_text())
    assert provenance["photos"]["train"] + provenance["photos"]["val"] == 12 and provenance["manifests"]
    assert any(path.name.startswith("events") for path in (out / "logs").iterdir())

    assert run(monkeypatch, "train", "--shards", shards, "--out", out, *TINY) == 0
    assert "this run is finished" in capsys.readouterr().err
    (out / "train.json").unlink()  # as if it had been killed before the end
    assert run(monkeypatch, "train", "--shards", shards, "--out", out, *TINY) == 0
    assert "continuing from the last checkpoint" in capsys.readouterr().err
    assert run(monkeypatch, "train", "--shards", shards, "--out", out, *TINY, "optim.lr=0.1") == 2
    assert "holds a run of another config (optim.lr was 0.003, is 0.1)" in capsys.readouterr().err
    assert run(monkeypatch, "train", "--shards", shards, "--out", out, *TINY, "train.epochs=2", "--resume") == 0
    assert "2 epochs, " in capsys.readouterr().out
    assert run(monkeypatch, "train", "--shards", shards, "--out", tmp_path / "new", *TINY, "--resume") == 2
    assert "there is no checkpoint to continue from" in capsys.readouterr().err


def test_a_plan_writes_nothing(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(monkeypatch, "train", "--shards", shards, "--out", out, "--plan", *TINY) == 0
    text = capsys.readouterr().out
    assert "train depth on" in text and "M parameters" in text and "minutes" in text
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss.depth.kind=metric"], "loss.depth.kind=metric cannot be used on affine_invariant_disparity labels"),
        (["tasks=[normals]"], "has no normals labels, only depth"),
        (["data.val_fraction=0.0001"], "the validation split is empty"),
        (["data.mix=[0.001]"], "data.mix: with a weight of 0.001 none of the 7 photos of"),
        (["data.mix=[0.001]", "--plan"], "data.mix: with a weight of 0.001 none of the 7 photos of"),
        (["student.backbone=mobilenetv99"], "timm has no model named 'mobilenetv99'"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    words: list[str],
    sentence: str,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "train", "--shards", shards, "--out", tmp_path / "run", *TINY, *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error


def test_a_folder_that_is_given_twice_is_refused(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "the same"
    other.symlink_to(shards)
    words = ("--shards", shards, "--shards", other, "--out", tmp_path / "run", *TINY, "data.mix=[1,0.5]")
    assert run(monkeypatch, "train", *words) == 2
    assert f"{other}: given twice" in capsys.readouterr().err


def test_the_next_command_can_be_copied() -> None:
    text = TrainResult(Path("run ü 1"), 1, 1, 1.0, {}).to_text()
    assert "next: distill export 'run ü 1' --to onnx" in text


def test_a_photo_that_is_broken_is_named_and_the_others_are_learned(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "shards", tmp_path / "run"
    folder.mkdir()
    samples = list(read_shard(shards / "shard-000000.tar"))
    samples[4].files["jpg"] = samples[4].files["jpg"][:400]
    entry = write_shard(folder / "shard-000000.tar", samples)
    manifest = read_manifest(shards).model_copy(update={"shards": (entry,)})
    write_manifest(folder, manifest)
    words = (
        "--shards",
        folder,
        "--out",
        out,
        *TINY,
        "data.memory_cache_gib=0",
        "data.disk_cache_gib=0",
        "data.workers=1",
    )
    assert run(monkeypatch, "train", *words, "--json") == 0
    printed = capsys.readouterr()
    (part,) = json.loads(printed.out)["bad_samples"]
    assert (part["shard"], part["key"], part["samples"]) == (str(folder / "shard-000000.tar"), "noise-04", 1)
    assert (
        json.loads((out / "bad_samples.json").read_text())
        == [part]
        == json.loads((out / "train.json").read_text())["bad_samples"]
    )
    assert "skipped 1 of 12 samples" in printed.err and "Traceback" not in printed.err
    assert run(monkeypatch, "train", *words) == 0  # finished: it still says so
    assert "bad samples skipped: 1" in capsys.readouterr().out
    for sample in samples[5:11]:
        sample.files["jpg"] = sample.files["jpg"][:400]
    entry = write_shard(folder / "shard-000000.tar", samples)
    write_manifest(folder, manifest.model_copy(update={"shards": (entry,)}))
    assert run(monkeypatch, "train", *words, "--resume", "train.epochs=2") == 1
    error = capsys.readouterr().err
    assert "error: 7 of 12 samples are damaged, more than half; the first is " in error and "Traceback" not in error


def test_no_shards_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "train", "--out", tmp_path / "run") == 2
    assert "no shards are given" in capsys.readouterr().err
    assert run(monkeypatch, "train", "--shards", tmp_path, "--out", tmp_path / "run") == 2
    assert "not a folder of shards" in capsys.readouterr().err


def relabel(folder: Path, *, photos: int = 12) -> None:
    """Write the shards anew: other depth, and perhaps fewer photos."""
    samples = []
    for number, sample in enumerate(read_shard(folder / "shard-000000.tar")):
        depth = np.linspace(0.1, 1.0, 1600, dtype=np.float32).reshape(40, 40) * (number + 1) / 20
        valid = np.ones((40, 40), bool)
        depth_kind = DepthKind.AFFINE_INVARIANT_DISPARITY
        files = {**sample.files, **encode(Label(Task.DEPTH, depth, valid, valid.astype(np.float32), depth_kind))}
        samples.append(Sample(sample.key, files))
    entry = write_shard(folder / "shard-000000.tar", samples[:photos])
    write_manifest(
        folder, Manifest(tasks=(Task.DEPTH,), depth_kind=DepthKind.AFFINE_INVARIANT_DISPARITY, shards=(entry,))
    )


def test_shards_that_were_labeled_anew_are_not_taken_for_those_of_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(shards, tmp_path / "shards"))
    out, facts = tmp_path / "run", tmp_path / "run" / "train.provenance.json"
    words = ("train", "--shards", folder, "--out", out, *TINY)
    assert run(monkeypatch, *words) == 0
    before = facts.read_text()
    for photos in (12, 11):
        relabel(folder, photos=photos)
        assert run(monkeypatch, *words) == 2  # finished
        assert (
            "the shards have changed since this run began\n  choose another --out, or give --resume"
            in capsys.readouterr().err
        )
    (out / "train.json").unlink()
    assert run(monkeypatch, *words) == 2  # interrupted
    assert "the shards have changed since" in capsys.readouterr().err
    assert run(monkeypatch, *words, "--resume") == 0
    assert "no steps are left" in capsys.readouterr().err and facts.read_text() == before
    assert run(monkeypatch, *words, "--resume", "train.epochs=2") == 0
    assert json.loads((out / "history.json").read_text())[-1]["epoch"] == 2
    now = json.loads(facts.read_text())
    assert now["manifests"] != json.loads(before)["manifests"] and sum(now["photos"].values()) == 11


def test_a_second_run_in_the_same_folder_is_told_who_holds_it(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with hold_output(out, "train"):
        assert run(monkeypatch, "train", "--shards", shards, "--out", out, *TINY) == 1
        assert f"{out}: distill train (process {os.getpid()} on " in capsys.readouterr().err
        assert [path.name for path in out.iterdir()] == [".distill.lock"]
        monkeypatch.setenv("LOCAL_RANK", "1")  # another process of the same run
        with pytest.raises(UsageError, match="no checkpoint"):
            run_train(read_train_config(None, shards, TINY), out, resume=True)
    assert not out.exists()


def test_a_changed_shard_is_found_by_its_checksum(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(shards, tmp_path / "shards"))
    tar = folder / "shard-000000.tar"
    data = bytearray(tar.read_bytes())
    data[-2000] ^= 1
    tar.write_bytes(data)
    words = ("train", "--shards", folder, "--out", tmp_path / "run", "--verify", *TINY)
    assert run(monkeypatch, *words) == 1
    assert f"{tar}: the checksum differs from dataset.json" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_start_that_is_refused_leaves_the_folder_as_it_was(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(monkeypatch, "train", "--shards", shards, "--out", out, *TINY) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = ("student.backbone=repvit_m0_9", "--resume")
    assert run(monkeypatch, "train", "--shards", shards, "--out", out, *TINY, *other) == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    capsys.readouterr()
    assert run(monkeypatch, "train", "--shards", shards, "--out", out, *TINY) == 0
    assert "this run is finished" in capsys.readouterr().err
    empty = tmp_path / "empty"
    for word in ("tasks=[normals]", "data.val_fraction=0.0001", "train.logger=wandb", f"init={tmp_path}"):
        assert run(monkeypatch, "train", "--shards", shards, "--out", empty, *TINY, word) in (1, 2)
        assert not list(empty.glob("*"))
