"""Send a request until it is answered: limits, throttling, retries; the answer is stored before it is used.

    enter the throttle -> reserve in the ledger -> send -> store -> finish in the ledger

Everything runs in one event loop; any number of requests may wait here at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from distill.config.hosted import LimitsConfig
from distill.errors import DistillError
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.request_sequence import final_answer, next_request
from distill.teachers.hosted.run_limits import RequestPolicy, RunLimits, RunStopped
from distill.teachers.hosted.services.base import Request, Response, Service
from distill.teachers.hosted.services.errors import AccountError, InvalidRequest, RateLimited, TransientError, redact
from distill.teachers.hosted.storing import store_response
from distill.teachers.hosted.throttle import CircuitBreaker, ConcurrencyLimiter, Throttle, TokenBucket, backoff_s
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger

POLL_OTHER_PROCESS_S = 0.5
"""Interval of checks whether another process has stored the answer."""
_RATE_LIMIT_PATIENCE = 5
"""Rate-limited requests cost nothing, so they are retried this many times as often as errors."""
MAX_DELAY_S = 3600.0
"""Longest pause that a run waits for; a longer one ends the run."""
_SPEND_LIMIT_PAUSE_S = 30.0
"""Spend limits count over minutes, so retrying every second is useless."""


class RequestRunner:
    """Gets answers from one service."""

    def __init__(
        self,
        service: Service,
        store: AnswerStore,
        ledger: Ledger,
        *,
        price: Price,
        presence_price: Price | None = None,
        limits: LimitsConfig,
        policy: RequestPolicy,
        secrets: Sequence[str] = (),
    ) -> None:
        self._service, self._store, self._ledger = service, store, ledger
        self._price, self._presence_price, self._limits, self._policy = price, presence_price or price, limits, policy
        self._secrets = tuple(secrets)
        buckets = {
            "requests": TokenBucket(limits.requests_per_minute),
            "images": TokenBucket(limits.images_per_minute),
            "tokens": TokenBucket(limits.tokens_per_minute),
        }
        self._throttle = Throttle(buckets, ConcurrencyLimiter(limits.concurrency), CircuitBreaker(limits.abort_after_s))
        self._run_limits = RunLimits(store.folder, policy.budget, self._throttle.breaker)

    @property
    def in_flight(self) -> int:
        """Number of requests that are sent and not answered."""
        return self._throttle.limiter.in_flight

    @property
    def stopped(self) -> DistillError | None:
        """Why no more requests are sent; None while the run goes on."""
        return self._run_limits.stopped

    def stop(self, error: DistillError) -> None:
        """Send no more requests; those in flight continue."""
        self._run_limits.stop(error)
        self._throttle.close()

    def check_limits(self, request: Request, *, expected: int = 0) -> None:
        """Check deadline, circuit breaker and disk space.

        Args:
            request: The next request.
            expected: Number of answers that will arrive besides those in flight here.

        Raises:
            RunStopped: The run has to stop.
        """
        try:
            self._run_limits.check(request, self.in_flight + expected)
        except RunStopped:
            self._throttle.close()
            raise

    async def answer(self, request: Request) -> None:
        """Return when the final answer is stored.

        Raises:
            RunStopped: The run sends no more requests.
            DistillError: This request failed for good, or its answer could not be stored.
        """
        attempts = self._limits.max_attempts_without_image
        while final_answer(self._store, request, attempts) is None:
            await self._get(next_request(self._store, request, attempts))

    async def _get(self, request: Request) -> None:
        """Repeat one request until its answer is stored, by this process or another one."""
        attempts = 0
        price = self._price if request.expects_image else self._presence_price
        worst_usd = price.worst_usd(request.prompt_spec.prompt, expects_image=request.expects_image)
        units = {
            "requests": 1.0,
            "images": float(request.expects_image),
            "tokens": price.input_tokens(request.prompt_spec.prompt),
        }
        while not self._store.contains(request.answer_key.digest):
            await self._throttle.enter(units)
            try:
                reserved = self._reserve(request, worst_usd)
                if reserved:
                    attempts += 1
                    delay_s = await self._try(request, price, attempts)
            finally:
                self._throttle.leave()
            if not reserved:
                delay_s = POLL_OTHER_PROCESS_S
            if delay_s is not None:
                await self._sleep(delay_s)

    def _reserve(self, request: Request, worst_usd: float) -> bool:
        """Reserve the request in the ledger; False if another process has it.

        Raises:
            RunStopped: A limit is reached.
        """
        self.check_limits(request)
        try:
            return self._ledger.reserve(
                request.answer_key.digest,
                job=self._policy.job,
                worst_usd=worst_usd,
                budget=self._policy.budget,
                is_answered=lambda: self._store.contains(request.answer_key.digest),
                license=self._policy.license,
                model=request.answer_key.model,
                task=str(request.prompt_spec.task) if request.expects_image else "presence",
                subject=request.photo,
            )
        except DistillError as error:  # the budget, or a ledger that cannot be written: no request without a row
            self.stop(error)
            raise RunStopped(error.message, hint=error.hint) from error

    async def _sleep(self, delay_s: float) -> None:
        """Wait; a stop of the run ends the wait."""
        until = time.monotonic() + delay_s
        while (left := until - time.monotonic()) > 0:
            self._run_limits.raise_if_stopped()
            await asyncio.sleep(min(left, 0.5))

    async def _try(self, request: Request, price: Price, attempts: int) -> float | None:
        """Send once and record the outcome; returns the delay in seconds before the next attempt, None if done.

        Raises:
            DistillError: The request failed for good, or its answer could not be stored.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                response = await self._service.send(request)
        except RateLimited as error:
            return self._on_rate_limit(request, error, attempts)
        except AccountError as error:
            stop = AccountError(redact(error.message, self._secrets), hint=error.hint)
            self._finish(request, "waiting", detail=stop.message)
            self.stop(stop)
            raise RunStopped(stop.message, hint=stop.hint) from None
        except InvalidRequest as error:
            self._throttle.breaker.on_success()
            self._fail(request, self._redacted(error), uncertain=False)
        except TransientError as error:
            text, charged, delay_s = self._redacted(error), error.charged, error.delay_s
            return self._on_error(request, text, attempts, charged=charged, delay_s=delay_s)
        except TimeoutError:
            text = f"no answer within {self._limits.timeout_s:.0f} s"
            return self._on_error(request, text, attempts, charged=True, delay_s=None)
        except Exception as error:
            # An exception of the service's own package: it may have been charged, and its text may have secrets.
            text = f"{type(error).__name__}: {self._redacted(error)}"
            return self._on_error(request, text, attempts, charged=True, delay_s=None)
        self._throttle.breaker.on_success()
        self._throttle.limiter.on_success()
        await self._keep(request, response, price, time.monotonic() - began)
        return None

    def _on_rate_limit(self, request: Request, error: RateLimited, attempts: int) -> float:
        text = self._redacted(error)
        self._throttle.breaker.on_rate_limit(text)
        self._throttle.refund("images", float(request.expects_image))
        if error.scope == "day":
            self._finish(request, "waiting", detail=text)
            stop = AccountError(f"the daily quota is used up: {text}", hint="run the same command again tomorrow")
            self.stop(stop)
            raise RunStopped(stop.message, hint=stop.hint) from None
        if error.delay_s is not None and error.delay_s > MAX_DELAY_S:
            self._finish(request, "waiting", detail=text)
            stop = AccountError(
                f"the service requires a pause of {error.delay_s / 3600:.3g} hours: {text}",
                hint="run the same command again after that time",
            )
            self.stop(stop)
            raise RunStopped(stop.message, hint=stop.hint) from None
        if error.scope == "spend":
            self._throttle.limiter.pause(error.delay_s or _SPEND_LIMIT_PAUSE_S)
        self._throttle.limiter.on_rate_limit(error.delay_s)
        if attempts >= _RATE_LIMIT_PATIENCE * self._limits.max_attempts:
            self._fail(request, f"failed after {attempts} attempts: {text}", uncertain=False)
        self._finish(request, "waiting", detail=text)
        return self._backoff(attempts, error.delay_s)

    def _on_error(self, request: Request, text: str, attempts: int, *, charged: bool, delay_s: float | None) -> float:
        self._throttle.breaker.on_failure(text)
        if not charged:
            self._throttle.refund("images", float(request.expects_image))
        if attempts >= self._limits.max_attempts and not self._throttle.breaker.open:
            self._fail(request, f"failed after {attempts} attempts: {text}", uncertain=charged)
        self._finish(request, "waiting", uncertain=charged, detail=text)
        return self._backoff(attempts, delay_s)

    def _backoff(self, attempts: int, retry_after_s: float | None) -> float:
        initial_s, max_s = self._limits.initial_backoff_s, self._limits.max_backoff_s
        delay_s = backoff_s(attempts, initial_s=initial_s, max_s=max_s, retry_after_s=retry_after_s)
        return min(delay_s, MAX_DELAY_S)

    async def _keep(self, request: Request, response: Response, price: Price, latency_s: float) -> None:
        """Write the answer to the store, then to the ledger."""
        cost_usd = price.cost_usd(response.usage) if response.usage or response.data else 0.0
        license, secrets = self._policy.license, self._secrets
        try:
            stored = await asyncio.to_thread(
                store_response, self._store, request, response, cost_usd=cost_usd, license=license, secrets=secrets
            )
        except DistillError as error:
            self.stop(error)
            self._finish(request, "waiting", cost_usd=cost_usd, detail="paid for, and could not be stored")
            raise
        usage = response.usage
        self._finish(
            request,
            "done" if stored.kind == "image" or not request.expects_image else stored.kind,
            cost_usd=cost_usd,
            tokens_in=usage.input if usage else 0,
            tokens_out=usage.text + usage.image if usage else 0,
            latency_s=latency_s,
            finish=redact(response.finish, self._secrets),
            detail=stored.meta["reason"],
        )

    def _fail(self, request: Request, text: str, *, uncertain: bool) -> None:
        """Record the request as failed.

        Raises:
            DistillError: Always.
        """
        self._finish(request, "failed", uncertain=uncertain, detail=text)
        raise DistillError(text)

    def _finish(self, request: Request, state: str, **details: Any) -> None:
        try:
            self._ledger.finish(request.answer_key.digest, state, **details)
        except DistillError as error:
            self.stop(error)
            raise RunStopped(error.message, hint=error.hint) from error

    def _redacted(self, error: Exception) -> str:
        return redact(str(error), self._secrets)
