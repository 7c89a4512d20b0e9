"""Clocks of recordings: place frames and sound on one time line that plays without jumps.

Time stamps of real files start anywhere, wrap (33 bits in MPEG), start again where recordings were joined, and are off
by hours in single frames. Every stamp is read as the source's time plus an offset, as FFmpeg does: a jump that no gap
explains gives a new offset, such that the stream continues where the previous frame ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

BROKEN_CLOCK_FORMATS = frozenset({"mpegts", "mpeg", "flv", "live_flv", "dhav", "mpegtsraw"})
"""Formats of broadcasts and recorders, where a gap of more than `_BROADCAST_GAP_S` is a jump of the clock."""
_EXACT_FORMATS = frozenset({"mov"})
"""Formats that store durations, so that gaps are meant."""
_BROADCAST_GAP_S, _FILE_GAP_S, _EXACT_GAP_S = 10.0, 3600.0, 30 * 3600.0
_GAP_INTERVALS = 10
"""A gap is never a jump if the usual distance of frames is a tenth of it."""
_MATCH_S = 1.0
"""Sound takes an offset of the picture if that continues it within this time."""
_OVERLAP_S = 0.2


def max_gap_s(format_name: str) -> float:
    """Longest gap between two frames that is taken as it is."""
    name = format_name.split(",", maxsplit=1)[0]
    if name in BROKEN_CLOCK_FORMATS:
        return _BROADCAST_GAP_S
    return _EXACT_GAP_S if name in _EXACT_FORMATS else _FILE_GAP_S


@dataclass(frozen=True, slots=True)
class ClockJump:
    """A correction of the clock.

    Attributes:
        index: Number of the first frame with the new offset.
        seconds: Time that was taken out (positive) or put in (negative).
    """

    index: int
    seconds: float


class Timeline:
    """Play times of the frames of one stream, in its time base.

    Attributes:
        jumps: Corrections so far.
    """

    def __init__(
        self, origin: int, interval: int, max_gap: int, runs_on: Callable[[int, int], bool] | None = None
    ) -> None:
        """Start a time line.

        Args:
            origin: Time stamp that becomes 0.
            interval: Usual distance of two frames.
            max_gap: Longest gap that is taken as it is.
            runs_on: Whether something else shows that the clock runs on from one time stamp to a later one, so that a
                longer gap is none of the clock.
        """
        self.jumps: list[tuple[int, int]] = []
        self._offset, self._offsets = -origin, [-origin]
        self._interval, self._max_gap = max(1, interval), max(max_gap, _GAP_INTERVALS * interval)
        self._last, self._expected, self._index = -1, 0, -1
        self._runs_on = runs_on or (lambda before, stamp: False)

    def place(self, stamp: int | None, duration: int, following: int | None) -> int:
        """Play time of the next frame; increases strictly.

        Args:
            stamp: Its time stamp; None: it follows the previous frame.
            duration: Its stated duration, 0 if unknown.
            following: Time stamp of the frame after it, if there is one.
        """
        self._index += 1
        if stamp is None:
            play = self._expected
        elif self._index == 0:
            play = max(0, stamp + self._offset)
        else:
            play = self._corrected(stamp, following)
        play = max(play, self._last + 1)
        self._last, self._expected = play, play + (duration if duration > 0 else self._interval)
        return play

    def _corrected(self, stamp: int, following: int | None) -> int:
        play = stamp + self._offset
        after = None if following is None else following + self._offset
        near = self._expected + 2 * self._interval
        if after is not None and self._last < after <= near and not self._last < play <= after:
            return min(self._expected, (self._last + after + 1) // 2)  # the stamp of this frame alone is wrong
        if self._last < play <= self._expected + self._max_gap:
            return play
        if self._last - self._interval <= play <= self._last:
            return self._expected  # equal or hardly smaller stamps are no jump
        if play > self._last and self._runs_on(self._last - self._offset, stamp):
            return play
        return self._jump(stamp)

    def _jump(self, stamp: int) -> int:
        """Continue where the previous frame ended, with an earlier offset if it fits."""
        best = min(self._offsets, key=lambda offset: abs(stamp + offset - self._expected))
        if self._last < stamp + best and abs(stamp + best - self._expected) <= 2 * self._interval:
            offset = best
        else:
            offset = self._expected - stamp
            self._offsets.append(offset)
        self.jumps.append((self._index, self._offset - offset))
        self._offset = offset
        return stamp + offset


class AudioClock:
    """Play times of sound, in seconds, in step with the picture."""

    def __init__(self, offsets_s: Sequence[float], end_s: float) -> None:
        """Use the offsets of the picture, first one first, and its end."""
        self._offsets, self._video_end = list(offsets_s) or [0.0], end_s
        self._offset = self._offsets[0]
        self._end: float | None = None

    def place(self, stamp_s: float | None, duration_s: float) -> float:
        """Play time of the next packet or frame; overlaps the previous one where recordings were joined."""
        expected = 0.0 if self._end is None else self._end
        play = expected if stamp_s is None else self._corrected(stamp_s, expected)
        self._end = play + duration_s
        return play

    def _corrected(self, stamp_s: float, expected: float) -> float:
        play = stamp_s + self._offset
        if -_OVERLAP_S <= play - expected <= _MATCH_S:
            return play
        offset = min(self._offsets, key=lambda offset: abs(stamp_s + offset - expected))
        if abs(stamp_s + offset - expected) <= _MATCH_S:
            self._offset = offset
        elif play < expected - _BROADCAST_GAP_S or play > max(expected, self._video_end) + _BROADCAST_GAP_S:
            self._offset = expected - stamp_s  # a jump of its own
        return stamp_s + self._offset


def offsets_of(times: Sequence[tuple[float, float]], tolerance_s: float) -> list[float]:
    """Offsets from source time to play time, in order, from (source seconds, play seconds) of every frame."""
    offsets: list[float] = []
    for source_s, play_s in times:
        offset = play_s - source_s
        if not offsets or abs(offset - offsets[-1]) > tolerance_s:
            offsets.append(offset)
    return offsets


def describe_jumps(jumps: Sequence[ClockJump]) -> str:
    """Sentence for the result."""
    first = jumps[0]
    where = f"at frame {first.index} by {-first.seconds:+.2f} s"
    where += f" and at {len(jumps) - 1} more places" if len(jumps) > 1 else ""
    return (
        f"the clock of this recording jumps {where}; play times continue without the jump (time_s is the recording's)"
    )
