"""How a run speaks: what the wing asks of whoever shows its progress."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Shows how far something is."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count items as done."""
        ...


class Reporter(Protocol):
    """How a run speaks to the person who started it."""

    def say(self, text: str) -> None:
        """A line."""
        ...

    def progress(self, what: str, total: int | None) -> AbstractContextManager[Progress]:
        """Progress through a number of items."""
        ...
