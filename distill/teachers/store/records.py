"""Keys and records of stored answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from distill.errors import DistillError
from distill.files import MAX_FILE_BYTES
from distill.tasks import DepthKind, Task
from distill.teachers.base import ContentRefused, GeneratedImage, PromptSpec

IMAGE, REFUSED, EMPTY = "image", "refused", "empty"
"""Kinds of answers: an image to decode; a refusal; an answer without an image."""
FORMAT = 2
"""Version of the record files and of the keys."""
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
)


class StoreFull(DistillError):  # noqa: N818 - a state of the disk
    """An answer could not be written; the next ones could not either, so the run stops."""


class AnswerCorrupt(DistillError):  # noqa: N818 - as `ContentRefused`
    """A stored answer cannot be read."""


class AnswerMissing(DistillError):  # noqa: N818 - as `ContentRefused`
    """No answer is available now."""


class AnswerRecord(BaseModel):
    """Schema of a record file; unknown keys are kept."""

    model_config = ConfigDict(extra="allow", strict=True)

    answer_key: dict[str, Any]
    kind: Literal["image", "refused", "empty"]
    reason: str = ""
    suffix: str = Field(pattern=r"^[a-z0-9]{1,8}$")
    bytes: int = Field(ge=0, le=MAX_FILE_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    prompt_spec: dict[str, Any] | None = None
    cost_usd: float = Field(ge=0, le=1e6, allow_inf_nan=False)
    license: str
    model_version: str
    photo: str = ""


@dataclass(frozen=True)
class AnswerKey:
    """Everything that determines an answer.

    Attributes:
        photo_sha256: SHA-256 of the photo file's bytes.
        prompt: Full text of the prompt.
        model: Name of the model.
        parameters: Further values that are sent or affect the answer; plain JSON values.
        seed: Seed of the job.
        sample: Number of the sample; several samples of one prompt differ.
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
        text = json.dumps([FORMAT, parts], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``AnswerKey(**values)`` is the inverse."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A stored answer.

    Attributes:
        key: Digest of its `AnswerKey`.
        kind: ``image``, ``refused`` or ``empty``.
        data: The image bytes; empty for the other kinds.
        meta: Its record: prompt, model, cost, ...
    """

    key: str
    kind: str
    data: bytes
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        """File name, for the records of labels."""
        return f"{self.key}.{self.meta['suffix']}"

    def answer(self, prompt_spec: PromptSpec) -> GeneratedImage:
        """The generated image, to be decoded according to `prompt_spec`.

        Raises:
            ContentRefused: The teacher refused.
            DistillError: The answer has no image.
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


def prompt_spec_to_json(prompt_spec: PromptSpec) -> dict[str, Any]:
    """Plain values; the legend as a list, since sorted keys would lose its order."""
    return {**asdict(prompt_spec), "legend": [[name, list(color)] for name, color in prompt_spec.legend.items()]}


def prompt_spec_from_json(values: Mapping[str, Any]) -> PromptSpec:
    """The inverse of `prompt_spec_to_json`.

    Raises:
        TypeError, ValueError, KeyError: Another version wrote it.
    """
    return PromptSpec(
        **{
            **values,
            "task": Task(values["task"]),
            "depth_kind": DepthKind(values["depth_kind"]),
            "legend": {name: (red, green, blue) for name, (red, green, blue) in values["legend"]},
            "background": tuple(values["background"]) if values["background"] else None,
        }
    )


def sniff_suffix(data: bytes) -> str:
    """Suffix of the image format by the first bytes; ``bin`` if it is unknown."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for signature, suffix in _SIGNATURES if data.startswith(signature)), "bin")
