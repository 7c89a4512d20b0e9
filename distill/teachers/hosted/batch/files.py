"""The files of a batch job, beside the store: what the service is sent, and what another process has to know of it.

    LABEL.jsonl        one question a line, with its picture: the service's own format
    LABEL.requests.json   the same questions without their pictures, for whoever collects the answers

They stay until the job is over: a question that has to be asked again takes its picture from there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from distill.config.hosted import GeminiConfig
from distill.images import write_atomic
from distill.teachers.hosted.services.base import Request, RequestImage
from distill.teachers.hosted.services.gemini import generation_config
from distill.teachers.store.answers import AnswerKey, prompt_spec_from_json, prompt_spec_to_json


class BatchFiles:
    """Those of all jobs of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def upload_path(self, label: str) -> Path:
        """The file that goes to the service."""
        return self.folder / f"{label}.jsonl"

    def open_upload(self, label: str) -> IO[bytes]:
        """The same, new, for lines of `request_line`.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.upload_path(label).open("wb")

    def write_requests(self, label: str, requests: Iterable[Request]) -> None:
        """Keep what a process that finds the job needs to know.

        Raises:
            DistillError: It cannot be written.
        """
        write_atomic(self._requests_path(label), json.dumps([_request_to_json(request) for request in requests]).encode())

    def read_requests(self, label: str) -> dict[str, Request] | None:
        """The calls of a job, by key; nothing where they are gone or broken."""
        try:
            requests = json.loads(self._requests_path(label).read_bytes())
            return {request.answer_key.digest: request for request in map(_request_from_json, requests)}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def images(self, label: str, needed: Mapping[str, Request]) -> dict[str, RequestImage]:
        """Out of the job's file: the pictures of these calls, by `image_id`."""
        found: dict[str, RequestImage] = {}
        if needed:
            with suppress(OSError, ValueError, KeyError), self.upload_path(label).open("rb") as file:
                for line in file:
                    row = json.loads(line)
                    if row["key"] in needed:
                        blob = row["request"]["contents"][0]["parts"][0]["inlineData"]
                        found[image_id(needed[row["key"]])] = RequestImage(base64.b64decode(blob["data"]), blob["mimeType"])
        return found

    def remove(self, label: str) -> None:
        """Both files of a job that is over."""
        for path in (self.upload_path(label), self._requests_path(label)):
            path.unlink(missing_ok=True)

    def _requests_path(self, label: str) -> Path:
        return self.folder / f"{label}.requests.json"


def request_line(request: Request, config: GeminiConfig) -> bytes:
    """The question as a line of a batch file holds it."""
    picture = {"inlineData": {"mimeType": request.image.mime, "data": base64.b64encode(request.image.data).decode()}}
    parts = [picture, {"text": request.prompt_spec.prompt}]
    body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": generation_config(request, config)}
    return (json.dumps({"key": request.answer_key.digest, "request": body}) + "\n").encode()


def result_rows(data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, row) of every line of a result file that can be read, without a second copy of all of it."""
    view, start = memoryview(data), 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(bytes(view[start:end]))
            yield str(row["key"]), row
        start = end + 1


def image_id(request: Request) -> str:
    """What the picture of a call shows: which photo on which canvas."""
    return f"{request.answer_key.photo_sha256} {request.canvas_hw}"


def _request_to_json(request: Request) -> dict[str, Any]:
    """A call without its picture."""
    return {
        "answer_key": request.answer_key.to_json(),
        "prompt_spec": prompt_spec_to_json(request.prompt_spec),
        "photo": request.photo,
        "canvas_hw": list(request.canvas_hw) if request.canvas_hw else None,
    }


def _request_from_json(values: dict[str, Any]) -> Request:
    """The inverse of `_request_to_json`."""
    canvas = values["canvas_hw"]
    return Request(
        AnswerKey(**values["answer_key"]),
        prompt_spec_from_json(values["prompt_spec"]),
        values["photo"],
        canvas_hw=(canvas[0], canvas[1]) if canvas else None,
    )
