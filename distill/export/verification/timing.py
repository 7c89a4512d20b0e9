"""Timing of runners on this machine: warmed up, in turns, with every single call recorded.

Turns are short series of calls with pauses, not single calls: idle threads of ONNX Runtime spin for 40 ms and occupy a
core during the next runner's calls. Alternating single calls, OpenVINO took 13.0 ms instead of 10.2.

`Timing.scope` is ``engine`` for one call with the images in memory, or ``end_to_end`` from JPEG bytes to final maps in
numpy arrays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.export.runners import Runner
from distill.images import decode_rgb, encode_jpeg

MIN_CALLS = 10
"""Minimum per series: a p95 of fewer calls would be the maximum."""
WARM_UP_CALLS = 3
ROUND_S = 0.2
"""Duration of a turn of one runner; its first call is not counted."""
PAUSE_S = 0.06
"""Pause between turns, until the threads of the last runner sleep."""
SCOPES = ("engine", "end_to_end")
"""The two kinds of timing."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Timing:
    """One series of calls.

    Attributes:
        model: Name of the runner.
        scope: ``engine`` or ``end_to_end``.
        batch: Images per call.
        size_hw: Size of the images.
        calls_ms: Duration of every call, in order.
    """

    model: str
    scope: str
    batch: int
    size_hw: tuple[int, int]
    calls_ms: tuple[float, ...]

    def percentile_ms(self, percent: float) -> float:
        """Percentile of the calls' durations."""
        return float(np.percentile(self.calls_ms, percent))

    @property
    def images_per_s(self) -> float:
        """Images per second over the whole series, slow calls included."""
        return 1000.0 * self.batch * len(self.calls_ms) / sum(self.calls_ms)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; calls rounded to a microsecond."""
        return {
            **asdict(self),
            "calls_ms": [round(value, 3) for value in self.calls_ms],
            "p50_ms": round(self.percentile_ms(50.0), 3),
            "p95_ms": round(self.percentile_ms(95.0), 3),
            "p99_ms": round(self.percentile_ms(99.0), 3),
            "mean_ms": round(float(np.mean(self.calls_ms)), 3),
            "images_per_s": round(self.images_per_s, 2),
        }


def time_runners(
    runners: Mapping[str, Runner],
    batches: Sequence[int],
    sizes_hw: Sequence[tuple[int, int]],
    *,
    seconds: float,
    advance: Callable[[], None] = lambda: None,
    scope: Sequence[str] = SCOPES,
) -> list[Timing]:
    """A series for each runner, size, batch and scope.

    All runners take turns for each size and batch, so that a slower phase of the machine affects all of them.

    Args:
        runners: Runners by name.
        batches: Images per call.
        sizes_hw: Sizes of the images.
        seconds: Duration of each series.
        advance: Called after each group of series.
        scope: ``engine``, ``end_to_end`` or both.
    """
    timings = []
    for size_hw in sizes_hw:
        for batch in batches:
            for kind in scope:
                calls = {name: runner_call(runner, kind, batch, size_hw) for name, runner in runners.items()}
                for name, made in time_calls(calls, seconds=seconds).items():
                    timings.append(Timing(name, kind, batch, size_hw, tuple(made)))
                advance()
    return timings


def time_calls(calls: Mapping[Name, Callable[[], object]], *, seconds: float) -> dict[Name, list[float]]:
    """Milliseconds of every call, by name; in turns, until each has had `seconds`."""
    _warm_up(list(calls.values()), seconds)
    measured: dict[Name, list[float]] = {name: [] for name in calls}
    spent_s = dict.fromkeys(calls, 0.0)
    while any(spent_s[name] < seconds or len(measured[name]) < MIN_CALLS for name in calls):
        for name, call in calls.items():
            if len(calls) > 1:
                time.sleep(PAUSE_S)
            start = time.perf_counter()
            measured[name] += _round([call], min(ROUND_S, seconds))[0]
            spent_s[name] += time.perf_counter() - start
    return measured


def time_pairs(
    first: Callable[[], object], second: Callable[[], object], *, seconds: float
) -> tuple[list[float], list[float]]:
    """Milliseconds of two alternating calls, equally many, until each has had `seconds`."""
    _warm_up([first, second], seconds)
    found = _round([first, second], seconds, MIN_CALLS)
    return found[0], found[1]


def _warm_up(calls: Sequence[Callable[[], object]], seconds: float) -> None:
    if seconds <= 0:
        raise UsageError(f"a timing of {seconds} s is not possible", hint="give more than 0 s")
    for call in calls:
        for _ in range(WARM_UP_CALLS):
            call()


def _round(calls: Sequence[Callable[[], object]], seconds: float, least: int = 0) -> list[list[float]]:
    """Milliseconds of each call, in alternation; without the first if there are more, because it fills the caches."""
    found: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or len(found[0]) <= least:
        for call, taken in zip(calls, found, strict=True):
            start = time.perf_counter_ns()
            call()
            taken.append((time.perf_counter_ns() - start) / 1e6)
    return [taken[1:] or taken for taken in found]


def runner_call(runner: Runner, scope: str, batch: int, size_hw: tuple[int, int]) -> Callable[[], object]:
    """A call of this runner on generated images of this size, for one scope."""
    generated = [bench_image(size_hw, seed) for seed in range(batch)]
    if scope == "engine":
        images = np.stack(generated)
        return lambda: runner(images)
    files = [encode_jpeg(image, quality=90) for image in generated]
    return lambda: runner(np.stack([decode_rgb(data, "bench")[0] for data in files]))


def bench_image(size_hw: tuple[int, int], seed: int = 0) -> UInt8[ndarray, "h w 3"]:
    """A generated image that compresses like a photo: smooth shapes, edges, a little noise."""
    random = np.random.default_rng(seed)
    height, width = size_hw
    coarse = random.integers(0, 256, (9, 16, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        corner = (int(random.integers(width)), int(random.integers(height)))
        opposite = (int(random.integers(width)), int(random.integers(height)))
        cv2.rectangle(image, corner, opposite, random.integers(0, 256, 3).tolist(), cv2.FILLED)
    noise = random.integers(-6, 7, image.shape, dtype=np.int16)
    noisy: ndarray = np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    return noisy
