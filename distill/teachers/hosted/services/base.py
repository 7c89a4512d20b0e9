"""What a hosted service is: one call in, one reply out, or an error that says whether to try again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from distill.errors import DistillError
from distill.teachers.base import PromptSpec
from distill.teachers.store.answers import AnswerKey

_MAX_CHARACTERS = 300
_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+")
_MARKUP = re.compile(r"<[^<>]*>|\s+")


@dataclass(slots=True)
class RequestImage:
    """The picture that goes along with a call: the photo's bytes, or the photo on the canvas. Can be let go of."""

    data: bytes = b""
    mime: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one photo, ready to be sent.

    Attributes:
        answer_key: What decides the answer; names it in the store.
        question: What is asked.
        photo: The photo's name, for people.
        image: The image that goes along.
        canvas_hw: The size (height, width) that the answer should have; None: any.
        expects_image: Whether a picture is expected; else a word.
        presence_check: What is asked first, of a cheap model: whether there is anything to paint; None: nothing.
    """

    answer_key: AnswerKey
    prompt_spec: PromptSpec
    photo: str = ""
    image: RequestImage = field(default_factory=RequestImage)
    canvas_hw: tuple[int, int] | None = None
    expects_image: bool = True
    presence_check: Request | None = None

    def retry(self, number: int) -> Request:
        """The same question once more, with another seed, after an answer without a picture; 0: as it is."""
        if number == 0:
            return self
        return replace(self, answer_key=replace(self.answer_key, parameters={**self.answer_key.parameters, "retry": number}))

    @property
    def wire_seed(self) -> int:
        """The seed that goes over the wire: one for each sample and repetition."""
        return (self.answer_key.seed + 7919 * self.answer_key.sample + 104729 * self.answer_key.parameters.get("retry", 0)) % 2**31


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call."""

    input: int = 0
    text: int = 0
    image: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """What a service answered, whatever it was.

    Attributes:
        kind: ``image``, ``refused`` or ``empty``; of a prompt_spec that wants a word: ``empty`` with `text`.
        data: The picture's bytes as they came.
        reason: Unless it is a picture: why not, as a sentence.
        finish: The service's own word.
        model_version: What it says it is.
        text: What it wrote besides.
        usage: Tokens; None when it does not say.
        about: More to keep with the answer; plain values.
    """

    kind: str
    data: bytes = b""
    reason: str = ""
    finish: str = ""
    model_version: str = ""
    text: str = ""
    usage: Usage | None = None
    about: dict[str, Any] = field(default_factory=dict)


class Service(Protocol):
    """Sends calls. Retries nothing by itself."""

    async def send(self, request: Request) -> Response:
        """The reply.

        Raises:
            RateLimited: Too many calls; later.
            TransientError: Something went wrong that may not go wrong again.
            InvalidRequest: This call will never be answered.
            AccountError: No call will be answered.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class RateLimited(Exception):  # noqa: N818 - what the service says
    """Too many calls. Nothing was charged.

    Attributes:
        delay_s: When to come back, as the service says; None when it does not.
        scope: ``minute``, ``day`` or ``spend``: which limit it was.
    """

    def __init__(self, message: str, *, delay_s: float | None = None, scope: str = "minute") -> None:
        super().__init__(message)
        self.delay_s, self.scope = delay_s, scope


class TransientError(Exception):  # noqa: N818 - what happened
    """An error of the service or of the way to it.

    Attributes:
        charged: Whether the call may have been charged although no answer came.
        delay_s: When to come back, as the service says.
    """

    def __init__(self, message: str, *, charged: bool, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.charged, self.delay_s = charged, delay_s


_NEVER_SENT = frozenset(
    {"ClientConnectorError", "ConnectError", "ConnectTimeout", "ConnectionRefusedError", "gaierror"}
)


def to_transient_error(error: Exception) -> TransientError:
    """An error of an HTTP package: what never reached the service was not charged; of the rest one cannot know."""
    kinds = {kind.__name__ for one in (error, error.__cause__) if one is not None for kind in type(one).__mro__}
    return TransientError(f"{type(error).__name__}: {error}".rstrip(": "), charged=not kinds & _NEVER_SENT)


class InvalidRequest(Exception):  # noqa: N818 - what the service says
    """The service will not take this call: bad request. Nothing was charged, and asking again changes nothing."""


class AccountError(DistillError):  # noqa: N818 - what it is to us
    """The service takes no call of ours: wrong key, no such model, no money. The run stops."""


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """A service's words as they may be shown and kept: no key, no query of a (signed) address, no markup, not long."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _QUERY.sub(r"\1?***", text)
    text = " ".join(_MARKUP.sub(" ", text).split())
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."
