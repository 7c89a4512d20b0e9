"""Progress reports of long-running functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")


@runtime_checkable
class Progress(Protocol):
    """Counter of finished items."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count items as finished; `note` is shown next to the counter."""
        ...


@runtime_checkable
class Reporter(Protocol):
    """Receiver of messages and progress. `SilentReporter` is the default, `distill.console.Console` prints."""

    def info(self, text: str) -> None:
        """Report a message."""
        ...

    def warn(self, text: str) -> None:
        """Report a message that must not be overlooked."""
        ...

    def progress(self, title: str, total: int | None) -> AbstractContextManager[Progress]:
        """Open a counter; `total` is None where the number of items is unknown."""
        ...

    def track(self, items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items and count each one after use."""
        ...


class SilentReporter:
    """Reporter that discards everything."""

    def info(self, text: str) -> None:
        """Discard the message."""

    def warn(self, text: str) -> None:
        """Discard the message."""

    def progress(self, title: str, total: int | None) -> SilentReporter:
        """Return itself as the counter."""
        return self

    def track(self, items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items."""
        yield from items

    def advance(self, count: int = 1, note: str = "") -> None:
        """Discard the count."""

    def __enter__(self) -> SilentReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
