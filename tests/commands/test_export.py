"""`distill export`: a file that is proven, or a file set aside."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest

from distill.export.onnx.exporter import OnnxReport
from distill.images import encode_jpeg
from distill.labels import Label, encode
from distill.shards import Manifest, Sample, write_manifest, write_shard
from distill.students.checkpoint import save_student
from distill.students.model.student import Student
from distill.tasks import DepthKind, Task
from tests.builders.cli import Cli


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Four photos with depth labels."""
    folder = tmp_path / "shards"
    folder.mkdir()
    random = np.random.default_rng(0)
    samples = []
    for index in range(4):
        rgb = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        sure = np.ones((48, 64), bool)
        label = Label(Task.DEPTH, np.full((48, 64), 4.0, np.float32), sure, sure.astype(np.float32), DepthKind.METRIC)
        samples.append(Sample(f"photo{index}", {"jpg": encode_jpeg(rgb), "json": b"{}", **encode(label)}))
    entry = write_shard(folder / "shard-000000.tar", samples)
    write_manifest(folder, Manifest(tasks=(Task.DEPTH,), shards=(entry,)))
    return folder


def test_an_export_is_proven_on_labeled_pictures(cli: Cli, run_dir: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "small.onnx"
    code, result = cli.json("export", run_dir, "--to", "onnx", "--out", out, "--images", shards, "--num-images", 3)
    (target,) = result["targets"]
    parity = target["parity"]
    assert code == 0 and result["passed"] and parity["passed"] and parity["samples"] == 3
    rows = {row["task"]: row for row in parity["tasks"]}
    assert rows["depth"]["reference"] is not None and abs(rows["depth"]["difference"]) <= 0.001
    assert rows["semantic"]["reference"] is None  # the shards know nothing of classes
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "export.json",
        "model_card.md",
        "small.onnx",
        "spec.json",
    ]
    assert out.stat().st_size == target["size_bytes"] and target["path"] == str(out)


def test_beyond_the_budget_the_file_is_set_aside(
    cli: Cli, student: Student, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_another(module: object, spec: object, path: Path, **options: object) -> OnnxReport:
        shutil.copy(onnx_file, path)
        return OnnxReport(path, path.stat().st_size, 20, {}, 0.0)

    turned = copy.deepcopy(student)
    for parameter in turned.heads["normals"].parameters():
        parameter.data.mul_(-1)
    save_student(tmp_path, turned)
    monkeypatch.setattr("distill.export.onnx.exporter.export_onnx", export_another)
    code, out, _ = cli("export", tmp_path, "--out", tmp_path / "out" / "small.onnx")
    assert code == 1 and "onnx: normals changes by" in out
    assert [
        line.split()[-1] for line in out.splitlines() if line.startswith(("depth  ", "normals  ", "semantic  "))
    ] == [
        "passed",
        "FAILED",
        "passed",
    ]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.*")) == ["export.json", "small.rejected.onnx"]


def test_a_plan_writes_nothing(cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    code, result = cli.json("export", run_dir, "--out", tmp_path / "a.onnx", "--plan")
    assert code == 0 and result["folder"] == str(tmp_path) and result["targets"][0]["target"] == "onnx"
    assert not list(tmp_path.iterdir())


def test_wrong_use_is_told_before_anything_is_made(cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    for words, said in (
        ((run_dir, "--to", "floppy"), "choose from onnx"),
        ((tmp_path,), "not a trained student"),
        ((run_dir, "--out", tmp_path / "a.pt"), "ends in .onnx"),
        ((run_dir, "--out", tmp_path / "a.onnx", "--to", "onnx,openvino"), "several files are written"),
        ((run_dir, "--tolerance", "smell=1"), "not of the form TASK=VALUE"),
        ((run_dir, "--out", tmp_path / "a.onnx", "--images", tmp_path / "none"), "no such file"),
    ):
        code, _, err = cli("export", *words)
        assert code == 2 and said in err
    assert not list(tmp_path.iterdir())
