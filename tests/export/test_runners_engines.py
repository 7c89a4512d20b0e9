"""All engines have equal outputs and equal error messages."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from distill.errors import DistillError, UsageError
from distill.export.onnx.resize_rewrite import antialiased, rewrite_resize_as_matmul
from distill.export.runners import ModuleRunner, open_runner
from distill.export.targets.aot_inductor import export_aoti
from distill.export.targets.openvino import export_openvino
from distill.spec import METADATA_KEY
from distill.students.model.student import Student
from tests.builders.graphs import large, loop
from tests.fakes.runner import SPEC

SIZES_HW = ((64, 64), (37, 91), (91, 37), (128, 97))
DEPTH_ONLY = SPEC.model_copy(update={"normals": None, "semantic": None})


class Tiny(nn.Module):
    """A network that compiles in seconds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        found = self.layer(image.permute(0, 3, 1, 2).float() / 255)
        return {"depth": found[:, 0], "depth_confidence": found[:, 1].sigmoid()}


@pytest.fixture(scope="module")
def openvino_file(student: Student, onnx_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino", reason="needs OpenVINO: pip install distill[openvino]")
    return export_openvino(onnx_file, student.spec, tmp_path_factory.mktemp("openvino") / "small.xml")


@pytest.fixture(scope="module")
def compiled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler: apt install g++")
    return export_aoti(Tiny(), DEPTH_ONLY, tmp_path_factory.mktemp("aoti") / "tiny.pt2")


def pictures(batch: int, size_hw: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (batch, *size_hw, 3), dtype=np.uint8)


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("batch", [1, 3])
def test_openvino_equals_torch(student: Student, openvino_file: Path, batch: int, size_hw: tuple[int, int]) -> None:
    images = pictures(batch, size_hw)
    ours = ModuleRunner(student, student.spec, threads=2)(images)
    with open_runner(openvino_file, threads=2) as runner:
        assert runner.engine == "openvino cpu" and runner.spec == student.spec
        theirs = runner(images)
    assert list(theirs) == list(ours)
    for name, value in ours.items():
        assert theirs[name].dtype == value.dtype and theirs[name].shape == value.shape
        assert np.abs(theirs[name].astype(np.float64) - value).max() < 1e-3 * max(1.0, np.abs(value).max())


@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_a_compiled_student_equals_torch(compiled_file: Path, size_hw: tuple[int, int]) -> None:
    images = pictures(3, size_hw)
    ours = ModuleRunner(Tiny(), DEPTH_ONLY, threads=2)(images)
    with open_runner(compiled_file, threads=2, allow_native=True) as runner:
        assert runner.engine == "aoti cpu" and runner.spec == DEPTH_ONLY
        theirs = runner(images)
    assert list(theirs) == list(ours) and all(np.abs(theirs[name] - ours[name]).max() < 1e-5 for name in ours)


def test_crashing_machine_code_raises_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", lambda *_, package_path, **__: None)
    with pytest.raises(DistillError, match="crashes with SIGSEGV") as caught:
        export_aoti(Tiny(), DEPTH_ONLY, tmp_path / "tiny.pt2")
    assert "CXX" in str(caught.value.hint) and not (tmp_path / "tiny.pt2").exists()


@pytest.mark.parametrize("engine", ["onnx_file", "openvino_file", "compiled_file"])
def test_tensors_and_threads(engine: str, request: pytest.FixtureRequest) -> None:
    images = [pictures(1, (40, 50 + index)) for index in range(8)]
    with open_runner(request.getfixturevalue(engine), threads=1, allow_native=True) as runner:
        alone = [runner(picture)["depth"] for picture in images]
        kept = [value.copy() for value in alone]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda picture: runner(picture)["depth"], images))
        tensors = [runner(torch.from_numpy(picture)) for picture in images]
    for one, before, other, tensor in zip(alone, kept, together, tensors, strict=True):
        assert np.array_equal(one, before)  # no call writes into what an earlier one gave
        assert np.allclose(one, other, atol=1e-5)
        assert all(isinstance(value, Tensor) for value in tensor.values())
        assert np.allclose(one, tensor["depth"].numpy(), atol=1e-5)


def test_outputs_are_not_overwritten_by_later_calls(openvino_file: Path) -> None:
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (1, 40, 40 + index % 3, 3), dtype=np.uint8) for index in range(24)]
    with open_runner(openvino_file, threads=1) as runner:
        expected = [{name: value.copy() for name, value in runner(images).items()} for images in pictures]
        kept = [runner(images) for images in pictures]
        slices = [runner(images)["depth"][0, 3:9] for images in pictures]
        for _ in range(20):  # memory that nobody keeps is used again
            runner(pictures[0])["depth"][...] = -1.0
    for good, found, part in zip(expected, kept, slices, strict=True):
        for name, value in good.items():
            np.testing.assert_array_equal(found[name], value)
        np.testing.assert_array_equal(part, good["depth"][0, 3:9])


def test_openvino_files_that_loop_or_fill_the_memory(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="needs OpenVINO: pip install distill[openvino]")
    expand = onnx.helper.make_node("Expand", ["x", "shape"], ["big"])
    for data, words in (
        (large([expand], shape=np.array([10**6, 10**6])), "more than .* GiB of memory"),
        (loop("many", factor=np.array(2**61)), "has a loop"),
    ):
        path = tmp_path / "x.xml"
        openvino.save_model(openvino.Core().read_model(data), path)
        with pytest.raises(DistillError, match=rf"x\.xml: its graph .*{words}"):
            open_runner(path)


def test_damaged_openvino_files(openvino_file: Path, tmp_path: Path) -> None:
    path, text = tmp_path / "x.xml", openvino_file.read_text()
    path.write_text(text)
    with pytest.raises(DistillError, match=r"weights x\.bin are missing"):
        open_runner(path)
    shutil.copy(openvino_file.with_suffix(".bin"), path.with_suffix(".bin"))
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DistillError, match="cut off or damaged"):
        open_runner(path)
    path.write_text(text.replace(f"<{METADATA_KEY.split('.')[0]}>", "<other>").replace("</distill>", "</other>"))
    with pytest.raises(DistillError, match="not a student"):
        open_runner(path)
    with pytest.raises(DistillError, match="finds no npu"):
        open_runner(openvino_file, device="npu")


def rewrite(path: Path, out: Path, **changes: str) -> Path:
    """The compiled file with other metadata."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("metadata.json"):
                data = json.dumps({**json.loads(data), **changes}).encode()
            target.writestr(entry.filename, data)
    return out


def test_a_compiled_file_of_another_machine(compiled_file: Path, tmp_path: Path) -> None:
    for changes, words in (
        ({"AOTI_MACHINE": "riscv64"}, "compiled for riscv64 processors"),
        ({"AOTI_CPU_ISA": "avx512 avx9000"}, "a processor with avx9000"),
        ({"AOTI_DEVICE_KEY": "cuda"}, "compiled for cuda"),
    ):
        with pytest.raises(DistillError, match=words):
            open_runner(rewrite(compiled_file, tmp_path / "x.pt2", **changes), allow_native=True)
    (tmp_path / "x.pt2").write_bytes(compiled_file.read_bytes()[:5000])
    with pytest.raises(DistillError, match="cut off or damaged"):
        open_runner(tmp_path / "x.pt2", allow_native=True)
    (tmp_path / "x.pt2").write_bytes(b"")
    with pytest.raises(DistillError, match="cut off or damaged"):
        open_runner(tmp_path / "x.pt2", allow_native=True)


def test_fixed_sizes_of_the_spec_are_enforced(onnx_file: Path) -> None:
    with open_runner(onnx_file, threads=1) as runner:
        limits = runner.spec.input.model_copy(update={"fixed_size_hw": (64, 64), "max_batch": 2})
        runner.spec = runner.spec.model_copy(update={"input": limits})
        assert runner(pictures(2, (64, 64)))
        with pytest.raises(DistillError, match="images of 64x64 px only"):
            runner(pictures(1, (64, 65)))
        with pytest.raises(DistillError, match="at most 2 images per call"):
            runner(pictures(3, (64, 64)))


def test_an_unavailable_device_raises_a_message(onnx_file: Path) -> None:
    with pytest.raises(DistillError, match="cannot use tensorrt"):
        open_runner(onnx_file, device="tensorrt")


@pytest.mark.parametrize("size_hw", [(37, 91), (91, 37), (64, 64), (20, 30), (201, 333)])
def test_resizing_by_products_equals_resizing(student: Student, onnx_file: Path, size_hw: tuple[int, int]) -> None:
    proto = onnx.load(onnx_file)
    assert len(antialiased(proto)) == 1
    assert rewrite_resize_as_matmul(proto, student.spec.input.size_hw) == 1 and not antialiased(proto)
    made = next(name for node in proto.graph.node for name in node.output if node.name.startswith("picture/Sub"))
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(made))
    images = pictures(2, size_hw)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run([made], {"image": images})
    ours = student.resize(torch.from_numpy(images)) - student.mean
    assert np.abs(theirs - ours.numpy()).max() < 1e-3  # of 255


def test_machine_code_is_opened_on_request_only(tmp_path: Path) -> None:
    for name in ("foreign.pt2", "foreign.PT2", "foreign.engine"):
        (tmp_path / name).write_bytes(b"code")
        with pytest.raises(UsageError, match="machine code") as caught:
            open_runner(tmp_path / name)
        assert "--allow-native" in str(caught.value.hint)


def test_members_of_a_compiled_file_stay_in_its_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("../outside.so", "data/../../outside.so", "/etc/outside.so", "..\\outside.so")):
        path = tmp_path / f"{number}.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"")
        with pytest.raises(DistillError, match="outside the folder"):
            open_runner(path, allow_native=True)
