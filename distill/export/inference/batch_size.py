"""How many pictures to run at once, and how many may wait: measured on the pictures and the machine at hand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.inference.pipeline import default_batch
from distill.export.runners import Runner

_LARGEST = {"cpu": 8, "cuda": 64}
_BATCH_PX = 8_300_000
"""Pixels in one batch at most: four of 1080p, which make 280 MB of maps of all tasks."""
_ROUNDS = 3
_BUDGET_S = 2.0
_WORTH = 1.03
"""A larger batch must be this much faster: it costs memory and delay."""


def max_batch_size(runner: Runner, size_hw: tuple[int, int]) -> int:
    """The largest batch that is worth a try for pictures of this size."""
    most = _LARGEST["cuda" if "cuda" in runner.engine else "cpu"]
    return int(np.clip(_BATCH_PX // max(1, size_hw[0] * size_hw[1]), 1, most))


def tune_batch_size(runner: Runner, pictures: Sequence[UInt8[ndarray, "h w 3"]]) -> int:
    """The smallest batch that is about as fast as the fastest, on these pictures; two seconds at most.

    Args:
        runner: The student.
        pictures: Of the size that will come; the more there are, the larger the batches that are tried.
    """
    if not pictures:
        return 1
    size_hw = (pictures[0].shape[0], pictures[0].shape[1])
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= min(len(pictures), max_batch_size(runner, size_hw))]
    if len(sizes) == 1:
        return sizes[0]
    batches = {size: np.stack(list(itertools.islice(itertools.cycle(pictures), size))) for size in sizes}
    best = dict.fromkeys(sizes, float("inf"))
    runner(batches[sizes[-1]])  # allocate once, for the largest
    started = time.perf_counter()
    for _ in range(_ROUNDS):
        for size, images in batches.items():
            start = time.perf_counter()
            runner(images)
            best[size] = min(best[size], (time.perf_counter() - start) / size)
        if time.perf_counter() - started > _BUDGET_S:
            break
    fastest = min(best.values())
    return next(size for size in sizes if best[size] <= _WORTH * fastest)


def choose_batch_size(runner: Runner, pictures: Sequence[UInt8[ndarray, "h w 3"]], num_frames: int | None) -> int:
    """A calibrated batch where the video is long enough to earn the calibration back, else a rule of thumb."""
    if not pictures:
        return 1
    if num_frames is not None and num_frames < 300:
        return default_batch(runner, (pictures[0].shape[0], pictures[0].shape[1]))
    return tune_batch_size(runner, pictures)
