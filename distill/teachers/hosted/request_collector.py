"""Requests without a stored answer, collected by running a teacher without sending anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from distill.config.hosted import HostedConfig
from distill.teachers.hosted.services.base import Request
from distill.teachers.store.records import AnswerMissing

if TYPE_CHECKING:
    from distill.teachers.hosted.generator import HostedGenerator


@runtime_checkable
class OnMissing(Protocol):
    """Receives every request that has no stored answer.

    Attributes:
        use_cached: Whether the teacher decodes stored answers; else it only collects requests.
    """

    use_cached: bool

    def __call__(self, generator: HostedGenerator, request: Request) -> None:
        """Record a request.

        Raises:
            AnswerMissing: Always, since the answer arrives later.
        """
        ...


class RequestCollector:
    """Collects the requests of a teacher about one photo, each once."""

    def __init__(self, *, use_cached: bool) -> None:
        self.use_cached = use_cached
        self.collected: list[tuple[HostedConfig, Request]] = []
        self._seen: set[str] = set()

    def __call__(self, generator: HostedGenerator, request: Request) -> None:
        """As `OnMissing`."""
        if request.answer_key.digest not in self._seen:
            self._seen.add(request.answer_key.digest)
            self.collected.append((generator.config, request))
        raise AnswerMissing("requested, and not answered yet")

    def take(self) -> list[tuple[HostedConfig, Request]]:
        """The collected requests; the collection is then empty."""
        collected, self.collected, self._seen = self.collected, [], set()
        return collected
