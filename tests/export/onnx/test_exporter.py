"""Exported ONNX files: equal outputs at every size and batch, with the spec, without private data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from distill.errors import DistillError, UsageError
from distill.export.onnx.exporter import export_onnx
from distill.export.runners import ModuleRunner, open_runner
from distill.spec import METADATA_KEY, parse_spec
from distill.students.model.student import Student


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("size_hw", [(64, 64), (128, 128), (37, 91), (91, 37), (200, 33), (32, 48)])
def test_onnx_equals_torch(student: Student, onnx_file: Path, batch: int, size_hw: tuple[int, int]) -> None:
    coarse = np.random.default_rng(batch).integers(0, 256, (batch, size_hw[0] // 8 + 1, size_hw[1] // 8 + 1, 3))
    images = coarse.astype(np.uint8).repeat(8, 1).repeat(8, 2)[:, : size_hw[0], : size_hw[1]]
    ours = ModuleRunner(student, student.spec, threads=2)(images)
    with open_runner(onnx_file, threads=2) as runner:
        theirs = runner(images)
    assert list(theirs) == list(ours) == list(student.spec.output_names)
    for name, value in ours.items():
        assert theirs[name].dtype == value.dtype and theirs[name].shape == value.shape
        assert value.shape == ((batch, *size_hw, 3) if name == "normals" else (batch, *size_hw))
        if name == "semantic":
            assert np.mean(theirs[name] != value) < 0.001
        else:
            assert np.abs(theirs[name] - value).max() < 1e-3 * max(1.0, np.abs(value).max())
    assert np.ptp(ours["depth"]) > 0  # a constant student would equal anything


def test_the_file_contains_its_spec_and_no_local_path(student: Student, onnx_file: Path) -> None:
    proto = onnx.load(onnx_file)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert parse_spec(properties[METADATA_KEY], "x") == student.spec
    assert properties["distill.licenses"] == "test" and properties["distill.provenance"] == "by: hand"
    data = onnx_file.read_bytes()
    for secret in (b"stack_trace", b".py", str(Path.home()).encode() + b"/", b"site-packages"):
        assert secret not in data
    assert not list(onnx_file.parent.glob("*.data"))
    dimensions = [entry.dim_param for entry in proto.graph.input[0].type.tensor_type.shape.dim][:3]
    assert dimensions == ["batch", "height", "width"]


def test_export_prints_nothing_and_keeps_the_module(
    student: Student, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {name: value.clone() for name, value in student.state_dict().items()}

    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.5))

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            value = image.float().mean(-1) * self.gain
            return dict.fromkeys(student.spec.output_names, value)

    report = export_onnx(Halved(), student.spec, tmp_path / "a.onnx", opset=18)
    assert report.opset == 18 and report.size_bytes == report.path.stat().st_size
    assert capfd.readouterr() == ("", "")
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def test_unsupported_operations_raise_a_message(student: Student, tmp_path: Path) -> None:
    class Stubborn(nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            if image.float().mean().item() > 3:
                image = image + 1
            return {name: image.float() for name in student.spec.output_names}

    with pytest.raises(DistillError, match="cannot be expressed in ONNX"):
        export_onnx(Stubborn(), student.spec, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_an_unsupported_operator_set_is_rejected(student: Student, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--opset 99: the exporter cannot write it"):
        export_onnx(student, student.spec, tmp_path / "a.onnx", opset=99)
    assert not list(tmp_path.iterdir())
