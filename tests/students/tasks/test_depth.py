"""Depth head, and its losses against the same formulas in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.config.loss import DepthLossConfig
from distill.errors import UsageError
from distill.students.losses.depth import depth_loss, gradient_matching, silog
from distill.students.tasks.base import PostprocessContext
from distill.students.tasks.depth import DepthHead
from distill.tasks import FAR_DEPTH_M, FAR_WARP, DepthKind, unwarp_depth, warp_depth

SHAPE = (2, 9, 12)
RNG = np.random.default_rng(0)
VALUE, TARGET = RNG.uniform(0.1, 0.9, SHAPE), RNG.uniform(0.1, 0.9, SHAPE)
SPREAD = RNG.uniform(0.01, 0.2, SHAPE)
WEIGHT = RNG.uniform(0, 1, SHAPE) * (RNG.uniform(0, 1, SHAPE) > 0.3)


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)


def mean(error: np.ndarray, weight: np.ndarray) -> float:
    return float((error * weight).sum() / weight.sum())


def gradient_in_numpy(residual: np.ndarray, weight: np.ndarray) -> float:
    total = 0.0
    for step in (1, 2, 4, 8):
        r, w = residual[:, ::step, ::step], weight[:, ::step, ::step]
        total += mean(np.abs(np.diff(r, axis=2)), np.minimum(w[:, :, 1:], w[:, :, :-1]))
        total += mean(np.abs(np.diff(r, axis=1)), np.minimum(w[:, 1:], w[:, :-1]))
    return total


def test_metric_depth_terms() -> None:
    config = DepthLossConfig(l1=2.0, silog=3.0, abs_rel=0.6, gradient=0.7, confidence=0.1)
    terms = depth_loss(tensor(VALUE), tensor(SPREAD), tensor(TARGET), tensor(WEIGHT), config, DepthKind.METRIC)
    error = np.log(unwarp_depth(VALUE)) - np.log(unwarp_depth(TARGET))
    per_image = [np.sqrt(mean(e * e, w) - 0.5 * mean(e, w) ** 2 + 1e-6) for e, w in zip(error, WEIGHT, strict=True)]
    totals = WEIGHT.sum(axis=(1, 2))
    wanted = {
        "l1": 2 * mean(np.abs(VALUE - TARGET), WEIGHT),
        "silog": 3 * float((per_image * totals).sum() / totals.sum()),
        "abs_rel": 0.6 * mean(np.minimum(np.abs(unwarp_depth(VALUE) / unwarp_depth(TARGET) - 1), 9), WEIGHT),
        "gradient": 0.7 * gradient_in_numpy(VALUE - TARGET, WEIGHT),
        "confidence": 0.1 * mean(np.abs(VALUE - TARGET) / SPREAD + np.log(SPREAD), WEIGHT),
    }
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(wanted, rel=1e-5)


def test_relative_depth_terms() -> None:
    def normalize(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        # torch's nanmedian takes the lower of the two middle values.
        ordered = np.sort(x[w > 0])
        middle = ordered[(len(ordered) - 1) // 2]
        return (x - middle) / mean(np.abs(x - middle), w)

    residual = np.stack([normalize(v, w) - normalize(t, w) for v, t, w in zip(VALUE, TARGET, WEIGHT, strict=True)])
    config = DepthLossConfig(ssi=1.5, gradient=0.5)
    terms = depth_loss(
        tensor(VALUE), tensor(SPREAD), tensor(TARGET), tensor(WEIGHT), config, DepthKind.AFFINE_INVARIANT_DISPARITY
    )
    assert float(terms["ssi"]) == pytest.approx(1.5 * mean(np.abs(residual), WEIGHT), rel=1e-6)
    assert float(terms["gradient"]) == pytest.approx(0.5 * gradient_in_numpy(residual, WEIGHT), rel=1e-6)


def test_a_relative_loss_does_not_see_scale_and_shift() -> None:
    value, weight = tensor(VALUE), tensor(WEIGHT)
    config = DepthLossConfig()
    moved = 0.2 + 0.4 * tensor(TARGET)
    depth_kind = DepthKind.SCALE_INVARIANT
    one = depth_loss(value, tensor(SPREAD), tensor(TARGET), weight, config, depth_kind)
    two = depth_loss(value, tensor(SPREAD), moved, weight, config, depth_kind)
    assert float(one["ssi"]) == pytest.approx(float(two["ssi"]), rel=1e-6)


def test_the_sky_is_learned_on_the_warp_only() -> None:
    target = torch.full(SHAPE, 0.99, dtype=torch.float64)
    config, spread = DepthLossConfig(l1=1.0), tensor(SPREAD)
    terms = depth_loss(tensor(VALUE), spread, target, tensor(WEIGHT), config, DepthKind.METRIC)
    assert float(terms["l1"]) == pytest.approx(mean(np.abs(VALUE - 0.99), WEIGHT))
    assert float(terms["silog"]) == 0 and float(terms["gradient"]) == 0


def test_a_metric_loss_on_relative_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="kind=metric cannot be used on affine_invariant_disparity labels"):
        depth_loss(
            tensor(VALUE),
            tensor(SPREAD),
            tensor(TARGET),
            tensor(WEIGHT),
            DepthLossConfig(kind="metric"),
            DepthKind.AFFINE_INVARIANT_DISPARITY,
        )


def test_no_weight_gives_no_loss_and_no_gradient() -> None:
    value = tensor(VALUE).requires_grad_()
    nothing = torch.zeros(SHAPE, dtype=torch.float64)
    for depth_kind in (DepthKind.METRIC, DepthKind.SCALE_INVARIANT):
        terms = depth_loss(value, tensor(SPREAD), tensor(TARGET), nothing, DepthLossConfig(), depth_kind)
        torch.stack(list(terms.values())).sum().backward()
        assert all(float(term.detach()) == 0 for term in terms.values())
    assert value.grad is not None and not value.grad.any()


def test_equal_maps_have_finite_gradients() -> None:
    value = tensor(TARGET).clone().requires_grad_()
    weight = tensor(WEIGHT)
    (silog(value, tensor(TARGET), weight) + gradient_matching(value - tensor(TARGET), weight)).backward()
    assert value.grad is not None and torch.isfinite(value.grad).all()


def test_trimming_makes_wrong_labels_harmless() -> None:
    target = tensor(TARGET).clone()
    target[:, :2, :5] = 0.0  # a tenth of the labels is wrong
    value = tensor(TARGET)
    args = (tensor(SPREAD), target, torch.ones(SHAPE, dtype=torch.float64), DepthLossConfig(), DepthKind.METRIC)
    assert float(depth_loss(value, *args)["l1"]) > 0.1
    assert float(depth_loss(value, *args, trim_fraction=0.1)["l1"]) == 0


def test_depth_head_reaches_its_ends() -> None:
    metric, relative = DepthHead(8, 8, DepthKind.METRIC), DepthHead(8, 8, DepthKind.AFFINE_INVARIANT_DISPARITY)
    raw = torch.tensor([-40.0, 0.0, 40.0]).view(1, 1, 1, 3).repeat(1, 2, 2, 1)
    meters = metric.postprocess(raw, PostprocessContext((2, 3), (2, 3), {}))["depth"]
    wanted = torch.tensor([0.0, float(unwarp_depth(FAR_WARP / 2)), FAR_DEPTH_M])
    torch.testing.assert_close(meters[0, 0], wanted, atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(
        relative.postprocess(raw, PostprocessContext((2, 3), (2, 3), {}))["depth"][0, 0], torch.tensor([0.0, 0.5, 1.0])
    )


def test_depth_confidence_is_the_laplace_mass_within_a_quarter() -> None:
    head = DepthHead(8, 8, DepthKind.METRIC)
    raw = torch.tensor([0.3, -1.0]).view(1, 2, 1, 1)
    value, spread = (float(part) for part in head.activate(raw))
    meters = unwarp_depth(value)
    # The slope of the warp makes it a linear tolerance; a tenth of the way to the exact one.
    tolerance = (warp_depth(meters * 1.001) - value) / 0.001 * 0.25
    wanted = 1 - torch.exp(torch.tensor(-tolerance / spread))
    torch.testing.assert_close(
        head.postprocess(raw, PostprocessContext((1, 1), (1, 1), {}))["depth_confidence"].squeeze(),
        wanted,
        atol=2e-3,
        rtol=0.0,
    )


def test_label_error_separates_wrong_depth_from_hard_photos() -> None:
    torch.manual_seed(0)
    head = DepthHead(4, 4, DepthKind.METRIC)
    scene = 0.3 + 0.3 * torch.linspace(0, 1, 24).repeat(24, 1)
    scene[8:16, 4:10] = 0.2
    raw = torch.logit(scene / FAR_WARP).expand(4, 2, 24, 24)
    hard = scene + 0.1  # everything a little farther than predicted
    wrong = [torch.full_like(scene, float(scene.median())), scene.roll(4, dims=1), 0.75 - scene]
    labels = torch.stack([hard, *wrong])
    errors = (labels - scene).abs().flatten(1).mean(dim=1)
    found = head.label_error(raw, labels, torch.ones(4, 24, 24))
    assert errors[1] < errors[0] and errors[2] < errors[0] * 1.1  # the error alone would not separate them
    assert (found[1:] > 2 * found[0]).all()
    assert head.label_error(raw, labels, torch.zeros(4, 24, 24)).tolist() == [0, 0, 0, 0]
