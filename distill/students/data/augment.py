"""Augmentation under which labels stay correct: flips negate the x of normals, zooms scale metric depth.

Batched and on the device. All random numbers come from the generator that is passed in, so a step can be repeated.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn import functional as F

from distill.config.train import AugmentConfig
from distill.students.data.batch_targets import Batch
from distill.students.tasks.base import student_task
from distill.tasks import DepthKind

_LUMA = (0.299, 0.587, 0.114)


def augment(batch: Batch, config: AugmentConfig, depth_kind: DepthKind, generator: Generator) -> Batch:
    """The batch, randomly flipped, cropped and recolored."""
    count = len(batch.image)
    if config.flip > 0:
        batch = flip(batch, _uniform(count, generator) < config.flip)
    if config.zoom > 1 or config.crop < 1:
        zoom = config.zoom ** _uniform(count, generator)
        corner = torch.stack([_uniform(count, generator), _uniform(count, generator)], dim=1)
        batch = crop(batch, zoom, corner, depth_kind, share=config.crop)
    return batch.with_image(recolor(batch.image, config, generator))


def flip(batch: Batch, chosen: Bool[Tensor, " b"]) -> Batch:
    """The batch with the chosen samples mirrored left to right."""
    chosen = _send(chosen, batch.image.device)

    def mirror(maps: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (maps.ndim - 1)), maps.flip(-1), maps)

    mirrored = batch.map(mirror)
    targets = {task: student_task(task).flip(target, chosen) for task, target in mirrored.targets.items()}
    return replace(mirrored, image=mirror(batch.image), targets=targets)


def crop(
    batch: Batch,
    zoom: Float[Tensor, " b"],
    corner: Float[Tensor, "b 2"],
    depth_kind: DepthKind,
    *,
    share: float = 1.0,
) -> Batch:
    """The batch cropped to share/zoom of each side and enlarged by zoom.

    An enlarged crop equals a photo with a `zoom` times longer focal length. For a camera of fixed focal length, which a
    metric student has to assume, the scene is then `zoom` times nearer: metric depth is divided by it.

    Args:
        batch: Images and targets.
        zoom: Per image.
        corner: Position of the crop as (down, right) in [0, 1].
        depth_kind: Of the depth labels.
        share: Fraction of each side.
    """
    device = batch.image.device
    zoom, corner = _send(zoom, device), _send(corner, device)
    count, channels, *size_hw = batch.image.shape
    # Whole steps of 32 px, the coarsest stride of nearly every backbone.
    cut_hw = [side if share == 1 else min(side, max(32, round(share * side / 32) * 32)) for side in size_hw]
    theta = torch.zeros(count, 2, 3, device=device)
    for row, axis in ((0, 1), (1, 0)):  # x comes first in the grid
        scale = cut_hw[axis] / size_hw[axis] / zoom
        theta[:, row, row] = scale
        theta[:, row, 2] = (1.0 - scale) * (2 * corner[:, axis] - 1)
    grid = F.affine_grid(theta, [count, channels, *cut_hw], align_corners=False)

    def pick(maps: Tensor) -> Tensor:
        # One call per map, nearest: labels must not be blended across edges.
        planes = maps.float() if maps.ndim == 4 else maps.float()[:, None]
        picked = F.grid_sample(planes, grid, mode="nearest", padding_mode="border", align_corners=False)
        return (picked if maps.ndim == 4 else picked[:, 0]).to(maps.dtype)

    picked = batch.map(pick)
    return replace(
        picked,
        image=F.grid_sample(batch.image, grid, mode="bilinear", padding_mode="border", align_corners=False),
        targets={task: student_task(task).zoom(target, zoom, depth_kind) for task, target in picked.targets.items()},
    )


def recolor(image: Float[Tensor, "b 3 h w"], config: AugmentConfig, generator: Generator) -> Float[Tensor, "b 3 h w"]:
    """Photos with random colors, noise and blanked rectangles, in 0..255."""
    count, device = len(image), image.device
    if config.tint > 0:
        gain = ((2 * torch.rand(count, 3, 1, 1, generator=generator) - 1) * config.tint).exp()
        image = image * _send(gain, device)

    def factor(strength: float) -> Tensor:
        # Symmetric in the logarithm: halving is as likely as doubling.
        spread = (2 * _uniform(count, generator) - 1) * strength
        return _send(spread.exp().view(-1, 1, 1, 1), device)

    luma = _send(torch.tensor(_LUMA).view(1, 3, 1, 1), device)
    gray = (image * luma).sum(dim=1, keepdim=True)
    saturation = factor(config.saturation)
    colorless = _send((_uniform(count, generator) < config.gray).view(-1, 1, 1, 1), device)
    saturation = torch.where(colorless, torch.zeros_like(saturation), saturation)
    brightness, contrast = factor(config.brightness), factor(config.contrast)
    middle = gray.mean(dim=(2, 3), keepdim=True)
    # (saturate around gray, stretch around the mean, scale) as one sum of three terms: two passes over the image.
    image = image * (saturation * contrast * brightness) + (
        gray * ((1 - saturation) * contrast * brightness) + middle * ((1 - contrast) * brightness)
    )
    if config.noise > 0:
        strength = _send((255 * config.noise * _uniform(count, generator)).view(-1, 1, 1, 1), device)
        image = image + strength * _noise(image, generator)
    if config.erase > 0:
        image = erase(image, _uniform(count, generator) < config.erase, torch.rand(count, 4, generator=generator))
    return image.clamp(0, 255)


def erase(
    image: Float[Tensor, "b 3 h w"], chosen: Bool[Tensor, " b"], box: Float[Tensor, "b 4"]
) -> Float[Tensor, "b 3 h w"]:
    """Photos with a rectangle of 0.15 to 0.5 of each side in their mean color. Source: arXiv 1708.04896.

    Args:
        image: RGB.
        chosen: Photos to change.
        box: (height, width, down, right), each in [0, 1] of its possible range.
    """
    device = image.device
    inside = _send(chosen.view(-1, 1, 1, 1), device)
    for axis, side in enumerate(image.shape[2:]):
        length = (0.15 + 0.35 * box[:, axis]) * side
        begin = box[:, 2 + axis] * (side - length)
        place = torch.arange(side) + 0.5
        within = (place >= begin[:, None]) & (place < (begin + length)[:, None])
        shape = [len(image), 1, 1, 1]
        shape[2 + axis] = side
        inside = inside & _send(within.view(shape), device)
    return torch.where(inside, image.mean(dim=(2, 3), keepdim=True), image)


def _noise(image: Tensor, generator: Generator) -> Tensor:
    """Standard normal values of the image's shape, drawn on its device: on a CPU they take longer than a GPU's step."""
    if image.device.type == "cpu":
        return torch.randn(image.shape, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    there = Generator(image.device).manual_seed(seed)
    return torch.randn(image.shape, generator=there, device=image.device)


def _send(values: Tensor, device: torch.device) -> Tensor:
    """The values on this device, without waiting for work that a GPU still has queued."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def _uniform(count: int, generator: Generator) -> Float[Tensor, " n"]:
    return torch.rand(count, generator=generator)
