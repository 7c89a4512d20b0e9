"""Normals head, and its losses against the same formulas in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.config.loss import NormalsLossConfig
from distill.students.tasks.normals import angmf_nll, angmf_probability_within, normals_loss

SHAPE = (2, 9, 12)
RNG = np.random.default_rng(0)
WEIGHT = RNG.uniform(0, 1, SHAPE) * (RNG.uniform(0, 1, SHAPE) > 0.3)


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)


def mean(error: np.ndarray, weight: np.ndarray) -> float:
    return float((error * weight).sum() / weight.sum())


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_normals_terms() -> None:
    vector, target = unit(RNG.normal(size=(2, 3, 9, 12))), unit(RNG.normal(size=(2, 3, 9, 12)))
    kappa = RNG.uniform(0.1, 20, SHAPE)
    cosine = (vector * target).sum(axis=1)
    angle = np.arccos(cosine)
    nll = -np.log(kappa**2 + 1) + kappa * angle + np.log(1 + np.exp(-kappa * np.pi))
    inputs = tensor(vector), tensor(kappa), tensor(target), tensor(WEIGHT)
    terms = normals_loss(*inputs, NormalsLossConfig(weight=2.0, confidence=0.5))
    assert float(terms["cosine"]) == pytest.approx(2 * mean(1 - cosine, WEIGHT))
    assert float(terms["confidence"]) == pytest.approx(0.5 * mean(nll, WEIGHT))


def test_angmf_has_a_finite_slope_at_no_error() -> None:
    cosine = torch.ones(1, 1, 1, requires_grad=True)
    angmf_nll(cosine, torch.full((1, 1, 1), 9.0)).sum().backward()
    assert cosine.grad is not None and torch.isfinite(cosine.grad).all()


def test_normals_confidence_is_the_integral_of_its_density() -> None:
    for kappa in (0.05, 1.0, 8.0, 40.0):
        theta = torch.linspace(0, torch.pi, 200_001, dtype=torch.float64)
        density = torch.exp(-kappa * theta) * torch.sin(theta)
        wanted = density[theta < 0.4].sum() / density.sum()
        found = angmf_probability_within(torch.tensor(kappa, dtype=torch.float64), 0.4)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0.0)
