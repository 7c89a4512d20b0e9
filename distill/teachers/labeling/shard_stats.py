"""Statistics of one shard: collected while it is labeled, written as one JSON file when it is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from distill.images import Photo
from distill.shards import ShardEntry
from distill.tasks import TASKS, DepthKind
from distill.teachers.base import TeacherResult
from distill.teachers.labeling.photo_state import PhotoState

MAX_LOW_QUALITY = 40
"""Number of labels with the lowest quality that are listed, per shard and in the report."""
FORMAT: Final = 4
"""Version of the file."""


class ShardStats(BaseModel):
    """The statistics of one shard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[4] = FORMAT
    recipe: str
    """Digest of the options with which the shard was labeled."""
    inputs: tuple[PhotoState, ...] = ()
    """State of the photos, and of the files that decide their labels."""
    shard: ShardEntry | None
    """None if no photo of the shard could be labeled."""
    photos: int
    labeled: int
    failures: tuple[dict[str, str], ...] = ()
    """Unusable photos: name, reason."""
    unanswered: tuple[dict[str, str], ...] = ()
    """Prompts without a label: name, task, kind, reason."""
    notes: tuple[dict[str, str], ...] = ()
    """Labels that were decoded differently from their prompt: name, task, reason."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Number of label maps by task."""
    valid: dict[str, float] = Field(default_factory=dict)
    """Sum over these maps of the fraction of pixels with a value, by task."""
    median_depths_m: tuple[float, ...] = ()
    """Median of each map of metric depth."""
    classes_shown: tuple[str, ...] = ()
    """Classes that occur in the maps, until there are two."""
    answered: dict[str, int] = Field(default_factory=dict)
    """Number of answers that became labels, by task; several instance answers share one map."""
    quality: dict[str, float] = Field(default_factory=dict)
    """Sum over these answers, by task."""
    depth_kinds: tuple[DepthKind, ...] = ()
    referring: tuple[str, ...] = ()
    instance_classes: tuple[str, ...] = ()
    instances: tuple[dict[str, Any], ...] = ()
    """Per photo: name, and number of instances of each class."""
    prompts: dict[str, str] = Field(default_factory=dict)
    cost_usd: float = 0.0
    skipped: dict[str, int] = Field(default_factory=dict)
    """Teacher to number of answers that a cascade skipped."""
    skipped_usd: float = 0.0
    """Price of the skipped answers."""
    realigned: int = 0
    """Number of answers that were shifted or scaled against their photos and were corrected."""
    low_quality: tuple[dict[str, Any], ...] = ()
    """Labels with the lowest quality, lowest first: name, task, quality, expected error, transform, score parts."""
    teachers: tuple[str, ...] = ()
    licenses: dict[str, str] = Field(default_factory=dict)
    """License of the labels to the link to its terms."""


class ShardStatsBuilder:
    """Collects the statistics of a shard."""

    def __init__(self) -> None:
        self.photos = 0
        self.labeled = 0
        self.failures: list[dict[str, str]] = []
        self._unanswered: list[dict[str, str]] = []
        self._notes: list[dict[str, str]] = []
        self._answered: dict[str, int] = {}
        self._cost_usd = 0.0
        self._counts: dict[str, int] = {}
        self._valid: dict[str, float] = {}
        self._median_depths_m: list[float] = []
        self._classes_shown: dict[str, None] = {}
        self._quality: dict[str, float] = {}
        self._depth_kinds: dict[DepthKind, None] = {}
        self._referring: dict[str, None] = {}
        self._instance_classes: dict[str, None] = {}
        self._instances: list[dict[str, Any]] = []
        self._prompts: dict[str, str] = {}
        self._skipped: dict[str, int] = {}
        self._skipped_usd = 0.0
        self._realigned = 0
        self._low_quality: list[dict[str, Any]] = []
        self._teachers: dict[str, None] = {}
        self._licenses: dict[str, str] = {}

    def add(self, photo: Photo, result: TeacherResult) -> None:
        """Count one result."""
        self._unanswered += [{"name": photo.name, **failure} for failure in result.failures]
        self._notes += [{"name": photo.name, "reason": note} for note in photo.notes]
        self._notes += [{"name": photo.name, **note} for note in result.notes]
        self._cost_usd += sum(result.costs_usd)
        for record in result.records:
            self._answered[record["task"]] = self._answered.get(record["task"], 0) + 1
            self._quality[record["task"]] = self._quality.get(record["task"], 0.0) + record["quality"]
            self._teachers[record["teacher"]] = None
            self._licenses[record["license"]] = record["terms"] or self._licenses.get(record["license"], "")
            for teacher, usd in record.get("skipped", {}).items():
                self._skipped[teacher] = self._skipped.get(teacher, 0) + 1
                self._skipped_usd += usd
            self._note_quality(photo, record)
            if "prompt_hash" in record:
                self._prompts[record["prompt_hash"]] = record["prompt"]
        for task, label in result.labels.items():
            self._counts[task] = self._counts.get(task, 0) + 1
            self._valid[task] = self._valid.get(task, 0.0) + label.valid_fraction
            info = TASKS[task]
            if info.has_depth_kind:
                kind = label.depth_kind or DepthKind.METRIC
                self._depth_kinds[kind] = None
                few = label.value[::8, ::8][label.valid[::8, ::8]]
                if kind is DepthKind.METRIC and few.size:
                    self._median_depths_m.append(round(float(np.median(few)), 4))
            if info.class_list == "classes" and len(self._classes_shown) < 2:
                ids = np.flatnonzero(np.bincount(label.value[label.valid]))
                self._classes_shown |= dict.fromkeys(label.classes[number] for number in ids)
            if info.class_list == "referring":
                self._referring |= dict.fromkeys(label.classes)
            if info.class_list == "instance_classes":
                self._instance_classes |= dict.fromkeys(label.classes)
                names = list(label.instance_classes.values())
                self._instances.append({"name": photo.name, **{name: names.count(name) for name in sorted(set(names))}})

    def _note_quality(self, photo: Photo, record: dict[str, Any]) -> None:
        """Count corrected answers and collect the labels with the lowest quality."""
        registrations = [
            answer["registration"] for answer in record.get("answers", [record]) if "registration" in answer
        ]
        transforms = [text for registration in registrations if (text := format_registration(registration))]
        self._realigned += len(transforms)
        if "quality_parts" not in record:
            return
        row = {"name": photo.name, "task": record["task"], "quality": record["quality"]}
        row["transform"] = "; ".join(transforms)
        if "expected_error" in record:
            row["expected_error"] = record["expected_error"]
        self._low_quality.append({**row, **record["quality_parts"]})
        if len(self._low_quality) > 2 * MAX_LOW_QUALITY:
            self._low_quality = lowest_quality(self._low_quality)

    def build(self, recipe: str, inputs: Sequence[PhotoState], entry: ShardEntry | None) -> ShardStats:
        """The statistics as they are written."""
        return ShardStats(
            recipe=recipe,
            inputs=tuple(inputs),
            shard=entry,
            photos=self.photos,
            labeled=self.labeled,
            failures=tuple(self.failures),
            unanswered=tuple(self._unanswered),
            notes=tuple(self._notes),
            answered=self._answered,
            counts=self._counts,
            valid=self._valid,
            median_depths_m=tuple(self._median_depths_m),
            classes_shown=tuple(self._classes_shown),
            quality=self._quality,
            depth_kinds=tuple(self._depth_kinds),
            referring=tuple(self._referring),
            instance_classes=tuple(self._instance_classes),
            instances=tuple(self._instances),
            prompts=self._prompts,
            cost_usd=self._cost_usd,
            skipped=self._skipped,
            skipped_usd=self._skipped_usd,
            realigned=self._realigned,
            low_quality=tuple(lowest_quality(self._low_quality)),
            teachers=tuple(self._teachers),
            licenses=self._licenses,
        )


def lowest_quality(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the lowest quality, at most `MAX_LOW_QUALITY`."""
    return sorted(rows, key=lambda row: (row["quality"], row["name"], row["task"]))[:MAX_LOW_QUALITY]


def format_registration(registration: dict[str, Any]) -> str:
    """The correction of an answer, such as ``shifted by 3.0 down, -1.5 right, zoom 1.0120``; empty if there is none."""
    down, right = registration["shift_px"]
    parts = [f"shifted by {down:.1f} down, {right:.1f} right"] if down or right else []
    parts += [f"{name} {registration[name]:.4f}" for name in ("zoom", "aspect") if registration[name] != 1.0]
    return ", ".join(parts)
