"""TensorRT: graph rewrites, kit and checker, and use of the bindings' names only.

No engine has been built by these tests unless the machine has a GPU and TensorRT (the last one).
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from distill.config.export import load_target
from distill.errors import DistillError
from distill.export.runners import ModuleRunner, open_runner
from distill.export.targets.op_rules import RULES, find_op_violations, load_op_rules
from distill.export.targets.tensorrt import _trtexec, to_tensorrt_onnx, write_kit
from distill.export.targets.triton import config_pbtxt, write_repository
from distill.export.tensorrt_kit import build as kit_build
from distill.export.tensorrt_kit.check import check, read_samples
from distill.export.tensorrt_kit.cuda import KitError
from distill.export.tensorrt_kit.engine import Engine, import_tensorrt, read_kit, sidecar_of
from distill.export.verification.parity import Tolerances
from distill.students.model.student import Student
from tests.fakes.tensorrt import GOLDEN, VERSIONS, FakeCuda, FakeTensorRt


@pytest.fixture(scope="module")
def proto(onnx_file: Path) -> onnx.ModelProto:
    return onnx.load(onnx_file)


@pytest.fixture(scope="module")
def kit(student: Student, proto: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit") / "small.kit"
    runner = ModuleRunner(student, student.spec, threads=1)
    pictures = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8) for seed in range(2)]
    samples = [(rgb, {name: value[0] for name, value in runner(rgb[None]).items()}) for rgb in pictures]
    graph = to_tensorrt_onnx(proto, student.spec)
    return write_kit(graph, student.spec, load_target("tensorrt")[1], Tolerances(), samples, pictures, folder)


def test_the_rewritten_graph_has_equal_outputs(student: Student, proto: onnx.ModelProto) -> None:
    before = {violation.op for violation in find_op_violations(proto, "tensorrt")}
    assert {"Resize", "Transpose", "Cast"} <= before
    made = to_tensorrt_onnx(proto, student.spec)
    assert not find_op_violations(made, "tensorrt")
    images = np.random.default_rng(0).integers(0, 256, (2, 37, 91, 3), dtype=np.uint8)
    names = list(student.spec.output_names)
    sessions = [onnxruntime.InferenceSession(graph.SerializeToString()) for graph in (proto, made)]
    ours, theirs = (session.run(names, {"image": images}) for session in sessions)
    assert all(np.abs(a.astype(float) - b).max() < 1e-4 for a, b in zip(ours, theirs, strict=True))


def test_rules_name_the_layer(student: Student, proto: onnx.ModelProto) -> None:
    assert set(RULES) == {"tensorrt", "onnxruntime-web"}
    assert all(load_op_rules(target).target == target for target in RULES)
    odd = onnx.ModelProto()
    odd.CopyFrom(proto)
    node = next(node for node in odd.graph.node if node.name.startswith("neck.smooths.1") and node.op_type == "Relu")
    node.op_type = "Bernoulli"
    with pytest.raises(DistillError, match=r"reject neck\.smooths\.1\.\d \(Bernoulli\): tensorrt has no Bernoulli"):
        to_tensorrt_onnx(odd, student.spec)
    assert not find_op_violations(proto, "onnxruntime-web")
    assert any(str(violation).startswith("picture (Resize)") for violation in find_op_violations(proto, "tensorrt"))


def test_words_of_the_build_script_are_quoted() -> None:
    config = load_target("tensorrt")[1]
    kit = {
        "input": "image",
        "onnx": "a b'$(id).onnx",
        "builder": config.builder.model_dump(),
        "profile": [[1, 2, 2, 3]] * 3,
    }
    words = shlex.split(_trtexec(kit), comments=True)
    assert f"--onnx={kit['onnx']}" in words and "--saveEngine=a b'$(id).engine" in words


def run(kit: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=kit, capture_output=True, text=True, check=False)


def test_the_kits_dry_runs_need_no_package(kit: Path) -> None:
    names = {path.name for path in kit.iterdir()}
    assert names >= {"small.onnx", "kit.json", "trtexec.sh", "README.md", "samples.npz", "calibration.npz"}
    for script in ("build.py", "check.py", "trt_engine.py", "trt_cuda.py"):
        assert "distill" not in (kit / script).read_text().replace("distill export", "")
    built, checked = run(kit, "build.py", "--dry-run"), run(kit, "check.py", "--dry-run")
    assert built.returncode == 0 and "would build small.onnx (fp16)" in built.stdout, built.stderr
    assert checked.returncode == 0 and "2 samples" in checked.stdout, checked.stderr
    assert run(kit, "-m", "py_compile", "trt_engine.py", "trt_cuda.py").returncode == 0
    assert subprocess.run(["sh", "-n", "trtexec.sh"], cwd=kit, check=False).returncode == 0
    line = (kit / "trtexec.sh").read_text()
    assert "--stronglyTyped" in line and "--optShapes=image:8x720x1280x3" in line


def test_a_damaged_kit_raises_a_message(kit: Path, tmp_path: Path) -> None:
    for path in kit.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "small.onnx").write_bytes((kit / "small.onnx").read_bytes()[:-100])
    found = run(tmp_path, "build.py", "--dry-run")
    assert found.returncode == 1 and "small.onnx: missing, cut off or changed" in found.stderr
    assert "Traceback" not in found.stderr
    (tmp_path / "kit.json").unlink()
    assert "kit.json: missing or damaged" in run(tmp_path, "check.py", "--dry-run").stderr


def test_the_checker_detects_wrong_outputs(kit: Path) -> None:
    settings, samples = read_kit(kit), read_samples(kit)
    answers = iter([expected for _, expected in samples] * 2)
    assert check(settings, samples, lambda image: next(answers))["passed"]
    wrong = {name: value + 1 if name == "semantic" else value for name, value in samples[0][1].items()}
    assert not check(settings, samples, lambda image: wrong)["passed"]
    broken = {name: np.full_like(value, np.nan) if name == "depth" else value for name, value in samples[0][1].items()}
    assert check(settings, samples, lambda image: broken)["disagreement"]["depth"] == float("inf")


def answers(image: np.ndarray) -> dict[str, np.ndarray]:
    value = image[..., 0].astype(np.float32)
    return {"depth": value, "depth_confidence": value / 255}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("builder_options", [{}, {"version_compatible": True, "strip_weights": True, "tf32": False}])
def test_building_and_running_use_only_names_of_tensorrt(
    kit: Path, tmp_path: Path, version: str, builder_options: dict[str, object]
) -> None:
    for path in kit.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((kit / "kit.json").read_text())
    settings["builder"] |= {**builder_options, "hardware": "same_compute_capability"}
    (tmp_path / "kit.json").write_text(json.dumps(settings))
    fake = FakeTensorRt(version, answers)
    path = kit_build.build(tmp_path, fake, FakeCuda())
    assert kit_build.build(tmp_path, fake, FakeCuda()) == path  # found again
    assert fake.calls.count("Builder.build_serialized_network") == 1
    assert kit_build.build(tmp_path, fake, FakeCuda("Another GPU")) != path
    engine = Engine(path, fake, FakeCuda())
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    found = engine.run(images)
    assert np.array_equal(found["depth"], images[..., 0]) and list(found) == ["depth", "depth_confidence"]
    with pytest.raises(KitError, match=r"outside the engine's profile, \(1, 8, 8, 3\) to \(4, 64, 64, 3\)"):
        engine.run(np.zeros((5, 16, 24, 3), np.uint8))
    engine.close()
    assert "IExecutionContext.execute_async_v3" in fake.calls and "OnnxParser.parse_from_file" in fake.calls
    assert ("OnnxParserRefitter.refit_from_file" in fake.calls) == bool(builder_options)


def test_fp8_is_not_built_for_older_gpus(kit: Path, tmp_path: Path) -> None:
    class Ampere(FakeCuda):
        def describe(self) -> dict[str, str]:
            return {**super().describe(), "compute_capability": "8.6"}

    for path in kit.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((kit / "kit.json").read_text())
    (tmp_path / "kit.json").write_text(json.dumps({**settings, "precision": "fp8"}))
    with pytest.raises(KitError, match=r"has no eight-bit floats: its compute capability is 8\.6"):
        kit_build.build(tmp_path, FakeTensorRt("11.4", answers), Ampere())
    assert kit_build.build(tmp_path, FakeTensorRt("11.4", answers), FakeCuda()).is_file()


def test_the_fake_rejects_names_unknown_to_tensorrt() -> None:
    eleven, ten = FakeTensorRt("11.4"), FakeTensorRt("10.16")
    with pytest.raises(AttributeError, match="FP16"):
        _ = eleven.BuilderFlag.FP16
    assert ten.BuilderFlag.FP16 is not None
    builder = eleven.Builder(eleven.Logger(eleven.Logger.WARNING))
    with pytest.raises(AttributeError, match="Builder has no platform_has_fast_fp16"):
        _ = builder.platform_has_fast_fp16
    with pytest.raises(TypeError, match="create_network takes"):
        builder.create_network(explicit_batch=True)
    with pytest.raises(TypeError):
        eleven.Builder()


@pytest.mark.parametrize("name", ["tensorrt_bindings", "tensorrt_lean_bindings"])
def test_the_golden_names_are_those_of_installed_bindings(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs TensorRT: pip install {name} on a machine with an NVIDIA driver")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"needs {name} that can be imported, with an NVIDIA driver: {error}")
    golden = GOLDEN / f"tensorrt_{'.'.join(module.__version__.split('.')[:2])}.txt"
    if not golden.is_file():
        pytest.skip(f"needs {golden.name}: run tests/fakes/dump_tensorrt_api.py with TensorRT {module.__version__}")
    for line in golden.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        owner, _, member = rest.partition("(")[0].partition(".")
        if kind in ("method", "property", "enum") and hasattr(module, owner):
            assert hasattr(getattr(module, owner), member), line


def test_wrong_use_raises_a_message(kit: Path, tmp_path: Path) -> None:
    fake = FakeTensorRt("11.4", answers)
    path = kit_build.build(kit, fake, FakeCuda())
    with pytest.raises(KitError, match=r"built for Fake GPU \(9\.0\), this machine has Other \(9\.0\)"):
        Engine(path, fake, FakeCuda("Other"))
    with pytest.raises(KitError, match=r"built with TensorRT 11\.4\.0\.106, this machine has 10\.16"):
        Engine(path, FakeTensorRt("10.16", answers), FakeCuda())
    cut = tmp_path / "cut.engine"
    cut.write_bytes(b"pla")
    with pytest.raises(KitError, match=r"build the engine with build\.py"):
        Engine(cut, fake, FakeCuda())
    sidecar_of(cut).write_text(sidecar_of(path).read_text())
    with pytest.raises(KitError, match="cannot read it: build it again"):
        Engine(cut, fake, FakeCuda())
    if importlib.util.find_spec("tensorrt") is None:
        with pytest.raises(KitError, match="TensorRT is not installed"):
            import_tensorrt()
        with pytest.raises(DistillError, match="TensorRT is not installed"):
            open_runner(path, allow_native=True)


def test_a_triton_repository(student: Student, proto: onnx.ModelProto, tmp_path: Path) -> None:
    path = write_repository(lambda file: onnx.save(proto, file), proto, student.spec, 16, tmp_path)
    assert path == tmp_path / "small" / "1" / "model.onnx" and path.is_file()
    text = (tmp_path / "small" / "config.pbtxt").read_text()
    assert text == config_pbtxt(proto, student.spec, 16) and "max_batch_size: 16" in text
    assert '{ name: "image", data_type: TYPE_UINT8, dims: [ -1, -1, 3 ] }' in text
    assert '{ name: "normals", data_type: TYPE_FP32, dims: [ -1, -1, 3 ] }' in text
    assert '{ name: "semantic", data_type: TYPE_UINT8, dims: [ -1, -1 ] }' in text
    assert text.count("{") == text.count("}") and text.count("[") == text.count("]")


@pytest.mark.gpu
@pytest.mark.trt
@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("tensorrt") is None,
    reason="needs an NVIDIA GPU and TensorRT: pip install tensorrt",
)
def test_an_engine_is_built_checked_and_timed(kit: Path) -> None:
    built = run(kit, "build.py")
    assert built.returncode == 0, built.stderr
    checked = run(kit, "check.py", built.stdout.strip().splitlines()[-1])
    result = json.loads(checked.stdout)
    assert checked.returncode == 0 and result["passed"] and result["timings"][0]["p50_ms"] > 0
