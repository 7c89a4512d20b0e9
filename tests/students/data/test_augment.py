from __future__ import annotations

import torch
from torch.nn import functional as F

from distill.config.train import AugmentConfig
from distill.students.data.augment import augment, crop, flip, recolor
from distill.students.data.batch_targets import Batch
from distill.tasks import FAR_WARP, DepthKind, Task, unwarp_depth

ALL = torch.tensor([True, True, True])


def batch() -> Batch:
    torch.manual_seed(0)
    weights = {task: torch.rand(3, 8, 12) for task in (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)}
    return Batch(
        image=torch.rand(3, 3, 8, 12) * 255,
        targets={
            Task.DEPTH: torch.rand(3, 8, 12) * 0.9,
            Task.NORMALS: F.normalize(torch.randn(3, 3, 8, 12), dim=1),
            Task.SEMANTIC: torch.randint(0, 5, (3, 8, 12)),
        },
        weights=weights,
    )


def assert_same(one: Batch, two: Batch, *, tolerance: float = 0.0) -> None:
    torch.testing.assert_close(one.image, two.image, atol=tolerance, rtol=0.0)
    for task in one.weights:
        torch.testing.assert_close(one.targets[task], two.targets[task], atol=tolerance, rtol=0.0)
        torch.testing.assert_close(one.weights[task], two.weights[task], atol=tolerance, rtol=0.0)


def test_flipping_twice_is_the_identity() -> None:
    assert_same(flip(flip(batch(), ALL), ALL), batch())


def test_a_flip_mirrors_everything_and_negates_x() -> None:
    before, after = batch(), flip(batch(), torch.tensor([True, False, True]))
    assert torch.equal(after.image[0], before.image[0].flip(-1)) and torch.equal(after.image[1], before.image[1])
    assert torch.equal(after.targets[Task.NORMALS][0, 0], -before.targets[Task.NORMALS][0, 0].flip(-1))
    assert torch.equal(after.targets[Task.NORMALS][0, 1:], before.targets[Task.NORMALS][0, 1:].flip(-1))
    assert torch.equal(after.targets[Task.NORMALS][1], before.targets[Task.NORMALS][1])
    assert torch.equal(after.targets[Task.SEMANTIC][2], before.targets[Task.SEMANTIC][2].flip(-1))
    assert torch.equal(after.weights[Task.DEPTH][0], before.weights[Task.DEPTH][0].flip(-1))


def test_no_zoom_is_the_identity() -> None:
    same = crop(batch(), torch.ones(3), torch.rand(3, 2), DepthKind.METRIC)
    assert_same(same, batch(), tolerance=1e-3)


def test_a_zoom_of_two_shows_a_quarter_twice_as_near() -> None:
    before = batch()
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])  # (down, right)
    after = crop(before, torch.full((3,), 2.0), corners, DepthKind.METRIC)
    quarters = (
        before.targets[Task.SEMANTIC][0, :4, :6],
        before.targets[Task.SEMANTIC][1, 4:, 6:],
        before.targets[Task.SEMANTIC][2, :4, 6:],
    )
    for found, quarter in zip(after.targets[Task.SEMANTIC], quarters, strict=True):
        assert torch.equal(found[::2, ::2], quarter) and torch.equal(found[1::2, 1::2], quarter)
    meters = unwarp_depth(after.targets[Task.DEPTH][0, ::2, ::2])
    torch.testing.assert_close(meters, unwarp_depth(before.targets[Task.DEPTH][0, :4, :6]) / 2, atol=1e-4, rtol=1e-4)
    assert torch.equal(after.targets[Task.NORMALS][0, :, ::2, ::2], before.targets[Task.NORMALS][0, :, :4, :6])


def test_a_zoom_leaves_the_sky_and_relative_depth_alone() -> None:
    before = batch()
    sky = Batch(before.image, {Task.DEPTH: torch.full_like(before.targets[Task.DEPTH], FAR_WARP)}, before.weights)
    zoom, corner = torch.full((3,), 1.5), torch.rand(3, 2)
    assert torch.equal(crop(sky, zoom, corner, DepthKind.METRIC).targets[Task.DEPTH], sky.targets[Task.DEPTH])
    relative = crop(before, zoom, corner, DepthKind.AFFINE_INVARIANT_DISPARITY).targets[Task.DEPTH]
    assert set(relative.flatten().tolist()) <= set(before.targets[Task.DEPTH].flatten().tolist())


def test_colors_change_the_photo_only_and_repeat_by_seed() -> None:
    config = AugmentConfig(flip=0.0, zoom=1.0)
    one = augment(batch(), config, DepthKind.METRIC, torch.Generator().manual_seed(3))
    two = augment(batch(), config, DepthKind.METRIC, torch.Generator().manual_seed(3))
    other = augment(batch(), config, DepthKind.METRIC, torch.Generator().manual_seed(4))
    assert torch.equal(one.image, two.image) and not torch.equal(one.image, other.image)
    assert not torch.equal(one.image, batch().image)
    assert_same(one.with_image(batch().image), batch())
    assert one.image.min() >= 0 and one.image.max() <= 255


def test_colors_can_be_taken_away() -> None:
    config = AugmentConfig(brightness=0, contrast=0, saturation=0, gray=1.0, noise=0)
    image = batch().image
    gray = recolor(image, config, torch.Generator().manual_seed(0))
    luma = 0.299 * image[:, 0] + 0.587 * image[:, 1] + 0.114 * image[:, 2]
    for channel in range(3):
        torch.testing.assert_close(gray[:, channel], luma, atol=1e-2, rtol=1e-4)
    untouched = recolor(image, config.model_copy(update={"gray": 0.0}), torch.Generator().manual_seed(0))
    torch.testing.assert_close(untouched, image, atol=1e-2, rtol=1e-4)


def test_a_share_is_cut_out_at_full_resolution() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 96, 128) * 255
    before = Batch(image, {Task.DEPTH: torch.rand(2, 96, 128) * 0.9}, {Task.DEPTH: torch.ones(2, 96, 128)})
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    after = crop(before, torch.ones(2), corners, DepthKind.METRIC, share=0.66)
    assert after.image.shape[2:] == (64, 96) == after.targets[Task.DEPTH].shape[1:]
    torch.testing.assert_close(after.image[0], image[0, :, :64, :96], atol=1e-2, rtol=0.0)
    torch.testing.assert_close(
        after.targets[Task.DEPTH][1], before.targets[Task.DEPTH][1, 32:, 32:], atol=1e-5, rtol=0.0
    )  # no zoom: meters stay


def test_erase_blanks_a_rectangle_of_the_photo_only() -> None:
    made = batch()
    still = AugmentConfig(flip=0, zoom=1, brightness=0, contrast=0, saturation=0, gray=0, noise=0, erase=1)
    erased = augment(made, still, DepthKind.METRIC, torch.Generator().manual_seed(0))
    blank = (erased.image - made.image).abs().amax(dim=1) > 0.01
    for photo, where, original in zip(erased.image, blank, made.image, strict=True):
        rows, columns = torch.nonzero(where, as_tuple=True)
        box = where[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.float().mean() > 0.9  # a pixel that has the mean color by itself is not seen to change
        assert 0.1 < box.shape[0] / where.shape[0] < 0.55 and 0.1 < box.shape[1] / where.shape[1] < 0.55
        assert torch.allclose(
            photo[:, where], original.mean(dim=(1, 2))[:, None].expand(3, int(where.sum())), atol=0.01
        )
    assert torch.equal(erased.targets[Task.DEPTH], made.targets[Task.DEPTH])


def test_a_tint_scales_each_color_by_itself() -> None:
    image = torch.full((64, 3, 4, 4), 100.0)
    tinted = recolor(
        image, AugmentConfig(tint=0.2, brightness=0, contrast=0, saturation=0, gray=0, noise=0), torch.Generator()
    )
    gains = tinted[:, :, 0, 0] / 100
    assert (tinted == tinted[:, :, :1, :1]).all() and gains.min() >= 0.81 and gains.max() <= 1.23
    assert gains.std(dim=1).min() > 0
