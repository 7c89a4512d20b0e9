"""Responses written to the store, and recovery of requests that ended processes left in flight."""

from __future__ import annotations

from collections.abc import Sequence

from distill.teachers.hosted.services.base import Request, Response
from distill.teachers.hosted.services.errors import redact
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.records import EMPTY, CachedAnswer


def store_response(
    store: AnswerStore,
    request: Request,
    response: Response,
    *,
    cost_usd: float,
    license: str,
    secrets: Sequence[str] = (),
) -> CachedAnswer:
    """Store a response; its texts are redacted first.

    Raises:
        StoreFull: The disk is full or the folder cannot be written.
    """
    usage = response.usage
    about = {
        "photo": request.photo,
        "cost_usd": cost_usd,
        "license": license,
        "model_version": redact(response.model_version, secrets) or request.answer_key.model,
        "finish": redact(response.finish, secrets),
        "text": redact(response.text, secrets),
        "tokens": [usage.input, usage.text, usage.image] if usage else None,
        **{name: redact(value, secrets) if isinstance(value, str) else value for name, value in response.about.items()},
    }
    return store.put(
        request.answer_key,
        response.kind if request.expects_image else EMPTY,
        response.data,
        reason=redact(response.reason, secrets),
        prompt_spec=request.prompt_spec,
        **about,
    )


def recover(ledger: Ledger, store: AnswerStore) -> None:
    """Settle the requests of ended processes: stored answers at their cost, others as possibly charged."""

    def cost_of(key: str) -> float | None:
        stored = store.get(key)
        return stored.meta["cost_usd"] if stored else None

    ledger.recover(cost_of)
