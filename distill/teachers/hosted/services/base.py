"""Interface of a hosted image service: one request in, one response out, or an error that tells whether to retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from distill.errors import UsageError
from distill.teachers.base import PromptSpec
from distill.teachers.store.records import AnswerKey


@dataclass(slots=True)
class RequestImage:
    """The encoded photo of a request; the bytes can be dropped when they are no longer needed."""

    data: bytes = b""
    mime: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt about one photo, ready to be sent.

    Attributes:
        answer_key: Key of the answer in the store.
        prompt_spec: The prompt and how to decode the answer.
        photo: Name of the photo, for messages.
        image: The photo, resized and encoded.
        canvas_hw: Size (height, width) that the answer should have; None: any.
        expects_image: Whether the answer is an image; else text.
        presence_check: A request to a cheap text model that is sent first: is the object in the photo at all?
    """

    answer_key: AnswerKey
    prompt_spec: PromptSpec
    photo: str = ""
    image: RequestImage = field(default_factory=RequestImage)
    canvas_hw: tuple[int, int] | None = None
    expects_image: bool = True
    presence_check: Request | None = None

    def retry(self, number: int) -> Request:
        """The same request with another seed, after an answer without an image; 0: unchanged."""
        if number == 0:
            return self
        return replace(
            self, answer_key=replace(self.answer_key, parameters={**self.answer_key.parameters, "retry": number})
        )

    @property
    def wire_seed(self) -> int:
        """The seed that is sent; it differs for each sample and retry."""
        seed: int = (
            self.answer_key.seed + 7919 * self.answer_key.sample + 104729 * self.answer_key.parameters.get("retry", 0)
        ) % 2**31
        return seed


MAX_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request: input, text output, image output; limited to [0, `MAX_TOKENS`]."""

    input: int = 0
    text: int = 0
    image: int = 0

    def __post_init__(self) -> None:
        # Counts of a service: negative ones would lower the sum that was spent.
        for name in ("input", "text", "image"):
            object.__setattr__(self, name, min(max(0, getattr(self, name)), MAX_TOKENS))


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of a service, of any kind.

    Attributes:
        kind: ``image``, ``refused`` or ``empty``; the answer to a text request is ``empty`` with `text`.
        data: The image bytes as received.
        reason: For the other kinds: why there is no image, as a sentence.
        finish: The service's finish reason.
        model_version: Model version that the service reports.
        text: Text in the answer.
        usage: Tokens; None if the service does not report them.
        about: Further plain values for the record of the answer.
    """

    kind: str
    data: bytes = b""
    reason: str = ""
    finish: str = ""
    model_version: str = ""
    text: str = ""
    usage: Usage | None = None
    about: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Service(Protocol):
    """A hosted image service. Its properties come from the config alone; `open` connects. It retries nothing itself.

    Attributes:
        modes: Price modes that the service offers.
        mode: Price mode of the config: ``online``, ``flex`` or ``batch``.
        price_size: Size or quality of the image by which the price table counts.
        presence_model: Text model for presence checks; empty: none.
        own_size_mode: How an answer covers a photo that is sent in its own size (`PromptSpec.resize_mode`).
    """

    modes: Sequence[str] = ("online",)
    mode: str = "online"
    price_size: str = ""
    presence_model: str = ""
    own_size_mode: str = "fill"

    def canvas_sizes(self) -> list[tuple[int, int]]:
        """Image sizes (height, width) among which that of a photo is chosen; empty: photos keep their own size."""
        return []

    def parameters(self) -> dict[str, Any]:
        """Plain values of the config that affect the answer; part of its key in the store."""
        return {}

    def open(self) -> None:
        """Connect; inside a running event loop.

        Raises:
            UsageError: There is no API key.
            DistillError: A package is missing.
        """
        ...

    async def send(self, request: Request) -> Response:
        """The response to a request.

        Raises:
            RateLimited: Too many requests; retry later.
            TransientError: A retry may succeed.
            InvalidRequest: This request always fails.
            AccountError: Every request fails.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...

    def batch_api(self, secrets: Sequence[str]) -> BatchApi:
        """Batch jobs of the opened service.

        Args:
            secrets: API keys, to be removed from messages.

        Raises:
            UsageError: The service has no batch jobs.
        """
        raise UsageError("this service has no batch jobs", hint="set mode=online")


@runtime_checkable
class BatchApi(Protocol):
    """Batch jobs of a service: upload a file of requests, wait, fetch the results.

    Attributes:
        max_requests: Maximum number of requests per job.
        poll_s: Seconds between two looks at the state of a job.
    """

    max_requests: int
    poll_s: float

    def request_line(self, request: Request) -> bytes:
        """A request as a line of the file."""
        ...

    def line_image(self, row: dict[str, Any]) -> RequestImage:
        """The image in a parsed line of `request_line`."""
        ...

    def parse_response(self, body: dict[str, Any]) -> Response:
        """The response in a row of the results."""
        ...

    async def begin(self, path: Path, label: str) -> str:
        """Upload a file and start its job; returns the name of the job.

        Raises:
            DistillError: The service does not accept the job.
        """
        ...

    async def find(self, label: str) -> str:
        """The name of the job with this label; empty if there is none."""
        ...

    async def wait(self, name: str) -> tuple[str, str]:
        """(final state, name of the result file or "") of a job, when it has ended.

        Raises:
            BatchNotFound: The service has no such job.
        """
        ...

    async def fetch(self, file: str) -> bytes:
        """The bytes of a result file.

        Raises:
            BatchNotFound: It has expired.
        """
        ...
