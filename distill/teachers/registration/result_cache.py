"""Cache of registrations, a table in the answer store.

Registration takes many times longer than decoding, and depends only on photo, generated image and prompt. If the table
cannot be used, images are registered again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill.images import Photo
from distill.runtime.sqlite import open_database
from distill.teachers.base import GeneratedImage, PromptSpec
from distill.teachers.registration.align import ALGORITHM_VERSION, Registration

_SCHEMA = "CREATE TABLE IF NOT EXISTS registrations (key TEXT PRIMARY KEY, registration TEXT NOT NULL);"


class RegistrationCache:
    """Results of `estimate_registration` by photo, generated image and prompt; processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "registration.sqlite"
        self._db: sqlite3.Connection | None = None

    def get(self, photo: Photo, answer: GeneratedImage, prompt_spec: PromptSpec) -> Registration | None:
        """Stored registration; None if there is none."""
        try:
            row = self._open().execute(
                "SELECT registration FROM registrations WHERE key=?", (_key(photo, answer, prompt_spec),)
            )
            found = row.fetchone()
            return Registration(**_with_tuples(json.loads(found[0]))) if found else None
        except (sqlite3.Error, OSError, ValueError, TypeError):
            return None

    def put(self, photo: Photo, answer: GeneratedImage, prompt_spec: PromptSpec, registration: Registration) -> None:
        """Store a registration; errors are ignored."""
        values = (_key(photo, answer, prompt_spec), json.dumps(asdict(registration)))
        try:
            self._open().execute("INSERT OR REPLACE INTO registrations VALUES (?, ?)", values)
        except (sqlite3.Error, OSError):
            return  # registered again next time

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Entries lost by a power cut are computed again.
            self._db = open_database(self._path, _SCHEMA, version=1, synchronous="OFF")
        return self._db


def _key(photo: Photo, answer: GeneratedImage, prompt_spec: PromptSpec) -> str:
    how = asdict(prompt_spec) | {"prompt": "", "legend": list(prompt_spec.legend.items())}
    text = json.dumps([ALGORITHM_VERSION, photo.sha256, hashlib.sha256(answer.data).hexdigest(), how], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples, which JSON does not have."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
