"""Labels that are wrong as a whole stand out from right ones of hard photos."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.students.data.batch import Batch
from distill.students.losses.label_error import correlation, label_error
from distill.students.model.heads import DepthHead
from distill.tasks import FAR_WARP, DepthKind, Task


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 2.0), st.floats(-3, 3))
def test_correlation_is_pearsons_and_forgives_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, 1, 1, 6, 7))
    weight = (rng.uniform(size=(1, 6, 7)) > 0.4).astype(float)
    used = weight[0] > 0
    found = correlation(torch.from_numpy(one), torch.from_numpy(scale * other + shift), torch.from_numpy(weight))
    np.testing.assert_allclose(found[0], np.corrcoef(one[0, 0][used], other[0, 0][used])[0, 1], atol=1e-4)


def test_a_flat_map_and_no_map_have_no_shape() -> None:
    maps, flat = torch.randn(1, 3, 6, 7), torch.ones(1, 3, 6, 7)
    ones = torch.ones(1, 6, 7)
    assert float(correlation(maps, flat, ones)) == 0 and float(correlation(maps, maps, 0 * ones)) == 0
    assert float(correlation(maps, maps, ones)) > 0.999


def test_flat_and_shifted_depth_lie_above_a_hard_photo_whose_error_is_as_large() -> None:
    torch.manual_seed(0)
    head = DepthHead(4, 4, DepthKind.METRIC)
    scene = 0.3 + 0.3 * torch.linspace(0, 1, 24).repeat(24, 1)
    scene[8:16, 4:10] = 0.2
    raw = torch.logit(scene / FAR_WARP).expand(4, 2, 24, 24)
    hard = scene + 0.1  # everything a little farther than the student thinks
    wrong = [torch.full_like(scene, float(scene.median())), scene.roll(4, dims=1), 0.75 - scene]
    labels = torch.stack([hard, *wrong])
    batch = Batch(image=torch.zeros(4, 3, 24, 24), weights={Task.DEPTH: torch.ones(4, 24, 24)}, depth=labels)
    errors = (labels - scene).abs().flatten(1).mean(dim=1)
    found = label_error(head, raw, batch, batch.weights[Task.DEPTH])
    assert errors[1] < errors[0] and errors[2] < errors[0] * 1.1  # the error alone would not tell
    assert (found[1:] > 2 * found[0]).all()
    assert label_error(head, raw, batch, torch.zeros(4, 24, 24)).tolist() == [0, 0, 0, 0]
