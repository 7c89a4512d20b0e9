"""Semantic losses against the same formulas in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.config.loss import SemanticLossConfig
from distill.students.tasks.semantic import balance, dice, semantic_loss, soft_divergence

SHAPE = (2, 9, 12)
RNG = np.random.default_rng(0)
WEIGHT = RNG.uniform(0, 1, SHAPE) * (RNG.uniform(0, 1, SHAPE) > 0.3)


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)


def mean(error: np.ndarray, weight: np.ndarray) -> float:
    return float((error * weight).sum() / weight.sum())


def test_semantic_terms() -> None:
    logits = RNG.normal(size=(2, 4, 9, 12))
    target = RNG.integers(0, 3, SHAPE)
    target[0, 0] = 255
    weight = np.where(target == 255, 0, WEIGHT)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = np.take_along_axis(probability, np.where(target == 255, 0, target)[:, None], axis=1)[:, 0]
    overlaps = []
    for k in range(3):  # class 3 is not in the batch and must not count
        is_k = (target == k) * weight
        overlaps.append(1 - 2 * (probability[:, k] * is_k).sum() / ((probability[:, k] * weight).sum() + is_k.sum()))
    config = SemanticLossConfig(weight=1.5, dice=0.3)
    terms = semantic_loss(tensor(logits), tensor(target), tensor(WEIGHT), config)
    assert float(terms["cross_entropy"]) == pytest.approx(1.5 * mean(-np.log(own), weight))
    assert float(terms["dice"]) == pytest.approx(0.3 * float(np.mean(overlaps)), rel=1e-5)


def test_perfect_dice_is_zero() -> None:
    target = torch.randint(0, 3, SHAPE)
    probability = torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).double()
    assert float(dice(probability, target, torch.ones(SHAPE, dtype=torch.float64))) == pytest.approx(0, abs=1e-6)


def test_balance_makes_classes_weigh_alike() -> None:
    target = torch.tensor([[[0, 0, 0, 0, 0, 0, 1, 1]]])
    weight = torch.full((1, 1, 8), 0.5)
    equal = balance(weight, target, 3, 1.0)
    torch.testing.assert_close(equal[target == 0].sum(), equal[target == 1].sum())
    torch.testing.assert_close(balance(weight, target, 3, 0.0), weight)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_divergence_is_that_of_two_distributions(temperature: float) -> None:
    logits, target = RNG.normal(size=(2, 4, 9, 12)), RNG.integers(0, 4, SHAPE)
    semantic_confidence = RNG.uniform(0.3, 0.99, SHAPE)
    teacher = np.repeat((1 - semantic_confidence)[:, None] / 3, 4, axis=1)
    np.put_along_axis(teacher, target[:, None], semantic_confidence[:, None], axis=1)
    teacher = teacher ** (1 / temperature)
    teacher /= teacher.sum(axis=1, keepdims=True)
    student = np.exp(logits / temperature)
    student /= student.sum(axis=1, keepdims=True)
    wanted = temperature**2 * (teacher * np.log(teacher / student)).sum(axis=1)
    found = soft_divergence(tensor(logits), tensor(target), tensor(semantic_confidence), temperature)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9)
    # Equal distributions have no divergence; a confidence below chance counts as chance.
    same = soft_divergence(
        tensor(np.log(teacher) * temperature), tensor(target), tensor(semantic_confidence), temperature
    )
    assert float(same.abs().max()) < 1e-9
    assert (
        float(soft_divergence(torch.zeros(1, 4, 1, 1), torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1), 2.0)) < 1e-6
    )


def test_soft_labels_are_a_term_of_their_own() -> None:
    logits, target = RNG.normal(size=(2, 4, 9, 12)), RNG.integers(0, 4, SHAPE)
    semantic_confidence = tensor(RNG.uniform(0.3, 0.99, SHAPE))
    config = SemanticLossConfig(soft=0.5, temperature=2.0)
    terms = semantic_loss(tensor(logits), tensor(target), tensor(WEIGHT), config, confidence=semantic_confidence)
    wanted = mean(soft_divergence(tensor(logits), tensor(target), semantic_confidence, 2.0).numpy(), WEIGHT)
    assert float(terms["soft"]) == pytest.approx(0.5 * wanted)
    assert "soft" not in semantic_loss(tensor(logits), tensor(target), tensor(WEIGHT), config)
    assert "soft" not in semantic_loss(
        tensor(logits), tensor(target), tensor(WEIGHT), SemanticLossConfig(), confidence=semantic_confidence
    )
