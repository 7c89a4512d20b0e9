"""Timing of runners in turns."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from functools import partial
from itertools import groupby

import pytest
from PIL import Image

from distill.errors import UsageError
from distill.export.verification.timing import (
    MIN_CALLS,
    WARM_UP_CALLS,
    Timing,
    bench_image,
    time_calls,
    time_pairs,
    time_runners,
)
from distill.images import encode_jpeg
from tests.fakes.runner import FakeRunner


def test_runners_take_turns_and_the_first_call_is_not_counted() -> None:
    made: list[str] = []

    def call(name: str) -> None:
        made.append(name)
        time.sleep(0.002)

    measured = time_calls({name: partial(call, name) for name in "ab"}, seconds=0.03)
    assert made[: 2 * WARM_UP_CALLS] == ["a"] * WARM_UP_CALLS + ["b"] * WARM_UP_CALLS
    rounds = [(name, len(list(group))) for name, group in groupby(made[2 * WARM_UP_CALLS :])]
    assert [name for name, _ in rounds] == ["a", "b"] * (len(rounds) // 2)
    for name in "ab":
        counted = sum(max(1, length - 1) for other, length in rounds if other == name)
        assert len(measured[name]) == counted >= MIN_CALLS


def test_a_slow_call_is_a_turn_and_is_counted() -> None:
    made: list[str] = []

    def call(name: str) -> None:
        made.append(name)
        time.sleep(0.004)

    measured = time_calls({name: partial(call, name) for name in "ab"}, seconds=0.003)
    assert made[2 * WARM_UP_CALLS :] == ["a", "b"] * MIN_CALLS and len(measured["a"]) == MIN_CALLS


def test_a_slow_call_is_measured_as_slow() -> None:
    measured = time_calls({"quick": lambda: None, "slow": lambda: time.sleep(0.01)}, seconds=0.02)
    assert min(measured["slow"]) >= 10.0 > sorted(measured["quick"])[MIN_CALLS // 2]


def test_zero_duration_is_rejected() -> None:
    with pytest.raises(UsageError, match="not possible"):
        time_calls({"a": lambda: None}, seconds=0.0)


def test_percentiles_and_rate() -> None:
    timing = Timing("x", "engine", 4, (8, 8), tuple(float(ms) for ms in range(1, 101)))
    assert timing.percentile_ms(50.0) == 50.5 and timing.percentile_ms(99.0) == pytest.approx(99.01)
    assert timing.images_per_s == pytest.approx(4 * 1000 / 50.5)
    assert timing.to_dict()["p95_ms"] == pytest.approx(95.05)


def test_every_size_batch_and_scope_is_timed(fake: FakeRunner) -> None:
    timings = time_runners({"fake": fake}, [1, 3], [(16, 16), (8, 24)], seconds=0.01)
    assert [(timing.size_hw, timing.batch, timing.scope) for timing in timings] == [
        (size_hw, batch, what)
        for size_hw in ((16, 16), (8, 24))
        for batch in (1, 3)
        for what in ("engine", "end_to_end")
    ]
    assert set(fake.batches) == {1, 3}


def test_generated_images_compress_like_photos() -> None:
    data = encode_jpeg(bench_image((480, 640)), quality=90)
    assert Image.open(io.BytesIO(data)).size == (640, 480)
    assert 0.5 < 8 * len(data) / (480 * 640) < 5  # bits per pixel


def test_paired_calls_alternate() -> None:
    made: list[str] = []

    def call(name: str) -> Callable[[], None]:
        return lambda: made.append(name)

    first, second = time_pairs(call("a"), call("b"), seconds=0.01)
    assert len(first) == len(second) >= MIN_CALLS
    assert made[2 * WARM_UP_CALLS :] == ["a", "b"] * (1 + len(first))
    slow, _ = time_pairs(lambda: time.sleep(0.004), call("b"), seconds=0.003)
    assert len(slow) == MIN_CALLS
