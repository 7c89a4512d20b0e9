"""Files of batch jobs in the store's folder.

    LABEL.jsonl           one request with its image per line, in the service's format
    LABEL.requests.json   the same requests without images, for the process that collects the answers

They stay until the job is finished: a request that has to be sent again takes its image from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from distill.files import write_atomic
from distill.teachers.hosted.services.base import BatchApi, Request, RequestImage
from distill.teachers.store.records import AnswerKey, prompt_spec_from_json, prompt_spec_to_json


class BatchFiles:
    """The files of all batch jobs of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def upload_path(self, label: str) -> Path:
        """The file that is uploaded."""
        return self.folder / f"{label}.jsonl"

    def open_upload(self, label: str) -> IO[bytes]:
        """A new file to upload, for lines of `BatchApi.request_line`.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.upload_path(label).open("wb")

    def write_requests(self, label: str, requests: Iterable[Request]) -> None:
        """Write the requests of a job without images.

        Raises:
            DistillError: The file cannot be written.
        """
        write_atomic(
            self._requests_path(label), json.dumps([_request_to_json(request) for request in requests]).encode()
        )

    def read_requests(self, label: str) -> dict[str, Request] | None:
        """The requests of a job, by key; None if the file is missing or damaged."""
        try:
            requests = json.loads(self._requests_path(label).read_bytes())
            return {request.answer_key.digest: request for request in map(_request_from_json, requests)}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def images(self, label: str, needed: Mapping[str, Request], api: BatchApi) -> dict[str, RequestImage]:
        """The images of these requests from the uploaded file, by `image_id`."""
        found: dict[str, RequestImage] = {}
        if needed:
            with suppress(OSError, ValueError, KeyError), self.upload_path(label).open("rb") as file:
                for line in file:
                    row = json.loads(line)
                    if row["key"] in needed:
                        found[image_id(needed[row["key"]])] = api.line_image(row)
        return found

    def remove(self, label: str) -> None:
        """Delete both files of a finished job."""
        for path in (self.upload_path(label), self._requests_path(label)):
            path.unlink(missing_ok=True)

    def _requests_path(self, label: str) -> Path:
        return self.folder / f"{label}.requests.json"


def result_rows(data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, row) of each readable line of a result file, without a second copy of the file in memory."""
    view, start = memoryview(data), 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(bytes(view[start:end]))
            yield str(row["key"]), row
        start = end + 1


def image_id(request: Request) -> str:
    """Identity of a request's image: the photo and the image size."""
    return f"{request.answer_key.photo_sha256} {request.canvas_hw}"


def _request_to_json(request: Request) -> dict[str, Any]:
    """A request without its image."""
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
