"""Throttling of requests: rate limits per minute, adaptive concurrency, circuit breaker. Used in one event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

_BURST_S = 1.0
"""Capacity of a token bucket in seconds, so that the rate is reached although requests end in bursts."""
_WINDOW = 20
_RATE_LIMIT_PATIENCE = 5
_REDUCE_ABOVE, _PAUSE_ABOVE = 0.25, 0.6
"""Fractions of rate-limited requests above which concurrency is reduced, and above which all requests pause."""


class TokenBucket:
    """Token bucket: a number of units per minute, spent before a request."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = None if per_minute is None else per_minute / 60
        self._clock, self._at = clock, clock()
        self._most = max(1.0, (self._per_s or 0) * _BURST_S)
        self._left = self._most

    def wait_s(self, units: float) -> float:
        """Seconds until that many units are available; 0: now."""
        if self._per_s is None or units <= 0:
            return 0.0
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        # A request larger than the bucket waits for a full one, and leaves a negative level.
        return max(0.0, (min(units, self._most) - self._left) / self._per_s)

    def spend(self, units: float) -> None:
        """Take the units; call `wait_s` first."""
        self._left -= units


class ConcurrencyLimiter:
    """Number of requests in flight: doubles at first, grows with successes, shrinks with many rate-limited requests.

    A few rate-limited requests in a hundred are normal, so only their fraction over the last requests counts.
    """

    def __init__(self, max_in_flight: int, *, start: int = 16, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_in_flight, self.limit = max_in_flight, float(min(start, max_in_flight))
        self.in_flight = 0
        self._clock, self._doubling, self._closed_until = clock, True, 0.0
        self._outcomes: deque[bool] = deque(maxlen=_WINDOW)
        self._since = 0

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent."""
        return self.in_flight < max(1, int(self.limit))

    def wait_s(self) -> float:
        """Seconds until the end of the pause; 0: now."""
        return max(0.0, self._closed_until - self._clock())

    def pause(self, delay_s: float) -> None:
        """Send no requests for a while."""
        self._closed_until = max(self._closed_until, self._clock() + delay_s)

    def on_success(self) -> None:
        """Count an answered request."""
        self._note(True)

    def on_rate_limit(self, delay_s: float | None) -> None:
        """Count a rate-limited request."""
        self._note(False)
        if self._rate_limited_fraction > _PAUSE_ABOVE and delay_s:
            self.pause(delay_s)

    @property
    def _rate_limited_fraction(self) -> float:
        return self._outcomes.count(False) / len(self._outcomes) if len(self._outcomes) >= _WINDOW // 2 else 0.0

    def _note(self, passed: bool) -> None:
        self._outcomes.append(passed)
        self._since += 1
        # One decision per generation of requests: those in flight were sent under the old limit.
        if self._since < max(_WINDOW // 2, int(self.limit)):
            return
        self._since = 0
        if self._rate_limited_fraction > _REDUCE_ABOVE:
            self.limit, self._doubling = max(1.0, self.limit * 0.7), False
        else:
            self.limit = min(float(self.max_in_flight), self.limit * (2.0 if self._doubling else 1.1) + 1)


class CircuitBreaker:
    """Opens after consecutive failures: then one request at a time is tried, and after a while the run stops."""

    def __init__(
        self, abort_after_s: float, *, failures: int = 10, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._abort_after_s, self._failures, self._clock = abort_after_s, failures, clock
        self._consecutive_failures, self._since = 0, 0.0
        self._rate_limited_since: float | None = None
        self.last_error = ""

    @property
    def open(self) -> bool:
        """Whether the last requests all failed."""
        return self._consecutive_failures >= self._failures

    @property
    def should_abort(self) -> bool:
        """Whether it has been open for too long; rate-limited requests are tolerated for longer."""
        now = self._clock()
        if (
            self._rate_limited_since is not None
            and now - self._rate_limited_since > _RATE_LIMIT_PATIENCE * self._abort_after_s
        ):
            return True
        return self.open and now - self._since > self._abort_after_s

    def on_success(self) -> None:
        """Count an answered request."""
        self._consecutive_failures, self._rate_limited_since = 0, None

    def on_rate_limit(self, error: str) -> None:
        """Count a rate-limited request: the service is available."""
        self._consecutive_failures = 0
        self._rate_limited_since = self._clock() if self._rate_limited_since is None else self._rate_limited_since
        self.last_error = error

    def on_failure(self, error: str) -> None:
        """Count a failed request."""
        if self._consecutive_failures == 0:
            self._since = self._clock()
        self._consecutive_failures += 1
        self.last_error = error


class Throttle:
    """Rate limits, concurrency and circuit breaker together: `enter` before a request, `leave` after it."""

    def __init__(self, buckets: dict[str, TokenBucket], limiter: ConcurrencyLimiter, breaker: CircuitBreaker) -> None:
        self._buckets, self.limiter, self.breaker = buckets, limiter, breaker
        self._queue_lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self.closed = False

    async def enter(self, units: dict[str, float]) -> None:
        """Wait until one more request may be sent, first come first served; no wait if the throttle is closed.

        Args:
            units: Units that it takes from each bucket.
        """
        async with self._queue_lock:
            while not self.closed:
                self._changed.clear()
                delay_s: float | None = None
                if self.limiter.has_room and not (self.breaker.open and self.limiter.in_flight > 0):
                    delay_s = max(
                        [self.limiter.wait_s(), *(self._buckets[name].wait_s(n) for name, n in units.items())]
                    )
                    if delay_s <= 0:
                        break
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._changed.wait()
            for name, amount in units.items():
                self._buckets[name].spend(amount)
            self.limiter.in_flight += 1

    def leave(self) -> None:
        """End a request."""
        self.limiter.in_flight -= 1
        self._changed.set()

    def refund(self, name: str, amount: float) -> None:
        """Return units to a bucket: the service has not counted them."""
        self._buckets[name].spend(-amount)
        self._changed.set()

    def close(self) -> None:
        """Let all waiting requests through; their senders then find that the run stopped."""
        self.closed = True
        self._changed.set()


def backoff_s(attempts: int, *, initial_s: float, max_s: float, retry_after_s: float | None = None) -> float:
    """Seconds before the next attempt: the delay that the service requests, else exponential; with jitter.

    Args:
        attempts: Number of attempts so far, at least 1.
        initial_s: Delay before the second attempt.
        max_s: Maximum of the exponential delay.
        retry_after_s: Delay that the service requests; a lower bound.
    """
    if retry_after_s is not None:
        return retry_after_s + random.uniform(0, min(1.0, 0.25 * retry_after_s))
    jittered_s: float = random.uniform(0.5, 1.0) * min(max_s, initial_s * 2 ** min(attempts - 1, 30))
    return jittered_s
