"""Groups of hashes, and which photos to keep of those that look the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray

from distill.images.photo_hash import different_bits, group_copies, keep_different


def changed(bits: ndarray, count: int, rng: np.random.Generator) -> ndarray:
    flat = np.unpackbits(bits.view(np.uint8))
    flat[rng.choice(128, count, replace=False)] ^= 1
    return np.packbits(flat).view(np.uint64)


def partition(labels: list[int]) -> set[frozenset[int]]:
    return {frozenset(row for row, other in enumerate(labels) if other == label) for label in set(labels)}


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_those_of_comparing_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = [np.frombuffer(rng.bytes(16), np.uint64) for _ in range(40)]
    for _ in range(160):  # copies of copies: chains, and some that are too far
        bits.append(changed(bits[int(rng.integers(len(bits)))], int(rng.integers(0, 15)), rng))
    all_bits = np.stack(bits)
    labels = list(range(len(bits)))
    for one, other in np.argwhere(different_bits(all_bits[:, None], all_bits[None]) <= 10).tolist():
        labels = [labels[one] if label == labels[other] else label for label in labels]
    assert partition(group_copies(all_bits).tolist()) == partition(labels)
    assert 1 < len(set(labels)) < 200


def test_many_frames_of_a_camera_that_does_not_move_are_grouped_at_once() -> None:
    rng = np.random.default_rng(0)
    start = np.frombuffer(rng.bytes(16), np.uint64)
    frames = np.stack([changed(start, 4, rng) for _ in range(3000)])
    assert len(set(group_copies(frames).tolist())) == 1


def test_a_chain_of_slow_changes_is_thinned_and_not_cut_down_to_one_photo() -> None:
    chain = [(1 << (8 * step)) - 1 for step in range(8)]
    assert keep_different(chain, range(8)) == [0, 0, 2, 2, 4, 4, 6, 6]
    assert keep_different(chain[:3], [1, 0, 2]) == [1, 1, 1]
    assert keep_different(["a", "b", "a"], range(3)) == [0, 1, 0]
