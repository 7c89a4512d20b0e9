"""One service and the engine that asks it, opened when the first question comes: what is all stored needs no key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill.config.hosted import GeminiRecipe, HostedRecipe
from distill.errors import DistillError, UsageError
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.request_runner import Engine, Stopped, Terms
from distill.teachers.hosted.services.base import Call, Service
from distill.teachers.hosted.services.open import find_secrets, open_service, prices_of
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger

if TYPE_CHECKING:
    from distill.teachers.hosted.batch.runner import BatchEngine


class Desk:
    """Where questions for one service are handed in. Lives in one event loop."""

    def __init__(self, recipe: HostedRecipe, store: AnswerStore, ledger: Ledger, terms: Terms) -> None:
        self.recipe = recipe
        self._store, self._ledger, self._terms = store, ledger, replace(terms, license=recipe.license)
        self._engine: Engine | BatchEngine | None = None
        self._service: Service | None = None
        self._stopped: DistillError | None = None

    @property
    def in_batches(self) -> bool:
        """Whether questions are gathered into jobs."""
        return isinstance(self.recipe, GeminiRecipe) and self.recipe.mode == "batch"

    @property
    def in_flight(self) -> int:
        """Questions that the service has."""
        return self._engine.in_flight if self._engine else 0

    @property
    def stopped(self) -> DistillError | None:
        """Why no more questions are asked."""
        return self._engine.stopped if self._engine is not None else self._stopped

    def stop(self, error: DistillError) -> None:
        """Ask no more."""
        self._stopped = self._stopped or error
        if self._engine is not None:
            self._engine.stop(error)

    async def answer(self, call: Call) -> None:
        """See to it that the final answer is in the store.

        Raises:
            Stopped: The run asks no more.
            UsageError: There is no key.
            DistillError: This question failed for good.
        """
        if self._engine is None:
            if self._stopped is not None:
                raise as_stop(self._stopped)
            try:
                self._engine = self._open()
            except DistillError as error:  # every other question would hear the same
                self._stopped = error
                raise
        await self._engine.answer(call)

    async def close(self) -> None:
        """Give connections back."""
        if self._service is not None:
            await self._service.close()

    def _open(self) -> Engine | BatchEngine:
        self._service = open_service(self.recipe)
        price, gate_price = prices_of(self.recipe)
        hidden = tuple(find_secrets(self.recipe))
        online = Engine(
            self._service,
            self._store,
            self._ledger,
            price=price,
            gate_price=gate_price,
            limits=self.recipe.limits,
            terms=self._terms,
            hidden=hidden,
        )
        return self._open_batches(online, price, hidden) if self.in_batches else online

    def _open_batches(self, online: Engine, price: Price, hidden: tuple[str, ...]) -> BatchEngine:
        from distill.teachers.hosted.batch.api import JobClient
        from distill.teachers.hosted.batch.runner import BatchEngine
        from distill.teachers.hosted.services.gemini import GeminiService

        if not isinstance(self.recipe, GeminiRecipe) or not isinstance(self._service, GeminiService):
            raise UsageError("batches are to be had from the Gemini API only")
        client = JobClient(self.recipe, self._service.client, hidden=hidden)
        return BatchEngine(
            self.recipe,
            client,
            self._store,
            self._ledger,
            price=price,
            terms=self._terms,
            online=online,
            hidden=hidden,
        )


def as_stop(error: DistillError) -> DistillError:
    """Why no more questions are asked; wrong use stays wrong use."""
    return error if isinstance(error, UsageError) else Stopped(error.message, hint=error.hint)
