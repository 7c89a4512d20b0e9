"""Whether a run has learned anything: comparison with the best constant predictions."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distill.config.train import TrainConfig
from distill.errors import DistillError
from distill.spec import StudentSpec
from distill.students.tasks.base import ConstantComparison, student_task
from distill.students.training.learned import MIN_STEPS, describe_failure
from distill.tasks import DepthKind, Task, warp_depth
from distill.workflows.train.run import run_train
from tests.builders.students import small_student

MakeShards = Callable[..., Path]
SPEC = small_student(Task.DEPTH, Task.NORMALS, Task.SEMANTIC).spec


def compare(task: Task, predicted: Tensor, target: Tensor, spec: StudentSpec = SPEC) -> ConstantComparison:
    score = student_task(task).score(spec, torch.device("cpu"))
    score.update({str(task): predicted}, target, torch.ones(target.shape[0], *target.shape[-2:]))
    found = score.compare_with_constant()
    assert found is not None
    return found


def test_semantic_against_the_most_frequent_class() -> None:
    target = torch.zeros(2, 8, 8, dtype=torch.long)
    target[:, :2] = 1
    constant = compare(Task.SEMANTIC, torch.zeros(2, 8, 8, dtype=torch.uint8), target)
    assert (constant.score, constant.constant) == (0.375, 0.375) and not constant.is_better
    assert compare(Task.SEMANTIC, target.to(torch.uint8), target).is_better
    one_class = compare(Task.SEMANTIC, torch.ones(2, 8, 8, dtype=torch.uint8), torch.ones(2, 8, 8, dtype=torch.long))
    assert one_class.score == 1.0 and one_class.is_constant and not one_class.is_better


def test_metric_depth_against_the_best_constant() -> None:
    depth_m = torch.linspace(1.0, 9.0, 128).view(2, 8, 8)
    target = warp_depth(depth_m)
    best = min(float(((c - depth_m).abs() / depth_m).mean()) for c in torch.linspace(1, 9, 801))
    found = compare(Task.DEPTH, torch.full((2, 8, 8), 5.0), target)
    assert found.constant == pytest.approx(best, abs=0.005) and not found.is_better
    assert compare(Task.DEPTH, depth_m * 1.1, target).is_better
    assert compare(Task.DEPTH, depth_m, warp_depth(torch.full((2, 8, 8), 2.5))).is_constant


def test_relative_depth_against_a_flat_map() -> None:
    spec = SPEC.model_copy(
        update={
            "depth": SPEC.depth and SPEC.depth.model_copy(update={"depth_kind": DepthKind.AFFINE_INVARIANT_DISPARITY})
        }
    )
    target = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not compare(Task.DEPTH, torch.full((2, 8, 8), 0.5), target, spec).is_better
    assert compare(Task.DEPTH, 0.3 * target + 0.2, target, spec).is_better
    assert compare(Task.DEPTH, target, torch.full((2, 8, 8), 0.5), spec).is_constant


def test_normals_against_fixed_directions() -> None:
    vectors = F.normalize(
        torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + torch.tensor([0, 0, 2.0]).view(3, 1, 1),
        dim=1,
    )
    toward = torch.zeros(2, 8, 8, 3)
    toward[..., 2] = 1
    found = compare(Task.NORMALS, toward, vectors)
    assert found.score == pytest.approx(found.constant) and not found.is_better
    assert compare(Task.NORMALS, vectors.permute(0, 2, 3, 1), vectors).is_better
    assert compare(Task.NORMALS, toward, toward.permute(0, 3, 1, 2)).is_constant


def test_edges_against_edges_everywhere() -> None:
    spec = small_student(Task.EDGES).spec
    target = torch.zeros(2, 16, 16)
    target[:, 8] = 1
    everywhere = compare(Task.EDGES, torch.ones(2, 16, 16), target, spec)
    assert everywhere.score == pytest.approx(everywhere.constant) and not everywhere.is_better
    assert compare(Task.EDGES, target, target, spec).is_better


BETTER = ConstantComparison("mIoU", 0.6, 0.4, True)
WORSE = ConstantComparison("mIoU", 0.4, 0.4, False)


@pytest.mark.parametrize(
    ("comparisons", "score", "steps", "words"),
    [
        ({Task.SEMANTIC: BETTER, Task.DEPTH: WORSE}, 0.5, 999, ""),
        ({Task.SEMANTIC: WORSE}, 0.4, MIN_STEPS - 1, ""),
        ({Task.SEMANTIC: WORSE}, 0.4, MIN_STEPS, "no better than a constant prediction (semantic: mIoU 0.400"),
        ({Task.SEMANTIC: WORSE}, 0.0, 2, "no better than a constant prediction"),
        ({Task.SEMANTIC: ConstantComparison("mIoU", 1.0, 1.0, False, True)}, 1.0, 2, "one value everywhere"),
        ({}, 0.0, 999, "nothing was scored"),
    ],
)
def test_verdict(comparisons: dict[Task, ConstantComparison], score: float, steps: int, words: str) -> None:
    found = describe_failure(comparisons, score, steps)
    assert words in found and bool(words) == bool(found)


def config(shards: Path, **more: object) -> TrainConfig:
    train = {"epochs": 1, "threads": 1, "logger": "none", "num_validations": 1, "sample_images": 0}
    values = {
        "shards": [shards],
        "student": {"size_hw": [32, 64]},
        "train": train,
        "data": {"val_fraction": 0.3, "batch_size": 8},
    }
    return TrainConfig.model_validate(values | more)


def test_training_on_one_class_fails_with_a_sentence(make_shards: MakeShards, tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", tasks=(Task.SEMANTIC,), one_class=True)
    result = run_train(config(shards), tmp_path / "run")
    assert "one value everywhere" in result.failure
    assert "learned nothing" in result.to_text() and "next: distill export" not in result.to_text()
    again = run_train(config(shards), tmp_path / "run")
    assert again.failure == result.failure, "a finished run says the same"
    assert result.to_dict()["failure"] == result.failure and not math.isnan(result.best["val_score"])


def test_labels_that_are_all_ignored_are_refused_before_the_first_step(make_shards: MakeShards, tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", tasks=(Task.SEMANTIC, Task.DEPTH), confidence=0.0)
    with pytest.raises(DistillError, match="no training photo has a usable pixel of depth"):
        run_train(config(shards), tmp_path / "run")
