"""Google's image generators, one request at a time, through the package `google-genai`.

The retries of the package are switched off: they ignore RetryInfo and count no money.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distill.config.hosted import GeminiConfig
from distill.files import parse_json
from distill.optional import require
from distill.teachers.hosted.services.base import BatchApi, Request, Response, Service
from distill.teachers.hosted.services.errors import TransientError, to_transient_error
from distill.teachers.hosted.services.gemini_batches import GeminiBatches
from distill.teachers.hosted.services.gemini_client import open_client, open_pool
from distill.teachers.hosted.services.gemini_requests import aspect_ratio, image_sizes
from distill.teachers.hosted.services.gemini_responses import api_error, parse_response

if TYPE_CHECKING:
    from google import genai


class GeminiService(Service):
    """Requests to the Gemini API or Vertex AI."""

    modes = ("online", "flex", "batch")
    # Google crops a photo that is sent in its own size to the nearest of its ratios.
    own_size_mode = "cover"

    def __init__(self, config: GeminiConfig) -> None:
        self._config = config
        self.mode, self.price_size, self.presence_model = config.mode, config.image_size, config.presence_model
        self._client: genai.Client | None = None
        self._pool: Any = None

    def canvas_sizes(self) -> list[tuple[int, int]]:
        """As `Service.canvas_sizes`."""
        if self._config.canvas_mode != "exact":
            return []
        return image_sizes(self._config.image_size)

    def parameters(self) -> dict[str, Any]:
        """As `Service.parameters`."""
        config = self._config
        return {"image_size": config.image_size, "temperature": config.temperature, "thinking": config.thinking}

    def open(self) -> None:
        """As `Service.open`."""
        require("google.genai", extra="gemini", why="use Google's models")
        self._pool = open_pool(self._config)
        self._client = open_client(self._config, self._pool)

    async def send(self, request: Request) -> Response:
        """As `Service.send`."""
        from google.genai import errors, types

        assert self._client is not None, "open() first"
        parts = [
            types.Part.from_bytes(data=request.image.data, mime_type=request.image.mime),
            types.Part(text=request.prompt_spec.prompt),
        ]
        try:
            response = await self._client.aio.models.generate_content(
                model=request.answer_key.model,
                contents=types.Content(role="user", parts=parts),
                config=types.GenerateContentConfig(
                    should_return_http_response=True,
                    service_tier="flex" if self._config.mode == "flex" else None,
                    **self._settings(request, types),
                ),
            )
        except errors.APIError as error:
            raise api_error(error) from None
        except Exception as error:  # of whichever HTTP package is installed
            raise to_transient_error(error) from None
        body = response.sdk_http_response.body if response.sdk_http_response else None
        try:
            return parse_response(parse_json(body or ""))
        except (ValueError, AttributeError, TypeError, LookupError):
            raise TransientError("the response is not JSON", charged=True) from None

    async def close(self) -> None:
        """As `Service.close`."""
        if self._client is not None:
            await self._client.aio.aclose()
            await self._pool.aclose()

    def batch_api(self, secrets: Sequence[str]) -> BatchApi:
        """As `Service.batch_api`."""
        assert self._client is not None, "open() first"
        return GeminiBatches(self._config, self._client, secrets=tuple(secrets))

    def _settings(self, request: Request, types: Any) -> dict[str, Any]:
        """Generation settings of a request."""
        if not request.expects_image:
            return {"temperature": 0.0}
        config = self._config
        settings: dict[str, Any] = {
            "response_modalities": ["IMAGE"],
            "seed": request.wire_seed,
            "temperature": config.temperature,
            "image_config": types.ImageConfig(
                aspect_ratio=aspect_ratio(request.canvas_hw) if request.canvas_hw else None,
                image_size=config.image_size,
                # Only Vertex AI has a choice of format; the Gemini API rejects this field.
                output_mime_type="image/png" if config.vertex else None,
            ),
        }
        if config.thinking:
            settings["thinking_config"] = types.ThinkingConfig(thinking_level=config.thinking.upper())
        return settings
