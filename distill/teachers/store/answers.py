"""Store of raw answers by prompt: a paid answer is kept, never requested twice, and decoded again for free.

    FOLDER/ab/KEY.png      the bytes as received
    FOLDER/ab/KEY.json     the record: prompt, model, cost; written last, so that a record implies complete bytes
    FOLDER/ledger.sqlite   one row per request

KEY is the SHA-256 of photo, prompt, model, parameters, seed and sample number. Decoder, registration and thresholds are
not part of it, so a changed decoder finds the stored answers. Any number of processes may share a folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distill.errors import DistillError, UsageError
from distill.files import make_private_folder, parse_json, read_file, write_atomic
from distill.runtime.process_liveness import WRITE_HINT
from distill.teachers.base import PromptSpec
from distill.teachers.store.records import (
    FORMAT,
    AnswerCorrupt,
    AnswerKey,
    AnswerRecord,
    CachedAnswer,
    StoreFull,
    prompt_spec_to_json,
    sniff_suffix,
)

_VERIFY = "`distill answers verify` lists damaged answers"


class AnswerStore:
    """The answers in a folder.

    Raises:
        UsageError: Another version of distill wrote the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._check_format()

    def _check_format(self) -> None:
        """Raise UsageError if the first record has another format."""
        path = next(self.folder.glob("[0-9a-f][0-9a-f]/[0-9a-f]*.json"), None)
        if path is None:
            return
        try:
            found = parse_json(_read_own_file(path)).get("format", 1)
        except (OSError, ValueError, AttributeError):
            return  # damaged: reported when this answer is read
        if found != FORMAT:
            raise UsageError(
                f"{self.folder}: holds answers of format {found}, and this version of distill reads format {FORMAT}",
                hint="choose another --store folder",
            )

    def get(self, key: str) -> CachedAnswer | None:
        """The answer, or None if there is none.

        Raises:
            AnswerCorrupt: It is damaged or cannot be read.
        """
        meta = self.meta(key)
        if meta is None:
            return None
        path = self._path(key, meta["suffix"])
        try:
            data = _read_own_file(path) if meta["bytes"] else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnswerCorrupt(f"{path}: the stored answer cannot be read: {error}", hint=_VERIFY) from error
        if hashlib.sha256(data).hexdigest() != meta["sha256"]:
            raise AnswerCorrupt(f"{path}: the stored answer is damaged", hint=_VERIFY)
        return CachedAnswer(key, meta["kind"], data, meta)

    def meta(self, key: str) -> dict[str, Any] | None:
        """The record of an answer; None if there is none.

        Raises:
            AnswerCorrupt: It cannot be read.
        """
        path = self._path(key, "json")
        try:
            meta = AnswerRecord.model_validate(parse_json(_read_own_file(path))).model_dump()
        except FileNotFoundError:
            return None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise AnswerCorrupt(f"{path}: not the record of an answer: {reason}", hint=_VERIFY) from error
        except (OSError, ValueError) as error:
            raise AnswerCorrupt(f"{path}: the stored answer cannot be read: {error}", hint=_VERIFY) from error
        return meta

    def contains(self, key: str) -> bool:
        """Whether the answer is stored."""
        return self._path(key, "json").is_file()

    def put(
        self,
        answer_key: AnswerKey,
        kind: str,
        data: bytes = b"",
        *,
        reason: str = "",
        prompt_spec: PromptSpec | None = None,
        **about: Any,
    ) -> CachedAnswer:
        """Store an answer as received; it is on disk when this returns.

        Args:
            answer_key: Key of the request.
            kind: ``image``, ``refused`` or ``empty``.
            data: The image bytes.
            reason: For the other kinds: why there is no image, as a sentence.
            prompt_spec: How to decode the image; needed to export the store.
            about: Further plain values of the record: ``photo``, ``cost_usd``, ``license``, ``model_version``, ...

        Raises:
            StoreFull: The disk is full or the folder cannot be written.
        """
        meta = {
            "format": FORMAT,
            "answer_key": answer_key.to_json(),
            "kind": kind,
            "reason": reason,
            "suffix": sniff_suffix(data) if data else "none",
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "prompt_spec": prompt_spec_to_json(prompt_spec) if prompt_spec else None,
            "received": datetime.now(UTC).isoformat(timespec="seconds"),
            "cost_usd": 0.0,
            "license": "unknown",
            "photo": "",
            "model_version": answer_key.model,
            **about,
        }
        path = self._path(answer_key.digest, "json")
        record = json.dumps(meta, ensure_ascii=False, sort_keys=True).encode(errors="surrogateescape")
        try:
            make_private_folder(self.folder)
            path.parent.mkdir(exist_ok=True)
            if data:
                write_atomic(self._path(answer_key.digest, meta["suffix"]), data, private=True)
            write_atomic(path, record, private=True)
            _sync_folder(path.parent)
        except OSError as error:
            raise StoreFull(f"{path.parent}: cannot be written: {error.strerror}", hint=WRITE_HINT) from error
        except DistillError as error:
            raise StoreFull(error.message, hint=WRITE_HINT) from error
        return CachedAnswer(answer_key.digest, kind, data, meta)

    def path(self, stored: CachedAnswer) -> Path:
        """The file with an answer's bytes."""
        return self._path(stored.key, stored.meta["suffix"])

    def remove(self, key: str) -> None:
        """Delete an answer, its record first, so that an interrupted removal leaves no record without bytes."""
        self._path(key, "json").unlink(missing_ok=True)
        for path in (self.folder / key[:2]).glob(f"{key}.*"):
            path.unlink(missing_ok=True)

    def all_keys(self) -> Iterator[str]:
        """All keys, in order."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            if not folder.is_symlink():
                yield from sorted(path.stem for path in folder.glob("*.json") if is_key(path.stem))

    def _path(self, key: str, suffix: str) -> Path:
        # 256 folders: 20,000 answers are 160 files each.
        return self.folder / key[:2] / f"{key}.{suffix}"


def is_key(name: str) -> bool:
    """Whether a file's stem can be the key of an answer."""
    return re.fullmatch(r"[0-9a-f]{64}", name) is not None


def _read_own_file(path: Path) -> bytes:
    """Read a file of the store; links, which may point to any file of the user, are refused."""
    if path.is_symlink() or path.parent.is_symlink():
        raise OSError(errno.ELOOP, "a link, not a file of the store")
    return read_file(path)


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk; a renamed file survives a power cut only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
