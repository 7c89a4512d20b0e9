"""Edges on the student side: resizing, loss, score and head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.config import load_config
from distill.config.loss import EdgesLossConfig, LossConfig
from distill.config.train import StudentConfig
from distill.images import encode_map
from distill.spec import EdgesSpec
from distill.students.data.batch_targets import decode_batch
from distill.students.data.decode import decode_task
from distill.students.losses.terms import student_losses
from distill.students.model.student import build_spec, build_student
from distill.students.tasks.base import PostprocessContext, student_task
from distill.students.tasks.edges import EdgesHead, EdgesScore, edges_loss
from distill.tasks import TASKS, DepthKind, Task

EDGES = student_task(Task.EDGES)
IGNORE = TASKS[Task.EDGES].ignore


def stored_lines(height: int = 96, width: int = 128) -> np.ndarray:
    """One vertical and one horizontal line, one pixel wide; the right border is not labeled."""
    stored = np.zeros((height, width), np.uint8)
    stored[:, 37] = 254
    stored[50] = 254
    stored[:, -8:] = IGNORE
    return stored


@pytest.mark.parametrize("size_hw", [(48, 64), (24, 32), (40, 50), (31, 33)])
def test_thin_lines_survive_shrinking(size_hw: tuple[int, int]) -> None:
    small = EDGES.resize(stored_lines(), size_hw)
    known = EDGES.valid(small)
    assert small.shape == size_hw and small.dtype == np.uint8 and not known[:, -1].any()
    is_edge = (small == 254) & known
    assert is_edge.any(axis=1).all()  # the vertical line crosses every row
    assert is_edge.any(axis=0)[known.any(axis=0)].all()
    assert is_edge.mean() < 0.2


def test_enlarging_is_nearest() -> None:
    stored = np.array([[0, 254], [IGNORE, 100]], np.uint8)
    assert np.array_equal(EDGES.resize(stored, (4, 4)), stored.repeat(2, axis=0).repeat(2, axis=1))


def test_stored_levels_become_probabilities() -> None:
    files = {"edges.png": encode_map(np.array([[0, 127], [254, IGNORE]], np.uint8))}
    value, confidence = decode_task(Task.EDGES, files, {}, (2, 2), "x")
    stored = {
        "image": torch.zeros(1, 2, 2, 3, dtype=torch.uint8),
        "edges": torch.from_numpy(value)[None],
        "edges_confidence": torch.from_numpy(confidence)[None],
        "quality": torch.ones(1, 1),
    }
    batch = decode_batch(stored, (Task.EDGES,), None)
    assert batch.targets[Task.EDGES].flatten()[:3].tolist() == [0.0, 0.5, 1.0]
    assert batch.weights[Task.EDGES].flatten().tolist() == [1, 1, 1, 0]


def test_balance_gives_both_classes_the_same_gradient() -> None:
    target = torch.zeros(1, 10, 10)
    target[:, 3] = 1
    weight = torch.ones(1, 10, 10)
    weight[:, :, 0] = 0
    for balance, wanted in ((1.0, 1.0), (0.0, 1 / 9)):
        logits = torch.zeros(1, 10, 10, requires_grad=True)
        edges_loss(logits, target, weight, EdgesLossConfig(balance=balance)).backward()
        assert logits.grad is not None and not logits.grad[:, :, 0].any()
        ratio = -logits.grad[target == 1].sum() / logits.grad[target == 0].sum()
        assert float(ratio) == pytest.approx(wanted, rel=1e-5)


def test_loss_equals_its_formula_and_has_correct_gradients() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    target, weight = torch.rand(2, 2, 4, 5, generator=rng, dtype=torch.float64)
    config = EdgesLossConfig(weight=2.0, balance=0.5)
    share = (target * weight).sum() / weight.sum()
    balanced = weight * (target / share.sqrt() + (1 - target) / (1 - share).sqrt())
    p = logits.sigmoid()
    error = -(target * p.log() + (1 - target) * (1 - p).log())
    torch.testing.assert_close(
        edges_loss(logits, target, weight, config), 2 * (error * balanced).sum() / balanced.sum()
    )
    assert torch.autograd.gradcheck(lambda value: edges_loss(value, target, weight, config), (logits,))
    assert torch.isfinite(edges_loss(logits, torch.zeros_like(target), weight, EdgesLossConfig()))
    assert float(edges_loss(logits, target, torch.zeros_like(weight), config).detach()) == 0


def test_score_tolerates_small_shifts_only() -> None:
    target = torch.zeros(1, 96, 128)
    target[:, 40] = 1
    weight = torch.ones_like(target)

    def score(predicted: torch.Tensor) -> float:
        found = EdgesScore(torch.device("cpu"))
        found.update({"edges": predicted}, target, weight)
        found.update({"edges": predicted}, target, weight)
        result = found.compute()
        assert result is not None and result[0] == {"edges_f": result[1]}
        return result[1]

    assert score(target) == 1 and score(0.3 * target) == pytest.approx(1)
    assert score(target.roll(1, dims=1)) == 1 and score(target.roll(4, dims=1)) == 0
    assert score(torch.zeros_like(target)) == 0
    assert score(torch.ones_like(target)) < 0.1
    assert EdgesScore(torch.device("cpu")).compute() is None


def test_head_outputs_probabilities_at_any_size() -> None:
    head = EdgesHead(8, 8)
    raw = 5 * torch.randn(2, 1, 12, 16)
    outputs = head.postprocess(raw, PostprocessContext((50, 70), (48, 64), {}))
    edges, confidence = outputs["edges"], outputs["edges_confidence"]
    assert edges.shape == confidence.shape == (2, 50, 70) and edges.min() >= 0 and edges.max() <= 1
    torch.testing.assert_close(confidence, torch.maximum(edges, 1 - edges))


def test_label_error_separates_wrong_from_correct_labels() -> None:
    head = EdgesHead(8, 8)
    target = torch.zeros(3, 24, 24)
    target[0, 10] = target[1, :, 4] = target[2, 10] = 1
    raw = torch.where(target[:1] > 0, 1.0, -3.0).expand(3, 1, 24, 24)
    found = head.label_error(raw, target, torch.ones_like(target))
    assert found[0] == found[2] and found[1] > 4 * found[0]


def test_a_student_learns_edges() -> None:
    torch.manual_seed(0)
    config = load_config(StudentConfig, {"size_hw": [64, 64]})
    spec = build_spec(config, name="x", tasks=(Task.DEPTH, Task.EDGES))
    assert spec.edges == EdgesSpec() and spec.tasks == (Task.DEPTH, Task.EDGES)
    student = build_student(config, spec).train()
    lines = torch.from_numpy(EDGES.resize(stored_lines(), (64, 64)))[None].repeat(2, 1, 1)
    stored = {
        "image": lines[..., None].repeat(1, 1, 1, 3),
        "depth": torch.full((2, 64, 64), 9000, dtype=torch.int32).to(torch.uint16),
        "edges": lines,
        "depth_confidence": torch.full((2, 64, 64), 255, dtype=torch.uint8),
        "edges_confidence": (lines != IGNORE).to(torch.uint8) * 255,
        "quality": torch.ones(2, 2),
    }
    batch = decode_batch(stored, spec.tasks, DepthKind.METRIC)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    history = []
    for _ in range(30):
        losses = student_losses(student, student.raw(batch.image), batch, LossConfig())
        assert [name for name in losses if name.startswith("edges")] == ["edges_cross_entropy"]
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        history.append(float(losses["edges_cross_entropy"].detach()))
    assert history[-1] < 0.5 * history[0]
