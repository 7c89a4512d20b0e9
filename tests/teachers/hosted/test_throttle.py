"""Rate limits, adaptive concurrency and circuit breaker."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.teachers.hosted.throttle import CircuitBreaker, ConcurrencyLimiter, Throttle, TokenBucket, backoff_s


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@given(per_minute=st.floats(1, 6000), units=st.lists(st.floats(0.1, 3), min_size=1, max_size=60))
@settings(max_examples=50)
def test_rate_is_exceeded_by_at_most_the_burst(per_minute: float, units: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(per_minute, clock)
    began_s, spent = clock.now_s, 0.0
    for amount in units:
        clock.now_s += bucket.wait_s(amount) + 1e-9
        bucket.spend(amount)
        spent += amount
        burst = max(1.0, per_minute / 60) + max(units)
        assert spent <= per_minute / 60 * (clock.now_s - began_s) + burst + 1e-6


def test_no_wait_without_a_limit() -> None:
    assert TokenBucket(None).wait_s(1e9) == 0


def test_concurrency_grows_with_success_and_shrinks_with_rate_limits() -> None:
    limiter = ConcurrencyLimiter(64, start=4)
    for _ in range(200):
        limiter.on_success()
    assert limiter.limit == 64
    for _ in range(300):
        limiter.on_rate_limit(None)
    assert limiter.limit == 1
    for _ in range(400):
        limiter.on_success()
    assert limiter.limit > 16


def test_few_rate_limits_do_not_reduce_concurrency() -> None:
    limiter = ConcurrencyLimiter(32, start=32)
    for number in range(1000):
        limiter.on_rate_limit(0.5) if number % 10 == 0 else limiter.on_success()
    assert limiter.limit == 32 and limiter.wait_s() == 0


def test_all_requests_pause_when_most_are_rate_limited() -> None:
    clock = Clock()
    limiter = ConcurrencyLimiter(8, clock=clock)
    for _ in range(20):
        limiter.on_rate_limit(7.0)
    assert limiter.wait_s() == pytest.approx(7.0)
    clock.now_s += 7
    assert limiter.wait_s() == 0


def test_breaker_aborts_after_its_time() -> None:
    clock = Clock()
    breaker = CircuitBreaker(60.0, failures=3, clock=clock)
    for _ in range(3):
        breaker.on_failure("HTTP 503")
    assert breaker.open and not breaker.should_abort
    clock.now_s += 61
    assert breaker.should_abort and breaker.last_error == "HTTP 503"
    breaker.on_success()
    assert not breaker.open and not breaker.should_abort


def test_rate_limits_are_tolerated_longer_than_errors() -> None:
    clock = Clock()
    breaker = CircuitBreaker(60.0, failures=3, clock=clock)
    for _ in range(100):
        breaker.on_rate_limit("HTTP 429")
        clock.now_s += 2
    assert not breaker.open and not breaker.should_abort
    clock.now_s += 101
    assert breaker.should_abort
    breaker.on_success()
    assert not breaker.should_abort


def test_open_breaker_allows_one_request_at_a_time() -> None:
    async def most_in_flight() -> int:
        breaker = CircuitBreaker(60.0, failures=1)
        breaker.on_failure("down")
        throttle = Throttle({}, ConcurrencyLimiter(8), breaker)
        most = 0

        async def call() -> None:
            nonlocal most
            await throttle.enter({})
            most = max(most, throttle.limiter.in_flight)
            await asyncio.sleep(0.001)
            throttle.leave()

        await asyncio.gather(*(call() for _ in range(10)))
        return most

    assert asyncio.run(most_in_flight()) == 1


def test_closed_throttle_does_not_block() -> None:
    async def enter_all() -> int:
        throttle = Throttle({"images": TokenBucket(1)}, ConcurrencyLimiter(1), CircuitBreaker(1.0))
        waiting = [asyncio.ensure_future(throttle.enter({"images": 1.0})) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in waiting) == 1
        throttle.close()
        await asyncio.gather(*waiting)
        return throttle.limiter.in_flight

    assert asyncio.run(enter_all()) == 5


@given(tries=st.integers(1, 100), requested=st.one_of(st.none(), st.floats(0, 3600)))
def test_backoff_is_within_its_bounds(tries: int, requested: float | None) -> None:
    wait = backoff_s(tries, initial_s=1.0, max_s=60.0, retry_after_s=requested)
    assert requested <= wait <= requested + 1 if requested is not None else 0.5 <= wait <= 60
