"""The one exception that users see: what went wrong, and what to do about it."""

from __future__ import annotations


class DistillError(Exception):
    """A failure that the user can act on: one sentence, and a hint that says what to do.

    Attributes:
        message: What is wrong; names the file, key or value.
        hint: What to do about it; may be empty.
        exit_code: 1 for a run or a gate that failed, 2 for wrong use.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, tuple[type[DistillError], str, str]]:
        # Errors cross process borders (label workers, data loaders); the default would lose the hint.
        return _rebuild, (type(self), self.message, self.hint)


class UsageError(DistillError):
    """The command line or a config asks for something that cannot be; exit code 2."""

    exit_code = 2


def _rebuild(kind: type[DistillError], message: str, hint: str) -> DistillError:
    return kind(message, hint=hint)
