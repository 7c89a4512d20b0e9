"""A fake of a server with ``/v1/images/edits``: reads the real multipart form, answers and refuses in real forms."""

from __future__ import annotations

import base64
import json
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.gemini import paint


class FakeOpenai:
    """The fake in threads of this process; `script` holds what the next calls get, then all are answered."""

    def __init__(self, *script: str) -> None:
        self.script, self.made = list(script), 0
        self.calls: list[dict[str, Any]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                fake.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeOpenai:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        raw = request.rfile.read(int(request.headers["Content-Length"]))
        head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
        fields: dict[str, Any] = {}
        parts: Any = BytesParser().parsebytes(head + raw).get_payload()
        for part in parts:
            name = part.get_param("name", header="content-disposition")
            data = part.get_payload(decode=True)
            fields[name] = data if part.get_filename() else data.decode()
        self.calls.append({"path": request.path, "key": request.headers.get("Authorization"), **fields})
        fate = self.script.pop(0) if self.script else "answer"
        if fate == "cut":
            request.close_connection = True
            request.connection.close()
            return
        if fate == "busy":
            return self._send(request, 429, {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, "0.05")
        if fate == "refuse":
            error = {"code": "moderation_blocked", "message": "rejected by the safety system"}
            return self._send(request, 400, {"error": error})
        if fate == "broke":
            return self._send(request, 429, {"error": {"code": "insufficient_quota", "message": "check billing"}})
        if fate.startswith("echo "):  # an error that repeats the key, under this status
            message = f"wrong key {request.headers.get('Authorization')}"
            error = {"code": f"safety {message}" if fate == "echo 400" else "x", "message": message}
            return self._send(request, int(fate.split()[1]), {"error": error}, "1e11" if fate == "echo 429" else "")
        if fate == "later":
            return self._send(request, 429, {"error": {"code": "rate_limit_exceeded"}}, str(10**11))
        if fate == "html":
            return self._send(request, 502, "<html>bad gateway</html>")
        self.made += 1
        width, height = map(int, fields["size"].split("x")) if "size" in fields else (60, 40)
        picture = base64.b64encode(paint(fields["prompt"], (height, width), 0, "png")).decode()
        counts = {"negative": -(10**12), "huge": 10**30}.get(fate, 400)
        usage = {"input_tokens": 300, "output_tokens": counts, "output_tokens_details": {"image_tokens": counts}}
        self._send(request, 200, {"data": [{"b64_json": picture}], "usage": usage})

    def _send(self, request: BaseHTTPRequestHandler, code: int, body: Any, retry_after: str = "") -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        request.send_response(code)
        if retry_after:
            request.send_header("Retry-After", retry_after)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
