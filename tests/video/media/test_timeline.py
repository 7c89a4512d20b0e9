"""Clocks of recordings: wraps, joins, single wrong stamps and gaps, for the picture and for the sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from distill.video import VideoReader
from distill.video.media.timeline import AudioClock, Timeline, describe_jumps, offsets_of
from tests.builders.videos import read_number, write_stream


def played(stamps: Sequence[int | None], *, interval: int = 4, gap: int = 1000, durations: int = 0) -> list[int]:
    clock = Timeline(stamps[0] or 0, interval, gap)
    following = [*stamps[1:], None]
    return [clock.place(stamp, durations, after) for stamp, after in zip(stamps, following, strict=True)]


STEADY = list(range(0, 40, 4))
CASES: dict[str, tuple[list[int | None], list[int]]] = {
    "from zero": ([*STEADY], STEADY),
    "wall clock": ([10**12 + stamp for stamp in STEADY], STEADY),
    "negative start": ([stamp - 17 for stamp in STEADY], STEADY),
    "joined, begins again": ([*STEADY[:5], *STEADY[:5]], STEADY),
    "joined three times": ([*STEADY[:3], *STEADY[:3], *STEADY[:4]], STEADY),
    "joined, hours later": ([*STEADY[:5], *(stamp + 50_000 for stamp in STEADY[:5])], STEADY),
    "hours later and back": ([*STEADY[:3], *(stamp + 50_000 for stamp in STEADY[3:6]), *STEADY[6:]], STEADY),
    "wraps": ([(stamp + 2**33 - 14) % 2**33 for stamp in STEADY], STEADY),
    "one stamp hours ahead": ([*STEADY[:4], 90_000, *STEADY[5:]], STEADY),
    "one stamp hours back": ([*STEADY[:4], -90_000, *STEADY[5:]], STEADY),
    "one stamp a little ahead": ([*STEADY[:4], 300, *STEADY[5:]], STEADY),
    "two wrong stamps": ([*STEADY[:2], 70_000, *STEADY[3:6], -70_000, *STEADY[7:]], STEADY),
    "no stamps": ([None] * 10, STEADY),
    "some stamps": ([0, None, 8, None, None, 20, 24, None, 32, 36], STEADY),
    "equal stamps in pairs": ([0, 0, 8, 8, 16, 16, 24, 24, 32, 36], STEADY),
    "a gap that is meant": ([0, 4, 8, 500, 504, 508], [0, 4, 8, 500, 504, 508]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_recording_plays_without_jumps(case: str) -> None:
    stamps, wanted = CASES[case]
    assert played(stamps) == wanted


def test_a_long_gap_is_meant_where_something_else_runs_on() -> None:
    seen: list[tuple[int, int]] = []

    def runs_on(before: int, stamp: int) -> bool:
        seen.append((before, stamp))
        return stamp < 20_000

    clock = Timeline(100, 4, 1000, runs_on)
    stamps = [100, 104, 5108, 5112, 25_112, 25_116, 104]
    plays = [clock.place(stamp, 0, after) for stamp, after in zip(stamps, [*stamps[1:], None], strict=True)]
    assert plays == [0, 4, 5008, 5012, 5016, 5020, 5024]
    assert seen == [(104, 5108), (5112, 25_112)]  # not at a jump back
    assert [index for index, _ in clock.jumps] == [4, 6]


@pytest.mark.parametrize("seed", range(20))
def test_play_times_always_increase(seed: int) -> None:
    random = np.random.default_rng(seed)
    stamps = [
        int(value) for value in random.integers(-(10 ** random.integers(1, 12)), 10 ** random.integers(1, 12), 50)
    ]
    assert all(np.diff(played(stamps)) > 0) and played(stamps)[0] == 0


def test_jumps_are_counted_and_described() -> None:
    clock = Timeline(0, 4, 1000)
    for stamp in (0, 4, 8, 0, 4, 8, 0):
        clock.place(stamp, 4, None)
    assert clock.jumps == [(3, -12), (6, -12)]
    assert offsets_of([(0, 0), (4, 4), (0, 8), (4, 12)], 1) == [0, 8]


def test_sound_follows_the_offsets_of_the_picture() -> None:
    clock = AudioClock([0.0, 4.0, 8.0], 12.0)
    stamps = [0.0, 1.0, 2.0, 3.0, 0.02, 1.02, 2.02, 3.02, 0.0]
    assert np.allclose([clock.place(stamp, 1.0) for stamp in stamps], [0, 1, 2, 3, 4.02, 5.02, 6.02, 7.02, 8.0])
    late = AudioClock([0.0], 60.0)
    assert [late.place(stamp, 1.0) for stamp in (20.0, 21.0, 50.0)] == [20.0, 21.0, 50.0]  # gaps that are meant
    other = AudioClock([-100.0], 60.0)
    assert [other.place(stamp, 1.0) for stamp in (5000.0, 5001.0, None)] == [0.0, 1.0, 2.0]  # a clock of its own


@pytest.mark.parametrize("start_s", [0.0, 54321.0, 95443.4, -3.0])
def test_recordings_that_start_anywhere(start_s: float, tmp_path: Path) -> None:
    """95443.7 s is where the 33-bit clock of MPEG wraps."""
    reader = VideoReader(write_stream(tmp_path / "a.ts", range(30), start_s=start_s))
    frames = list(reader.frames())
    assert [read_number(frame.rgb) for frame in frames] == list(range(30))
    assert np.allclose([frame.play_s for frame in frames], np.arange(30) / 25, atol=1e-6)
    assert np.allclose(np.diff([frame.pts_s for frame in frames]), 0.04, atol=1e-6)


@pytest.mark.parametrize("start_s", [0.0, 4000.0])
def test_joined_recordings_are_whole(start_s: float, tmp_path: Path) -> None:
    first = write_stream(tmp_path / "a.ts", range(10)).read_bytes()
    second = write_stream(tmp_path / "b.ts", range(10, 20), start_s=start_s).read_bytes()
    (tmp_path / "c.ts").write_bytes(first + second + first)
    reader = VideoReader(tmp_path / "c.ts")
    frames = list(reader.frames())  # raises if it were called damaged
    assert [read_number(frame.rgb) for frame in frames] == [*range(20), *range(10)]
    assert np.allclose([frame.play_s for frame in frames], np.arange(30) / 25, atol=1e-6)
    assert any("the clock of this recording jumps" in note for note in reader.notes)


def test_the_sentence_names_the_first_jump() -> None:
    from distill.video.media.timeline import ClockJump

    assert "at frame 7 by -4.00 s and at 1 more places" in describe_jumps([ClockJump(7, 4.0), ClockJump(9, 1.0)])
