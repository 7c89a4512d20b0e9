"""Config of a training."""

from __future__ import annotations

from typing import Any

import pytest

from distill.config import load_config
from distill.config.train import TrainConfig

OWN = {"preset": None, "backbone": "resnet18", "size_hw": [32, 32], "neck_channels": 8, "head_channels": 8}


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "nano"),
        ({"student": {"preset": "small"}}, "small"),
        ({"student": {"preset": "small"}, "name": "mine"}, "mine"),
        ({"student": OWN}, "student"),
    ],
)
def test_exported_files_have_the_name_of_the_preset(values: dict[str, Any], name: str) -> None:
    assert load_config(TrainConfig, values).name == name
