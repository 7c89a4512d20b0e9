"""The throttle keeps a pace, finds the number of calls that a service bears, and knows when nothing works."""

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
def test_a_pace_is_never_passed_by_more_than_its_burst(per_minute: float, units: list[float]):
    clock = Clock()
    bucket = TokenBucket(per_minute, clock)
    began_s, spent = clock.now_s, 0.0
    for amount in units:
        clock.now_s += bucket.wait_s(amount) + 1e-9
        bucket.spend(amount)
        spent += amount
        burst = max(1.0, per_minute / 60) + max(units)
        assert spent <= per_minute / 60 * (clock.now_s - began_s) + burst + 1e-6


def test_without_a_limit_nothing_waits():
    assert TokenBucket(None).wait_s(1e9) == 0


def test_the_gate_opens_while_calls_pass_and_closes_when_many_are_turned_away():
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


def test_a_tenth_of_calls_turned_away_at_random_does_not_slow_the_rest():
    limiter = ConcurrencyLimiter(32, start=32)
    for number in range(1000):
        limiter.on_rate_limit(0.5) if number % 10 == 0 else limiter.on_success()
    assert limiter.limit == 32 and limiter.wait_s() == 0


def test_all_calls_wait_when_most_are_turned_away_for_as_long_as_the_service_says():
    clock = Clock()
    limiter = ConcurrencyLimiter(8, clock=clock)
    for _ in range(20):
        limiter.on_rate_limit(7.0)
    assert limiter.wait_s() == pytest.approx(7.0)
    clock.now_s += 7
    assert limiter.wait_s() == 0


def test_the_breaker_gives_up_after_a_while_and_not_before():
    clock = Clock()
    breaker = CircuitBreaker(60.0, failures=3, clock=clock)
    for _ in range(3):
        breaker.on_failure("HTTP 503")
    assert breaker.open and not breaker.should_abort
    clock.now_s += 61
    assert breaker.should_abort and breaker.last_error == "HTTP 503"
    breaker.on_success()
    assert not breaker.open and not breaker.should_abort


def test_being_turned_away_is_borne_longer_than_errors_and_not_for_ever():
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


def test_one_call_at_a_time_is_tried_while_the_breaker_is_open():
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


def test_a_closed_throttle_lets_everyone_through():
    async def enter_all() -> int:
        throttle = Throttle({"images": TokenBucket(1)}, ConcurrencyLimiter(1), CircuitBreaker(1.0))
        waiting = [asyncio.ensure_future(throttle.enter({"images": 1.0})) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in waiting) == 1
        throttle.close()
        await asyncio.gather(*waiting)
        return throttle.limiter.in_flight

    assert asyncio.run(enter_all()) == 5


@given(tries=st.integers(1, 100), asked=st.one_of(st.none(), st.floats(0, 3600)))
def test_waits_are_never_shorter_than_asked_for_nor_longer_than_agreed(tries: int, asked: float | None):
    wait = backoff_s(tries, initial_s=1.0, max_s=60.0, retry_after_s=asked)
    assert asked <= wait <= asked + 1 if asked is not None else 0.5 <= wait <= 60
