"""One call until it is answered: caps before, pace, retries, and the answer in the store before anyone reads it.

    enter the throttle -> reserve in the ledger -> send -> keep -> settle

All of it runs in one event loop; any number of calls may wait here at the same time.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.config.hosted import LimitsConfig
from distill.errors import DistillError
from distill.teachers.hosted.generator import next_request, final_answer
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.services.base import (
    TransientError,
    RateLimited,
    Request,
    AccountError,
    Response,
    Service,
    InvalidRequest,
    redact,
)
from distill.teachers.hosted.throttle import CircuitBreaker, ConcurrencyLimiter, TokenBucket, Throttle, backoff_s
from distill.teachers.store.answers import EMPTY, AnswerStore, CachedAnswer
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.spending import BudgetExceeded, Budget

_POLL_OTHER_PROCESS_S = 0.5
"""How often to look whether another process has got the answer."""
_RATE_LIMIT_PATIENCE = 5
"""Being turned away costs nothing, so it is borne this many times as often as errors."""
_SPEND_LIMIT_PAUSE_S = 30.0
"""A limit on spending counts over minutes; nothing is gained by asking every second."""
_BYTES_PER_PIXEL, _MARGIN_BYTES = 3.2, 256 * 1024
"""The largest PNG of a picture is a little larger than its pixels."""


class RunStopped(DistillError):  # noqa: N818 - what has happened to the run
    """The run makes no more calls; what is stored is kept. Says why."""


@dataclass(frozen=True)
class RequestPolicy:
    """On what terms calls are made.

    Attributes:
        job: Whose money it is.
        budget: What the job may use up.
        deadline_s: No call is begun later, in seconds since the epoch; None: no deadline.
        license: License class of the answers.
    """

    job: str = ""
    budget: Budget = field(default_factory=Budget)
    deadline_s: float | None = None
    license: str = "unknown"


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
        secret_values: Sequence[str] = (),
    ) -> None:
        self._service, self._store, self._ledger = service, store, ledger
        self._price, self._presence_price, self._limits, self._policy = price, presence_price or price, limits, policy
        self._secret_values = tuple(secret_values)
        buckets = {
            "requests": TokenBucket(limits.requests_per_minute),
            "images": TokenBucket(limits.images_per_minute),
            "tokens": TokenBucket(limits.tokens_per_minute),
        }
        self._throttle = Throttle(buckets, ConcurrencyLimiter(limits.concurrency), CircuitBreaker(limits.abort_after_s))
        self.stopped: DistillError | None = None

    @property
    def in_flight(self) -> int:
        """Calls that are sent and not answered."""
        return self._throttle.limiter.in_flight

    def stop(self, error: DistillError) -> None:
        """Begin no more calls; those in flight go on."""
        self.stopped = self.stopped or error
        self._throttle.close()

    async def answer(self, request: Request) -> None:
        """See to it that the final answer is in the store.

        Raises:
            RunStopped: The run makes no more calls.
            DistillError: This call failed for good, or its answer could not be stored.
        """
        while final_answer(self._store, request, self._limits.max_attempts_without_image) is None:
            await self._get(next_request(self._store, request, self._limits.max_attempts_without_image))

    async def _get(self, request: Request) -> None:
        """Make one call until its answer is stored, by us or by another process."""
        tries = 0
        price = self._price if request.expects_image else self._presence_price
        worst_usd = price.worst_usd(request.prompt_spec.prompt, expects_image=request.expects_image)
        units = {"requests": 1.0, "images": float(request.expects_image), "tokens": price.input_tokens(request.prompt_spec.prompt)}
        while not self._store.contains(request.answer_key.digest):
            await self._throttle.enter(units)
            try:
                mine = self._reserve(request, worst_usd)
                if mine:
                    tries += 1
                    delay_s = await self._try(request, price, tries)
            finally:
                self._throttle.leave()
            if not mine:
                delay_s = _POLL_OTHER_PROCESS_S
            if delay_s is not None:
                await self._sleep(delay_s)

    def _reserve(self, request: Request, worst_usd: float) -> bool:
        """Take the call if nothing speaks against it; False when another process has it.

        Raises:
            RunStopped: Something does.
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
        except DistillError as error:  # a cap, or a ledger that cannot be written: no call without a row
            self.stop(error)
            raise RunStopped(error.message, hint=error.hint) from error

    def check_limits(self, request: Request, *, expected: int = 0) -> None:
        """Whether there is time, hope and room for another answer.

        Args:
            call: The next one.
            expected: Answers that will come besides those in flight here.

        Raises:
            RunStopped: There is not.
        """
        self._check_deadline_and_breaker()
        self._check_space(request, self.in_flight + expected)
        if self.stopped is not None:
            raise RunStopped(self.stopped.message, hint=self.stopped.hint)

    def _check_deadline_and_breaker(self) -> None:
        deadline_s = self._policy.deadline_s
        if deadline_s is not None and time.time() >= deadline_s:
            self.stop(BudgetExceeded("the deadline has come", hint="run the same command again to go on"))
        breaker = self._throttle.breaker
        if breaker.should_abort:
            self.stop(
                DistillError(
                    f"nothing but errors for a while; the last one: {breaker.last_error}",
                    hint="run the same command again when the service is back; what was answered is kept",
                )
            )

    def _check_space(self, request: Request, others: int) -> None:
        """All answers that are on their way must find room when they come: they are paid for."""
        height, width = request.canvas_hw or (1024, 1024)
        each = height * width * _BYTES_PER_PIXEL if request.canvas_hw else 2 * len(request.image.data)
        needed = (others + 1) * (each + _MARGIN_BYTES)
        try:
            free = shutil.disk_usage(self._store.folder).free
        except OSError as error:
            free, needed = 0, 1
            self.stop(DistillError(f"{self._store.folder}: cannot be used: {error.strerror}"))
        if free < needed:
            self.stop(
                DistillError(
                    f"{self._store.folder}: {free / 1e6:.1f} MB are free, and the answers in flight may need "
                    f"{needed / 1e6:.1f} MB",
                    hint="free space and run the same command again; nothing that was paid for is lost",
                )
            )

    async def _sleep(self, delay_s: float) -> None:
        """Wait, unless the run is stopped meanwhile."""
        until = time.monotonic() + delay_s
        while (left := until - time.monotonic()) > 0:
            if self.stopped is not None:
                raise RunStopped(self.stopped.message, hint=self.stopped.hint)
            await asyncio.sleep(min(left, 0.5))

    async def _try(self, request: Request, price: Price, tries: int) -> float | None:
        """Send once and write down what came of it; gives the seconds to wait before the next try, None when done.

        Raises:
            DistillError: The call failed for good, or its answer could not be stored.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                response = await self._service.send(request)
        except RateLimited as error:
            return self._on_rate_limit(request, error, tries)
        except AccountError as error:
            self._finish(request, "waiting", detail=error.message)
            self.stop(error)
            raise RunStopped(error.message, hint=error.hint) from None
        except InvalidRequest as error:
            self._throttle.breaker.on_success()
            self._fail(request, self._redacted(error), uncertain=False)
        except TransientError as error:
            return self._on_error(request, self._redacted(error), tries, charged=error.charged, delay_s=error.delay_s)
        except TimeoutError:
            text = f"no answer within {self._limits.timeout_s:.0f} s"
            return self._on_error(request, text, tries, charged=True, delay_s=None)
        except Exception as error:
            # What a service's own package raises is not ours to know; it may have been charged, and may hold anything.
            text = f"{type(error).__name__}: {self._redacted(error)}"
            return self._on_error(request, text, tries, charged=True, delay_s=None)
        self._throttle.breaker.on_success()
        self._throttle.limiter.on_success()
        await self._keep(request, response, price, time.monotonic() - began)
        return None

    def _on_rate_limit(self, request: Request, error: RateLimited, tries: int) -> float:
        text = self._redacted(error)
        self._throttle.breaker.on_rate_limit(text)
        self._throttle.refund("images", float(request.expects_image))
        if error.scope == "day":
            self._finish(request, "waiting", detail=text)
            stop = AccountError(f"the quota of the day is used up: {text}", hint="run the same command again tomorrow")
            self.stop(stop)
            raise RunStopped(stop.message, hint=stop.hint) from None
        if error.scope == "spend":
            self._throttle.limiter.pause(error.delay_s or _SPEND_LIMIT_PAUSE_S)
        self._throttle.limiter.on_rate_limit(error.delay_s)
        if tries >= _RATE_LIMIT_PATIENCE * self._limits.max_attempts:
            self._fail(request, f"given up after {tries} tries: {text}", uncertain=False)
        self._finish(request, "waiting", detail=text)
        return self._backoff(tries, error.delay_s)

    def _on_error(self, request: Request, text: str, tries: int, *, charged: bool, delay_s: float | None) -> float:
        self._throttle.breaker.on_failure(text)
        if not charged:
            self._throttle.refund("images", float(request.expects_image))
        if tries >= self._limits.max_attempts and not self._throttle.breaker.open:
            self._fail(request, f"given up after {tries} tries: {text}", uncertain=charged)
        self._finish(request, "waiting", uncertain=charged, detail=text)
        return self._backoff(tries, delay_s)

    def _backoff(self, tries: int, retry_after_s: float | None) -> float:
        limits = self._limits
        return backoff_s(tries, initial_s=limits.initial_backoff_s, max_s=limits.max_backoff_s, retry_after_s=retry_after_s)

    async def _keep(self, request: Request, response: Response, price: Price, latency_s: float) -> None:
        """The answer to disk, then into the ledger."""
        cost_usd = price.cost_usd(response.usage) if response.usage or response.data else 0.0
        try:
            stored = await asyncio.to_thread(
                store_response, self._store, request, response, cost_usd=cost_usd, license=self._policy.license,
                secrets=self._secret_values,
            )  # fmt: skip
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
            finish=response.finish,
            detail=stored.meta["reason"],
        )

    def _fail(self, request: Request, text: str, *, uncertain: bool) -> None:
        """Give the call up.

        Raises:
            DistillError: Always.
        """
        self._finish(request, "failed", uncertain=uncertain, detail=text)
        raise DistillError(text)

    def _finish(self, request: Request, state: str, **how: Any) -> None:
        try:
            self._ledger.finish(request.answer_key.digest, state, **how)
        except DistillError as error:
            self.stop(error)
            raise RunStopped(error.message, hint=error.hint) from error

    def _redacted(self, error: Exception) -> str:
        return redact(str(error), self._secret_values)


def store_response(
    store: AnswerStore, request: Request, response: Response, *, cost_usd: float, license: str, secrets: Sequence[str] = ()
) -> CachedAnswer:
    """Store what a service answered; words are stripped of secrets first.

    Raises:
        DistillError: The disk is full or the folder cannot be written.
    """
    usage = response.usage
    about = {
        "photo": request.photo,
        "cost_usd": cost_usd,
        "license": license,
        "model_version": response.model_version or request.answer_key.model,
        "finish": response.finish,
        "text": redact(response.text, secrets),
        "tokens": [usage.input, usage.text, usage.image] if usage else None,
        **response.about,
    }
    kind = response.kind if request.expects_image else EMPTY
    return store.put(
        request.answer_key, kind, response.data, reason=redact(response.reason, secrets), prompt_spec=request.prompt_spec, **about
    )


def recover(ledger: Ledger, store: AnswerStore) -> None:
    """Settle what died processes left in flight: kept answers at their price, the others as possibly charged."""

    def cost_of(key: str) -> float | None:
        stored = store.get(key)
        return stored.meta["cost_usd"] if stored else None

    ledger.recover(cost_of)
