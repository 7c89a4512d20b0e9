"""Instances that overlap, as id maps in layers from front to back.

Each layer has the id of one instance per pixel, 0 = none. The first layer has the instance in front, the second the one
behind it, and so on; the mask of an instance is where any layer has its id. Of two instances, the one with fewer pixels
is in front, of equal ones that with the lower id: a tag stays visible on a shirt, a shirt on a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt16
from numpy import ndarray

from distill.errors import DistillError
from distill.labels.run_lengths import decode_rle, encode_rle
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE

Layers = Sequence[UInt16[ndarray, "*hw"]]
_NUM_IDS = 65536


def count_pixels(layers: Layers) -> Int64[ndarray, " ids"]:
    """Pixels of each id, over all layers."""
    counts = np.zeros(_NUM_IDS, np.int64)
    for layer in layers:
        counts += np.bincount(layer.ravel(), minlength=_NUM_IDS)
    return counts


def present_ids(layers: Layers) -> list[int]:
    """Ids of the instances in the layers, in order."""
    found = np.flatnonzero(count_pixels(layers)).tolist()
    return [number for number in found if number not in (BACKGROUND_INSTANCE, IGNORE_INSTANCE)]


def keep_ids(layers: Layers, ids: Sequence[int]) -> list[ndarray]:
    """The layers with these instances only; there may be gaps in front of them."""
    kept = np.zeros(_NUM_IDS, np.uint16)
    kept[list(ids)] = list(ids)
    return [kept[layer] for layer in layers]


def mask_of(layers: Layers, number: int) -> Bool[ndarray, "*hw"]:
    """Mask of an instance, hidden parts included."""
    mask: ndarray = layers[0] == number
    for layer in layers[1:]:
        mask |= layer == number
    return mask


def stack_masks(masks: Iterable[tuple[int, Bool[ndarray, "h w"]]], size_hw: tuple[int, ...]) -> list[ndarray]:
    """Layers of masks with their ids; of two masks at a pixel, the earlier one is in front."""
    layers = [np.zeros(size_hw, np.uint16)]
    for number, mask in masks:
        left = mask
        for layer in layers:
            free = left & (layer == 0)
            layer[free] = number
            left = left & ~free
        if left.any():
            layers.append(np.where(left, np.uint16(number), np.uint16(0)))
    return layers


def sort_layers(layers: Layers) -> list[ndarray]:
    """The layers with the smaller instance in front at each pixel, without empty layers behind the first."""
    front, *behind = layers
    several = np.zeros(front.shape, bool)
    for place, layer in enumerate(behind):
        alone = (front == 0) & (layer != 0)
        front, behind[place] = np.where(alone, layer, front), np.where(alone, np.uint16(0), layer)
        several |= behind[place] != 0
    if not several.any():
        return [front]
    counts = count_pixels(layers)
    numbers = np.flatnonzero(counts)
    rank = np.full(_NUM_IDS, len(numbers), np.int32)
    rank[numbers[np.lexsort((numbers, counts[numbers]))]] = np.arange(len(numbers))
    rank[BACKGROUND_INSTANCE] = len(numbers)
    ids = np.stack([layer[several] for layer in (front, *behind)])
    ids = np.take_along_axis(ids, np.argsort(rank[ids], axis=0, kind="stable"), axis=0)
    found = [np.array(front)]
    found[0][several] = ids[0]
    for row in ids[1:]:
        if row.any():
            layer = np.zeros_like(front)
            layer[several] = row
            found.append(layer)
    return found


def pair_ious(
    first: Layers, first_ids: Sequence[int], second: Layers, second_ids: Sequence[int]
) -> Float[ndarray, "n m"]:
    """Intersection over union of each instance of the first layers with each of the second; 0 where both are empty."""
    shape = len(first_ids) + 1, len(second_ids) + 1
    first_places, second_places = _places(first, first_ids), _places(second, second_ids)
    shared = np.zeros(shape[0] * shape[1], np.int64)
    for one in first_places:
        for other in second_places:
            shared += np.bincount(one * shape[1] + other, minlength=shared.size)
    intersection = shared.reshape(shape)[1:, 1:]
    areas, other_areas = count_pixels(first)[list(first_ids)], count_pixels(second)[list(second_ids)]
    union = areas[:, None] + other_areas[None] - intersection
    ious: ndarray = np.divide(intersection, union, out=np.zeros(intersection.shape), where=union > 0)
    return ious


def match_pairs(ious: Float[ndarray, "n m"]) -> tuple[ndarray, ndarray]:
    """(rows, columns) of the one-to-one matching with the largest total; pairs of IoU 0 included."""
    if not ious.size:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    # Imported here: the import takes half a second.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(ious, maximize=True)
    return rows, columns


def _places(layers: Layers, ids: Sequence[int]) -> list[ndarray]:
    """1 + the place in the list of each pixel's id, flat; 0 for all other ids."""
    table = np.zeros(_NUM_IDS, np.int64)
    table[list(ids)] = np.arange(1, len(ids) + 1)
    return [table[layer].ravel() for layer in layers]


def encode_covered(layers: Layers) -> dict[int, str]:
    """Run lengths of the part of each instance that others cover; instances that are seen completely are left out."""
    behind = layers[1:]
    return {number: encode_rle(mask_of(behind, number))["counts"] for number in present_ids(behind)}


def decode_covered(front: UInt16[ndarray, "h w"], covered: Mapping[int, str]) -> tuple[ndarray, ...]:
    """The layers behind the first one; the inverse of `encode_covered`.

    Raises:
        DistillError: The run lengths are damaged, or an instance is hidden where no other one is.
    """
    if not covered:
        return ()
    taken = (front != BACKGROUND_INSTANCE) & (front != IGNORE_INSTANCE)
    masks = {}
    for number, text in covered.items():
        try:
            masks[number] = decode_rle({"size": front.shape, "counts": text})
        except (ValueError, IndexError, MemoryError) as error:
            raise DistillError(
                f"the covered part of instance {number} is damaged: {error}", hint="label the photo again"
            ) from error
        if (masks[number] & ~(taken & (front != number))).any():
            raise DistillError(f"instance {number} is covered where no other instance is", hint="label the photo again")
    sizes = {number: np.count_nonzero(mask) + np.count_nonzero(front == number) for number, mask in masks.items()}
    order = sorted(masks, key=lambda number: (sizes[number], number))
    return tuple(stack_masks(((number, masks[number]) for number in order), front.shape))
