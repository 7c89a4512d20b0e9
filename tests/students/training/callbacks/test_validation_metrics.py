from __future__ import annotations

from pathlib import Path

import torch

from distill.config import load_config
from distill.config.train import StudentConfig
from distill.students.data.batch_targets import Batch
from distill.students.model.student import build_spec
from distill.students.training.callbacks.history import write_history
from distill.students.training.callbacks.validation_metrics import ValidationMetrics
from distill.tasks import Task


def test_a_task_without_a_labeled_pixel_has_no_score(tmp_path: Path) -> None:
    config = load_config(StudentConfig, {"preset": "nano", "size_hw": [64, 64]})
    tasks = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)
    scores = ValidationMetrics(build_spec(config, name="x", tasks=tasks, classes=("a", "b")))
    assert scores.compute() == {"score": 0.0}
    semantic = torch.tensor([[[0, 1], [1, 1]]])
    batch = Batch(
        image=torch.zeros(1, 3, 2, 2),
        weights={Task.DEPTH: torch.zeros(1, 2, 2), Task.SEMANTIC: torch.ones(1, 2, 2)},
        targets={Task.DEPTH: torch.zeros(1, 2, 2), Task.SEMANTIC: semantic},
    )
    scores.update({"depth": torch.ones(1, 2, 2), "semantic": semantic.byte()}, batch)
    assert scores.compute() == {"semantic_miou": 1.0, "score": 1.0}
    write_history(tmp_path, [{"epoch": 1, "val_score": float("inf")}])
    assert "null" in (tmp_path / "history.json").read_text()
