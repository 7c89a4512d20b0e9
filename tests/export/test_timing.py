"""Times are taken of what they say they are taken of."""

from __future__ import annotations

import io
import time
from itertools import groupby

import numpy as np
import pytest
from PIL import Image

from distill.errors import UsageError
from distill.export.verification.reference_network import open_yardstick
from distill.export.verification.timing import (
    MIN_CALLS,
    WARM_UP_CALLS,
    YARDSTICK,
    Timing,
    bench_picture,
    time_calls,
    time_rounds,
    time_runners,
)
from distill.images import encode_jpeg


def test_calls_take_turns_and_all_but_the_first_of_each_are_counted() -> None:
    made: list[str] = []

    def call(name: str) -> None:
        made.append(name)
        time.sleep(0.002)

    measured = time_calls({name: lambda name=name: call(name) for name in "ab"}, seconds=0.03)
    assert made[: 2 * WARM_UP_CALLS] == ["a"] * WARM_UP_CALLS + ["b"] * WARM_UP_CALLS
    rounds = [(name, len(list(group))) for name, group in groupby(made[2 * WARM_UP_CALLS :])]
    assert [name for name, _ in rounds] == ["a", "b"] * (len(rounds) // 2)
    for name in "ab":
        counted = sum(max(1, length - 1) for other, length in rounds if other == name)
        assert len(measured[name]) == counted >= MIN_CALLS


def test_slow_calls_are_turns_of_their_own_and_all_counted() -> None:
    made: list[str] = []

    def call(name: str) -> None:
        made.append(name)
        time.sleep(0.004)

    measured = time_calls({name: lambda name=name: call(name) for name in "ab"}, seconds=0.003)
    assert made[2 * WARM_UP_CALLS :] == ["a", "b"] * MIN_CALLS and len(measured["a"]) == MIN_CALLS


def test_a_slow_call_is_seen_as_slow() -> None:
    measured = time_calls({"quick": lambda: None, "slow": lambda: time.sleep(0.01)}, seconds=0.02)
    assert min(measured["slow"]) >= 10.0 > sorted(measured["quick"])[MIN_CALLS // 2]


def test_no_time_is_refused() -> None:
    with pytest.raises(UsageError, match="no time"):
        time_calls({"a": lambda: None}, seconds=0.0)


def test_percentiles_and_rate() -> None:
    timing = Timing("x", "engine", 4, (8, 8), tuple(float(ms) for ms in range(1, 101)))
    assert timing.percentile_ms(50.0) == 50.5 and timing.percentile_ms(99.0) == pytest.approx(99.01)
    assert timing.images_per_s == pytest.approx(4 * 1000 / 50.5)
    assert timing.to_dict()["p95_ms"] == pytest.approx(95.05)


def test_every_size_batch_and_kind_is_timed(fake) -> None:
    timings = time_runners({"fake": fake}, [1, 3], [(16, 16), (8, 24)], seconds=0.01)
    assert [(timing.size_hw, timing.batch, timing.scope) for timing in timings] == [
        (size_hw, batch, what)
        for size_hw in ((16, 16), (8, 24))
        for batch in (1, 3)
        for what in ("engine", "end_to_end")
    ]
    assert set(fake.batches) == {1, 3}


def test_generated_pictures_compress_like_photos() -> None:
    data = encode_jpeg(bench_picture((480, 640)), quality=90)
    assert Image.open(io.BytesIO(data)).size == (640, 480)
    assert 0.5 < 8 * len(data) / (480 * 640) < 5  # bits per pixel


def test_the_yardstick_takes_as_many_pictures_as_the_student() -> None:
    open_call = open_yardstick(threads=1)
    one, three = (open_call(batch)() for batch in (1, 3))
    assert [value[0].shape for value in (one, three)] == [(1, 16, 48, 64), (3, 16, 48, 64)]
    assert np.isfinite(three[0]).all() and 0.01 < three[0].std() < 100


def test_the_yardstick_has_a_series_in_every_group(fake) -> None:
    timings = time_runners({"fake": fake}, [1, 2], [(8, 8)], seconds=0.01, yardstick=open_yardstick(threads=1))
    assert [timing.model for timing in timings] == ["fake", YARDSTICK] * 4
    assert all(sum(timing.rounds) == len(timing.calls_ms) for timing in timings)


def test_a_bare_engine_follows_its_runner(fake) -> None:
    class Bare:
        made = 0

        def raw_call(self, images):
            def call() -> None:
                self.made += 1

            return call

    engine = Bare()
    timings = time_runners({"fake": fake, "other": fake}, [2], [(8, 8)], seconds=0.01, raw_runners={"fake": engine})
    assert [(timing.model, timing.beside) for timing in timings] == [
        ("fake", ""),
        (YARDSTICK, "fake"),
        ("other", ""),
    ] * 2
    assert engine.made > 2 * MIN_CALLS


def test_calls_of_one_engine_alternate() -> None:
    made: list[str] = []

    def call(name: str) -> None:
        made.append(name)
        time.sleep(0.001)

    calls = {name: lambda name=name: call(name) for name in "abc"}
    measured = time_rounds(calls, seconds=0.02, together={"a": "b", "c": "missing"})
    rounds = made[3 * WARM_UP_CALLS :]
    first = rounds[: rounds.index("c")]
    assert first == ["a", "b"] * (len(first) // 2)
    assert [len(turn) for turn in measured["a"]] == [len(turn) for turn in measured["b"]]
    assert all(sum(map(len, found)) >= MIN_CALLS for found in measured.values())
