"""Responses to Google's client package: no redirects, a deadline, a bound for long and for packed bodies."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import ExitStack

import pytest

from distill.config import load_config
from distill.config.hosted import GeminiConfig
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.hosted.services import gemini_client
from distill.teachers.hosted.services.base import Request, RequestImage, Response
from distill.teachers.hosted.services.errors import AccountError, InvalidRequest, RateLimited, TransientError
from distill.teachers.hosted.services.gemini import GeminiService
from distill.teachers.store.records import AnswerKey
from tests.fakes.raw_server import serve

KEY = "AIza-key-of-the-test"
ANY_ERROR = (TransientError, InvalidRequest, AccountError, RateLimited)
EMPTY = json.dumps({"candidates": [{"content": {"parts": [{"text": "no"}]}, "finishReason": "STOP"}]}).encode()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)


def send(url: str, timeout_s: float = 5.0) -> Response:
    config = load_config(GeminiConfig, {"kind": "gemini", "base_url": url, "limits": {"timeout_s": timeout_s}})

    async def once() -> Response:
        service = GeminiService(config)
        service.open()
        try:
            answer_key = AnswerKey("0" * 64, "prompt", "model", {}, 0, 0)
            image = RequestImage(b"bytes", "image/png")
            return await service.send(Request(answer_key, PromptSpec(Task.DEPTH, "prompt"), image=image))
        finally:
            await service.close()

    return asyncio.run(once())


def response(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_packed_and_plain_responses_are_read() -> None:
    for data in (response(EMPTY), response(gzip.compress(EMPTY), "Content-Encoding: gzip")):
        with serve(data) as (url, received):
            assert send(url).text == "no"
        assert KEY.encode() in received[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with ExitStack() as stack:
        other, seen = stack.enter_context(serve(response(EMPTY)))
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n"
        url, _ = stack.enter_context(serve(head.encode()))
        with pytest.raises(ANY_ERROR):
            send(url)
    assert not seen


@pytest.mark.parametrize("status", ["200 OK", "500 No", "429 Slow"])
def test_a_body_beyond_the_limit_is_an_error(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemini_client, "MAX_BODY_BYTES", 1000)
    head = f"HTTP/1.1 {status}\r\nContent-Length: 100000000000\r\n\r\n".encode()
    with serve(head, *[b"x" * 600] * 50) as (url, _), pytest.raises(TransientError, match="longer than"):
        send(url)


def test_a_body_that_unpacks_beyond_the_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemini_client, "MAX_BODY_BYTES", 2**20)
    data = response(gzip.compress(bytes(2**24)), "Content-Encoding: gzip")
    with serve(data) as (url, _), pytest.raises(TransientError, match="longer than 1 MB"):
        send(url)


@pytest.mark.parametrize("head", [(), (b"HTTP/1.1 200 OK\r\n\r\n",)])
def test_a_slow_server_ends_at_the_deadline(head: tuple[bytes, ...]) -> None:
    lines = [b"X-Header: 1\r\n" if not head else b"x"] * 1000
    parts = (*(head or (b"HTTP/1.1 200 OK\r\n",)), *lines)
    with serve(*parts, pause_s=0.02) as (url, _), pytest.raises(TransientError, match="Timeout"):
        send(url, timeout_s=0.2)
