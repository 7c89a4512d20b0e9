"""The files of a batch job, beside the store: what the service is sent, and what another process has to know of it.

    LABEL.jsonl        one question a line, with its picture: the service's own format
    LABEL.calls.json   the same questions without their pictures, for whoever collects the answers

They stay until the job is over: a question that has to be asked again takes its picture from there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from distill.config.hosted import GeminiRecipe
from distill.images import write_atomic
from distill.teachers.hosted.services.base import Call, Sent
from distill.teachers.hosted.services.gemini import generation_config
from distill.teachers.store.answers import Ask, prompt_spec_from_json, prompt_spec_to_json


class BatchFiles:
    """Those of all jobs of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def requests(self, label: str) -> Path:
        """The file that goes to the service."""
        return self.folder / f"{label}.jsonl"

    def open_requests(self, label: str) -> IO[bytes]:
        """The same, new, for lines of `request_line`.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.requests(label).open("wb")

    def write_calls(self, label: str, calls: Iterable[Call]) -> None:
        """Keep what a process that finds the job needs to know.

        Raises:
            DistillError: It cannot be written.
        """
        write_atomic(self._calls(label), json.dumps([_call_to_json(call) for call in calls]).encode())

    def read_calls(self, label: str) -> dict[str, Call] | None:
        """The calls of a job, by key; nothing where they are gone or broken."""
        try:
            calls = json.loads(self._calls(label).read_bytes())
            return {call.ask.key: call for call in map(_call_from_json, calls)}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def pictures(self, label: str, needed: Mapping[str, Call]) -> dict[str, Sent]:
        """Out of the job's file: the pictures of these calls, by `subject`."""
        found: dict[str, Sent] = {}
        if needed:
            with suppress(OSError, ValueError, KeyError), self.requests(label).open("rb") as file:
                for line in file:
                    row = json.loads(line)
                    if row["key"] in needed:
                        blob = row["request"]["contents"][0]["parts"][0]["inlineData"]
                        found[subject(needed[row["key"]])] = Sent(base64.b64decode(blob["data"]), blob["mimeType"])
        return found

    def remove(self, label: str) -> None:
        """Both files of a job that is over."""
        for path in (self.requests(label), self._calls(label)):
            path.unlink(missing_ok=True)

    def _calls(self, label: str) -> Path:
        return self.folder / f"{label}.calls.json"


def request_line(call: Call, recipe: GeminiRecipe) -> bytes:
    """The question as a line of a batch file holds it."""
    picture = {"inlineData": {"mimeType": call.sent.mime, "data": base64.b64encode(call.sent.data).decode()}}
    parts = [picture, {"text": call.prompt_spec.prompt}]
    request = {"contents": [{"role": "user", "parts": parts}], "generationConfig": generation_config(call, recipe)}
    return (json.dumps({"key": call.ask.key, "request": request}) + "\n").encode()


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


def subject(call: Call) -> str:
    """What the picture of a call shows: which photo on which canvas."""
    return f"{call.ask.photo_sha256} {call.canvas_hw}"


def _call_to_json(call: Call) -> dict[str, Any]:
    """A call without its picture."""
    return {
        "ask": call.ask.to_json(),
        "prompt_spec": prompt_spec_to_json(call.prompt_spec),
        "photo": call.photo,
        "canvas_hw": list(call.canvas_hw) if call.canvas_hw else None,
    }


def _call_from_json(values: dict[str, Any]) -> Call:
    """The inverse of `_call_to_json`."""
    canvas = values["canvas_hw"]
    return Call(
        Ask(**values["ask"]),
        prompt_spec_from_json(values["prompt_spec"]),
        values["photo"],
        canvas_hw=(canvas[0], canvas[1]) if canvas else None,
    )
