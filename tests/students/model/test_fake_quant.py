"""Quantization-aware training: rounding, gradients, and unchanged parameters."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from distill.students.model.fake_quant import (
    FakeQuantConv2d,
    enable_fake_quant,
    fake_quant_activations,
    fake_quant_weights,
)


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()


def test_activations_are_rounded_to_256_levels_with_zero() -> None:
    values = torch.linspace(-1.0, 3.0, 1001)
    rounded = fake_quant_activations(values)
    step = 4.0 / 255
    assert len(rounded.unique()) <= 256 and 0.0 in rounded
    assert float((rounded - values).abs().max()) <= 0.51 * step
    assert torch.equal(fake_quant_activations(torch.zeros(5)), torch.zeros(5))
    assert float(fake_quant_activations(torch.tensor([2.0, 3.0])).min()) == pytest.approx(
        2.0, abs=3 / 255
    )  # ranges start at 0


def test_each_channel_of_weights_has_its_own_scale() -> None:
    weight = torch.randn(4, 3, 3, 3) * torch.tensor([1e-4, 1.0, 100.0, 0.0]).view(4, 1, 1, 1)
    rounded = fake_quant_weights(weight)
    largest = weight.flatten(1).abs().amax(1)
    assert ((rounded - weight).abs().flatten(1).amax(1) <= 0.51 * largest / 127).all()
    assert torch.equal(rounded[3], weight[3])


def test_fake_quant_keeps_parameter_names_and_copies() -> None:
    plain, rounded = network(), network()
    assert enable_fake_quant(rounded) == 2 and isinstance(rounded[0], FakeQuantConv2d)
    assert enable_fake_quant(rounded) == 0  # they are already
    assert list(plain.state_dict()) == list(rounded.state_dict())
    image = torch.rand(2, 3, 8, 8)
    apart = (rounded(image) - plain(image)).abs().max()
    assert 0 < apart < 0.05
    twin = copy.deepcopy(rounded)
    with torch.no_grad():
        twin[4].weight.zero_()
    assert float(twin(image).std(dim=0).max()) == 0 and float(rounded(image).std(dim=0).max()) > 0


def test_gradients_pass_straight_through() -> None:
    rounded = network()
    enable_fake_quant(rounded)
    image = torch.rand(2, 3, 8, 8, requires_grad=True)
    rounded(image).square().sum().backward()
    for parameter in (rounded[0].weight, rounded[4].weight, image):
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.any()
