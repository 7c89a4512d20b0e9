"""Verdicts of a person on labels: ``verdicts.json``, which the review page downloads."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distill.errors import UsageError
from distill.files import parse_json, read_file
from distill.shards import Manifest
from distill.tasks import Task

FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024
"""Of a file: half a million verdicts with their scores."""
MAX_SCORE = 1e6
MAX_PARTS = 64

_Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Score = Annotated[float, Field(ge=-MAX_SCORE, le=MAX_SCORE, allow_inf_nan=False)]
Point = tuple[_Unit, _Unit]
"""(x, y) as fractions of the photo's width and height, from its upper left corner."""


class Verdict(BaseModel):
    """What a person says of one label.

    Attributes:
        key: Of the sample.
        task: Of the label.
        verdict: ``accept`` or ``reject``; None where only classes or regions are ignored.
        ignore_classes: Class names whose pixels shall not be learned.
        ignore_regions: Polygons whose pixels shall not be learned.
        quality: Score of the label when it was judged.
        quality_parts: Parts of this score, which a calibration needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(min_length=1, max_length=1000)
    task: Task
    verdict: Literal["accept", "reject"] | None = None
    ignore_classes: tuple[Annotated[str, Field(max_length=1000)], ...] = Field((), max_length=255)
    ignore_regions: tuple[Annotated[tuple[Point, ...], Field(min_length=3, max_length=10_000)], ...] = Field(
        (), max_length=1000
    )
    quality: _Score | None = None
    quality_parts: dict[str, _Score] = Field(default_factory=dict, max_length=MAX_PARTS)

    @property
    def masks(self) -> bool:
        """Whether classes or regions are ignored."""
        return bool(self.ignore_classes or self.ignore_regions)


class ReviewedSet(BaseModel):
    """The set that was reviewed.

    Attributes:
        name: Of its folder, for the reader.
        sha256: As of `set_digest`.
        teachers: Of its labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    teachers: tuple[str, ...] = ()


class Verdicts(BaseModel):
    """Content of ``verdicts.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    reviewed: ReviewedSet
    verdicts: tuple[Verdict, ...] = ()

    @model_validator(mode="after")
    def _check_once(self) -> Verdicts:
        seen = {(verdict.key, verdict.task) for verdict in self.verdicts}
        if len(seen) != len(self.verdicts):
            raise ValueError("a label has two verdicts")
        return self


def set_digest(manifest: Manifest) -> str:
    """Digest of a set's content: of the digests of its tars."""
    return hashlib.sha256("\n".join(shard.sha256 for shard in manifest.shards).encode()).hexdigest()


def parse_verdicts(data: bytes, where: str) -> Verdicts:
    """Verdicts from JSON text.

    Raises:
        UsageError: It is not a file of verdicts; names the first entry that is wrong.
    """
    hint = "download it again from the page that distill review wrote"
    try:
        values: Any = parse_json(data)
        return Verdicts.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: not a file of verdicts: {place or 'content'}: {first['msg']}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"{where}: not a file of verdicts: {error}", hint=hint) from error


def read_verdicts(path: Path) -> Verdicts:
    """Verdicts from a file.

    Raises:
        UsageError: It cannot be read, or is not a file of verdicts.
    """
    try:
        data = read_file(path, MAX_BYTES)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror or error}", hint="give the verdicts.json of a review page"
        ) from error
    return parse_verdicts(data, str(path))
