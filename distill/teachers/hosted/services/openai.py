"""``POST /v1/images/edits``: GPT-image and compatible servers, one request at a time.

The multipart form has six fields and needs no package.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import secrets
from typing import Any

from distill.config.hosted import OpenaiConfig
from distill.files import parse_json
from distill.teachers.hosted.services.base import Request, Response, Service, Usage
from distill.teachers.hosted.services.errors import AccountError, TransientError, to_transient_error
from distill.teachers.hosted.services.gemini_responses import error_of
from distill.teachers.hosted.services.http_post import post
from distill.teachers.hosted.services.registry import find_api_key
from distill.teachers.store.records import EMPTY, IMAGE, REFUSED

_REFUSALS = ("moderation_blocked", "content_policy_violation", "safety")


class OpenaiService(Service):
    """Requests to one server."""

    def __init__(self, config: OpenaiConfig) -> None:
        self._config, self.mode, self.price_size, self._key = config, config.mode, config.quality, ""

    def canvas_sizes(self) -> list[tuple[int, int]]:
        """As `Service.canvas_sizes`."""
        return list(self._config.sizes_hw)

    def parameters(self) -> dict[str, Any]:
        """As `Service.parameters`."""
        return {"quality": self._config.quality, "input_fidelity": self._config.input_fidelity}

    def open(self) -> None:
        """As `Service.open`; servers of one's own may need no key."""
        self._key = find_api_key(self._config, required=self._config.base_url == "https://api.openai.com")

    async def send(self, request: Request) -> Response:
        """As `Service.send`."""
        boundary = secrets.token_hex(16)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        url = f"{self._config.base_url.removesuffix('/v1')}/v1/images/edits"
        data = form(self._fields(request), request, boundary)
        try:
            reply = await post(url, data, headers, timeout_s=self._config.limits.timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise to_transient_error(error) from None
        if reply.status >= 300:
            return refused_or_raise(reply.status, reply.reason, reply.body, reply.retry_after)
        try:
            return parse_response(parse_json(reply.body))
        except (ValueError, AttributeError, TypeError, LookupError):
            raise TransientError("the response is not JSON", charged=True) from None

    async def close(self) -> None:
        """As `Service.close`; every request has its own connection."""

    def _fields(self, request: Request) -> dict[str, str]:
        config = self._config
        size = f"{request.canvas_hw[1]}x{request.canvas_hw[0]}" if request.canvas_hw else ""
        fields = {
            "model": request.answer_key.model,
            "prompt": request.prompt_spec.prompt,
            "n": "1",
            "size": size,
            "quality": config.quality,
            "input_fidelity": config.input_fidelity,
            "output_format": "png" if request.answer_key.model.startswith("gpt-image") else "",
            "seed": str(request.wire_seed) if config.send_seed else "",
        }
        return {name: value for name, value in fields.items() if value}


def form(fields: dict[str, str], request: Request, boundary: str) -> bytes:
    """The multipart form, with the photo in the field ``image``."""
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    suffix = request.image.mime.removeprefix("image/")
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="photo.{suffix}"\r\n'
    head += f"Content-Type: {request.image.mime}\r\n\r\n"
    return head.encode() + request.image.data + f"\r\n--{boundary}--\r\n".encode()


def parse_response(body: dict[str, Any]) -> Response:
    """The image in a response; a response with only a URL counts as empty, since URLs expire."""
    rows = body.get("data") or [{}]
    text = str(rows[0].get("revised_prompt") or "")
    details: dict[str, Any] = {"text": text, "usage": _usage(body.get("usage") or {})}
    try:
        data = base64.b64decode(rows[0].get("b64_json") or "")
    except (binascii.Error, ValueError):
        data = b""
    if data:
        return Response(IMAGE, data, **details)
    return Response(EMPTY, reason="the answer has no image (b64_json)", **details)


def refused_or_raise(code: int, status: str, raw: bytes, retry_after: str | None) -> Response:
    """The response of a refusal, which this API reports as an error; other errors are raised.

    Raises:
        RateLimited, TransientError, InvalidRequest, AccountError: As `Service.send`.
    """
    try:
        body = parse_json(raw)
        error = body.get("error") if isinstance(body, dict) else None
    except ValueError:
        error = None
    error = error if isinstance(error, dict) else {"message": raw.decode(errors="replace")}
    name, message = str(error.get("code") or error.get("type") or ""), str(error.get("message") or "")
    if code in (400, 403) and any(word in f"{name} {message}".lower() for word in _REFUSALS):
        return Response(
            REFUSED, reason=f"the service refused the request ({name or 'safety'})", finish=name or "safety"
        )
    if code == 429 and name == "insufficient_quota":
        raise AccountError(f"the account has no credit ({message})", hint="add credit to the account, then run again")
    raise error_of(code, status, message, None, retry_after)


def _usage(counts: dict[str, Any]) -> Usage | None:
    if not counts:
        return None
    written = int(counts.get("output_tokens") or 0)
    details = counts.get("output_tokens_details") or {}
    image = int(details.get("image_tokens") or written)
    return Usage(int(counts.get("input_tokens") or 0), max(0, written - image), image)
