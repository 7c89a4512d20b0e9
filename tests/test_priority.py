"""Encoders must not put this process, and what it starts later, before everything else on the machine."""

from __future__ import annotations

import os
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from distill.video import VideoCodec, VideoWriter
from distill.video.encoders import choose_encoding
from distill.video.priority import kept_priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are those of Linux")


def policies() -> set[int]:
    return {os.sched_getscheduler(int(entry.name)) for entry in Path("/proc/self/task").iterdir()}


def test_this_thread_and_new_ones_are_scheduled_as_before() -> None:
    """With a policy that anybody may choose; the encoder chooses its own only for root."""
    until = threading.Event()
    new = threading.Thread(target=until.wait)
    before = os.sched_getscheduler(0)
    with pytest.raises(ValueError, match="no encoder"), kept_priority():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        new.start()
        assert os.sched_getscheduler(new.native_id or 0) == os.SCHED_BATCH
        raise ValueError("no encoder")
    after = os.sched_getscheduler(0), os.sched_getscheduler(new.native_id or 0)
    until.set()
    new.join()
    assert after == (before, before) and before != os.SCHED_BATCH


def test_other_threads_are_left_alone() -> None:
    until = threading.Event()
    other = threading.Thread(target=until.wait)
    other.start()
    with kept_priority():
        os.sched_setscheduler(other.native_id or 0, os.SCHED_BATCH, os.sched_param(0))
    after = os.sched_getscheduler(other.native_id or 0)
    until.set()
    other.join()
    assert after == os.SCHED_BATCH


@pytest.mark.parametrize("codec", list(VideoCodec))
def test_writing_a_video_changes_no_policy(codec: VideoCodec, tmp_path: Path) -> None:
    before = policies()
    encoding = choose_encoding(codec)
    size_hw = 64, 96
    with VideoWriter(
        tmp_path / "a.mp4", size_hw, time_base=Fraction(1, 25), rate=Fraction(25), encoding=encoding
    ) as writer:
        for number in range(3):
            writer.write(np.zeros((*size_hw, 3), np.uint8), number)
            assert policies() == before == {os.SCHED_OTHER}
    assert policies() == before
