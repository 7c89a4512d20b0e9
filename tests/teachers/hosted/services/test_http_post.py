"""One HTTP request: no redirects, a deadline for slow servers, a bound for long bodies."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from distill.teachers.hosted.services import http_post
from distill.teachers.hosted.services.http_post import post
from tests.fakes.raw_server import serve


def send(url: str, timeout_s: float = 5.0) -> http_post.HttpReply:
    return asyncio.run(post(url, b"data", {"Authorization": "Bearer secret"}, timeout_s=timeout_s))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with ExitStack() as stack:
        other, seen = stack.enter_context(serve())
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n"
        url, _ = stack.enter_context(serve(head.encode()))
        assert send(url).status == status
    assert not seen


def test_a_body_beyond_the_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_post, "MAX_BODY_BYTES", 1000)
    with serve(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 600] * 5) as (url, _), pytest.raises(OSError, match="longer than"):
        send(url)
    with serve(b"HTTP/1.1 500 No\r\nContent-Length: 100000000000\r\n\r\n", b"x" * 10**6) as (url, _):
        assert len(send(url).body) == http_post._MAX_ERROR_BYTES


@pytest.mark.parametrize("head", [(), (b"HTTP/1.1 200 OK\r\n\r\n",)])
def test_a_slow_server_ends_at_the_deadline(head: tuple[bytes, ...]) -> None:
    lines = [b"X-Header: 1\r\n" if not head else b"x"] * 1000
    with serve(*(head or (b"HTTP/1.1 200 OK\r\n",)), *lines, pause_s=0.02) as (url, _):

        async def limited() -> None:
            async with asyncio.timeout(0.3):
                await post(url, b"", {}, timeout_s=0.2)

        with pytest.raises(TimeoutError):
            asyncio.run(limited())  # returns only when its thread has ended
