"""Batches of images: rule of thumb, measured size, and grouping of a stream."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.inference.stages import SegmentEnd
from distill.export.runners import Runner

_DEFAULT_PX, _DEFAULT_IMAGES = 2_000_000, {"cpu": 8, "cuda": 32}
"""Limits of an unmeasured batch: a multi-task student makes 34 bytes of maps per pixel."""
_TUNED_PX, _TUNED_IMAGES = 8_300_000, {"cpu": 8, "cuda": 64}
"""Limits of a measured batch: four images of 1080p, which make 280 MB of maps of all tasks."""
_ROUNDS = 3
_BUDGET_S = 2.0
_MIN_GAIN = 1.03
"""A larger batch must be faster by this factor: it costs memory and latency."""
_MIN_TUNED_FRAMES = 300


def default_batch(runner: Runner, size_hw: tuple[int, int]) -> int:
    """Batch for images of this size without a measurement."""
    return _limit(runner, size_hw, _DEFAULT_PX, _DEFAULT_IMAGES)


def tune_batch_size(runner: Runner, images: Sequence[UInt8[ndarray, "h w 3"]]) -> int:
    """Smallest batch that is within 3 % of the fastest one; takes about two seconds.

    Args:
        runner: The student.
        images: Images of the later size; their number limits the batches that are tried.
    """
    if not images:
        return 1
    most = min(len(images), _limit(runner, (images[0].shape[0], images[0].shape[1]), _TUNED_PX, _TUNED_IMAGES))
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= most]
    if len(sizes) == 1:
        return sizes[0]
    batches = {size: np.stack(list(itertools.islice(itertools.cycle(images), size))) for size in sizes}
    best = dict.fromkeys(sizes, float("inf"))
    runner(batches[sizes[-1]])  # allocate once, for the largest
    started = time.perf_counter()
    for _ in range(_ROUNDS):
        for size, batch in batches.items():
            start = time.perf_counter()
            runner(batch)
            best[size] = min(best[size], (time.perf_counter() - start) / size)
        if time.perf_counter() - started > _BUDGET_S:
            break
    fastest = min(best.values())
    return next(size for size in sizes if best[size] <= _MIN_GAIN * fastest)


def choose_batch_size(runner: Runner, images: Sequence[UInt8[ndarray, "h w 3"]], num_frames: int | None) -> int:
    """Measured batch for long videos and streams, the default one for short videos."""
    if not images:
        return 1
    if num_frames is not None and num_frames < _MIN_TUNED_FRAMES:
        return default_batch(runner, (images[0].shape[0], images[0].shape[1]))
    return tune_batch_size(runner, images)


def in_batches(items: Iterable[Any], batch: int | None, runner: Runner) -> Iterator[list[Any]]:
    """Groups of consecutive images of equal size, at most `batch` (None: by size); each `SegmentEnd` alone.

    An error of the source is raised after the last group.
    """
    waiting: list[Any] = []
    try:
        for item in items:
            if isinstance(item, SegmentEnd):
                if waiting:
                    yield waiting
                yield [item]
                waiting = []
                continue
            size_hw = item.rgb.shape[:2]
            if waiting and waiting[0].rgb.shape[:2] != size_hw:
                yield waiting
                waiting = []
            waiting.append(item)
            if len(waiting) >= (batch or default_batch(runner, size_hw)):
                yield waiting
                waiting = []
    except Exception as error:
        if waiting:
            yield waiting
        raise error
    if waiting:
        yield waiting


def _limit(runner: Runner, size_hw: tuple[int, int], max_px: int, max_images: dict[str, int]) -> int:
    most = max_images["cuda" if "cuda" in runner.engine else "cpu"]
    return int(np.clip(max_px // max(1, size_hw[0] * size_hw[1]), 1, most))
