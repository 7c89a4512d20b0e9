"""Client of one service, opened with the first request: a job whose answers are all stored needs no API key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distill.config.hosted import HostedConfig
from distill.errors import DistillError, UsageError
from distill.teachers.hosted.request_runner import RequestRunner
from distill.teachers.hosted.run_limits import RequestPolicy, RunStopped
from distill.teachers.hosted.services.base import Request
from distill.teachers.hosted.services.registry import find_api_keys, prices_of, service_of
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger

if TYPE_CHECKING:
    from distill.teachers.hosted.batch.runner import BatchRunner


class ServiceClient:
    """Sends the requests for one service, online or in batch jobs. Lives in one event loop."""

    def __init__(self, config: HostedConfig, store: AnswerStore, ledger: Ledger, policy: RequestPolicy) -> None:
        self.config = config
        self._store, self._ledger, self._policy = store, ledger, replace(policy, license=config.license)
        self._service = service_of(config)
        self._runner: RequestRunner | BatchRunner | None = None
        self._stopped: DistillError | None = None

    @property
    def uses_batches(self) -> bool:
        """Whether requests are collected into batch jobs."""
        return self._service.mode == "batch"

    @property
    def in_flight(self) -> int:
        """Number of requests at the service."""
        return self._runner.in_flight if self._runner else 0

    @property
    def stopped(self) -> DistillError | None:
        """Why no more requests are sent; None while the run goes on."""
        return self._runner.stopped if self._runner is not None else self._stopped

    def stop(self, error: DistillError) -> None:
        """Send no more requests."""
        self._stopped = self._stopped or error
        if self._runner is not None:
            self._runner.stop(error)

    async def answer(self, request: Request) -> None:
        """Return when the final answer is stored.

        Raises:
            RunStopped: The run sends no more requests.
            UsageError: There is no API key.
            DistillError: This request failed for good.
        """
        if self._runner is None:
            if self._stopped is not None:
                raise to_run_stopped(self._stopped)
            try:
                self._runner = self._open()
            except DistillError as error:  # the same for every other request
                self._stopped = error
                raise
        await self._runner.answer(request)

    async def close(self) -> None:
        """Close connections."""
        await self._service.close()

    def _open(self) -> RequestRunner | BatchRunner:
        self._service.open()
        price, presence_price = prices_of(self.config)
        secrets = tuple(find_api_keys(self.config))
        online = RequestRunner(
            self._service,
            self._store,
            self._ledger,
            price=price,
            presence_price=presence_price,
            limits=self.config.limits,
            policy=self._policy,
            secrets=secrets,
        )
        if not self.uses_batches:
            return online
        from distill.teachers.hosted.batch.runner import BatchRunner

        return BatchRunner(
            self._service.batch_api(secrets),
            self._store,
            self._ledger,
            price=price,
            limits=self.config.limits,
            policy=self._policy,
            online=online,
            secrets=secrets,
        )


def to_run_stopped(error: DistillError) -> DistillError:
    """The reason of a stop as `RunStopped`; a `UsageError` stays one."""
    return error if isinstance(error, UsageError) else RunStopped(error.message, hint=error.hint)
