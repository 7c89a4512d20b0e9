"""Read a camera or a network stream with bounded delay.

A thread receives every frame at once, so that driver and network buffers do not overflow. A consumer slower than the
camera gets the newest frames; late ones are dropped and counted.
"""

from __future__ import annotations

import contextlib
import itertools
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
from distill.video.decode import DEFAULT_RATE, video_stream
from distill.video.media.addresses import check_address, is_device, protocols_of, safe_address
from distill.video.media.opening import FORMATS, reason
from distill.video.source import Frame, FrameSource

_WAITING = 64
"""Maximum number of waiting frames under any policy: 64 of 1080p as YUV are 200 MB."""
_FORMATS = f"hls,rtsp,rtp,rtp_mpegts,sdp,video4linux2,v4l2,{FORMATS}"
_BACK_OFF_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Pauses before attempts to reconnect; the last one is repeated."""
_POLL_S = 0.05


class DropPolicy(StrEnum):
    """Treatment of frames that arrive faster than they are processed."""

    LATE = "late"
    """Drop frames that waited longer than the latency limit."""
    NEVER = "never"
    """Process every frame in order; the delay grows."""


class CameraReader(FrameSource):
    """Camera or network stream; `frames` can be called once.

    A damaged packet is skipped. A stream that ends or breaks is connected again, until `timeout_s` has passed without
    a frame; a stream of stated duration, such as a video on a web server, ends with its last frame.

    Attributes:
        name: Address without its secrets.
        time_base: One microsecond; times count from the arrival of the first frame.
        dropped: Number of dropped frames.
        damaged: Number of skipped packets.
        reconnects: Number of connections after the first one.
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
            url: ``rtsp://``, ``rtmp://``, ``udp://``, ``tcp://``, ``http://``, ``srt://``, or ``/dev/video0``.
            latency_s: Maximum waiting time of a frame under `DropPolicy.LATE`.
            drop_policy: Treatment of frames that arrive too fast.
            timeout_s: The stream has failed after this time without a frame.
            seconds: Duration; None: until `stop`.

        Raises:
            DistillError: It cannot be reached, or sends no frame.
        """
        self.name = safe_address(url)
        self._url, self._seconds = url, seconds
        self._latency_s, self._timeout_s = latency_s, timeout_s
        # A command passes the name; a plain string would never be identical to the enum member.
        self._drop_policy = DropPolicy(drop_policy)
        self.dropped, self.taken, self.damaged, self.reconnects = 0, 0, 0, 0
        self.delays_s: deque[float] = deque(maxlen=100_000)
        self._arrived: dict[int, float] = {}
        self._frames: deque[tuple[int, float, Any]] = deque()
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._error: DistillError | None = None
        self._ended = False
        self._broken = ""
        check_address(url)
        self._container: Any = None
        self._finite = False
        self._source = self._connect()
        first = self._first()
        self._converter = RgbConverter(first, self._stream.sample_aspect_ratio)
        self.size_hw = self._converter.size_hw
        self.codec = self._stream.codec_context.name
        self.rate = Fraction(self._stream.average_rate or DEFAULT_RATE)
        self.time_base = Fraction(1, 1_000_000)
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
        """Number of dropped frames, of skipped packets and of reconnections, and percentiles of the delay."""
        delays = np.array(self.delays_s or [float("nan")])
        return {
            "dropped": self.dropped,
            **({"damaged_packets": self.damaged} if self.damaged else {}),
            **({"reconnects": self.reconnects} if self.reconnects else {}),
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
            seconds = before_us / 1e6
            rgb = self._converter.to_upright_rgb(frame, wanted_hw)
            yield Frame(index, before_us, seconds, rgb, seconds)
            del entry, frame
        self.stop()
        self._thread.join(timeout=self._timeout_s + 1)
        if not self._thread.is_alive():
            self._close()
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
                if self._ended:
                    return None
                self._news.wait(_POLL_S)
            if now - waiting_since > self._timeout_s + _POLL_S:
                self._error = self._gone(self._broken or f"no frame for {self._timeout_s:g} s")
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
        """Receive frames in a thread; reconnect when the stream breaks."""
        index, frame = 0, first
        while frame is not None:
            self._offer(index, frame)
            if self._stop.is_set():
                return
            try:
                frame = next(self._source)
            except Exception as error:  # whatever PyAV raises
                why = "the stream ended" if isinstance(error, StopIteration) else reason(error)
                if self._finite and isinstance(error, StopIteration):
                    self._end(None)
                    return
                frame = self._reconnected(f"{why} after {index + 1} frames")
            index += 1

    def _reconnected(self, why: str) -> Any:
        """First frame of a new connection; None, and the stream has ended, if there is none in time."""
        self._broken = why
        deadline = time.monotonic() + self._timeout_s
        for attempt in itertools.count():
            pause = _BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)]
            if self._stop.wait(min(pause, max(0.0, deadline - time.monotonic()))):
                return None
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                self._close()
                self._source = self._connect(left)
                frame = next(self._source)
            except Exception:
                continue
            self.reconnects += 1
            self._broken = ""
            return frame
        self._end(why)
        return None

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

    def _end(self, why: str | None) -> None:
        with self._news:
            self._error = None if why is None else self._gone(why)
            self._ended = True
            self._news.notify_all()

    def _gone(self, why: str) -> DistillError:
        return DistillError(
            f"{self.name}: the camera is gone: {why}", hint="check the camera; results up to here are kept"
        )

    def _connect(self, timeout_s: float | None = None) -> Iterator[Any]:
        """Open the stream; returns its frames."""
        # FFmpeg probes 5 s of a stream by default; half a second is enough for size and rate.
        options = {"analyzeduration": "500000", "format_whitelist": _FORMATS}
        if is_device(self._url):
            kind: str | None = "v4l2"
        else:
            kind, options["protocol_whitelist"] = None, protocols_of(self._url)
        if self._url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        seconds = timeout_s or self._timeout_s
        try:
            self._container = av.open(
                self._url, format=kind, container_options=options, timeout=(seconds, seconds), metadata_errors="replace"
            )
            self._finite = bool(self._container.duration)
            self._stream = video_stream(self._container, self.name)
            # Slice threads only: each frame thread would delay the output by a frame.
            self._stream.thread_type = "SLICE"
        except DistillError:
            self._close()
            raise
        except Exception as error:  # whatever PyAV raises; without its text and traceback, which contain the address
            raise DistillError(
                f"{self.name}: cannot be reached: {_plain_reason(error)}", hint="check address, cable and password"
            ) from None
        return self._decoded()

    def _decoded(self) -> Iterator[Any]:
        """Frames of the connection; packets that cannot be decoded are skipped."""
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except Exception:  # whatever PyAV raises for a damaged packet
                self.damaged += 1
                continue
            yield from frames

    def _first(self) -> Any:
        try:
            return next(self._source)
        except Exception as error:  # whatever PyAV raises
            self._close()
            why = "" if isinstance(error, StopIteration) else f": {_plain_reason(error)}"
            raise self._gone(f"it sent no frame{why}") from None

    def _close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(Exception):  # the connection is broken
                container.close()


def _plain_reason(error: Exception) -> str:
    """Reason without the address: only the system's words for an error number."""
    if isinstance(error, av.ExitError):  # how PyAV ends a call that takes too long
        return "no answer in time"
    text = getattr(error, "strerror", None)
    return (text[0].lower() + text[1:]) if text and "://" not in text else type(error).__name__
