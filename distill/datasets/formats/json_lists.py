"""JSON files with lists of any length, written row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO


class JsonLists:
    """Writes a JSON object of lists row by row: each list is a file until the end.

    Args:
        path: The JSON file.
        names: Keys of the lists.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path, self._names = path, names
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> JsonLists:
        self._files = {name: (self._part(name)).open("w+b") for name in self._names}
        return self

    def _part(self, name: str) -> Path:
        return self._path.with_name(f".{self._path.name}.{name}")

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Append a row to a list."""
        file = self._files[name]
        file.write((",\n" if file.tell() else "").encode() + json.dumps(row, ensure_ascii=False).encode())

    def finish(self, values: Mapping[str, Any]) -> None:
        """Write the file: first these values, then the lists."""
        with self._path.open("wb") as file:
            file.write(json.dumps(values, ensure_ascii=False).encode()[:-1])
            for number, name in enumerate(self._names):
                file.write(f'{", " if values or number else ""}"{name}": [\n'.encode())
                part = self._files[name]
                part.seek(0)
                while block := part.read(1 << 20):
                    file.write(block)
                file.write(b"\n]")
            file.write(b"}\n")

    def __exit__(self, *error: object) -> None:
        for name, file in self._files.items():
            file.close()
            self._part(name).unlink(missing_ok=True)
