"""Google's image generators, one call at a time, through the package `google-genai`.

The package's own retries are off: they honor no RetryInfo and count no money.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from distill.config.hosted import GeminiConfig
from distill.errors import UsageError
from distill.optional import require
from distill.teachers.hosted.services.base import TransientError, Request, Response, to_transient_error
from distill.teachers.hosted.services.canvas_sizes import gemini_ratio
from distill.teachers.hosted.services.gemini_responses import error_of, parse_response

if TYPE_CHECKING:
    from google import genai


def find_key(config: GeminiConfig) -> str:
    """The key out of the environment; empty for Vertex AI, which may have credentials of another kind.

    Raises:
        UsageError: There is none and one is needed.
    """
    key = next((os.environ[name] for name in config.api_key_env if os.environ.get(name)), "")
    if not key and not config.vertex:
        raise UsageError(f"no key for {config.model}", hint=f"set {' or '.join(config.api_key_env)} in the environment")
    return key


class GeminiService:
    """Sends calls to Google. To be made inside a running event loop."""

    def __init__(self, config: GeminiConfig) -> None:
        self._config = config
        self.client = open_client(config)

    async def send(self, request: Request) -> Response:
        """As `Service.send`."""
        from google.genai import errors

        types = self._types
        parts = [
            types.Part.from_bytes(data=request.image.data, mime_type=request.image.mime),
            types.Part(text=request.prompt_spec.prompt),
        ]
        try:
            response = await self.client.aio.models.generate_content(
                model=request.answer_key.model,
                contents=types.Content(role="user", parts=parts),
                config=types.GenerateContentConfig(
                    should_return_http_response=True,
                    service_tier="flex" if self._config.mode == "flex" else None,
                    **self._settings(request),
                ),
            )
        except errors.APIError as error:
            raise api_error(error) from None
        except Exception as error:  # of whichever HTTP package is installed
            raise to_transient_error(error) from None
        body = response.sdk_http_response.body if response.sdk_http_response else None
        try:
            return parse_response(json.loads(body or ""))
        except (ValueError, AttributeError, TypeError):
            raise TransientError("the answer is no JSON", charged=True) from None

    async def close(self) -> None:
        """As `Service.close`."""
        await self.client.aio.aclose()

    @property
    def _types(self) -> Any:
        from google.genai import types

        return types

    def _settings(self, request: Request) -> dict[str, Any]:
        """What is sent besides picture and sentence."""
        if not request.expects_image:
            return {"temperature": 0.0}
        types, config = self._types, self._config
        settings: dict[str, Any] = {
            "response_modalities": ["IMAGE"],
            "seed": request.wire_seed,
            "temperature": config.temperature,
            "image_config": types.ImageConfig(
                aspect_ratio=gemini_ratio(request.canvas_hw) if request.canvas_hw else None,
                image_size=config.image_size,
                # Only Vertex AI lets one choose the format; the Gemini API refuses the wish.
                output_mime_type="image/png" if config.vertex else None,
            ),
        }
        if config.thinking:
            settings["thinking_config"] = types.ThinkingConfig(thinking_level=config.thinking.upper())
        return settings


def generation_config(request: Request, config: GeminiConfig) -> dict[str, Any]:
    """The same settings as JSON, for a line of a batch job."""
    if not request.expects_image:
        return {"temperature": 0.0}
    image = {"aspectRatio": gemini_ratio(request.canvas_hw) if request.canvas_hw else None, "imageSize": config.image_size}
    settings: dict[str, Any] = {
        "responseModalities": ["IMAGE"],
        "seed": request.wire_seed,
        "temperature": config.temperature,
        "imageConfig": {name: value for name, value in image.items() if value is not None},
        "thinkingConfig": {"thinkingLevel": config.thinking.upper()} if config.thinking else None,
    }
    return {name: value for name, value in settings.items() if value is not None}


def open_client(config: GeminiConfig) -> genai.Client:
    """The package's client, with its own retries off.

    Raises:
        DistillError: The package is not installed, or there is no key.
    """
    package = require("google.genai", extra="gemini", why="ask Google's models")
    types = package.types
    options = types.HttpOptions(
        base_url=config.base_url or None,
        timeout=int(config.limits.timeout_s * 1000),
        # With None the package would repeat a call whose connection was cut, unseen, and it would be paid twice.
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    key = find_key(config) or None
    if not config.vertex:
        return package.Client(api_key=key, http_options=options, vertexai=False)
    if key:  # Vertex AI with a key knows the project by it
        return package.Client(vertexai=True, api_key=key, http_options=options)
    return package.Client(
        vertexai=True, project=config.project or None, location=config.location or None, http_options=options
    )


def api_error(error: Any) -> Exception:
    """What an error of the package means."""
    body: Any = error.details if isinstance(error.details, dict) else {}
    inner: Any = body.get("error") if isinstance(body.get("error"), dict) else {}
    headers = getattr(error.response, "headers", None) or {}
    retry_after = headers.get("Retry-After") or headers.get("retry-after")
    message = str(inner.get("message") or error.message or "")
    return error_of(int(error.code or 0), str(error.status or ""), message, inner.get("details"), retry_after)
