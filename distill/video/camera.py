"""Frames of a camera or a network stream as they come: the newest ones, within a bound of delay.

A thread takes every frame as soon as it is there, so that neither driver nor network buffers run over. Whoever is
slower than the camera gets the newest frames; what would be shown too late is dropped and counted.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from fractions import Fraction
from typing import Any

import av
import numpy as np

from distill.errors import DistillError
from distill.video.color import RgbConverter
from distill.video.demux import DEFAULT_RATE, reason, video_stream
from distill.video.source import Frame, FrameSource

_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://", "srt://", "rtp://")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_WAITING = 64
"""Decoded frames that may wait at most, whatever the policy: 64 of 1080p as YUV are 200 MB."""
_POLL_S = 0.05


class DropPolicy(StrEnum):
    """What happens to frames that come faster than they are worked on."""

    LATE = "late"
    """The newest frame is taken; those that waited longer than the bound are dropped."""
    NEVER = "never"
    """Every frame is taken in order; the delay grows."""


def is_live(address: str) -> bool:
    """Whether this word names a camera or a network stream."""
    return address.startswith(_SCHEMES) or re.fullmatch(r"/dev/video\d+", address) is not None


def redact_credentials(url: str) -> str:
    """The address without user and password."""
    return _CREDENTIALS.sub("", url)


class CameraReader(FrameSource):
    """A camera or a network stream, read once, like a `VideoReader`.

    Attributes:
        name: The address, without credentials.
        time_base: A microsecond, counted from the arrival of the first frame.
        dropped: Frames that came too late to be worked on.
        delays_s: For each frame that was finished, seconds since it had come.
    """

    live = True

    def __init__(
        self,
        url: str,
        *,
        latency_s: float = 0.5,
        drop_policy: DropPolicy = DropPolicy.LATE,
        timeout_s: float = 10.0,
        seconds: float | None = None,
    ) -> None:
        """Connect, and wait for the first frame.

        Args:
            url: ``rtsp://``, ``udp://``, ``tcp://``, ``srt://``, ``rtmp://``, or ``/dev/video0``.
            latency_s: A frame that waited longer than this is dropped.
            drop: What happens to frames that come too fast.
            stall_s: Without a frame for this long, the camera counts as gone.
            seconds: Stop after this time; None goes on until `stop`.

        Raises:
            DistillError: It cannot be reached, or shows nothing.
        """
        self.name, self._latency_s, self._drop_policy, self._timeout_s = (
            redact_credentials(url),
            latency_s,
            drop_policy,
            timeout_s,
        )
        self._url, self._seconds = url, seconds
        self.dropped, self.taken = 0, 0
        self.delays_s: deque[float] = deque(maxlen=100_000)
        self._arrived: dict[int, float] = {}
        self._frames: deque[tuple[int, float, Any]] = deque()
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._error: DistillError | None = None
        self._container = self._connect()
        stream = video_stream(self._container, self.name)
        # Frame threads hold back one frame each: slices only.
        stream.thread_type = "SLICE"
        self.codec, self.rate = stream.codec_context.name, Fraction(stream.average_rate or DEFAULT_RATE)
        self.time_base = Fraction(1, 1_000_000)
        self._source = self._container.decode(stream)
        first = self._first()
        self._converter = RgbConverter(first)
        turned = self._converter.quarter_turns % 2
        self.size_hw = (first.width, first.height) if turned else (first.height, first.width)
        self._zero = time.monotonic()
        self._thread = threading.Thread(target=self._receive, args=(first,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more frames: what came is finished."""
        self._stop.set()

    def finished(self, index: int) -> None:
        """A frame went through everything; its delay counts."""
        arrived = self._arrived.pop(index, None)
        if arrived is not None:
            self.delays_s.append(time.monotonic() - arrived)

    def read_stats(self) -> dict[str, Any]:
        """Dropped frames and delays, for the result."""
        delays = np.array(self.delays_s or [float("nan")])
        return {
            "dropped": self.dropped,
            "delay_p50_ms": round(1000 * float(np.percentile(delays, 50)), 1),
            "delay_p95_ms": round(1000 * float(np.percentile(delays, 95)), 1),
        }

    def frames(self, start: int = 0, *, size_hw: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Frames as they come, until `stop`, the time given, or the end of the stream; read once.

        Raises:
            DistillError: The camera is gone or stalls.
        """
        wanted_hw, begun, before_us = size_hw or self.size_hw, time.monotonic(), -1
        while (entry := self._next(begun)) is not None:
            index, arrived, frame = entry
            if index < start:
                continue
            self._arrived[index] = arrived
            self.taken += 1
            before_us = max(before_us + 1, round(1e6 * (arrived - self._zero)))
            yield Frame(index, before_us, before_us / 1e6, self._converter.to_upright_rgb(frame, wanted_hw))
            del entry, frame
        self.stop()
        self._thread.join(timeout=self._timeout_s + 1)
        self._container.close()
        if self._error is not None:
            raise self._error

    def _next(self, begun: float) -> tuple[int, float, Any] | None:
        """The frame to work on next; None at the end."""
        waiting_since = time.monotonic()
        while True:
            now = time.monotonic()
            if self._stop.is_set() or (self._seconds is not None and now - begun > self._seconds):
                self._error = None  # whoever stops expects an end
                return None
            with self._news:
                if self._frames:
                    return self._take(now)
                if self._error is not None:
                    return None
                self._news.wait(_POLL_S)
            if now - waiting_since > self._timeout_s:
                self._error = self._gone(f"no picture for {self._timeout_s:g} s")
                return None

    def _take(self, now: float) -> tuple[int, float, Any]:
        if self._drop_policy is DropPolicy.LATE:
            # The newest one is always taken: a late picture is better than none.
            while len(self._frames) > 1 and now - self._frames[0][1] > self._latency_s:
                self._frames.popleft()
                self.dropped += 1
        entry = self._frames.popleft()
        self._news.notify_all()
        return entry

    def _receive(self, first: Any) -> None:
        """In a thread: every frame, as soon as it is there."""
        index, frame = 0, first
        try:
            while not self._stop.is_set():
                self._offer(index, frame)
                index, frame = index + 1, next(self._source)
        except StopIteration:
            self._end(f"the stream ended after {index + 1} frames")
        except (av.FFmpegError, OSError) as error:
            self._end(f"{reason(error)} after {index + 1} frames")

    def _offer(self, index: int, frame: Any) -> None:
        with self._news:
            while len(self._frames) >= _WAITING and not self._stop.is_set():
                if self._drop_policy is DropPolicy.LATE:
                    self._frames.popleft()
                    self.dropped += 1
                else:
                    self._news.wait(_POLL_S)
            self._frames.append((index, time.monotonic(), frame))
            self._news.notify_all()

    def _end(self, why: str) -> None:
        with self._news:
            self._error = self._gone(why)
            self._news.notify_all()

    def _gone(self, why: str) -> DistillError:
        return DistillError(f"{self.name}: the camera is gone: {why}", hint="check the camera; what came is kept")

    def _connect(self) -> Any:
        # FFmpeg looks at 5 s of a stream before it starts; half a second tells size and rate as well.
        options = {"analyzeduration": "500000"}
        if self._url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        kind = "v4l2" if self._url.startswith("/dev/") else None
        try:
            return av.open(self._url, format=kind, options=options, timeout=(self._timeout_s, self._timeout_s))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DistillError(
                f"{self.name}: cannot be reached: {reason(error).replace(self._url, self.name)}",
                hint="check address, cable and password",
            ) from error

    def _first(self) -> Any:
        try:
            return next(self._source)
        except (StopIteration, av.FFmpegError, OSError) as error:
            self._container.close()
            raise self._gone("it showed no picture") from error
