"""SHA-256 of a sample in its own json, and of a manifest in itself: whole or not, wherever they are copied to.

The digest of a tar says that some byte of it has changed; that of a sample says whose. It covers the key, the names and
bytes of all files, and the json without the digest, which is its last entry.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from distill.files import parse_json

NAME = "sample_sha256"
_LAST_ENTRY = re.compile(rb'(, ?)?"sample_sha256": ?"([0-9a-f]{64})"\}\Z')
_MANIFEST_NAME = "manifest_sha256"
_MANIFEST_ENTRY = re.compile(rb',\n  "manifest_sha256": "([0-9a-f]{64})"\n\}\Z')
_MAX_BYTES = 100
"""Of the entry."""


def with_digest(key: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a sample, with the digest at the end of their json; unchanged without a json object."""
    if "json" not in files:
        return dict(files)
    text = files["json"].rstrip()
    if stated := _LAST_ENTRY.search(text, max(0, len(text) - _MAX_BYTES)):
        text = text[: stated.start()] + b"}"
    if f'"{NAME}"'.encode() in text or not (text.startswith(b"{") and text.endswith(b"}")):
        try:
            values: Any = parse_json(text)
        except ValueError:
            return dict(files)
        if not isinstance(values, dict):
            return dict(files)
        values.pop(NAME, None)  # of a json that was parsed and written again
        text = json.dumps(values, ensure_ascii=False).encode(errors="replace")
    digest = _sha256(key, files, text)
    separator = b"" if text[:-1].strip() == b"{" else b", "
    return {**files, "json": text[:-1] + separator + f'"{NAME}": "{digest}"}}'.encode()}


def has_right_digest(key: str, files: Mapping[str, bytes]) -> bool | None:
    """Whether a sample is as it was written; None if it states no digest."""
    text = files.get("json", b"")
    found = _LAST_ENTRY.search(text, max(0, len(text) - _MAX_BYTES))
    if found is None:
        return None
    return _sha256(key, files, text[: found.start()] + b"}") == found[2].decode()


def manifest_with_digest(text: str) -> str:
    """An indented JSON object with its digest as last entry."""
    return f'{text[:-2]},\n  "{_MANIFEST_NAME}": "{hashlib.sha256(text.encode()).hexdigest()}"\n}}'


def has_right_manifest_digest(data: bytes) -> bool | None:
    """Whether a manifest is as it was written; None if it states no digest."""
    found = _MANIFEST_ENTRY.search(data)
    if found is None:
        return None if _MANIFEST_NAME.encode() not in data else False
    return hashlib.sha256(data[: found.start()] + b"\n}").hexdigest() == found[1].decode()


def _sha256(key: str, files: Mapping[str, bytes], text: bytes) -> str:
    """Digest of the files, with the json as `text`."""
    digest = hashlib.sha256(f"{key}\0".encode(errors="surrogateescape"))
    for name in sorted(files):
        data = text if name == "json" else files[name]
        digest.update(f"{name}\0{len(data)}\0".encode(errors="surrogateescape"))
        digest.update(data)
    return digest.hexdigest()
