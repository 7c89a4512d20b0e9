"""Batch jobs at Google's service: upload a file, begin a job, look at it, fetch its results; with patience.

Knows files and names; knows nothing of what is in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distill.config.hosted import GeminiConfig
from distill.errors import DistillError
from distill.teachers.hosted.services.base import TransientError, RateLimited, InvalidRequest, to_transient_error, redact
from distill.teachers.hosted.services.gemini import api_error
from distill.teachers.hosted.throttle import backoff_s

if TYPE_CHECKING:
    from google import genai

_FINAL_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
_NOT_FOUND = 404
Result = TypeVar("Result")


class BatchNotFound(DistillError):  # noqa: N818 - what has happened to it
    """A job or a file is not there any more."""


class BatchApiClient:
    """One account's jobs."""

    def __init__(self, config: GeminiConfig, client: genai.Client, *, secret_values: tuple[str, ...]) -> None:
        self._config, self._client, self._secret_values = config, client, secret_values
        # Uploads of hundreds of megabytes: side by side they would only time out together.
        self._uploading = asyncio.Semaphore(2)

    async def begin(self, path: Path, label: str) -> str:
        """Upload a file of questions and begin the job that works on it; gives the job's name.

        Raises:
            DistillError: The service takes no job.
        """
        from google.genai import types

        begun = False

        async def upload() -> str:
            config = types.UploadFileConfig(mime_type="jsonl", display_name=label)
            uploaded = await self._client.aio.files.upload(file=str(path), config=config)
            return str(uploaded.name)

        async def create() -> str:
            nonlocal begun
            # A try that was cut off may have begun the job all the same.
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
        """The name of the job with this label; empty when the service has none."""
        return await self._with_retries(lambda: self._find(label))

    async def _find(self, label: str) -> str:
        from google.genai import types

        async for job in await self._client.aio.batches.list(config=types.ListBatchJobsConfig(page_size=100)):
            if job.display_name == label:
                return str(job.name)
        return ""

    async def wait(self, name: str) -> tuple[str, str]:
        """(state, file of results or nothing) of a job when it has ended.

        Raises:
            BatchNotFound: The service does not know the job.
        """

        async def look() -> Any:
            return await self._client.aio.batches.get(name=name)

        while True:
            job = await self._with_retries(look)
            state = str(getattr(job.state, "name", job.state)).removeprefix("JOB_STATE_")
            if state in _FINAL_STATES:
                return state, str(job.dest.file_name or "") if job.dest else ""
            await asyncio.sleep(self._config.poll_s)

    async def fetch(self, file: str) -> bytes:
        """The results; whole, as the package knows no other way.

        Raises:
            BatchNotFound: They have expired.
        """

        async def download() -> bytes:
            data: bytes = await self._client.aio.files.download(file=file)
            return data

        return await self._with_retries(download)

    async def _with_retries(self, act: Callable[[], Awaitable[Result]]) -> Result:
        """Do it until it is done: what is busy or broken is tried again.

        Raises:
            BatchNotFound: What it is about is not there.
            DistillError: It cannot be done.
        """
        limits, tries = self._config.limits, 0
        while True:
            tries += 1
            error, delay_s = await self._try_once(act)
            if not isinstance(error, Exception):
                return error
            if tries >= limits.max_attempts:
                raise DistillError(f"the batch service gave up on us: {error}", hint="run the same command again")
            await asyncio.sleep(
                backoff_s(tries, initial_s=limits.initial_backoff_s, max_s=limits.max_backoff_s, retry_after_s=delay_s)
            )

    async def _try_once(self, act: Callable[[], Awaitable[Result]]) -> tuple[Result | Exception, float | None]:
        """(result, or an error worth another try; seconds to wait that the service asks for).

        Raises:
            DistillError: Another try changes nothing.
        """
        from google.genai import errors

        try:
            return await act(), None
        except errors.APIError as error:
            if error.code == _NOT_FOUND:
                raise BatchNotFound("the service has it no more") from None
            meant = api_error(error)
        except Exception as error:  # of whichever HTTP package is installed
            meant = to_transient_error(error)
        text = redact(str(meant), self._secret_values)
        if isinstance(meant, RateLimited | TransientError):
            return RuntimeError(text), meant.delay_s
        raise DistillError(text, hint=getattr(meant, "hint", "")) if isinstance(meant, DistillError | InvalidRequest) else meant
