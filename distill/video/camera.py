"""Read a camera or a network stream with bounded delay.

A thread receives every frame at once, so that driver and network buffers do not overflow. A consumer slower than the
camera gets the newest frames; late ones are dropped and counted.
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
from distill.video.decode import DEFAULT_RATE, reason, video_stream
from distill.video.source import Frame, FrameSource

_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://", "srt://", "rtp://")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_WAITING = 64
"""Maximum number of waiting frames under any policy: 64 of 1080p as YUV are 200 MB."""
_POLL_S = 0.05


class DropPolicy(StrEnum):
    """Treatment of frames that arrive faster than they are processed."""

    LATE = "late"
    """Drop frames that waited longer than the latency limit."""
    NEVER = "never"
    """Process every frame in order; the delay grows."""


def is_live(address: str) -> bool:
    """Whether an address is a camera or a network stream."""
    return address.startswith(_SCHEMES) or re.fullmatch(r"/dev/video\d+", address) is not None


def redact_credentials(url: str) -> str:
    """Remove user and password from an address."""
    return _CREDENTIALS.sub("", url)


class CameraReader(FrameSource):
    """Camera or network stream; `frames` can be called once.

    Attributes:
        name: Address without credentials.
        time_base: One microsecond; times count from the arrival of the first frame.
        dropped: Number of dropped frames.
        taken: Number of frames handed out.
        delays_s: Seconds from arrival to completion of each finished frame.
    """

    live = True

    def __init__(
        self,
        url: str,
        *,
        latency_s: float = 0.5,
        drop_policy: DropPolicy | str = DropPolicy.LATE,
        timeout_s: float = 10.0,
        seconds: float | None = None,
    ) -> None:
        """Connect and wait for the first frame.

        Args:
            url: ``rtsp://``, ``udp://``, ``tcp://``, ``srt://``, ``rtmp://``, or ``/dev/video0``.
            latency_s: Maximum waiting time of a frame under `DropPolicy.LATE`.
            drop_policy: Treatment of frames that arrive too fast.
            timeout_s: The stream has failed after this time without a frame.
            seconds: Duration; None: until `stop`.

        Raises:
            DistillError: It cannot be reached, or sends no frame.
        """
        self.name = redact_credentials(url)
        self._url, self._seconds = url, seconds
        self._latency_s, self._timeout_s = latency_s, timeout_s
        # A command passes the name; a plain string would never be identical to the enum member.
        self._drop_policy = DropPolicy(drop_policy)
        self.dropped, self.taken = 0, 0
        self.delays_s: deque[float] = deque(maxlen=100_000)
        self._arrived: dict[int, float] = {}
        self._frames: deque[tuple[int, float, Any]] = deque()
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._error: DistillError | None = None
        self._container = self._connect()
        stream = video_stream(self._container, self.name)
        # Slice threads only: each frame thread would delay the output by a frame.
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
        """End the stream; frames already taken are finished."""
        self._stop.set()

    def finished(self, index: int) -> None:
        """Record the delay of a frame that has been processed."""
        arrived = self._arrived.pop(index, None)
        if arrived is not None:
            self.delays_s.append(time.monotonic() - arrived)

    def read_stats(self) -> dict[str, Any]:
        """Number of dropped frames and percentiles of the delay."""
        delays = np.array(self.delays_s or [float("nan")])
        return {
            "dropped": self.dropped,
            "delay_p50_ms": round(1000 * float(np.percentile(delays, 50)), 1),
            "delay_p95_ms": round(1000 * float(np.percentile(delays, 95)), 1),
        }

    def frames(self, start: int = 0, *, size_hw: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Frames on arrival, until `stop`, the duration, or the end of the stream.

        Raises:
            DistillError: The stream ended or timed out.
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
        """Next frame to process; None at the end."""
        waiting_since = time.monotonic()
        while True:
            now = time.monotonic()
            if self._stop.is_set() or (self._seconds is not None and now - begun > self._seconds):
                self._error = None  # the end was requested
                return None
            with self._news:
                if self._frames:
                    return self._take(now)
                if self._error is not None:
                    return None
                self._news.wait(_POLL_S)
            if now - waiting_since > self._timeout_s:
                self._error = self._gone(f"no frame for {self._timeout_s:g} s")
                return None

    def _take(self, now: float) -> tuple[int, float, Any]:
        if self._drop_policy is DropPolicy.LATE:
            # The newest frame is never dropped, however late.
            while len(self._frames) > 1 and now - self._frames[0][1] > self._latency_s:
                self._frames.popleft()
                self.dropped += 1
        entry = self._frames.popleft()
        self._news.notify_all()
        return entry

    def _receive(self, first: Any) -> None:
        """Receive frames in a thread."""
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
        return DistillError(
            f"{self.name}: the camera is gone: {why}", hint="check the camera; results up to here are kept"
        )

    def _connect(self) -> Any:
        # FFmpeg probes 5 s of a stream by default; half a second is enough for size and rate.
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
            raise self._gone("it sent no frame") from error
