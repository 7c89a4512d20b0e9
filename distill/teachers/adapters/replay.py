"""Stored images of any generator, listed in a manifest: photo, task, answer, prompt, legend, class, background, ...

For images of a closed model, or of an earlier job.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from distill.config import Config
from distill.config.adapters import ReplayConfig, ResizeMode
from distill.errors import DistillError, UsageError
from distill.files import read_file
from distill.images import Photo
from distill.shards import file_sha256
from distill.tasks import DEPTH_C, DEPTH_LAMBDA, TASKS, DepthKind, Task
from distill.teachers.base import RGB, CacheableGenerator, GeneratedImage, PromptSpec, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.prompts.colors import parse_color
from distill.teachers.prompts.legend_parser import parse_legend


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

    @field_validator("legend", mode="before")
    @classmethod
    def _colors(cls, value: Any) -> Any:
        if isinstance(value, str):  # a CSV cell
            value = json.loads(value) if value.strip() else {}
        return {str(name): parse_color(color) for name, color in value.items()} if isinstance(value, dict) else value

    @field_validator("background", mode="before")
    @classmethod
    def _color(cls, value: Any) -> Any:
        return None if value in (None, "") else parse_color(value)


class ReplayGenerator(CacheableGenerator):
    """Returns the images of a manifest."""

    def __init__(self, config: ReplayConfig) -> None:
        self.model = config.model
        self._config = config
        self._folder = config.answers.parent
        self._rows = [(row, self._prompt_spec(row)) for row in read_manifest_rows(config.answers)]
        self._by_path: dict[Path, list[tuple[ManifestRow, PromptSpec]]] = defaultdict(list)
        self._by_name: dict[str, list[tuple[ManifestRow, PromptSpec]]] = defaultdict(list)
        for row, prompt_spec in self._rows:
            self._by_path[(self._folder / row.photo).resolve()].append((row, prompt_spec))
            self._by_name[Path(row.photo).name].append((row, prompt_spec))

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """Prompts of the manifest about this photo; may be empty."""
        return [prompt_spec for _, prompt_spec in self._pairs(photo)]

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """Stored image; `seed` and `sample` are ignored.

        Raises:
            DistillError: The file is missing or unreadable.
        """
        row = self._row(photo, prompt_spec)
        try:
            data = read_file(self._folder / row.answer)
        except OSError as error:
            raise DistillError(
                f"{row.answer}: the image cannot be read: {error.strerror or error}", hint="fix the manifest"
            ) from error
        cost = self._config.cost_usd if row.cost_usd is None else row.cost_usd
        return GeneratedImage(prompt_spec, data, row.answer, row.model or self._config.model, cost, license=row.license)

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """Model, and the file with its state, which may change under the same name."""
        row = self._row(photo, prompt_spec)
        return {"model": row.model, "answer": row.answer, "file": _file_state(self._folder / row.answer)}

    def _row(self, photo: Photo, prompt_spec: PromptSpec) -> ManifestRow:
        pairs = self._pairs(photo)
        # By identity first: two rows may have the same prompt and different images.
        row = next((row for row, other in pairs if other is prompt_spec), None)
        return row or next(row for row, other in pairs if other == prompt_spec)

    def _pairs(self, photo: Photo) -> list[tuple[ManifestRow, PromptSpec]]:
        """Rows about a photo, by path if it is a file, else by name, which must be unique."""
        path = Path(str(photo.origin["path"])).resolve() if "path" in photo.origin else None
        if path in self._by_path:
            return self._by_path[path]
        rows = self._by_name.get(Path(photo.name).name, [])
        if path is not None:
            # A row whose photo exists is about that photo, not about another one of the same name.
            rows = [(row, prompt_spec) for row, prompt_spec in rows if not (self._folder / row.photo).is_file()]
        if len({row.photo for row, _ in rows}) > 1:
            raise DistillError(
                f"{photo.name}: the manifest has several photos of this name",
                hint="restore the paths of the manifest",
            )
        return rows

    def fingerprint(self) -> list[str]:
        """Digests of the manifest and of the names, sizes and times of all answers."""
        digest = hashlib.sha256()
        for row, _ in self._rows:
            digest.update(f"{row.answer} {_file_state(self._folder / row.answer)}\n".encode())
        return [file_sha256(self._config.answers), digest.hexdigest()]

    def _prompt_spec(self, row: ManifestRow) -> PromptSpec:
        info = TASKS[row.task]
        return PromptSpec(
            task=row.task,
            prompt=row.prompt,
            legend=row.legend or (parse_legend(row.prompt) if info.has_legend else {}),
            class_name=row.class_name or ("object" if info.prompt_names == "instances" else ""),
            background=row.background or (0, 0, 0),
            colormap=row.colormap,
            depth_kind=row.depth_kind,
            near_is_low=row.near_is_low,
            lam=row.lam,
            c=row.c,
            reader=row.reader,
            frame=row.frame or self._config.frame,
            resize_mode=row.resize_mode or self._config.resize_mode,
        )

    def all_prompt_specs(self) -> list[PromptSpec]:
        """Every prompt of the manifest, in its order."""
        return [prompt_spec for _, prompt_spec in self._rows]


def build_replay(config: ReplayConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a replay config; its classes are the union of all legends, in the order of first appearance.

    Raises:
        UsageError: The manifest is wrong, or several samples per prompt are requested.
    """
    if context.prompt_ensemble.samples_per_prompt > 1:
        raise UsageError(
            "the replay teacher has only the answers of its manifest; it cannot generate more samples",
            hint="list all answers in the manifest and use --fuse",
        )
    generator = ReplayGenerator(config)
    prompt_specs = generator.all_prompt_specs()
    prompted = {prompt_spec.task for prompt_spec in prompt_specs}
    return GenerativeTeacher(
        context.with_cache(generator, config.license),
        name=f"replay of {config.model}",
        license=config.license,
        terms=config.terms,
        tasks=[task for task in Task if task in prompted],
        classes=tuple(
            dict.fromkeys(
                name for spec in prompt_specs if TASKS[spec.task].class_list == "classes" for name in spec.legend
            )
        ),
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
        answer_usd=config.cost_usd,
    )


def _file_state(path: Path) -> str:
    """Size and time of a file."""
    try:
        info = path.stat()
    except OSError:
        return "missing"
    return f"{info.st_size} {info.st_mtime_ns}"


def read_manifest_rows(path: Path) -> list[ManifestRow]:
    """Rows of a manifest: a YAML or JSON list, or CSV with a header.

    Raises:
        UsageError: Unreadable, or a row is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: the manifest cannot be read: {error}", hint="give --answers a YAML, JSON or CSV file"
        ) from error
    try:
        if path.suffix.lower() == ".csv":
            values: Any = [
                {k: v for k, v in row.items() if v not in ("", None)} for row in csv.DictReader(text.splitlines())
            ]
        elif path.suffix.lower() == ".json":
            values = json.loads(text)
        else:
            values = yaml.safe_load(text)
    except (ValueError, csv.Error, yaml.YAMLError) as error:
        raise UsageError(f"{path}: not a readable manifest: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: not a readable manifest: nested too deeply") from error
    if not isinstance(values, list) or not values:
        raise UsageError(f"{path}: a manifest is a list of rows (photo, task, answer, ...)")
    return [_row(value, f"{path}, row {number}") for number, value in enumerate(values, 1)]


def _row(value: Any, where: str) -> ManifestRow:
    if isinstance(value, dict):  # null means not set
        value = {key: item for key, item in value.items() if item is not None}
    try:
        return ManifestRow.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        dotted = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{where}: {dotted + ': ' if dotted else ''}{first['msg']}", hint="fix the manifest"
        ) from error
    except (ValueError, DistillError) as error:
        raise UsageError(f"{where}: {error}", hint="fix the manifest") from error
