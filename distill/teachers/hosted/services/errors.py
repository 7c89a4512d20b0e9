"""Errors of hosted services, and redaction of their messages."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence
from html import escape
from urllib.parse import quote, quote_plus

from distill.errors import DistillError
from distill.escaping import for_terminal

_MAX_CHARACTERS = 300
_MIN_SECRET = 4
"""Shorter values are parts of ordinary words."""
_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+")
_MARKUP = re.compile(r"<[^<>]*>|\s+")


class BatchNotFound(DistillError):  # noqa: N818 - a state of the service
    """A batch job or its file no longer exists."""


class RateLimited(Exception):  # noqa: N818 - the service's term
    """Too many requests. Nothing was charged.

    Attributes:
        delay_s: Delay that the service requests; None if it gives none.
        scope: The limit that was hit: ``minute``, ``day`` or ``spend``.
    """

    def __init__(self, message: str, *, delay_s: float | None = None, scope: str = "minute") -> None:
        super().__init__(message)
        self.delay_s, self.scope = _finite(delay_s), scope


class TransientError(Exception):
    """An error of the service or of the connection.

    Attributes:
        charged: Whether the request may have been charged although no answer arrived.
        delay_s: Delay that the service requests.
    """

    def __init__(self, message: str, *, charged: bool, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.charged, self.delay_s = charged, _finite(delay_s)


def _finite(delay_s: float | None) -> float | None:
    return delay_s if delay_s is not None and 0 <= delay_s < math.inf else None


_NEVER_SENT = frozenset(
    {"ClientConnectorError", "ConnectError", "ConnectTimeout", "ConnectionRefusedError", "gaierror"}
)


def to_transient_error(error: Exception) -> TransientError:
    """An error of an HTTP package; requests that never reached the service were not charged, others may have been."""
    while isinstance(error, ExceptionGroup):  # "unhandled errors in a TaskGroup" says nothing about the cause
        error = error.exceptions[0]
    kinds = {kind.__name__ for one in (error, error.__cause__) if one is not None for kind in type(one).__mro__}
    return TransientError(f"{type(error).__name__}: {error}".rstrip(": "), charged=not kinds & _NEVER_SENT)


class InvalidRequest(Exception):  # noqa: N818 - the service's term
    """Bad request: the service rejects it. Nothing was charged, and a retry changes nothing."""


class AccountError(DistillError):
    """Account error: invalid key, unknown model or no credit. The run stops."""


def _spellings(secret: str) -> list[str]:
    """A key as it is, and as an address, a page, JSON or basic authentication would show it; longer ones first."""
    plain = [secret, quote(secret, safe=""), quote_plus(secret), escape(secret), json.dumps(secret)[1:-1]]
    encoded = [
        base64.b64encode(text.encode()).decode().rstrip("=") for text in (secret, f":{secret}", f"Bearer {secret}")
    ]
    return sorted({*plain, *encoded}, key=len, reverse=True)


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """A service's message for display and storage: without keys, queries of (signed) URLs and markup, and shortened."""
    for secret in secrets:
        if len(secret) >= _MIN_SECRET:
            for spelled in _spellings(secret):
                text = text.replace(spelled, "***")
    text = _QUERY.sub(r"\1?***", text)
    text = for_terminal(" ".join(_MARKUP.sub(" ", text).split()))
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."
