"""One HTTP request with a deadline and a bounded response, that never follows a redirect."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest response; an image of 4096 x 4096 pixels in base64 has about half of it."""
_MAX_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpReply:
    """Status, reason, body and the header ``Retry-After`` of a response."""

    status: int
    reason: str
    body: bytes
    retry_after: str | None


async def post(url: str, data: bytes, headers: Mapping[str, str], *, timeout_s: float) -> HttpReply:
    """Send a POST request; proxies of the environment are used.

    A cancelled call closes its connection, so that its thread ends at once.

    Raises:
        OSError: The connection failed, the deadline passed, or the body is longer than `MAX_BODY_BYTES`.
        http.client.HTTPException: The response is not HTTP.
    """
    opened: list[http.client.HTTPConnection] = []
    request = urllib.request.Request(url, data, dict(headers), method="POST")
    try:
        return await asyncio.to_thread(_send, request, opened, time.monotonic() + timeout_s, timeout_s)
    except asyncio.CancelledError:
        for connection in opened:
            _shut_down(connection)
        raise


def _send(
    request: urllib.request.Request, opened: list[http.client.HTTPConnection], deadline: float, timeout_s: float
) -> HttpReply:
    opener = urllib.request.build_opener(_NoRedirects, _HttpHandler(opened), _HttpsHandler(opened))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            body = _read(response, MAX_BODY_BYTES, deadline)
            return HttpReply(response.status, str(response.reason), body, response.headers.get("Retry-After"))
    except urllib.error.HTTPError as error:
        with error:
            body = _read(error, _MAX_ERROR_BYTES, deadline, cut=True)
            return HttpReply(error.code, str(error.reason), body, error.headers.get("Retry-After"))
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else error from None


def _read(response: Any, limit: int, deadline: float, *, cut: bool = False) -> bytes:
    """Body of at most `limit` bytes; a longer one is cut, or an error."""
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise TimeoutError("the response did not end in time")
        if size > limit:
            if cut:
                break
            raise OSError(f"the response is longer than {limit // 2**20} MB")
    return b"".join(parts)[:limit]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the key in the request is for one host."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""
        return


class _HttpHandler(urllib.request.HTTPHandler):
    """Handler that keeps its connection, for `_shut_down`."""

    def __init__(self, opened: list[http.client.HTTPConnection]) -> None:
        super().__init__()
        self._opened = opened

    def http_open(self, request: urllib.request.Request) -> Any:
        """Open a connection."""
        return self.do_open(self._connect, request)

    def _connect(self, host: str, **options: Any) -> http.client.HTTPConnection:
        self._opened.append(http.client.HTTPConnection(host, **options))
        return self._opened[-1]


class _HttpsHandler(urllib.request.HTTPSHandler):
    """The same with TLS."""

    def __init__(self, opened: list[http.client.HTTPConnection]) -> None:
        super().__init__()
        self._opened = opened

    def https_open(self, request: urllib.request.Request) -> Any:
        """Open a connection."""
        return self.do_open(self._connect, request, context=ssl.create_default_context())

    def _connect(self, host: str, **options: Any) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(host, **options)
        self._opened.append(connection)
        return connection


def _shut_down(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
