"""Pipeline stages in threads: order, back-pressure, and errors after earlier results."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from distill.errors import DistillError
from distill.export.inference.batch_size import default_batch, in_batches
from distill.export.inference.batched_inference import infer
from distill.export.inference.stages import PipelineItem, StageTimer
from distill.runtime.parallel import prefetch
from tests.fakes.runner import FakeRunner


def pictures(*sizes_hw: tuple[int, int]) -> Iterator[PipelineItem]:
    for index, size_hw in enumerate(sizes_hw):
        yield PipelineItem(str(index), np.full((*size_hw, 3), index, np.uint8))


def test_order_is_kept_through_three_stages() -> None:
    stage = prefetch(number * 2 for number in prefetch(number + 1 for number in prefetch(range(200))))
    assert list(stage) == [2 * (number + 1) for number in range(200)]


def test_a_slow_consumer_delays_the_source() -> None:
    made = []

    def source() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    stage = prefetch(source(), depth=2)
    assert next(stage) == 0
    time.sleep(0.3)
    assert len(made) <= 4  # one given out, two waiting, one in hand
    stage.close()


def test_closing_stops_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    before = threading.active_count()
    stage = prefetch(prefetch(source()))
    next(stage)
    stage.close()
    assert closed.wait(2) and threading.active_count() == before


def test_an_error_comes_after_the_good_items(fake: FakeRunner) -> None:
    def source() -> Iterator[PipelineItem]:
        yield from pictures((8, 8), (8, 8), (8, 8))
        raise DistillError("cut off")

    seen: list[str] = []
    with pytest.raises(DistillError, match="cut off"):
        for group in prefetch(in_batches(prefetch(source()), 2, fake)):
            seen += [picture.key for picture in group]
    assert seen == ["0", "1", "2"]


def test_only_equal_sizes_share_a_batch(fake: FakeRunner) -> None:
    sizes = [(8, 8), (8, 8), (8, 9), (8, 8), (8, 8), (8, 8)]
    found = list(infer(fake, pictures(*sizes), batch=2))
    assert fake.batches == [2, 1, 2, 1]
    assert [picture.key for picture, _ in found] == list("012345")
    for picture, outputs in found:
        assert outputs["depth"].shape == picture.rgb.shape[:2]
        assert np.allclose(outputs["depth"], 0.1 + int(picture.key) / 10)


def test_large_images_make_small_batches(fake: FakeRunner) -> None:
    assert default_batch(fake, (2160, 3840)) == 1
    assert default_batch(fake, (1080, 1920)) == 1
    assert 1 < default_batch(fake, (540, 960)) <= default_batch(fake, (120, 160)) == 8


def test_the_slowest_stage_is_named() -> None:
    timer = StageTimer()

    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    for _ in timer.items("slow", slow()):
        with timer.stage("quick"):
            pass
    assert timer.bottleneck == "slow" and timer.seconds["slow"] >= 0.06
