"""Manifest of stored generated images: rows of photo, task, answer, prompt, legend, class, background, ..."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from distill.config import Config
from distill.config.base import load_config
from distill.config.teacher_base import ResizeMode
from distill.config.yaml_text import parse_yaml
from distill.errors import DistillError, UsageError
from distill.files import read_file
from distill.inputs.photo_lists import decode_text
from distill.tasks import DEPTH_C, DEPTH_LAMBDA, TASKS, DepthKind, Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.colormaps import split_reversed
from distill.teachers.codecs.normals import frame_matrix
from distill.teachers.codecs.palette import BACKGROUND, check_legend
from distill.teachers.prompts.background_parser import parse_background
from distill.teachers.prompts.colors import hex_of, parse_color
from distill.teachers.prompts.legend_parser import ParsedLegend, named_colors, parse_legend


class ManifestRow(Config):
    """One row of the manifest."""

    photo: str
    task: Task
    answer: str
    prompt: str = ""
    legend: dict[str, RGB] = Field(default_factory=dict)
    """semantic, referring: class to color (name, hex or triple); parsed from the prompt by default."""
    class_name: str = Field(default="", alias="class")
    background: RGB | None = None
    """Color of everything else; parsed from the prompt by default, else read from the image."""
    colormap: str = "cube"
    depth_kind: DepthKind = DepthKind.METRIC
    near_is_low: bool = True
    lam: float = Field(default=DEPTH_LAMBDA, lt=-1)
    c: float = Field(default=DEPTH_C, gt=0)
    reader: Literal["flood", "hues"] = "flood"
    frame: str = ""
    resize_mode: ResizeMode | None = None
    model: str = ""
    license: str = ""
    cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @field_validator("photo", "answer", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if "\0" in value:
            raise ValueError("a path cannot hold a NUL character")
        return value.strip().replace("\\", "/")

    @field_validator("task", mode="before")
    @classmethod
    def _task(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("legend", mode="before")
    @classmethod
    def _colors(cls, value: Any) -> Any:
        if isinstance(value, str):  # a CSV cell
            value = json.loads(value, object_pairs_hook=_unique) if value.strip() else {}
        return named_colors(value, "legend") if isinstance(value, dict) else value

    @field_validator("background", mode="before")
    @classmethod
    def _color(cls, value: Any) -> Any:
        return None if value in (None, "") else parse_color(value)

    @field_validator("colormap")
    @classmethod
    def _known_colormap(cls, value: str) -> str:
        split_reversed(value)
        return value

    @field_validator("frame")
    @classmethod
    def _known_frame(cls, value: str) -> str:
        if value:
            frame_matrix(value)
        return value

    def prompt_spec(self, *, frame: str, resize_mode: str) -> PromptSpec:
        """The prompt and the colors of its image; ``frame`` and ``resize_mode`` are for rows without their own.

        Raises:
            UsageError: Legend and background contradict each other, or there is no legend.
        """
        info = TASKS[self.task]
        parsed = ParsedLegend(self.legend if info.has_legend else {})
        if info.has_legend and not self.legend:
            parsed = parse_legend(self.prompt)
        legend = dict(parsed.colors)
        if self.background is not None and self.legend.get(BACKGROUND, self.background) != self.background:
            colors = f"{hex_of(self.legend[BACKGROUND])}, and the key background {hex_of(self.background)}"
            raise UsageError(f"the legend has the background {colors}", hint="keep one of them")
        background = self.background if self.background or BACKGROUND in legend else parse_background(self.prompt)
        if BACKGROUND in legend:
            legend[BACKGROUND] = background or legend[BACKGROUND]
        if legend:
            check_legend({**legend, BACKGROUND: background} if background else legend)
        return PromptSpec(
            task=self.task,
            prompt=self.prompt,
            legend=legend,
            unreadable=parsed.unreadable,
            class_name=self.class_name or ("object" if info.prompt_names == "instances" else ""),
            background=background,
            colormap=self.colormap,
            depth_kind=self.depth_kind,
            near_is_low=self.near_is_low,
            lam=self.lam,
            c=self.c,
            reader=self.reader,
            frame=self.frame or frame,
            resize_mode=self.resize_mode or resize_mode,
        )


def read_manifest_rows(path: Path) -> list[ManifestRow]:
    """Rows of a manifest: a YAML or JSON list, JSON lines, or CSV with a header, as Excel and scripts write it.

    Raises:
        UsageError: Unreadable, or a row is wrong.
    """
    try:
        text = decode_text(read_file(path), path)
    except OSError as error:
        raise UsageError(
            f"{path}: the manifest cannot be read: {error.strerror or error}",
            hint="give --answers a YAML, JSON or CSV file",
        ) from error
    try:
        values = _values(text, path.suffix.lower())
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path}: not a readable manifest: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: not a readable manifest: nested too deeply") from error
    if not isinstance(values, list) or not values:
        raise UsageError(f"{path}: a manifest is a list of rows (photo, task, answer, ...)")
    return [_row(value, f"{path}, row {number}") for number, value in enumerate(values, 1)]


def _values(text: str, suffix: str) -> Any:
    if suffix in (".csv", ".tsv"):
        separator = max(",;\t", key=text.partition("\n")[0].count)
        rows = csv.DictReader(io.StringIO(text), delimiter=separator, skipinitialspace=True, restkey="")
        return [
            {key.strip(): cell for key, cell in row.items() if cell not in ("", None) and (key or "").strip()}
            for row in rows
            if any(row.values())
        ]
    if suffix in (".jsonl", ".ndjson"):
        return [json.loads(line, object_pairs_hook=_unique) for line in text.splitlines() if line.strip()]
    if suffix == ".json":
        return json.loads(text, object_pairs_hook=_unique)
    return parse_yaml(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose repeated keys would silently lose a value.

    Raises:
        ValueError: A key is given twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"the key {twice!r} is given twice")
    return values


def _row(value: Any, where: str) -> ManifestRow:
    try:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: a row is a mapping of keys to values, this is a {type(value).__name__}")
        # null means not set
        return load_config(ManifestRow, {key: item for key, item in value.items() if item is not None}, name=where)
    except UsageError as error:
        is_complete = error.message.startswith(where)  # otherwise a value's own check, which has a hint
        message = error.message if is_complete else f"{where}: {error.message}"
        keys = ", ".join(field.alias or name for name, field in ManifestRow.model_fields.items())
        hint = "fix the manifest" if is_complete else error.hint or "fix the manifest"
        raise UsageError(message, hint=f"the keys of a row are {keys}" if "unknown key" in message else hint) from error
    except (ValueError, ValidationError, DistillError) as error:
        raise UsageError(f"{where}: {error}", hint="fix the manifest") from error
