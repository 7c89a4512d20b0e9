"""Export of several targets: parity check, int8 speed check, quantization."""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from distill.config.export import TARGETS, TargetConfig, artifact_files, load_target
from distill.errors import DistillError, UsageError
from distill.export.onnx.fp8 import Fp8Quantizer
from distill.export.onnx.int8 import Int8Quantizer
from distill.export.onnx.quantization import quantize_within_tolerance, relative_loss
from distill.export.runners import open_runner
from distill.export.targets.artifact import Artifact, rejected_path
from distill.export.targets.build_and_verify import reject_if_slow
from distill.export.verification.parity import ParityResult, TaskParity, generated_samples
from distill.export.verification.timing import Timing
from distill.students.model.student import Student
from distill.tasks import Task
from tests.builders.cli import Cli

BESIDES = ("onnx", "openvino", "onnx-fp16", "tensorrt", "tensorrt-fp8", "triton", "huggingface")


@pytest.fixture(scope="module")
def exported(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small student exported to several targets."""
    from distill.workflows.export.options import ExportOptions
    from distill.workflows.export.run import run_export

    pytest.importorskip("openvino", reason="needs OpenVINO: pip install distill[openvino]")
    folder = tmp_path_factory.mktemp("exported")
    loose = {"tolerance": {"by_task": {"depth": 0.2, "normals": 5.0, "semantic": 0.3}}}
    targets = {name: TargetConfig.model_validate({**TARGETS[name], **loose}) for name in BESIDES}
    targets["onnx-int8"] = TargetConfig.model_validate({**TARGETS["onnx-int8"], **loose})
    run_export(ExportOptions(run_dir, targets, out=folder, num_images=4, seconds=0, sensitivity=True))
    return folder


@pytest.fixture(scope="module")
def depth_run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with depth only, which exports faster than one of three tasks."""
    from distill.students.checkpoint import save_student
    from tests.builders.students import small_student

    folder = tmp_path_factory.mktemp("depth_run")
    save_student(folder, small_student(Task.DEPTH))
    return folder


def test_every_target_is_built_and_checked(exported: Path, student: Student) -> None:
    result = json.loads((exported / "export.json").read_text())
    rows = {row["target"]: row for row in result["targets"]}
    assert result["passed"] and list(rows) == [*BESIDES, "onnx-int8"]
    assert all(row["status"] == "passed" and row["size_bytes"] > 0 for row in rows.values())
    assert rows["onnx-fp16"]["size_bytes"] < 0.62 * rows["onnx"]["size_bytes"]
    assert any("rounded to fp16" in note for note in rows["onnx-fp16"]["notes"])
    assert (Path(rows["tensorrt"]["path"]) / "build.py").is_file()
    assert (Path(rows["triton"]["path"]) / "small" / "config.pbtxt").is_file()
    for name in ("onnx", "openvino", "onnx-fp16", "onnx-int8"):
        row = rows[name]
        with open_runner(Path(row["path"]), threads=1) as runner:
            assert runner.spec.dense_tasks == student.spec.dense_tasks
            assert runner.spec.provenance["target"] == name and runner.spec.provenance["by"] == "hand"
            assert runner(np.zeros((2, 30, 41, 3), np.uint8))["depth"].shape == (2, 30, 41)
    blocks = rows["onnx-int8"]["sensitivity"]
    assert {row["group"] for row in blocks} >= {"heads.depth", "heads.normals"} and not rows["onnx"]["sensitivity"]
    assert blocks == sorted(blocks, key=lambda row: -row["relative_loss"])
    assert any("loss of single blocks" in note and blocks[0]["group"] in note for note in rows["onnx-int8"]["notes"])
    kinds = {node.op_type for node in onnx.load(rows["onnx-int8"]["path"]).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert not [path for path in exported.iterdir() if path.name.startswith(".export")]


def test_the_hub_folder_is_complete_and_a_run_folder(exported: Path, run_dir: Path) -> None:
    from distill.students.checkpoint import load_student

    folder = exported / "small.huggingface"
    names = ["LICENSES.md", "README.md", "small.onnx", "spec.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "weights.safetensors").read_bytes() == (run_dir / "weights.safetensors").read_bytes()
    assert load_student(folder)[1] == load_student(run_dir)[1]
    assert "license_link: LICENSES.md" in (folder / "README.md").read_text()
    assert "`small.onnx`" in (folder / "README.md").read_text()
    with open_runner(folder / "small.onnx", threads=1) as runner:
        assert runner.spec.provenance["target"] == "huggingface"


def test_int8_has_two_schemes(onnx_file: Path) -> None:
    proto = onnx.load(onnx_file)
    pictures = [np.random.default_rng(seed).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8) for seed in range(2)]
    kinds = {}
    for scheme in ("u8s8", "s8s8"):
        quantizer = Int8Quantizer(proto, pictures, scheme)
        made = quantizer.quantize(quantizer.groups)
        constants = {entry.name: entry for entry in made.graph.initializer}
        zeros = {
            constants[node.input[2]].data_type
            for node in made.graph.node
            if node.op_type == "QuantizeLinear" and len(node.input) > 2
        }
        kinds[scheme] = zeros
        outside = [node for node in made.graph.node if node.name.startswith("values/") and "Quantize" in node.op_type]
        assert not outside  # what finishes values stays float
        assert quantizer.fraction(quantizer.groups) == 1.0 and quantizer.fraction([]) == 0.0
    assert onnx.TensorProto.UINT8 in kinds["u8s8"]
    assert kinds["s8s8"] == {onnx.TensorProto.INT8}


def verdict(change: float, tolerance: float = 0.005) -> ParityResult:
    row = TaskParity(Task.DEPTH, "delta1", 0.9, 0.9 - change, 0.5, 1.0, tolerance, scores_only=True)
    return ParityResult("torch", "int8", 1, (row,))


def test_the_worst_blocks_are_kept_in_float32() -> None:
    class FakeQuantizer:
        """Holds no network: a graph is the list of its quantized blocks."""

        groups = ("a", "b", "c", "d")
        nodes = ()

        def quantize(self, groups: object) -> object:
            return list(groups)  # type: ignore[call-overload]

        def fraction(self, groups: object) -> float:
            return len(list(groups)) / 4  # type: ignore[call-overload]

    costs = {"a": 0.001, "b": 0.006, "c": 0.0, "d": 0.003}
    said: list[str] = []
    found = quantize_within_tolerance(
        FakeQuantizer(), lambda groups: verdict(sum(costs[group] for group in groups)), log=said.append
    )
    assert found.proto == ["a", "c", "d"] and found.float32_blocks == ("b",) and found.fraction == 0.75
    assert not found.all_quantized.passed and found.parity.passed
    assert [row.group for row in found.sensitivity][:2] == ["b", "d"] and "b kept in float32" in said[0]
    assert relative_loss(verdict(0.01)) == pytest.approx(2.0)


def test_int8_slower_than_float32_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.int8.onnx"
    sibling = Artifact("onnx", "onnx", "fp32", tmp_path / "x.onnx")
    artifact = Artifact("onnx-int8", "onnx", "int8", path)

    def settle(alone_ms: float, together_ms: float, min_speedup: float = 1.5) -> Artifact:
        path.write_bytes(b"x")
        times = {("onnx", 1): 5.0, ("onnx", 8): 40.0, ("onnx-int8", 1): alone_ms, ("onnx-int8", 8): together_ms}
        made = [Timing(name, "engine", batch, (8, 8), (value,) * 20) for (name, batch), value in times.items()]
        return reject_if_slow(artifact, [sibling, artifact], made, min_speedup)

    kept = settle(3.0, 24.0)
    assert kept.status == "passed" and "3.00 ms, 5.00 ms in float32 at batch 1" in kept.notes[-1]
    assert settle(5.0, 26.0).status == "passed"
    refused = settle(6.0, 30.0)
    assert refused.status == "refused" and "slower than onnx on this machine: 6.00 ms, 5.00 ms in" in refused.reason
    assert refused.path == rejected_path(path) and refused.path.is_file() and not path.exists()
    little = settle(5.0, 30.0)
    assert little.status == "refused" and "1.33 times the images/s of onnx at best" in little.reason
    assert "30.00 ms, 40.00 ms in" in little.reason and "below the required 1.5 (--min-speedup)" in little.reason
    assert settle(5.0, 30.0, min_speedup=1.3).status == "passed"
    assert settle(5.0, 40.0, min_speedup=1.0).status == "refused"  # no faster at all, whatever is asked for
    assert reject_if_slow(replace(artifact, status="failed"), [sibling], [], 1.5).status == "failed"


def test_artifact_files_include_companions(tmp_path: Path) -> None:
    assert [path.name for path in artifact_files(tmp_path / "a.xml")] == ["a.xml", "a.bin"]
    assert artifact_files(tmp_path / "a.onnx") == [tmp_path / "a.onnx"]


def test_the_target_of_the_readme_loads(repository: Path, tmp_path: Path) -> None:
    text = (repository / "configs" / "README.md").read_text().partition("`edge-box.yaml`:")[2].partition("## ")[0]
    path = tmp_path / "edge-box.yaml"
    path.write_text(textwrap.dedent(text))
    name, config = load_target(str(path))
    assert name == "edge-box" and config.profile.max_batch == 4


def test_wrong_targets(cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such target"):
        load_target("coreml")
    assert cli("export", run_dir, "--to", "onnx,coreml")[0] == 2
    assert cli("export", run_dir, "--to", "onnx,openvino", "--out", tmp_path / "a.onnx")[0] == 2
    code, plan = cli.json("export", run_dir, "--to", "all", "--plan", "--out", tmp_path / "x")
    assert code == 0 and [row["target"] for row in plan["targets"]] == list(TARGETS) and not (tmp_path / "x").exists()


def test_generated_samples_have_the_requested_number(student: Student) -> None:
    assert len(list(generated_samples(student.spec, 8))) == 8


def test_fp8_outputs_match_unoptimized_onnxruntime(onnx_file: Path, tmp_path: Path) -> None:
    proto = onnx.load(onnx_file)
    pictures = [np.random.default_rng(seed).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8) for seed in range(2)]
    quantizer = Fp8Quantizer(proto, pictures)
    weights = {entry.name: entry for entry in proto.graph.initializer}
    assert quantizer.nodes and all(
        side % 16 == 0 for node in quantizer.nodes for side in weights[node.input[1]].dims[:2]
    )
    assert quantizer.fraction(quantizer.groups) == 1.0
    made = quantizer.quantize(quantizer.groups)
    zeros = {entry.data_type for entry in made.graph.initializer if entry.name.endswith(".fp8.zero")}
    assert zeros == {onnx.TensorProto.FLOAT8E4M3FN}
    onnx.save(made, tmp_path / "fp8.onnx")
    # Without any rewriting the runtime is slow and right; with its rewrites ours has to be as right.
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), plain, providers=["CPUExecutionProvider"])
    picture = pictures[0]
    with open_runner(tmp_path / "fp8.onnx", threads=1) as ours, open_runner(onnx_file, threads=1) as float32:
        found = ours(picture)
        right = dict(zip(found, session.run(list(found), {"image": picture}), strict=True))
        assert np.abs(found["depth"] - right["depth"]).mean() < 0.02 * right["depth"].mean()
        assert 0 < np.abs(found["depth"] - float32(picture)["depth"]).mean() < 0.2 * right["depth"].mean()


def test_fp8_is_for_tensorrt_only(onnx_file: Path) -> None:
    with pytest.raises(ValueError, match="precision fp8 is for engine: tensorrt, not onnx"):
        TargetConfig.model_validate({"engine": "onnx", "precision": "fp8"})
    proto = onnx.load(onnx_file)
    proto.opset_import[0].version = 18
    with pytest.raises(DistillError, match="set 19 or later"):
        Fp8Quantizer(proto, [])


def test_a_file_can_work_at_another_size(cli: Cli, depth_run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("export", depth_run_dir, "--num-images", 2, "--seconds", 0, "--threads", 1)
    code, result = cli.json(*words, "--input-size", "96x64", "--out", out)
    assert code == 0 and result["input_size_hw"] == [96, 64]
    (row,) = result["targets"]
    tall = np.random.default_rng(0).integers(0, 256, (2, 120, 80, 3), dtype=np.uint8)
    with open_runner(Path(row["path"]), threads=1) as runner:
        assert runner.spec.input.size_hw == (96, 64) and runner(tall)["depth"].shape == (2, 120, 80)
    assert cli(*words, "--input-size", "50x64")[0] == 2


def test_a_file_for_images_of_one_size(cli: Cli, depth_run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("export", depth_run_dir, "--num-images", 2, "--seconds", 0, "--threads", 1, "--fixed-size", "120x160")
    code, result = cli.json(*words, "--to", "onnx,openvino", "--out", out)
    assert code == 0 and [row["status"] for row in result["targets"]] == ["passed", "passed"]
    for name in ("small.onnx", "small.xml"):
        with open_runner(out / name, threads=1) as runner:
            assert runner(np.zeros((3, 120, 160, 3), np.uint8))["depth"].shape == (3, 120, 160)
            with pytest.raises(DistillError, match="exported for images of 120x160 px only"):
                runner(np.zeros((1, 60, 80, 3), np.uint8))
    shape = onnx.load(out / "small.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_value for side in shape][1:] == [120, 160, 3]


def test_an_export_without_any_requested_target_fails(cli: Cli, depth_run_dir: Path, tmp_path: Path) -> None:
    words = ("export", depth_run_dir, "--num-images", 2, "--seconds", 0.05, "--threads", 1, "--min-speedup", 1000)
    code, found = cli.json(*words, "--to", "onnx-int8", "--out", tmp_path / "a", "--tolerance", "depth=0.5")
    assert code == 1 and not found["passed"]
    assert {row["target"]: row["status"] for row in found["targets"]} == {"onnx": "passed", "onnx-int8": "refused"}
    code, found = cli.json(*words, "--to", "onnx,onnx-int8", "--out", tmp_path / "b")
    assert code == 0 and found["passed"]
