"""Raw answers by what was asked: what was paid for is never lost, never asked twice, and is read again for free.

    FOLDER/ab/KEY.png      the answer's own bytes, as they were received
    FOLDER/ab/KEY.json     what was asked, of whom, and what it cost; written last, so that it vouches for the bytes
    FOLDER/ledger.sqlite   one row per request

KEY is the SHA-256 of photo, sentence, model, parameters, seed and sample number: how the answer will be read is no part
of it, so a new decoder, registration or threshold finds the old answers. Any number of processes may share a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from distill.errors import DistillError
from distill.images import Photo, write_atomic
from distill.runtime.process_lock import WRITE_HINT
from distill.tasks import DepthKind, Task
from distill.teachers.base import CacheableGenerator, ContentRefused, GeneratedImage, PromptSpec

IMAGE, REFUSED, EMPTY = "image", "refused", "empty"
"""Kinds of answers: something to decode; the teacher will not; an answer without a picture."""
_FORMAT = 1
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
)
_VERIFY = "`distill answers verify` lists what is damaged"


class StoreFull(DistillError):  # noqa: N818 - it is the disk that is full
    """An answer came and cannot be kept: no other one will fare better, so the run has to stop."""


class AnswerCorrupt(DistillError):  # noqa: N818 - as `ContentRefused`
    """A stored answer cannot be read."""


class AnswerMissing(DistillError):  # noqa: N818 - as `ContentRefused`
    """There is no answer to be had now."""


@dataclass(frozen=True)
class AnswerKey:
    """Everything that decides an answer.

    Attributes:
        photo_sha256: Of the photo's own bytes.
        prompt: What is asked, word by word.
        model: Who is asked.
        parameters: Whatever else is sent along or decides the answer; plain values.
        seed: Of the job.
        sample: Which of several answers to the same question.
    """

    photo_sha256: str
    prompt: str
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    sample: int = 0

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex."""
        parts = self.to_json()
        parts["prompt"] = hashlib.sha256(self.prompt.encode()).hexdigest()
        text = json.dumps([_FORMAT, parts], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``AnswerKey(**values)`` is the inverse."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer out of the store.

    Attributes:
        key: Of what was asked.
        kind: ``image``, ``refused`` or ``empty``.
        data: The bytes, empty unless it is a picture.
        meta: What was asked, of whom, and what it cost.
    """

    key: str
    kind: str
    data: bytes
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        """How provenance names it."""
        return f"{self.key}.{self.meta['suffix']}"

    def answer(self, prompt_spec: PromptSpec) -> GeneratedImage:
        """The answer, to be read as `prompt_spec` says.

        Raises:
            Refusal: The teacher would not answer.
            DistillError: The answer holds no picture.
        """
        if self.kind == REFUSED:
            raise ContentRefused(self.meta["reason"])
        if self.kind != IMAGE:
            raise DistillError(self.meta["reason"])
        return GeneratedImage(
            prompt_spec=prompt_spec,
            data=self.data,
            name=self.name,
            model=self.meta["model_version"],
            cost_usd=self.meta["cost_usd"],
            seed=self.meta["answer_key"]["seed"],
        )


class AnswerStore:
    """The answers in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> CachedAnswer | None:
        """The answer, or None when it was not received yet.

        Raises:
            AnswerCorrupt: It is there and damaged, or cannot be read.
        """
        meta = self.meta(key)
        if meta is None:
            return None
        path = self._path(key, meta["suffix"])
        try:
            data = path.read_bytes() if meta["bytes"] else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnswerCorrupt(f"{path}: the stored answer cannot be read: {error}", hint=_VERIFY) from error
        if hashlib.sha256(data).hexdigest() != meta["sha256"]:
            raise AnswerCorrupt(f"{path}: the stored answer is damaged", hint=_VERIFY)
        return CachedAnswer(key, meta["kind"], data, meta)

    def meta(self, key: str) -> dict[str, Any] | None:
        """What is known about an answer, without its bytes; None when it was not received yet.

        Raises:
            AnswerCorrupt: It is there and cannot be read.
        """
        path = self._path(key, "json")
        try:
            meta: dict[str, Any] = json.loads(path.read_bytes())
            if not {"suffix", "bytes", "kind", "sha256", "cost_usd"} <= meta.keys():
                raise ValueError("it is no page of an answer")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError) as error:
            raise AnswerCorrupt(f"{path}: the stored answer cannot be read: {error}", hint=_VERIFY) from error
        return meta

    def contains(self, key: str) -> bool:
        """Whether the answer was received."""
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
        """Store an answer as it was received; whole and on disk when this returns.

        Args:
            answer_key: What was requested.
            kind: ``image``, ``refused`` or ``empty``.
            data: The bytes.
            reason: Unless it is a picture: why not, as a sentence.
            question: What the answer was meant to be read as; lets the store be exported.
            about: Plain values to keep along: ``photo``, ``cost_usd``, ``license``, ``model_version``, ``finish``, ...

        Raises:
            StoreFull: The disk is full or the folder cannot be written.
        """
        meta = {
            "format": _FORMAT,
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
            "model_version": answer_key.model,
            **about,
        }
        path = self._path(answer_key.digest, "json")
        page = json.dumps(meta, ensure_ascii=False, sort_keys=True).encode(errors="surrogateescape")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if data:
                write_atomic(self._path(answer_key.digest, meta["suffix"]), data)
            write_atomic(path, page)
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
        """Throw an answer away; its page goes first, so that a kill leaves bytes and not a broken promise."""
        self._path(key, "json").unlink(missing_ok=True)
        for path in (self.folder / key[:2]).glob(f"{key}.*"):
            path.unlink(missing_ok=True)

    def all_keys(self) -> Iterator[str]:
        """All keys, in order."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            yield from sorted(path.stem for path in folder.glob("[0-9a-f]*.json"))

    def _path(self, key: str, suffix: str) -> Path:
        # 256 folders: 20,000 answers are 160 files each.
        return self.folder / key[:2] / f"{key}.{suffix}"


class CachingGenerator:
    """Any generator with a store before it: what is there is never asked again; what comes is kept before it is read.

    These generators cost time alone, so that a stored answer which is damaged is asked for again.

    Args:
        generator: Who is asked.
        store: Where answers are kept.
        cached_only: Ask nothing; a question without a stored answer is a failure of that question.
        license: License class of the answers, kept with them.
    """

    def __init__(
        self, generator: CacheableGenerator, store: AnswerStore, *, cached_only: bool = False, license: str = "unknown"
    ) -> None:
        self._generator, self._store = generator, store
        self._cached_only, self._license = cached_only, license
        self.model = generator.model

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """As the generator's."""
        return self._generator.prompt_specs(photo)

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """As the generator's."""
        return self._generator.parameters(photo, prompt_spec)

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The stored answer, or a new one, which is stored first.

        Raises:
            Refusal: The generator will not answer, now or when it was asked.
            AnswerMissing: Nothing is stored and nothing may be asked.
            StoreFull: The answer could not be stored.
            DistillError: The answer could not be had.
        """
        parameters = self._generator.parameters(photo, prompt_spec)
        answer_key = AnswerKey(photo.sha256, prompt_spec.prompt, self.model, parameters, seed, sample)
        try:
            stored = self._store.get(answer_key.digest)
        except AnswerCorrupt:
            if self._cached_only:
                raise
            stored = None
        if stored is None:
            if self._cached_only:
                raise AnswerMissing("no answer is stored for this question", hint="ask for it without --offline")
            stored = self._ask(answer_key, photo, prompt_spec)
        return stored.answer(prompt_spec)

    def _ask(self, answer_key: AnswerKey, photo: Photo, prompt_spec: PromptSpec) -> CachedAnswer:
        about: dict[str, Any] = {"prompt_spec": prompt_spec, "photo": photo.name, "license": self._license}
        try:
            answer = self._generator.generate(photo, prompt_spec, seed=answer_key.seed, sample=answer_key.sample)
        except ContentRefused as refusal:
            return self._store.put(answer_key, REFUSED, reason=refusal.message, **about)
        return self._store.put(
            answer_key, IMAGE, answer.data, cost_usd=answer.cost_usd, model_version=answer.model, **about
        )


def prompt_spec_to_json(prompt_spec: PromptSpec) -> dict[str, Any]:
    """Plain values; the legend as a list, since its order is part of the question and sorted keys would lose it."""
    return {**asdict(prompt_spec), "legend": [[name, list(color)] for name, color in prompt_spec.legend.items()]}


def prompt_spec_from_json(values: Mapping[str, Any]) -> PromptSpec:
    """The inverse of `prompt_spec_to_json`.

    Raises:
        TypeError, ValueError, KeyError: It was written by another version.
    """
    return PromptSpec(
        **{
            **values,
            "task": Task(values["task"]),
            "depth_kind": DepthKind(values["depth_kind"]),
            "legend": {name: (red, green, blue) for name, (red, green, blue) in values["legend"]},
            "background": tuple(values["background"]),
        }
    )


def sniff_suffix(data: bytes) -> str:
    """Suffix of the picture format that the bytes have, whatever they were called; ``bin`` for none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for signature, suffix in _SIGNATURES if data.startswith(signature)), "bin")


def _sync_folder(folder: Path) -> None:
    """A rename is only safe from a power cut when its folder is on disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
