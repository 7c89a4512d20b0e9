"""Instance map from scored masks, as query-based networks predict them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.labels import Label
from distill.labels.instance_layers import sort_layers, stack_masks
from distill.tasks import IGNORE_INSTANCE, Task

_MIN_PIXELS = 4
"""Smaller masks are dropped."""


@dataclass(frozen=True, slots=True)
class ScoredMask:
    """One detected object.

    Attributes:
        probability: Probability that a pixel belongs to it.
        score: Probability that it exists and has this class, in [0, 1].
        name: Its class.
    """

    probability: Float[ndarray, "h w"]
    score: float
    name: str


def masks_to_label(
    masks: Sequence[ScoredMask],
    size_hw: tuple[int, int],
    classes: Sequence[str],
    min_score: float,
    *,
    one_class_per_pixel: bool = True,
) -> Label:
    """The instance label: where masks overlap, the higher score wins; confidence is probability times score.

    Args:
        masks: In any order.
        size_hw: Size of the map.
        classes: All classes of the prompts.
        min_score: Minimum of score times mean probability.
        one_class_per_pixel: False for models with a prompt per class: masks of different classes may overlap, and the
            smaller one is in front.
    """
    taken: dict[str, ndarray] = {}
    kept: list[tuple[ScoredMask, ndarray]] = []
    for mask in sorted(masks, key=lambda mask: -mask.score)[: IGNORE_INSTANCE - 1]:
        inside = mask.probability > 0.5
        if not inside.any() or mask.score * float(mask.probability[inside].mean()) < min_score:
            continue
        others = taken.setdefault("" if one_class_per_pixel else mask.name, np.zeros(size_hw, bool))
        free = inside & ~others
        if np.count_nonzero(free) < _MIN_PIXELS:
            continue
        kept.append((mask, free))
        others |= free
    value, *behind = sort_layers(stack_masks(enumerate((free for _, free in kept), start=1), size_hw))
    confidence = np.ones(size_hw, np.float32)
    for number, (mask, _) in enumerate(kept, start=1):
        seen = value == number
        confidence[seen] = (mask.probability * np.float32(mask.score))[seen]
    return Label(
        Task.INSTANCE,
        value,
        np.ones(size_hw, bool),
        confidence,
        classes=tuple(classes),
        instance_classes={number: mask.name for number, (mask, _) in enumerate(kept, start=1)},
        layers=tuple(behind),
    )


def query_masks(outputs: Any, inputs: Any, processor: Any, size_hw: tuple[int, int]) -> tuple[Any, Any]:
    """(mask logits (queries, h, w), class probabilities (queries, classes)) of Mask2Former, OneFormer and EoMT.

    The processor's padding is cropped before the masks are resized to `size_hw`; the library's own post-processing
    would stretch the padding over the photo.
    """
    import torch

    padded_hw = inputs["pixel_values"].shape[-2:]
    masks = torch.nn.functional.interpolate(outputs.masks_queries_logits[:1].float(), size=padded_hw, mode="bilinear")
    scores = outputs.class_queries_logits[0].float().softmax(dim=-1)[..., :-1]
    if hasattr(processor, "unpad_image"):
        return processor.unpad_image(masks, [size_hw], processor.size)[0], scores
    if "pixel_mask" in inputs:
        seen = inputs["pixel_mask"][0].bool()
        masks = masks[..., : int(seen.any(dim=1).sum()), : int(seen.any(dim=0).sum())]
    return torch.nn.functional.interpolate(masks, size=size_hw, mode="bilinear")[0], scores


def class_scores(masks: Any, scores: Any) -> Any:
    """Score of each class at each pixel (classes, h, w), summed over all queries."""
    import torch

    return torch.einsum("qc,qhw->chw", scores, masks.sigmoid())
