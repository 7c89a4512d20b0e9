"""Sequence of requests that lead to one answer: presence check, image, retries after answers without an image."""

from __future__ import annotations

from typing import Any

from distill.teachers.hosted.services.base import Request
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.records import EMPTY


def final_answer(store: AnswerStore, request: Request, max_attempts_without_image: int) -> tuple[str, float] | None:
    """(key of the final answer, USD paid for all requests up to it); None if a request is still to be sent.

    A presence check that finds no object is final. After an answer without an image, other seeds are tried.
    """
    cost_usd = 0.0
    if request.presence_check is not None:
        presence_check = store.meta(request.presence_check.answer_key.digest)
        if presence_check is None:
            return None
        cost_usd += presence_check["cost_usd"]
        if _is_absent(presence_check):
            return request.presence_check.answer_key.digest, cost_usd
    key = request.answer_key.digest
    for number in range(max_attempts_without_image):
        key = request.retry(number).answer_key.digest
        meta = store.meta(key)
        if meta is None:
            return None
        cost_usd += meta["cost_usd"]
        if meta["kind"] != EMPTY:
            break
    return key, cost_usd


def next_request(store: AnswerStore, request: Request, max_attempts_without_image: int) -> Request:
    """The next request to send: the presence check, then the image, then retries with other seeds."""
    if request.presence_check is not None and not store.contains(request.presence_check.answer_key.digest):
        return request.presence_check
    steps = (request.retry(number) for number in range(max_attempts_without_image))
    return next((step for step in steps if not store.contains(step.answer_key.digest)), request)


def _is_absent(presence_check: dict[str, Any]) -> bool:
    """Whether the answer to a presence check is "no"; any unclear answer counts as "yes"."""
    text = str(presence_check.get("text", "")).strip().lower()
    return text.startswith(("(b)", "b)", "b.", "b:", "no")) or text == "b"
