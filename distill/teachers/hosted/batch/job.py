"""Batch job in memory, and its results written to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.errors import DistillError
from distill.teachers.hosted.batch.files import result_rows
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.services.base import BatchApi, Request
from distill.teachers.hosted.services.errors import redact
from distill.teachers.hosted.storing import store_response
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.records import IMAGE


@dataclass
class BatchJob:
    """Requests that are sent together.

    Attributes:
        requests: By key, without their images, which are in the file.
        waiting: By key: the future of each request that a caller waits for.
        size_bytes: Size of the file.
    """

    label: str
    requests: dict[str, Request] = field(default_factory=dict)
    waiting: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    size_bytes: int = 0

    def notify(self, error: DistillError | None) -> None:
        """Wake all callers; None: the job is finished."""
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(error) if error is not None else future.set_result(None)
        for future in self.waiting.values():
            future.exception()  # marks it as retrieved: the caller may be gone


class ResultWriter:
    """Writes the results of batch jobs to the store and the ledger."""

    def __init__(
        self, api: BatchApi, store: AnswerStore, ledger: Ledger, *, price: Price, license: str, secrets: Sequence[str]
    ) -> None:
        self._api, self._store, self._ledger = api, store, ledger
        self._price, self._license, self._secrets = price, license, tuple(secrets)

    def write(self, job: BatchJob, data: bytes) -> dict[str, str]:
        """Store every answer of a result file; returns the reasons of requests without one, by key.

        A bad line affects only its own request.
        """
        failed: dict[str, str] = {}
        for key, row in result_rows(data):
            request = job.requests.get(key)
            if request is None:
                continue
            if isinstance(row.get("response"), dict):
                self._write(request, row["response"])
            else:
                error = row.get("error")
                text = str(error.get("message")) if isinstance(error, dict) else "no reason given"
                failed[key] = f"the batch job failed for this request: {redact(text, self._secrets)}"
        return failed

    def _write(self, request: Request, body: dict[str, Any]) -> None:
        key = request.answer_key.digest
        if self._store.contains(key):  # stored, and killed before the ledger was written
            meta = self._store.meta(key) or {}
            self._ledger.finish(key, "done", cost_usd=meta.get("cost_usd", 0.0), finish=str(meta.get("finish", "")))
            return
        response = self._api.parse_response(body)
        cost_usd = self._price.cost_usd(response.usage) if response.usage or response.data else 0.0
        store_response(self._store, request, response, cost_usd=cost_usd, license=self._license, secrets=self._secrets)
        usage = response.usage
        self._ledger.finish(
            key,
            "done" if response.kind == IMAGE else response.kind,
            cost_usd=cost_usd,
            tokens_in=usage.input if usage else 0,
            tokens_out=usage.text + usage.image if usage else 0,
            finish=response.finish,
            detail=redact(response.reason, self._secrets),
        )
