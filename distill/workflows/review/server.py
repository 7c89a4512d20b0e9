"""Local server of a review page: any number of labels, and verdicts saved as they are given."""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from distill.datasets.review.items import ReviewItem
from distill.datasets.review.page import item_id, to_page
from distill.datasets.review.pictures import item_pictures
from distill.datasets.review.verdicts import MAX_BYTES, parse_verdicts, set_digest
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.files import write_atomic
from distill.tasks import Task
from distill.workflows.review.generated import GeneratedImages
from distill.workflows.review.run import earlier_verdicts, reviewed_set

_HOST = "127.0.0.1"
_TIMEOUT_S = 30
MOST_LABELS = 20_000
"""Of each task on a served page: its list needs 5 MB for these."""


class ReviewServer:
    """Serves one review page on this machine only, below a secret path.

    Args:
        shards: The set.
        items: Its labels by task, in the order in which they are shown.
        images: Finds generated images.
        verdicts: File that the verdicts are saved to; those in it are shown.
        port: 0: a free one.
        totals: Labels of each task in the set; None: those of `items`.

    Raises:
        UsageError: The port is taken, or the file holds verdicts on another set.
    """

    def __init__(
        self,
        shards: ShardSet,
        items: dict[Task, list[ReviewItem]],
        images: GeneratedImages,
        verdicts: Path,
        port: int = 0,
        totals: Mapping[Task, int] | None = None,
    ) -> None:
        self.shards, self.images, self.verdicts = shards, images, verdicts
        self.items = [item for group in items.values() for item in group]
        self._totals = totals or {task: len(group) for task, group in items.items()}
        self.path = f"/{secrets.token_urlsafe(16)}/"
        self._lock = Lock()
        earlier_verdicts(shards, verdicts if verdicts.exists() else None)
        try:
            self._server = _Server((_HOST, port), self)
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}", hint="leave --port out for a free one"
            ) from error

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://{_HOST}:{self._server.server_port}{self.path}"

    def run(self) -> None:
        """Serve until `stop` or an interruption."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End `run`, and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def close(self) -> None:
        """Free the port after `run` has ended."""
        self._server.server_close()

    def page(self) -> bytes:
        """The page."""
        with self._lock:
            earlier = earlier_verdicts(self.shards, self.verdicts if self.verdicts.exists() else None)
        return to_page(self._reviewed, self.items, self._totals, server=self.path, verdicts=earlier).encode()

    def item(self, number: str) -> bytes | None:
        """Pictures of one label as JSON; None if there is no such label.

        Raises:
            DistillError: It is damaged.
        """
        if not (number.isascii() and number.isdecimal() and len(number) < 10 and int(number) < len(self.items)):
            return None
        item = self.items[int(item_id(int(number)))]
        with self._lock:  # scans of tars are shared
            sample = self.shards[item.position]
        return json.dumps(
            item_pictures(item, sample, self.shards.manifest, self.images.find(item, sample)), allow_nan=False
        ).encode()

    def save(self, data: bytes) -> None:
        """Check and write the verdicts.

        Raises:
            UsageError: They are not verdicts on this set.
            DistillError: The file cannot be written.
        """
        given = parse_verdicts(data, "the verdicts")
        if given.reviewed.sha256 != set_digest(self.shards.manifest):
            raise UsageError("the verdicts judge another set")
        with self._lock:
            write_atomic(self.verdicts, given.model_dump_json(indent=1).encode())

    @cached_property
    def _reviewed(self) -> Any:
        return reviewed_set(self.shards)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], review: ReviewServer) -> None:
        self.review = review
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has left the page; all else is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers requests that name this machine and the secret path."""

    server: _Server
    timeout = _TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version = "distill"
    sys_version = ""

    def do_GET(self) -> None:
        """The page or the pictures of a label."""
        inner = self._inner_path()
        if inner is None:
            return
        try:
            if inner == "":
                self._send(HTTPStatus.OK, self.server.review.page(), "text/html; charset=utf-8")
                return
            kind, _, number = inner.partition("/")
            found = self.server.review.item(number) if kind == "item" else None
        except DistillError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, error.message.encode(), "text/plain; charset=utf-8")
            return
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
        else:
            self._send(HTTPStatus.OK, found, "application/json")

    def do_POST(self) -> None:
        """Save the verdicts."""
        inner = self._inner_path()
        if inner is None:
            return
        length = self.headers.get("Content-Length", "")
        is_ours = self.headers.get("Origin") in (None, f"http://{self.headers.get('Host')}")
        if inner != "verdicts" or not is_ours or not length.isdecimal() or int(length) > MAX_BYTES:
            self.close_connection = True
            self._send(HTTPStatus.BAD_REQUEST, b"not verdicts", "text/plain")
            return
        try:
            self.server.review.save(self.rfile.read(int(length)))
        except DistillError as error:
            self._send(HTTPStatus.BAD_REQUEST, error.message.encode(), "text/plain; charset=utf-8")
            return
        self._send(HTTPStatus.OK, b"{}", "application/json")

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log: paths hold the secret."""

    def _inner_path(self) -> str | None:
        """The path below the secret one; None after an answer to a request that is not for us.

        A page of another site could reach this server under a name of its own (DNS rebinding): only requests that name
        this machine are answered.
        """
        port, prefix = self.server.server_port, self.server.review.path
        is_local = self.headers.get("Host") in (f"{_HOST}:{port}", f"localhost:{port}")
        if is_local and hmac.compare_digest(self.path[: len(prefix)].encode(), prefix.encode()):
            return self.path[len(prefix) :]
        self.close_connection = True
        self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
        return None

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)
