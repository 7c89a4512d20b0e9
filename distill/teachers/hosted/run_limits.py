"""Conditions under which a run stops sending requests: budget, deadline, repeated errors, disk space."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from distill.errors import DistillError
from distill.teachers.hosted.services.base import Request
from distill.teachers.hosted.throttle import CircuitBreaker
from distill.teachers.store.spending import Budget, BudgetExceeded

_BYTES_PER_PIXEL, _MARGIN_BYTES = 3.2, 256 * 1024
"""The largest PNG file is slightly larger than its pixels."""


class RunStopped(DistillError):  # noqa: N818 - a state of the run
    """The run sends no more requests; the message has the reason. Stored answers stay."""


@dataclass(frozen=True)
class RequestPolicy:
    """Job, budget and license of requests.

    Attributes:
        job: Labeling job that pays.
        budget: Its limits.
        license: License of the answers.
    """

    job: str = ""
    budget: Budget = field(default_factory=Budget)
    license: str = "unknown"


class RunLimits:
    """Checks before each request whether the run has to stop.

    Attributes:
        stopped: Why the run stopped; None while it runs.
    """

    def __init__(self, folder: Path, budget: Budget, breaker: CircuitBreaker) -> None:
        self._folder, self._budget, self._breaker = folder, budget, breaker
        self.stopped: DistillError | None = None

    def stop(self, error: DistillError) -> None:
        """Stop the run; the first reason stays."""
        self.stopped = self.stopped or error

    def raise_if_stopped(self) -> None:
        """Raise the reason if the run stopped.

        Raises:
            RunStopped: It did.
        """
        if self.stopped is not None:
            raise RunStopped(self.stopped.message, hint=self.stopped.hint)

    def check(self, request: Request, others: int) -> None:
        """Check deadline, circuit breaker and disk space.

        Args:
            request: The next request.
            others: Number of answers that will arrive besides that of `request`.

        Raises:
            RunStopped: The run has to stop.
        """
        deadline_s = self._budget.deadline_s
        if deadline_s is not None and time.time() >= deadline_s:
            self.stop(BudgetExceeded("the deadline is reached", hint="run the same command again to continue"))
        if self._breaker.should_abort:
            self.stop(
                DistillError(
                    f"the service gave only errors for a while; the last one: {self._breaker.last_error}",
                    hint="run the same command again when the service is available; stored answers are used",
                )
            )
        self._check_space(request, others)
        self.raise_if_stopped()

    def _check_space(self, request: Request, others: int) -> None:
        """Every answer in flight is paid for, so all of them must fit on the disk."""
        height, width = request.canvas_hw or (1024, 1024)
        each = height * width * _BYTES_PER_PIXEL if request.canvas_hw else 2 * len(request.image.data)
        needed = (others + 1) * (each + _MARGIN_BYTES)
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            self.stop(DistillError(f"{self._folder}: cannot be used: {error.strerror}"))
            return
        if free < needed:
            self.stop(
                DistillError(
                    f"{self._folder}: {free / 1e6:.1f} MB are free, and the answers in flight may need "
                    f"{needed / 1e6:.1f} MB",
                    hint="free space and run the same command again; paid answers are stored",
                )
            )
