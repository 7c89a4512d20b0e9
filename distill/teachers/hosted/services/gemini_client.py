"""The client of the package `google-genai`, over a connection whose responses are bounded and never redirected."""

from __future__ import annotations

import asyncio
import importlib
import os
import ssl
from typing import TYPE_CHECKING, Any

from distill.config.hosted import GeminiConfig
from distill.optional import require
from distill.teachers.hosted.services.http_post import MAX_BODY_BYTES
from distill.teachers.hosted.services.registry import find_api_key

if TYPE_CHECKING:
    from google import genai


def open_client(config: GeminiConfig, pool: Any) -> genai.Client:
    """The client of the package over the connections of `open_pool`, with its retries switched off.

    Raises:
        DistillError: The package is not installed, or there is no key.
    """
    package = require("google.genai", extra="gemini", why="use Google's models")
    types = package.types
    options = types.HttpOptions(
        base_url=config.base_url or None,
        timeout=int(config.limits.timeout_s * 1000),
        # With None the package would silently repeat a request whose connection was cut, and it would be charged twice.
        retry_options=types.HttpRetryOptions(attempts=1),
        client_args={"follow_redirects": False},
        httpx_async_client=pool,
    )
    # Vertex AI also accepts credentials of another kind.
    key = find_api_key(config, required=not config.vertex) or None
    client: genai.Client
    if not config.vertex:
        client = package.Client(api_key=key, http_options=options, vertexai=False)
    elif key:  # the project belongs to the key
        client = package.Client(vertexai=True, api_key=key, http_options=options)
    else:
        client = package.Client(
            vertexai=True, project=config.project or None, location=config.location or None, http_options=options
        )
    return client


def open_pool(config: GeminiConfig) -> Any:
    """A client of the HTTP package that google-genai uses, httpx2 or httpx: reads responses up to a size and a time."""
    try:
        httpx: Any = importlib.import_module("httpx2")
    except ImportError:
        httpx = importlib.import_module("httpx")

    class BoundedClient(httpx.AsyncClient):
        async def send(self, request: Any, **options: Any) -> Any:
            async with asyncio.timeout(config.limits.timeout_s):
                streamed = options.pop("stream", False)
                response = await super().send(request, stream=True, **options)
                if streamed:
                    return response
                # The result file of a batch job has one response per request.
                limit = MAX_BODY_BYTES * (config.batch_images if request.url.path.endswith(":download") else 1)
                try:
                    body = await _read(response, limit)
                finally:
                    await response.aclose()
            headers = [
                (name, value)
                for name, value in response.headers.items()
                if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
            ]
            return httpx.Response(response.status_code, headers=headers, content=body, request=request)

    # The package also reads these variables, which httpx does not.
    own_certificates = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return BoundedClient(
        follow_redirects=False,  # the key in the request is for one host
        verify=ssl.create_default_context() if own_certificates else True,
        timeout=config.limits.timeout_s,
        limits=httpx.Limits(max_connections=config.limits.concurrency + 8, max_keepalive_connections=32),
    )


async def _read(response: Any, limit: int) -> bytes:
    """The decoded body.

    Raises:
        OSError: It is longer than `limit`.
    """
    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise OSError(f"the response is longer than {limit // 2**20} MB")
    return b"".join(parts)
