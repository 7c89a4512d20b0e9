from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.config import load_config
from distill.config.train import StudentConfig
from distill.students.data.batch import Batch
from distill.students.model.student import build_spec
from distill.students.training.callbacks.history import write_history
from distill.students.training.callbacks.scores import ValidationMetrics, match_instances
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
        depth=torch.zeros(1, 2, 2),
        semantic=semantic,
    )
    scores.update({"depth": torch.ones(1, 2, 2), "semantic": semantic.byte()}, batch)
    assert scores.compute() == {"semantic_miou": 1.0, "score": 1.0}
    write_history(tmp_path, [{"epoch": 1, "val_score": float("inf")}])
    assert "null" in (tmp_path / "history.json").read_text()


@pytest.mark.parametrize(
    ("predicted", "truth", "wanted"),
    [
        ([1, 1, 0, 2, 2], [7, 7, 0, 9, 9], (4, 4)),
        ([1, 1, 0, 0, 0], [7, 7, 0, 9, 9], (2, 3)),
        ([1, 1, 1, 1, 0], [7, 7, 9, 9, 0], (0, 3)),  # half is not more than half
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], (0, 0)),
        ([3, 0, 0, 0, 0], [0, 0, 0, 0, 0], (0, 1)),
        ([], [], (0, 0)),
    ],
)
def test_instances_match_by_more_than_half(predicted: list[int], truth: list[int], wanted: tuple[int, int]) -> None:
    found = match_instances(torch.tensor(predicted, dtype=torch.long), torch.tensor(truth, dtype=torch.long))
    assert found.tolist() == list(wanted)
