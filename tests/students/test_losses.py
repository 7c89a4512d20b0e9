"""Losses against the same formulas, written once more in float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distill.config.loss import DepthLossConfig, NormalsLossConfig, SemanticLossConfig
from distill.errors import UsageError
from distill.students.losses.depth import depth_loss, gradient_matching, silog
from distill.students.losses.normals import angmf_nll, consistency_loss, normals_loss, normals_of_depth
from distill.students.losses.reduction import trim_worst, weighted_mean
from distill.students.losses.semantic import balance, dice, semantic_loss, soft_divergence
from distill.tasks import DepthKind, unwarp_depth, warp_depth

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


def test_trimming_drops_the_worst_share_of_each_image() -> None:
    error = torch.arange(20.0).view(2, 2, 5)
    weight = torch.ones(2, 2, 5)
    weight[0, 0, :2] = 0  # the two smallest errors of the first image do not count
    kept = trim_worst(error, weight, 0.25)
    assert kept[0].flatten().tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert kept[1].flatten().tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert trim_worst(error, weight, 0.0) is weight
    assert float(weighted_mean(error, torch.zeros_like(weight))) == 0
    assert not trim_worst(error, torch.zeros_like(weight), 0.5).any()


def test_trimming_makes_wrong_labels_harmless() -> None:
    target = tensor(TARGET).clone()
    target[:, :2, :5] = 0.0  # a tenth of the labels is wrong
    value = tensor(TARGET)
    args = (tensor(SPREAD), target, torch.ones(SHAPE, dtype=torch.float64), DepthLossConfig(), DepthKind.METRIC)
    assert float(depth_loss(value, *args)["l1"]) > 0.1
    assert float(depth_loss(value, *args, trim_fraction=0.1)["l1"]) == 0


def test_balance_makes_classes_weigh_alike() -> None:
    target = torch.tensor([[[0, 0, 0, 0, 0, 0, 1, 1]]])
    weight = torch.full((1, 1, 8), 0.5)
    equal = balance(weight, target, 3, 1.0)
    torch.testing.assert_close(equal[target == 0].sum(), equal[target == 1].sum())
    torch.testing.assert_close(balance(weight, target, 3, 0.0), weight)


def test_normals_of_a_plane_are_its_own() -> None:
    """A floor 1.5 m below a camera that looks ahead, and a wall that is turned by 30 degrees."""
    height, width, fov_deg = 80, 120, 70.0
    slope = math.tan(math.radians(fov_deg) / 2)
    x = (((torch.arange(width) + 0.5) / width * 2 - 1) * slope).expand(height, width)
    y = ((1 - (torch.arange(height) + 0.5) / height * 2) * slope * height / width).view(-1, 1).expand(height, width)
    for normal, offset in ((torch.tensor([0.0, 1.0, 0.0]), 1.5), (torch.tensor([0.5, 0.0, math.sqrt(0.75)]), 3.0)):
        depth_m = offset / -(normal[0] * x + normal[1] * y - normal[2])  # n . (d x, d y, -d) = -offset
        seen = depth_m > 0
        found = normals_of_depth(depth_m.clamp(min=0.01)[None], fov_deg)[0]
        inner = seen[2:, 1:-1] & seen[:-2, 1:-1] & seen[1:-1, 2:] & seen[1:-1, :-2]
        assert inner.any()
        torch.testing.assert_close(found[:, inner], normal[:, None].expand(-1, int(inner.sum())), atol=1e-4, rtol=0.0)
        warped = warp_depth(depth_m.clamp(min=0.01))[None]
        everywhere = normal.view(1, 3, 1, 1).expand(1, 3, height, width)
        assert consistency_loss(warped, everywhere, seen.float()[None], fov_deg) < 1e-5
        assert consistency_loss(warped, -everywhere, seen.float()[None], fov_deg) > 1.9


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
    # The student that says what the teacher says is at no distance; a teacher below chance counts as chance.
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
    terms = semantic_loss(
        tensor(logits), tensor(target), tensor(WEIGHT), config, semantic_confidence=semantic_confidence
    )
    wanted = mean(soft_divergence(tensor(logits), tensor(target), semantic_confidence, 2.0).numpy(), WEIGHT)
    assert float(terms["soft"]) == pytest.approx(0.5 * wanted)
    assert "soft" not in semantic_loss(tensor(logits), tensor(target), tensor(WEIGHT), config)
    assert "soft" not in semantic_loss(
        tensor(logits), tensor(target), tensor(WEIGHT), SemanticLossConfig(), semantic_confidence=semantic_confidence
    )
