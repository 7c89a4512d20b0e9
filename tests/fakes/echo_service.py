"""A hosted service that repeats the key of each request, in every part of a response that is read."""

from __future__ import annotations

import base64
import html
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from PIL import Image

from tests.builders.images import saved, smooth_rgb

Fate = tuple[int, Callable[[str], Any]]


def _image() -> str:
    return base64.b64encode(saved(Image.fromarray(smooth_rgb(64, 64)))).decode()


def _openai(key: str, **more: Any) -> dict[str, Any]:
    return {"data": [{"b64_json": _image(), "revised_prompt": key}], "usage": {"input_tokens": 3}, "id": key, **more}


def _gemini(key: str, **more: Any) -> dict[str, Any]:
    parts = [{"text": key}, {"inlineData": {"mimeType": "image/png", "data": _image()}}]
    candidate = {"content": {"parts": parts}, "finishReason": key, "finishMessage": key}
    names = {"modelVersion": key, "responseId": key, "promptFeedback": {"blockReasonMessage": key}}
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3}, **names, **more}


def _error(key: str, code: str = "bad", **more: Any) -> dict[str, Any]:
    text = f"key {key}, {quote(key, safe='')}, {html.escape(key)}, {base64.b64encode(key.encode()).decode()}"
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": key, "metadata": {"key": key}}]
    address = f"https://user:{key}@host/a?key={key}"
    message = f"{text} at {address}"
    return {"error": {"code": code, "type": key, "status": key, "message": message, "details": details, **more}}


PASSING: tuple[Fate, ...] = (
    (200, _openai),
    (200, _gemini),
    (200, lambda key: {"data": [{"url": f"https://host/{key}"}], "candidates": [{"finishReason": key}]}),
    (200, lambda key: _gemini(key, candidates=[], promptFeedback={"blockReason": f"SAFETY {key}"})),
    (200, lambda key: f"no JSON, but {key}"),
    (400, lambda key: _error(f"safety {key}", f"content_policy_violation {key}")),
    (400, _error),
    (429, _error),
    (500, lambda key: f"<html><title>{key}</title>{key}</html>"),
    (503, _error),
    (302, _error),
)
"""Statuses and bodies after which a job goes on."""
FINAL: tuple[Fate, ...] = (
    (401, _error),
    (403, _error),
    (404, _error),
    (429, lambda key: _error(key, "insufficient_quota")),
)
"""Statuses and bodies that end a job."""


class EchoService:
    """The service in threads of this process; `script` has what the next requests get, then the last one again."""

    def __init__(self, *script: Fate) -> None:
        self.keys: list[str] = []
        left = list(script)
        echo = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                key = self.headers.get("x-goog-api-key") or self.headers["Authorization"].removeprefix("Bearer ")
                echo.keys.append(key)
                status, body = left.pop(0) if len(left) > 1 else left[0]
                content = body(key)
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status, key)
                for name, value in {"X-Key": key, "Location": f"https://host/?key={key}", "Retry-After": "0"}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> EchoService:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
