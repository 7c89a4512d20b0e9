from __future__ import annotations

from pathlib import Path

import torch

from distill.recipe import load_recipe
from distill.recipe.training import StudentRecipe
from distill.students.curves import write_history
from distill.students.scores import Scores
from distill.students.student import build_spec
from distill.students.targets import Batch
from distill.tasks import Task


def test_a_task_without_a_labelled_pixel_has_no_score(tmp_path: Path) -> None:
    recipe = load_recipe(StudentRecipe, {"preset": "nano", "size_hw": [64, 64]})
    tasks = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)
    scores = Scores(build_spec(recipe, name="x", tasks=tasks, classes=("a", "b")))
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
