"""One service and the engine that asks it, opened when the first question comes: what is all stored needs no key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill.config.hosted import GeminiConfig, HostedConfig
from distill.errors import DistillError, UsageError
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.request_runner import RequestRunner, RunStopped, RequestPolicy
from distill.teachers.hosted.services.base import Request, Service
from distill.teachers.hosted.services.open import find_api_keys, open_service, prices_of
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger

if TYPE_CHECKING:
    from distill.teachers.hosted.batch.runner import BatchRunner


class ServiceClient:
    """Where questions for one service are handed in. Lives in one event loop."""

    def __init__(self, config: HostedConfig, store: AnswerStore, ledger: Ledger, policy: RequestPolicy) -> None:
        self.config = config
        self._store, self._ledger, self._policy = store, ledger, replace(policy, license=config.license)
        self._runner: RequestRunner | BatchRunner | None = None
        self._service: Service | None = None
        self._stopped: DistillError | None = None

    @property
    def uses_batches(self) -> bool:
        """Whether questions are gathered into jobs."""
        return isinstance(self.config, GeminiConfig) and self.config.mode == "batch"

    @property
    def in_flight(self) -> int:
        """Questions that the service has."""
        return self._runner.in_flight if self._runner else 0

    @property
    def stopped(self) -> DistillError | None:
        """Why no more questions are asked."""
        return self._runner.stopped if self._runner is not None else self._stopped

    def stop(self, error: DistillError) -> None:
        """Ask no more."""
        self._stopped = self._stopped or error
        if self._runner is not None:
            self._runner.stop(error)

    async def answer(self, request: Request) -> None:
        """See to it that the final answer is in the store.

        Raises:
            RunStopped: The run asks no more.
            UsageError: There is no key.
            DistillError: This question failed for good.
        """
        if self._runner is None:
            if self._stopped is not None:
                raise to_run_stopped(self._stopped)
            try:
                self._runner = self._open()
            except DistillError as error:  # every other question would hear the same
                self._stopped = error
                raise
        await self._runner.answer(request)

    async def close(self) -> None:
        """Give connections back."""
        if self._service is not None:
            await self._service.close()

    def _open(self) -> RequestRunner | BatchRunner:
        self._service = open_service(self.config)
        price, presence_price = prices_of(self.config)
        secret_values = tuple(find_api_keys(self.config))
        online = RequestRunner(
            self._service,
            self._store,
            self._ledger,
            price=price,
            presence_price=presence_price,
            limits=self.config.limits,
            policy=self._policy,
            secret_values=secret_values,
        )
        return self._open_batches(online, price, secret_values) if self.uses_batches else online

    def _open_batches(self, online: RequestRunner, price: Price, secret_values: tuple[str, ...]) -> BatchRunner:
        from distill.teachers.hosted.batch.api import BatchApiClient
        from distill.teachers.hosted.batch.runner import BatchRunner
        from distill.teachers.hosted.services.gemini import GeminiService

        if not isinstance(self.config, GeminiConfig) or not isinstance(self._service, GeminiService):
            raise UsageError("batches are to be had from the Gemini API only")
        client = BatchApiClient(self.config, self._service.client, secret_values=secret_values)
        return BatchRunner(
            self.config,
            client,
            self._store,
            self._ledger,
            price=price,
            policy=self._policy,
            online=online,
            secret_values=secret_values,
        )


def to_run_stopped(error: DistillError) -> DistillError:
    """Why no more questions are asked; wrong use stays wrong use."""
    return error if isinstance(error, UsageError) else RunStopped(error.message, hint=error.hint)
