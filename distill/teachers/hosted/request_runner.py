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

from distill.config.hosted import LimitsRecipe
from distill.errors import DistillError
from distill.teachers.hosted.generator import next_step, settled
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.services.base import (
    Broken,
    Busy,
    Call,
    Closed,
    Reply,
    Service,
    Wrong,
    sayable,
)
from distill.teachers.hosted.throttle import Breaker, Gate, Pace, Throttle, backoff_s
from distill.teachers.store.answers import EMPTY, AnswerStore, Stored
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.spending import CapReached, Caps

_OTHER_PROCESS_S = 0.5
"""How often to look whether another process has got the answer."""
_PATIENCE_WHEN_BUSY = 5
"""Being turned away costs nothing, so it is borne this many times as often as errors."""
_SPEND_PAUSE_S = 30.0
"""A limit on spending counts over minutes; nothing is gained by asking every second."""
_BYTES_PER_PIXEL, _SPARE_BYTES = 3.2, 256 * 1024
"""The largest PNG of a picture is a little larger than its pixels."""


class Stopped(DistillError):  # noqa: N818 - what has happened to the run
    """The run makes no more calls; what is stored is kept. Says why."""


@dataclass(frozen=True)
class Terms:
    """On what terms calls are made.

    Attributes:
        job: Whose money it is.
        caps: What the job may use up.
        deadline_s: No call is begun later, in seconds since the epoch; None: no deadline.
        license: License class of the answers.
    """

    job: str = ""
    caps: Caps = field(default_factory=Caps)
    deadline_s: float | None = None
    license: str = "unknown"


class Engine:
    """Gets answers from one service."""

    def __init__(
        self,
        service: Service,
        store: AnswerStore,
        ledger: Ledger,
        *,
        price: Price,
        gate_price: Price | None = None,
        limits: LimitsRecipe,
        terms: Terms,
        hidden: Sequence[str] = (),
    ) -> None:
        self._service, self._store, self._ledger = service, store, ledger
        self._price, self._gate_price, self._limits, self._terms = price, gate_price or price, limits, terms
        self._hidden = tuple(hidden)
        paces = {
            "requests": Pace(limits.requests_per_minute),
            "images": Pace(limits.images_per_minute),
            "tokens": Pace(limits.tokens_per_minute),
        }
        self._throttle = Throttle(paces, Gate(limits.concurrency), Breaker(limits.patience_s))
        self.stopped: DistillError | None = None

    @property
    def in_flight(self) -> int:
        """Calls that are sent and not answered."""
        return self._throttle.gate.in_flight

    def stop(self, error: DistillError) -> None:
        """Begin no more calls; those in flight go on."""
        self.stopped = self.stopped or error
        self._throttle.close()

    async def answer(self, call: Call) -> None:
        """See to it that the final answer is in the store.

        Raises:
            Stopped: The run makes no more calls.
            DistillError: This call failed for good, or its answer could not be stored.
        """
        while settled(self._store, call, self._limits.tries_without_picture) is None:
            await self._get(next_step(self._store, call, self._limits.tries_without_picture))

    async def _get(self, call: Call) -> None:
        """Make one call until its answer is stored, by us or by another process."""
        tries = 0
        price = self._price if call.paints else self._gate_price
        worst_usd = price.worst_usd(call.prompt_spec.prompt, paints=call.paints)
        units = {"requests": 1.0, "images": float(call.paints), "tokens": price.tokens_read(call.prompt_spec.prompt)}
        while not self._store.holds(call.ask.key):
            await self._throttle.enter(units)
            try:
                mine = self._reserve(call, worst_usd)
                if mine:
                    tries += 1
                    delay_s = await self._try(call, price, tries)
            finally:
                self._throttle.leave()
            if not mine:
                delay_s = _OTHER_PROCESS_S
            if delay_s is not None:
                await self._rest(delay_s)

    def _reserve(self, call: Call, worst_usd: float) -> bool:
        """Take the call if nothing speaks against it; False when another process has it.

        Raises:
            Stopped: Something does.
        """
        self.check_before(call)
        try:
            return self._ledger.reserve(
                call.ask.key,
                job=self._terms.job,
                worst_usd=worst_usd,
                caps=self._terms.caps,
                answered=lambda: self._store.holds(call.ask.key),
                license=self._terms.license,
                model=call.ask.model,
                task=str(call.prompt_spec.task) if call.paints else "gate",
                subject=call.photo,
            )
        except DistillError as error:  # a cap, or a ledger that cannot be written: no call without a row
            self.stop(error)
            raise Stopped(error.message, hint=error.hint) from error

    def check_before(self, call: Call, *, expected: int = 0) -> None:
        """Whether there is time, hope and room for another answer.

        Args:
            call: The next one.
            expected: Answers that will come besides those in flight here.

        Raises:
            Stopped: There is not.
        """
        self._check_time_and_hope()
        self._check_space(call, self.in_flight + expected)
        if self.stopped is not None:
            raise Stopped(self.stopped.message, hint=self.stopped.hint)

    def _check_time_and_hope(self) -> None:
        deadline_s = self._terms.deadline_s
        if deadline_s is not None and time.time() >= deadline_s:
            self.stop(CapReached("the deadline has come", hint="run the same command again to go on"))
        breaker = self._throttle.breaker
        if breaker.hopeless:
            self.stop(
                DistillError(
                    f"nothing but errors for a while; the last one: {breaker.last_error}",
                    hint="run the same command again when the service is back; what was answered is kept",
                )
            )

    def _check_space(self, call: Call, others: int) -> None:
        """All answers that are on their way must find room when they come: they are paid for."""
        height, width = call.canvas_hw or (1024, 1024)
        each = height * width * _BYTES_PER_PIXEL if call.canvas_hw else 2 * len(call.sent.data)
        needed = (others + 1) * (each + _SPARE_BYTES)
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

    async def _rest(self, delay_s: float) -> None:
        """Wait, unless the run is stopped meanwhile."""
        until = time.monotonic() + delay_s
        while (left := until - time.monotonic()) > 0:
            if self.stopped is not None:
                raise Stopped(self.stopped.message, hint=self.stopped.hint)
            await asyncio.sleep(min(left, 0.5))

    async def _try(self, call: Call, price: Price, tries: int) -> float | None:
        """Send once and write down what came of it; gives the seconds to wait before the next try, None when done.

        Raises:
            DistillError: The call failed for good, or its answer could not be stored.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                reply = await self._service.send(call)
        except Busy as error:
            return self._turned_away(call, error, tries)
        except Closed as error:
            self._settle(call, "waiting", detail=error.message)
            self.stop(error)
            raise Stopped(error.message, hint=error.hint) from None
        except Wrong as error:
            self._throttle.breaker.worked()
            self._fail(call, self._say(error), doubtful=False)
        except Broken as error:
            return self._broke(call, self._say(error), tries, charged=error.charged, delay_s=error.delay_s)
        except TimeoutError:
            text = f"no answer within {self._limits.timeout_s:.0f} s"
            return self._broke(call, text, tries, charged=True, delay_s=None)
        except Exception as error:
            # What a service's own package raises is not ours to know; it may have been charged, and may hold anything.
            text = f"{type(error).__name__}: {self._say(error)}"
            return self._broke(call, text, tries, charged=True, delay_s=None)
        self._throttle.breaker.worked()
        self._throttle.gate.passed()
        await self._keep(call, reply, price, time.monotonic() - began)
        return None

    def _turned_away(self, call: Call, error: Busy, tries: int) -> float:
        text = self._say(error)
        self._throttle.breaker.turned_away(text)
        self._throttle.refund("images", float(call.paints))
        if error.scope == "day":
            self._settle(call, "waiting", detail=text)
            stop = Closed(f"the quota of the day is used up: {text}", hint="run the same command again tomorrow")
            self.stop(stop)
            raise Stopped(stop.message, hint=stop.hint) from None
        if error.scope == "spend":
            self._throttle.gate.close_for(error.delay_s or _SPEND_PAUSE_S)
        self._throttle.gate.turned_away(error.delay_s)
        if tries >= _PATIENCE_WHEN_BUSY * self._limits.tries:
            self._fail(call, f"given up after {tries} tries: {text}", doubtful=False)
        self._settle(call, "waiting", detail=text)
        return self._backoff(tries, error.delay_s)

    def _broke(self, call: Call, text: str, tries: int, *, charged: bool, delay_s: float | None) -> float:
        self._throttle.breaker.failed(text)
        if not charged:
            self._throttle.refund("images", float(call.paints))
        if tries >= self._limits.tries and not self._throttle.breaker.open:
            self._fail(call, f"given up after {tries} tries: {text}", doubtful=charged)
        self._settle(call, "waiting", doubtful=charged, detail=text)
        return self._backoff(tries, delay_s)

    def _backoff(self, tries: int, asked_s: float | None) -> float:
        limits = self._limits
        return backoff_s(tries, first_s=limits.first_delay_s, longest_s=limits.longest_delay_s, asked_s=asked_s)

    async def _keep(self, call: Call, reply: Reply, price: Price, latency_s: float) -> None:
        """The answer to disk, then into the ledger."""
        cost_usd = price.cost_usd(reply.usage) if reply.usage or reply.data else 0.0
        try:
            stored = await asyncio.to_thread(
                keep_reply, self._store, call, reply, cost_usd=cost_usd, license=self._terms.license,
                secrets=self._hidden,
            )  # fmt: skip
        except DistillError as error:
            self.stop(error)
            self._settle(call, "waiting", cost_usd=cost_usd, detail="paid for, and could not be stored")
            raise
        usage = reply.usage
        self._settle(
            call,
            "done" if stored.kind == "picture" or not call.paints else stored.kind,
            cost_usd=cost_usd,
            tokens_in=usage.read if usage else 0,
            tokens_out=usage.text + usage.image if usage else 0,
            latency_s=latency_s,
            finish=reply.finish,
            detail=stored.meta["reason"],
        )

    def _fail(self, call: Call, text: str, *, doubtful: bool) -> None:
        """Give the call up.

        Raises:
            DistillError: Always.
        """
        self._settle(call, "failed", doubtful=doubtful, detail=text)
        raise DistillError(text)

    def _settle(self, call: Call, state: str, **how: Any) -> None:
        try:
            self._ledger.settle(call.ask.key, state, **how)
        except DistillError as error:
            self.stop(error)
            raise Stopped(error.message, hint=error.hint) from error

    def _say(self, error: Exception) -> str:
        return sayable(str(error), self._hidden)


def keep_reply(
    store: AnswerStore, call: Call, reply: Reply, *, cost_usd: float, license: str, secrets: Sequence[str] = ()
) -> Stored:
    """Store what a service answered; words are stripped of secrets first.

    Raises:
        DistillError: The disk is full or the folder cannot be written.
    """
    usage = reply.usage
    about = {
        "photo": call.photo,
        "cost_usd": cost_usd,
        "license": license,
        "model_version": reply.model_version or call.ask.model,
        "finish": reply.finish,
        "text": sayable(reply.text, secrets),
        "tokens": [usage.read, usage.text, usage.image] if usage else None,
        **reply.about,
    }
    kind = reply.kind if call.paints else EMPTY
    return store.keep(
        call.ask, kind, reply.data, reason=sayable(reply.reason, secrets), prompt_spec=call.prompt_spec, **about
    )


def recover(ledger: Ledger, store: AnswerStore) -> None:
    """Settle what died processes left in flight: kept answers at their price, the others as possibly charged."""

    def cost_of(key: str) -> float | None:
        stored = store.find(key)
        return stored.meta["cost_usd"] if stored else None

    ledger.recover(cost_of)
