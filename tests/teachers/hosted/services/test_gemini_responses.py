"""Parser of Gemini responses: images, drafts, refusals, text, thoughts, errors."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from distill.teachers.hosted.services.base import Usage
from distill.teachers.hosted.services.errors import (
    AccountError,
    InvalidRequest,
    RateLimited,
    TransientError,
    redact,
    to_transient_error,
)
from distill.teachers.hosted.services.gemini_responses import error_of, parse_response
from distill.teachers.store.records import EMPTY, IMAGE, REFUSED

DATA = bytes(range(256)) * 3  # holds both letters in which the two alphabets of base64 differ


def blob(data: bytes = DATA, *, thought: bool = False, urlsafe: bool = False, snake: bool = False) -> dict:
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    inner = {"mime_type" if snake else "mimeType": "image/png", "data": text}
    return {"inline_data" if snake else "inlineData": inner} | ({"thought": True} if thought else {})


def body(*parts: dict, finish: str = "STOP", **more: object) -> dict:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}], **more}


@pytest.mark.parametrize("form", [{}, {"urlsafe": True}, {"snake": True}])
def test_image_bytes_in_both_base64_alphabets(form: dict) -> None:
    response = parse_response(body(blob(**form)))
    assert (response.kind, response.data, response.finish) == (IMAGE, DATA, "STOP")


def test_last_final_image_is_used() -> None:
    drafts = [blob(b"draft", thought=True), {"text": "hm", "thought": True}]
    assert parse_response(body(*drafts, blob(b"first"), blob(b"final"), *drafts)).data == b"final"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, REFUSED, "blocked the prompt (SAFETY)"),
        ({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, REFUSED, "IMAGE_SAFETY"),
        ({"candidates": [{"finishReason": "IMAGE_RECITATION"}]}, REFUSED, "IMAGE_RECITATION"),
        ({"candidates": [{"finishReason": "NO_IMAGE"}]}, EMPTY, "no image (NO_IMAGE)"),
        (body({"text": "A cat."}), EMPTY, "text and no image: A cat."),
        (body({"text": "hm", "thought": True}), EMPTY, "only thoughts"),
        (body(blob(thought=True)), EMPTY, "only a draft image"),
        (body({"inlineData": {"data": "!"}}), EMPTY, "cannot be read"),
        ({"candidates": None}, EMPTY, "no reason given"),
        ({}, EMPTY, "no reason given"),
        ({"candidates": [{"content": None, "finishReason": "MAX_TOKENS"}]}, EMPTY, "MAX_TOKENS"),
    ],
)
def test_reason_of_answers_without_an_image(answer: dict, kind: str, words: str) -> None:
    response = parse_response(answer)
    assert response.kind == kind and words in response.reason


def test_image_tokens_are_separate_from_text_and_thoughts() -> None:
    counts = {
        "promptTokenCount": 570,
        "candidatesTokenCount": 1130,
        "thoughtsTokenCount": 200,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
    }
    assert parse_response(body(blob(), usageMetadata=counts)).usage == Usage(570, 210, 1120)
    assert parse_response(body(blob())).usage is None


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}


def quota(name: str) -> dict:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": name}]}


@pytest.mark.parametrize(
    ("details", "header", "message", "delay_s", "scope"),
    [
        ([quota("RequestsPerMinutePerProject"), RETRY], None, "", 3.5, "minute"),
        ([quota("RequestsPerDayPerProject")], None, "", None, "day"),
        ([RETRY], "9", "", 9.0, "minute"),
        (None, "0.5", "", 0.5, "minute"),
        ([], None, "Spend limit of the last 10 minutes reached", None, "spend"),
        ([{"@type": "x"}, "nonsense"], "Wed, 21 Oct 2026", "", None, "minute"),
    ],
)
def test_rate_limit_has_scope_and_delay(
    details: Any, header: str | None, message: str, delay_s: float | None, scope: str
) -> None:
    error = error_of(429, "RESOURCE_EXHAUSTED", message, details, header)
    assert isinstance(error, RateLimited) and (error.delay_s, error.scope) == (delay_s, scope)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, InvalidRequest),
        (401, AccountError),
        (403, AccountError),
        (404, AccountError),
        (408, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_errors_by_http_status(code: int, kind: type[Exception]) -> None:
    assert isinstance(error_of(code, "S", "m", None, None), kind)


def test_charged_only_if_the_request_was_sent() -> None:
    sent: Any = error_of(504, "S", "m", None, None)
    refused: Any = error_of(500, "S", "m", None, None)
    assert sent.charged and not refused.charged
    assert (
        not to_transient_error(ConnectionRefusedError("no")).charged
        and to_transient_error(ConnectionResetError("cut")).charged
    )


def test_redact_removes_secrets_and_markup_and_shortens() -> None:
    text = "<h1>bad key abc123</h1> see https://x.example/file?sig=zzz&k=abc123\n\nnow " + "long " * 200
    said = redact(text, ["abc123"])
    assert said.startswith("bad key *** see https://x.example/file?*** now") and len(said) == 300


def test_the_cause_inside_a_group_of_errors_is_reported() -> None:
    inner = ConnectionRefusedError("nothing listens on port 9")
    group = ExceptionGroup("unhandled errors in a TaskGroup", [ExceptionGroup("again", [inner])])
    found = to_transient_error(group)
    assert str(found) == "ConnectionRefusedError: nothing listens on port 9" and not found.charged
    assert to_transient_error(ExceptionGroup("unhandled", [ConnectionResetError("cut")])).charged
