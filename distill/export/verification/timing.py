"""How long runners take on this machine: warmed up, in turns, percentiles of every single call.

Turns are short series of calls with a pause between them, not single calls: the idle threads of ONNX Runtime go on
spinning for 40 ms and take a core from whoever comes next. Call by call, OpenVINO took 13.0 ms instead of 10.2.

What is timed is said in `Timing.scope`: ``engine`` is one call with the pictures already in memory; ``end_to_end``
begins with compressed JPEG bytes and ends with final maps in numpy arrays.
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
"""Of each series, however short the time: a p95 of fewer is the maximum."""
WARM_UP_CALLS = 3
ROUND_S = 0.2
"""How long a runner goes on before the next one has its turn; its first call in a turn is left out."""
PAUSE_S = 0.06
"""Between turns: until the last one's threads have gone to sleep."""
YARDSTICK = "(yardstick)"
"""What `time_runners` calls the series of the yardstick."""
SCOPES = ("engine", "end_to_end")
"""The two kinds of timing."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Timing:
    """One series of calls.

    Attributes:
        model: Which runner.
        what: ``engine`` or ``end_to_end``.
        batch: Pictures per call.
        size_hw: Of the pictures.
        calls_ms: Every call, in the order in which they were made.
        rounds: How many of them belong to each turn.
        beside: A yardstick's: the runner whose engine it calls; empty for the yardstick of all.
    """

    model: str
    scope: str
    batch: int
    size_hw: tuple[int, int]
    calls_ms: tuple[float, ...]
    rounds: tuple[int, ...] = ()
    beside: str = ""

    def percentile_ms(self, percent: float) -> float:
        """The time within which this share of the calls was done."""
        return float(np.percentile(self.calls_ms, percent))

    @property
    def images_per_s(self) -> float:
        """Pictures over the whole time of the series, slow calls included."""
        return 1000.0 * self.batch * len(self.calls_ms) / sum(self.calls_ms)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; calls rounded to a microsecond."""
        return {
            **{key: value for key, value in asdict(self).items() if key != "beside" or value},
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
    yardstick: Callable[[int], Callable[[], object]] | None = None,
    raw_runners: Mapping[str, Runner] | None = None,
) -> list[Timing]:
    """A series for each runner, size, batch, and both kinds of timing.

    Of one size and batch all runners take turns, so that a machine that slows down slows all of them.

    Args:
        runners: By the name that results carry.
        batches: Pictures per call.
        sizes_hw: Sizes of the pictures.
        seconds: For each series.
        advance: Called after each group of series.
        what: ``engine``, ``end_to_end`` or both.
        yardstick: From a batch to a call that has its turns among the others; its series are called `YARDSTICK`.
        raw_runners: For each runner that has a yardstick of its own, the one whose bare engine that is: called right behind
            it, from the same pictures or files. These series are called `YARDSTICK` too.
    """
    timings = []
    for size_hw in sizes_hw:
        for batch in batches:
            for kind in scope:
                calls: dict[tuple[str, str], Callable[[], object]] = {}
                for name, runner in runners.items():
                    calls[name, ""] = _call(runner, kind, batch, size_hw)
                    engine = _raw_call((raw_runners or {}).get(name), kind, batch, size_hw)
                    if engine is not None:
                        calls[YARDSTICK, name] = engine
                if yardstick is not None:
                    calls[YARDSTICK, ""] = yardstick(batch)
                # A bare engine that is the runner's own has no other threads that spin: calls can alternate.
                together = {
                    (name, ""): (YARDSTICK, name)
                    for name, runner in runners.items()
                    if (raw_runners or {}).get(name) is runner
                }
                for (name, beside), rounds in time_rounds(calls, seconds=seconds, together=together).items():
                    made = tuple(call_ms for turn in rounds for call_ms in turn)
                    timings.append(Timing(name, kind, batch, size_hw, made, tuple(map(len, rounds)), beside))
                advance()
    return timings


def time_calls(calls: Mapping[Name, Callable[[], object]], *, seconds: float) -> dict[Name, list[float]]:
    """Milliseconds of every call, by name; see `time_rounds`."""
    measured = time_rounds(calls, seconds=seconds)
    return {name: [call_ms for turn in rounds for call_ms in turn] for name, rounds in measured.items()}


def time_rounds(
    calls: Mapping[Name, Callable[[], object]], *, seconds: float, together: Mapping[Name, Name] | None = None
) -> dict[Name, list[list[float]]]:
    """Milliseconds of every call, by name and turn; they take turns until `seconds` for each have passed.

    Args:
        calls: By name.
        seconds: For each.
        together: Name to another one whose calls alternate with its own, in a common turn.
    """
    if seconds <= 0:
        raise UsageError(f"{seconds} s is no time to measure in", hint="give more than 0")
    for call in calls.values():
        for _ in range(WARM_UP_CALLS):
            call()
    together = {name: other for name, other in (together or {}).items() if other in calls}
    measured: dict[Name, list[list[float]]] = {name: [] for name in calls}
    spent_s = dict.fromkeys(calls, 0.0)
    groups = [
        (name, *([together[name]] if name in together else [])) for name in calls if name not in together.values()
    ]
    while any(spent_s[name] < seconds or sum(map(len, measured[name])) < MIN_CALLS for name in calls):
        for group in groups:
            if len(groups) > 1:
                time.sleep(PAUSE_S)
            start = time.perf_counter()
            for name, found in zip(group, _round([calls[name] for name in group], min(ROUND_S, seconds)), strict=True):
                measured[name].append(found)
            for name in group:
                spent_s[name] += (time.perf_counter() - start) / len(group)
    return measured


def _round(calls: Sequence[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Milliseconds of each call, one after the other; without the first if there are more: it fills the caches."""
    found: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or not found[0]:
        for call, taken in zip(calls, found, strict=True):
            start = time.perf_counter_ns()
            call()
            taken.append((time.perf_counter_ns() - start) / 1e6)
    return [taken[1:] or taken for taken in found]


def _call(runner: Runner, scope: str, batch: int, size_hw: tuple[int, int]) -> Callable[[], object]:
    pictures = [bench_picture(size_hw, seed) for seed in range(batch)]
    if scope == "engine":
        images = np.stack(pictures)
        return lambda: runner(images)
    files = [encode_jpeg(picture, quality=90) for picture in pictures]
    return lambda: runner(np.stack([decode_rgb(data, "bench")[0] for data in files]))


def _raw_call(runner: Runner | None, scope: str, batch: int, size_hw: tuple[int, int]) -> Callable[[], object] | None:
    """The engine alone on what `_call` gives the runner; of compressed files, behind the plain decoder."""
    pictures = [bench_picture(size_hw, seed) for seed in range(batch)]
    run = runner.raw_call(np.stack(pictures)) if runner is not None else None
    if run is None or scope == "engine":
        return run
    files = [np.frombuffer(encode_jpeg(picture, quality=90), np.uint8) for picture in pictures]

    def call() -> None:
        for data in files:
            cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        run()

    return call


def bench_picture(size_hw: tuple[int, int], seed: int = 0) -> UInt8[ndarray, "h w 3"]:
    """A generated picture that compresses like a photo: smooth shapes, edges, a little noise."""
    random = np.random.default_rng(seed)
    height, width = size_hw
    coarse = random.integers(0, 256, (9, 16, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        corner = (int(random.integers(width)), int(random.integers(height)))
        opposite = (int(random.integers(width)), int(random.integers(height)))
        cv2.rectangle(picture, corner, opposite, random.integers(0, 256, 3).tolist(), cv2.FILLED)
    noise = random.integers(-6, 7, picture.shape, dtype=np.int16)
    return np.clip(picture.astype(np.int16) + noise, 0, 255).astype(np.uint8)
