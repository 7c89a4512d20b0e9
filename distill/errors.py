"""The exception shown to users: message, hint, exit code."""

from __future__ import annotations


class DistillError(Exception):
    """Failure with a message of one sentence and a hint for the user.

    Attributes:
        message: Names the file, key or value that is wrong.
        hint: The next step for the user; may be empty.
        exit_code: 1 for a failed run or gate, 2 for wrong use.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, tuple[type[DistillError], str, str]]:
        # Label workers and data loaders pickle errors; the default would lose the hint.
        return _rebuild, (type(self), self.message, self.hint)


class UsageError(DistillError):
    """Invalid command line or config; exit code 2."""

    exit_code = 2


def _rebuild(kind: type[DistillError], message: str, hint: str) -> DistillError:
    return kind(message, hint=hint)


def describe_error(error: BaseException) -> str:
    """Type and first line of an exception of foreign code."""
    try:
        text = str(error).strip().splitlines()
    except Exception:  # a foreign __str__ may fail, too
        text = []
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
