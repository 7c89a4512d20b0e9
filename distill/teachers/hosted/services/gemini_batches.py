"""Batch jobs of the Gemini API: upload a file, start a job, poll it, fetch its results; with retries."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distill.config.hosted import GeminiConfig
from distill.errors import DistillError
from distill.teachers.hosted.services.base import BatchApi, Request, RequestImage, Response
from distill.teachers.hosted.services.errors import (
    BatchNotFound,
    InvalidRequest,
    RateLimited,
    TransientError,
    redact,
    to_transient_error,
)
from distill.teachers.hosted.services.gemini_requests import generation_config
from distill.teachers.hosted.services.gemini_responses import api_error, parse_response
from distill.teachers.hosted.throttle import backoff_s

if TYPE_CHECKING:
    from google import genai

_FINAL_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
_NOT_FOUND = 404
Result = TypeVar("Result")


class GeminiBatches(BatchApi):
    """The batch jobs of one account."""

    def __init__(self, config: GeminiConfig, client: genai.Client, *, secrets: tuple[str, ...]) -> None:
        self._config, self._client, self._secrets = config, client, secrets
        self.max_requests, self.poll_s = config.batch_images, config.poll_s
        # Uploads have hundreds of megabytes: many at once would all time out.
        self._uploading = asyncio.Semaphore(2)

    def request_line(self, request: Request) -> bytes:
        """As `BatchApi.request_line`."""
        image = {"inlineData": {"mimeType": request.image.mime, "data": base64.b64encode(request.image.data).decode()}}
        parts = [image, {"text": request.prompt_spec.prompt}]
        settings = generation_config(request, self._config)
        body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": settings}
        return (json.dumps({"key": request.answer_key.digest, "request": body}) + "\n").encode()

    def line_image(self, row: dict[str, Any]) -> RequestImage:
        """As `BatchApi.line_image`."""
        blob = row["request"]["contents"][0]["parts"][0]["inlineData"]
        return RequestImage(base64.b64decode(blob["data"]), blob["mimeType"])

    def parse_response(self, body: dict[str, Any]) -> Response:
        """As `BatchApi.parse_response`."""
        return parse_response(body)

    async def begin(self, path: Path, label: str) -> str:
        """As `BatchApi.begin`."""
        from google.genai import types

        begun = False

        async def upload() -> str:
            config = types.UploadFileConfig(mime_type="jsonl", display_name=label)
            uploaded = await self._client.aio.files.upload(file=str(path), config=config)
            return str(uploaded.name)

        async def create() -> str:
            nonlocal begun
            # An attempt that was cut off may have started the job.
            known = await self._find(label) if begun else ""
            begun = True
            if known:
                return known
            config = types.CreateBatchJobConfig(display_name=label)
            made = await self._client.aio.batches.create(model=self._config.model, src=file, config=config)
            return str(made.name)

        async with self._uploading:
            file = await self._with_retries(upload)
            return await self._with_retries(create)

    async def find(self, label: str) -> str:
        """As `BatchApi.find`."""
        return await self._with_retries(lambda: self._find(label))

    async def _find(self, label: str) -> str:
        from google.genai import types

        async for job in await self._client.aio.batches.list(config=types.ListBatchJobsConfig(page_size=100)):
            if job.display_name == label:
                return str(job.name)
        return ""

    async def wait(self, name: str) -> tuple[str, str]:
        """As `BatchApi.wait`."""

        async def look() -> Any:
            return await self._client.aio.batches.get(name=name)

        while True:
            job = await self._with_retries(look)
            state = str(getattr(job.state, "name", job.state)).removeprefix("JOB_STATE_")
            if state in _FINAL_STATES:
                return state, str(job.dest.file_name or "") if job.dest else ""
            await asyncio.sleep(self._config.poll_s)

    async def fetch(self, file: str) -> bytes:
        """As `BatchApi.fetch`; in one piece, since the package cannot stream it."""

        async def download() -> bytes:
            data: bytes = await self._client.aio.files.download(file=file)
            return data

        return await self._with_retries(download)

    async def _with_retries(self, act: Callable[[], Awaitable[Result]]) -> Result:
        """The result of a call; transient errors are retried.

        Raises:
            BatchNotFound: Its object does not exist.
            DistillError: It failed for good.
        """
        limits, attempts = self._config.limits, 0
        while True:
            attempts += 1
            error, delay_s = await self._try_once(act)
            if not isinstance(error, Exception):
                return error
            if attempts >= limits.max_attempts:
                raise DistillError(f"the batch API kept failing: {error}", hint="run the same command again")
            await asyncio.sleep(
                backoff_s(
                    attempts, initial_s=limits.initial_backoff_s, max_s=limits.max_backoff_s, retry_after_s=delay_s
                )
            )

    async def _try_once(self, act: Callable[[], Awaitable[Result]]) -> tuple[Result | Exception, float | None]:
        """(result, or an error that may be retried; delay in seconds that the service requests).

        Raises:
            DistillError: A retry changes nothing.
        """
        from google.genai import errors

        try:
            return await act(), None
        except errors.APIError as error:
            if error.code == _NOT_FOUND:
                raise BatchNotFound("the service no longer has it") from None
            meant = api_error(error)
        except Exception as error:  # of whichever HTTP package is installed
            meant = to_transient_error(error)
        text = redact(str(meant), self._secrets)
        if isinstance(meant, RateLimited | TransientError):
            return RuntimeError(text), meant.delay_s
        if isinstance(meant, DistillError | InvalidRequest):
            raise DistillError(text, hint=getattr(meant, "hint", ""))
        raise meant
