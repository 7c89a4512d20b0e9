from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from distill.config import load_config
from distill.config.loss import LossConfig
from distill.config.train import PRESETS, StudentConfig
from distill.errors import DistillError, UsageError
from distill.students.checkpoint import load_student, save_student
from distill.students.data.batch_targets import Batch
from distill.students.losses.terms import student_losses
from distill.students.model import backbone
from distill.students.model.resample import upsample, upsample_at, upsample_ids, upsample_vectors
from distill.students.model.student import Student, build_spec, build_student
from distill.tasks import FAR_DEPTH_M, DepthKind, Task

TASKS = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)
BACKBONES = (
    "mobilenetv3_small_050",
    "repvit_m0_9",
    "efficientvit_b0",
    "mambaout_femto",
    "regnetx_002",
    "convnextv2_atto",
    "edgenext_xx_small",
    "fastvit_t8",
    "lcnet_050",
    "hgnetv2_b0",
)
"""Ten families."""


def tiny(
    tasks: tuple[Task, ...] = TASKS, depth_kind: DepthKind = DepthKind.METRIC, seed: int = 0, **values: object
) -> Student:
    torch.manual_seed(seed)
    config = load_config(StudentConfig, {"preset": "nano", "size_hw": [64, 64], **values})
    classes = ("a", "b", "c") if Task.SEMANTIC in tasks else ()
    return build_student(
        config, build_spec(config, name="tiny", tasks=tasks, depth_kind=depth_kind, classes=classes)
    ).eval()


def batch_for(size: int = 64, count: int = 2) -> Batch:
    torch.manual_seed(1)
    ones = torch.ones(count, size, size)
    return Batch(
        image=torch.rand(count, 3, size, size) * 255,
        weights=dict.fromkeys(TASKS, ones),
        targets={
            Task.DEPTH: torch.rand(count, size, size) * 0.9,
            Task.NORMALS: F.normalize(torch.randn(count, 3, size, size), dim=1),
            Task.SEMANTIC: torch.randint(0, 3, (count, size, size)),
        },
    )


@pytest.mark.parametrize("values", [{"preset": name} for name in PRESETS] + [{"backbone": name} for name in BACKBONES])
def test_every_preset_and_family_learns_at_64_px(values: dict[str, str]) -> None:
    student = tiny(**values).train()
    batch = batch_for()
    losses = student_losses(student, student.raw(batch.image), batch, LossConfig())
    torch.stack(list(losses.values())).sum().backward()
    silent = [name for name, parameter in student.named_parameters() if parameter.grad is None]
    # A trunk may own a last stage that gives no feature; neck and heads must all be reached.
    assert not [name for name in silent if not name.startswith("backbone.")]
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize("tasks", [TASKS, (Task.DEPTH,), (Task.NORMALS, Task.SEMANTIC)])
@pytest.mark.parametrize("size_hw", [(64, 64), (50, 77), (130, 90)])
def test_outputs_are_final_and_at_the_inputs_size(tasks: tuple[Task, ...], size_hw: tuple[int, int]) -> None:
    student = tiny(tasks)
    image = torch.randint(0, 256, (2, *size_hw, 3), dtype=torch.uint8)
    with torch.inference_mode():
        outputs = student(image)
    assert tuple(outputs) == student.spec.output_names
    for task in tasks:
        assert outputs[f"{task}_confidence"].shape == (2, *size_hw)
        assert outputs[f"{task}_confidence"].min() >= 0 and outputs[f"{task}_confidence"].max() <= 1
    if Task.DEPTH in tasks:
        assert outputs["depth"].shape == (2, *size_hw) and outputs["depth"].dtype == torch.float32
        assert outputs["depth"].min() >= 0 and outputs["depth"].max() <= FAR_DEPTH_M + 1e-2
    if Task.NORMALS in tasks:
        assert outputs["normals"].shape == (2, *size_hw, 3)
        torch.testing.assert_close(outputs["normals"].norm(dim=-1), torch.ones(2, *size_hw))
    if Task.SEMANTIC in tasks:
        assert outputs["semantic"].shape == (2, *size_hw) and outputs["semantic"].dtype == torch.uint8
        assert outputs["semantic"].max() < 3


def test_outputs_do_not_depend_on_the_batch() -> None:
    student = tiny()
    image = torch.randint(0, 256, (3, 50, 70, 3), dtype=torch.uint8)
    with torch.inference_mode():
        together, alone = student(image), student(image[1:2])
    for name in together:
        torch.testing.assert_close(together[name][1:2], alone[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size_hw", [(37, 53), (12, 16), (96, 160)])
def test_resizing_equals_torch(size_hw: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 12, 16)
    wanted = F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsample(maps[:, 0], size_hw), wanted[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(upsample_at(maps, size_hw, 2, (1, 0)), wanted[..., 1::2, ::2], atol=1e-5, rtol=1e-5)
    units = F.normalize(wanted, dim=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(upsample_vectors(maps, size_hw), units, atol=1e-4, rtol=1e-4)
    ids = torch.randint(0, 9, (2, 12, 16))
    nearest = F.interpolate(ids[:, None].float(), size=size_hw, mode="nearest-exact")[:, 0].long()
    assert torch.equal(upsample_ids(ids, size_hw), nearest)


def test_saved_and_loaded_student_answers_the_same(tmp_path: Path) -> None:
    student = tiny(neck_channels=24)
    save_student(tmp_path, student)
    again, spec = load_student(tmp_path)
    assert spec == student.spec and not again.training
    image = torch.randint(0, 256, (1, 40, 60, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for mine, theirs in zip(student(image).values(), again(image).values(), strict=True):
            assert torch.equal(mine, theirs)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a trained student \(no spec.json\)"):
        load_student(tmp_path)
    save_student(tmp_path / ".", tiny())
    (tmp_path / "spec.json").write_text(tiny((Task.DEPTH,)).spec.to_json())
    with pytest.raises(DistillError, match="belong to another student"):
        load_student(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(DistillError, match="not the weights of a student"):
        load_student(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(DistillError, match="the weights are damaged"):
        load_student(tmp_path)


def test_wrong_backbones_are_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="timm has no model named 'mobilenetv9'"):
        tiny(backbone="mobilenetv9")

    def create_model(*args: object, **kwargs: object) -> None:
        raise RuntimeError("features_only not implemented for Vision Transformer models.\nmore")

    monkeypatch.setattr("timm.create_model", create_model)
    with pytest.raises(UsageError, match=r"has no feature maps at 64x64 px: features_only not implemented .*models"):
        tiny()


def test_a_transformer_backbone_gets_its_size() -> None:
    student = tiny((Task.DEPTH,), backbone="deit_tiny_patch16_224", size_hw=[64, 96])
    with torch.inference_mode():
        assert student(torch.zeros(1, 20, 30, 3, dtype=torch.uint8))["depth"].shape == (1, 20, 30)


def test_missing_pretrained_weights_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(backbone, "_hub_answers", lambda endpoint: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(DistillError, match="the Hugging Face hub does not answer") as caught:
        tiny(pretrained=True)
    assert "student.pretrained=false" in caught.value.hint
    assert not constants.HF_HUB_OFFLINE


def test_a_student_needs_tasks_and_classes() -> None:
    config = load_config(StudentConfig, {})
    with pytest.raises(UsageError, match="at least one task"):
        build_spec(config, name="x", tasks=())
    with pytest.raises(UsageError, match="needs a class list"):
        build_spec(config, name="x", tasks=(Task.SEMANTIC,))
