"""Optimizer parameter groups and the learning rate schedule."""

from __future__ import annotations

from typing import Any

import torch

from distill.config.train import OptimConfig
from distill.students.model.student import Student


def layer_lr_multipliers(student: Student, config: OptimConfig) -> dict[str, float]:
    """Each parameter's factor of the peak learning rate: 1 outside the backbone, smaller toward its first stage."""
    stages: dict[str, int] = {}
    for name, _ in student.named_parameters():
        if name.startswith("backbone."):
            stages.setdefault(_stage(name), len(stages))
    return {
        name: config.backbone_lr_ratio * config.layer_decay ** (len(stages) - 1 - stages[_stage(name)])
        if name.startswith("backbone.")
        else 1.0
        for name, _ in student.named_parameters()
    }


def optimizer_groups(student: Student, config: OptimConfig) -> list[dict[str, Any]]:
    """Parameter groups for AdamW, by learning rate and by weight decay; norms and biases have none."""
    shares = layer_lr_multipliers(student, config)
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in student.named_parameters():
        groups.setdefault((shares[name], parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "lr": config.lr * share, "weight_decay": config.weight_decay if decays else 0.0}
        for (share, decays), parameters in groups.items()
    ]


def _stage(name: str) -> str:
    """Stage of a backbone's parameter: ``backbone.trunk.blocks.3.0.conv.weight`` belongs to ``blocks.3``."""
    first, *rest = name.removeprefix("backbone.trunk.").split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first


def lr_factor(progress: float, warmup: float) -> float:
    """Factor of the peak learning rate at this progress, both in [0, 1]: linear warm-up, then a cosine."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    rest = (progress - warmup) / max(1.0 - warmup, 1e-9)
    return 0.5 * (1.0 + float(torch.cos(torch.tensor(rest * torch.pi))))
