from __future__ import annotations

import torch
from torch.nn import functional as F

from distill.recipe.training import AugmentRecipe
from distill.students.augment import augment, crop, flip, recolour
from distill.students.targets import Batch
from distill.tasks import FAR_WARP, Gauge, Task, unwarp_depth

ALL = torch.tensor([True, True, True])


def batch() -> Batch:
    torch.manual_seed(0)
    weights = {task: torch.rand(3, 8, 12) for task in (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)}
    return Batch(
        image=torch.rand(3, 3, 8, 12) * 255,
        weights=weights,
        depth=torch.rand(3, 8, 12) * 0.9,
        normals=F.normalize(torch.randn(3, 3, 8, 12), dim=1),
        semantic=torch.randint(0, 5, (3, 8, 12)),
    )


def assert_same(one: Batch, two: Batch, *, tolerance: float = 0.0) -> None:
    for name in ("image", "depth", "normals", "semantic"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=tolerance, rtol=0.0)
    for task in one.weights:
        torch.testing.assert_close(one.weights[task], two.weights[task], atol=tolerance, rtol=0.0)


def test_flipping_twice_is_the_identity() -> None:
    assert_same(flip(flip(batch(), ALL), ALL), batch())


def test_a_flip_mirrors_everything_and_negates_x() -> None:
    before, after = batch(), flip(batch(), torch.tensor([True, False, True]))
    assert torch.equal(after.image[0], before.image[0].flip(-1)) and torch.equal(after.image[1], before.image[1])
    assert torch.equal(after.normals[0, 0], -before.normals[0, 0].flip(-1))
    assert torch.equal(after.normals[0, 1:], before.normals[0, 1:].flip(-1))
    assert torch.equal(after.normals[1], before.normals[1])
    assert torch.equal(after.semantic[2], before.semantic[2].flip(-1))
    assert torch.equal(after.weights[Task.DEPTH][0], before.weights[Task.DEPTH][0].flip(-1))


def test_no_zoom_is_the_identity() -> None:
    same = crop(batch(), torch.ones(3), torch.rand(3, 2), Gauge.METRIC)
    assert_same(same, batch(), tolerance=1e-3)


def test_a_zoom_of_two_shows_a_quarter_twice_as_near() -> None:
    before = batch()
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])  # (down, right)
    after = crop(before, torch.full((3,), 2.0), corners, Gauge.METRIC)
    quarters = (before.semantic[0, :4, :6], before.semantic[1, 4:, 6:], before.semantic[2, :4, 6:])
    for found, quarter in zip(after.semantic, quarters, strict=True):
        assert torch.equal(found[::2, ::2], quarter) and torch.equal(found[1::2, 1::2], quarter)
    metres = unwarp_depth(after.depth[0, ::2, ::2])
    torch.testing.assert_close(metres, unwarp_depth(before.depth[0, :4, :6]) / 2, atol=1e-4, rtol=1e-4)
    assert torch.equal(after.normals[0, :, ::2, ::2], before.normals[0, :, :4, :6])


def test_a_zoom_leaves_the_sky_and_relative_depth_alone() -> None:
    before = batch()
    sky = Batch(image=before.image, weights=before.weights, depth=torch.full_like(before.depth, FAR_WARP))
    zoom, corner = torch.full((3,), 1.5), torch.rand(3, 2)
    assert torch.equal(crop(sky, zoom, corner, Gauge.METRIC).depth, sky.depth)
    relative = crop(before, zoom, corner, Gauge.AFFINE_INVARIANT_DISPARITY).depth
    assert set(relative.flatten().tolist()) <= set(before.depth.flatten().tolist())


def test_colours_change_the_photo_only_and_repeat_by_seed() -> None:
    recipe = AugmentRecipe(flip=0.0, zoom=1.0)
    one = augment(batch(), recipe, Gauge.METRIC, torch.Generator().manual_seed(3))
    two = augment(batch(), recipe, Gauge.METRIC, torch.Generator().manual_seed(3))
    other = augment(batch(), recipe, Gauge.METRIC, torch.Generator().manual_seed(4))
    assert torch.equal(one.image, two.image) and not torch.equal(one.image, other.image)
    assert not torch.equal(one.image, batch().image)
    assert_same(one.with_image(batch().image), batch())
    assert one.image.min() >= 0 and one.image.max() <= 255


def test_colours_can_be_taken_away() -> None:
    recipe = AugmentRecipe(brightness=0, contrast=0, saturation=0, gray=1.0, noise=0)
    image = batch().image
    gray = recolour(image, recipe, torch.Generator().manual_seed(0))
    luma = 0.299 * image[:, 0] + 0.587 * image[:, 1] + 0.114 * image[:, 2]
    for channel in range(3):
        torch.testing.assert_close(gray[:, channel], luma, atol=1e-2, rtol=1e-4)
    untouched = recolour(image, recipe.model_copy(update={"gray": 0.0}), torch.Generator().manual_seed(0))
    torch.testing.assert_close(untouched, image, atol=1e-2, rtol=1e-4)
