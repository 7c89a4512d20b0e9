"""Weights and specs of someone else's student: compared before any memory is reserved."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from distill.errors import DistillError
from distill.students.checkpoint import SPEC, WEIGHTS, load_student
from distill.students.model.student import Student


@pytest.fixture
def foreign(run_dir: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in (SPEC, WEIGHTS):
        shutil.copy(run_dir / name, folder / name)
    return folder


def change_spec(folder: Path, **values: Any) -> None:
    spec = json.loads((folder / SPEC).read_text())
    (folder / SPEC).write_text(json.dumps(spec | values))


def change_weights(folder: Path, tensors: dict[str, torch.Tensor], **values: Any) -> None:
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        config = json.loads(file.metadata()["distill.student"])
    save_file(tensors, folder / WEIGHTS, {"distill.student": json.dumps(config | values)})


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def test_a_network_of_a_billion_parameters_is_refused_without_its_memory(foreign: Path) -> None:
    giant = "vit_giant_patch14_dinov2"
    change_spec(foreign, backbone=giant)
    change_weights(foreign, load_file(foreign / WEIGHTS), backbone=giant, preset=None)
    before = peak_mb()
    with pytest.raises(DistillError, match=r"vit_giant.* 1\d\d\d million parameters, over the limit of 500 m"):
        load_student(foreign)
    assert peak_mb() - before < 300  # its weights have 4500 MB


@pytest.mark.parametrize("change", ["shape", "type", "missing", "more"])
def test_tensors_of_another_network_are_named(foreign: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = load_file(foreign / WEIGHTS)
    name = next(name for name in tensors if name.startswith("heads.depth") and tensors[name].ndim == 4)
    if change == "shape":
        tensors[name] = torch.zeros(3, 5)
    elif change == "type":
        tensors[name] = tensors[name].half()
    elif change == "missing":
        del tensors[name]
    else:
        name = "heads.depth.more"
        tensors[name] = torch.zeros(1)
    change_weights(foreign, tensors)
    monkeypatch.setattr(Student, "load_state_dict", lambda *_: pytest.fail("loaded"))
    with pytest.raises(DistillError, match=f"the weights belong to another student: {name} differs"):
        load_student(foreign)


def test_spec_and_weights_of_two_backbones_are_refused(foreign: Path) -> None:
    change_spec(foreign, backbone="resnet18")
    with pytest.raises(DistillError, match=r"spec\.json names the backbone resnet18, the weights test_efficientnet"):
        load_student(foreign)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"std": [0, 1, 1]}, "input.std.0"),
        ({"std": [-1, 1, 1]}, "input.std.0"),
        ({"mean": [1e308, 0, 0]}, "input.mean.0"),
        ({"mean": ["a", 0, 0]}, "input.mean.0"),
        ({"size_hw": [8192, 8192]}, "input.size_hw.0"),
        ({"fixed_size_hw": [16384, 16384]}, "input.fixed_size_hw"),
        ({"max_batch": 10**9}, "input.max_batch"),
    ],
)
def test_a_spec_out_of_bounds_is_refused(foreign: Path, values: dict[str, Any], sentence: str) -> None:
    spec = json.loads((foreign / SPEC).read_text())
    change_spec(foreign, input=spec["input"] | values)
    with pytest.raises(DistillError, match=f"not a student spec: {sentence}"):
        load_student(foreign)
