"""A student can be drawn toward the features of a frozen network, which is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from distill.config import load_config
from distill.config.loss import FeatureDistillationConfig
from distill.errors import UsageError
from distill.students.checkpoint import load_student
from distill.students.losses.feature_distillation import FeatureDistillation, build_feature_distillation
from tests.builders.shards import write_tiny_shards
from tests.builders.students import train

_FROZEN = {"backbone": "mobilenetv4_conv_small_050", "pretrained": False, "size_hw": [64, 64]}


def build(**values: object) -> FeatureDistillation:
    alignment = build_feature_distillation(
        load_config(FeatureDistillationConfig, {**_FROZEN, "weight": 2.0, **values}), channels=8
    )
    assert alignment is not None
    return alignment


def test_no_weight_needs_no_network() -> None:
    assert build_feature_distillation(FeatureDistillationConfig(backbone="no_such_network"), channels=8) is None
    with pytest.raises(UsageError, match="no model named"):
        build(backbone="no_such_network")


def test_the_loss_is_the_cosine_and_only_the_student_learns() -> None:
    torch.manual_seed(0)
    alignment = build()
    image, fused = 255 * torch.rand(2, 3, 48, 48), torch.randn(2, 8, 12, 12, requires_grad=True)
    loss = alignment(fused, image)
    assert 0 < float(loss) < 4
    loss.backward()
    assert fused.grad is not None and float(fused.grad.abs().sum()) > 0
    assert set(alignment.state_dict()) == {"project.weight", "project.bias"}
    # Features that the projection already gives are at no distance.
    with torch.no_grad():
        wanted = alignment._look(image)
        alignment.project = torch.nn.Conv2d(wanted.shape[1], wanted.shape[1], 1)
        alignment.project.weight.copy_(torch.eye(wanted.shape[1])[:, :, None, None])
        alignment.project.bias.zero_()
        assert float(alignment(wanted, image)) == pytest.approx(0, abs=1e-5)
        assert float(alignment(-wanted, image)) == pytest.approx(4, abs=1e-5)


def test_a_training_with_it_leaves_an_ordinary_student(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards", num_samples=12)
    settings = [f"loss.feature_distillation.{name}={json.dumps(value)}" for name, value in _FROZEN.items()]
    result = train(
        shards, tmp_path / "run", "loss.feature_distillation.weight=1", *settings, "loss.task_balance=learned"
    )
    assert result.history[-1]["train_feature_distillation"] > 0
    names = load_student(tmp_path / "run")[0].state_dict()
    assert not [name for name in names if "project" in name or "frozen" in name]
    resumed = train(
        shards,
        tmp_path / "run",
        "loss.feature_distillation.weight=1",
        *settings,
        "loss.task_balance=learned",
        "train.epochs=3",
        resume=True,
    )
    assert resumed.steps > result.steps
