"""Stored images of any generator, listed in a manifest: photo, task, answer, prompt, legend, class, background, ...

For images of a closed model, or of an earlier job.
"""

from __future__ import annotations

import json
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from distill.config.adapters import ReplayConfig
from distill.errors import DistillError, UsageError
from distill.files import read_file
from distill.images import Photo
from distill.inputs.photo_lists import existing_file
from distill.tasks import TASKS, Task
from distill.teachers.adapters.manifest import ManifestRow, read_manifest_rows
from distill.teachers.base import CacheableGenerator, Dependencies, GeneratedImage, PhotoRef, PromptSpec, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.generative import GenerativeTeacher


class ReplayGenerator(CacheableGenerator):
    """Returns the images of a manifest."""

    def __init__(self, config: ReplayConfig) -> None:
        self.model = config.model
        self._config = config
        self._folder = config.answers.parent
        rows = read_manifest_rows(config.answers)
        self._check_places(rows)
        self._rows = [(row, self._prompt_spec(row, number)) for number, row in enumerate(rows, 1)]
        self._by_path: dict[str, list[tuple[ManifestRow, PromptSpec]]] = defaultdict(list)
        self._by_name: dict[str, list[tuple[ManifestRow, PromptSpec]]] = defaultdict(list)
        for row, prompt_spec in self._rows:
            self._by_path[_normal((self._folder / row.photo).resolve())].append((row, prompt_spec))
            self._by_name[_normal(Path(row.photo).name)].append((row, prompt_spec))

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
            data = read_file(self._answer_path(row))
        except OSError as error:
            raise DistillError(
                f"{row.answer}: the image cannot be read: {error.strerror or error}", hint="fix the manifest"
            ) from error
        cost = self._config.cost_usd if row.cost_usd is None else row.cost_usd
        return GeneratedImage(prompt_spec, data, row.answer, row.model or self._config.model, cost, license=row.license)

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """Model, and the file with its state, which may change under the same name."""
        row = self._row(photo, prompt_spec)
        return {
            "model": row.model,
            "answer": row.answer,
            "file": _file_state(self._answer_path(row)),
        }

    def _answer_path(self, row: ManifestRow) -> Path:
        path = self._folder / row.answer
        return existing_file(path) or path

    def _check_places(self, rows: Sequence[ManifestRow]) -> None:
        """Refuse images outside of the folder in which all of them must be, also by links.

        Raises:
            UsageError: There is one.
        """
        root = Path(os.path.realpath(self._config.images_root or self._folder))
        inside: dict[Path, bool] = {}  # resolving each of many thousand paths would take seconds
        for number, row in enumerate(rows, 1):
            path = self._answer_path(row)
            place = path if _is_link_or_folder(path) else path.parent
            if place not in inside:
                inside[place] = Path(os.path.realpath(place)).is_relative_to(root)
            if not inside[place]:
                raise UsageError(
                    f"{self._config.answers}, row {number}: the image {row.answer} is not in {root}",
                    hint="if the manifest is yours, name the folder of its images: --set images_root=FOLDER",
                )

    def _row(self, photo: Photo, prompt_spec: PromptSpec) -> ManifestRow:
        pairs = self._pairs(photo)
        # By identity first: two rows may have the same prompt and different images.
        row = next((row for row, other in pairs if other is prompt_spec), None)
        return row or next(row for row, other in pairs if other == prompt_spec)

    def _pairs(self, photo: Photo | PhotoRef) -> list[tuple[ManifestRow, PromptSpec]]:
        """Rows about a photo, by path if it is a file, else by name, which must be unique."""
        path = Path(str(photo.origin["path"])).resolve() if "path" in photo.origin else None
        if path is not None and _normal(path) in self._by_path:
            return self._by_path[_normal(path)]
        rows = self._by_name.get(_normal(Path(photo.name).name), [])
        if path is not None:
            # A row whose photo exists is about that photo, not about another one of the same name.
            rows = [(row, prompt_spec) for row, prompt_spec in rows if existing_file(self._folder / row.photo) is None]
        if len({row.photo for row, _ in rows}) > 1:
            raise DistillError(
                f"{photo.name}: the manifest has several photos of this name",
                hint="restore the paths of the manifest",
            )
        return rows

    def fingerprint(self) -> list[str]:
        """Nothing: rows and images decide the labels of their own photo only."""
        return []

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """Rows and images of the photo; all rows for a photo of a set of shards, whose name is not known yet."""
        rows = [row for row, _ in (self._pairs(photo) if "sample" not in photo.origin else self._rows)]
        text = json.dumps([row.model_dump(mode="json") for row in rows], sort_keys=True)
        return Dependencies(text, tuple(self._answer_path(row) for row in rows))

    def _prompt_spec(self, row: ManifestRow, number: int) -> PromptSpec:
        try:
            return row.prompt_spec(frame=self._config.frame, resize_mode=self._config.resize_mode)
        except UsageError as error:
            where = f"{self._config.answers}, row {number}"
            raise UsageError(f"{where}: {error.message}", hint=error.hint or "fix the manifest") from error

    def all_prompt_specs(self) -> list[PromptSpec]:
        """Every prompt of the manifest, in its order."""
        return [prompt_spec for _, prompt_spec in self._rows]


def _is_link_or_folder(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISLNK(mode) or stat.S_ISDIR(mode)


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
        classes=_semantic_classes(prompt_specs),
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
        answer_usd=config.cost_usd,
    )


def _semantic_classes(prompt_specs: Iterable[PromptSpec]) -> tuple[str, ...]:
    """Names of all legends in the order of first appearance; the background, which an image may show, at the end."""
    specs = [spec for spec in prompt_specs if TASKS[spec.task].class_list == "classes"]
    names = dict.fromkeys(name for spec in specs for name in (*spec.legend, *spec.unreadable))
    return tuple(dict.fromkeys([*names, BACKGROUND])) if specs else ()


def _normal(path: Path | str) -> str:
    """A path as text, whatever the form of its accents."""
    return unicodedata.normalize("NFC", str(path))


def _file_state(path: Path) -> str:
    """Size and time of a file."""
    try:
        info = path.stat()
    except OSError:
        return "missing"
    return f"{info.st_size} {info.st_mtime_ns}"
