"""What happened in a slice: counted while it is labeled, written down as one page when it is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from distill.images import Photo
from distill.shards import ShardEntry
from distill.tasks import Gauge, Task
from distill.teachers.base import Lesson

MOST_DOUBTFUL = 40
"""Labels to look at first, per slice and in the report."""


class Page(BaseModel):
    """The accounts of one slice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: str
    shard: ShardEntry | None
    """None when no photo of the slice could be labeled."""
    photos: int
    labeled: int
    failures: tuple[dict[str, str], ...] = ()
    """Photos that could not be used: name, reason."""
    unanswered: tuple[dict[str, str], ...] = ()
    """Questions that gave no label: name, task, kind, reason."""
    notes: tuple[dict[str, str], ...] = ()
    """Labels that were read in another way than asked: name, task, reason."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Label maps, by task."""
    answered: dict[str, int] = Field(default_factory=dict)
    """Answers that became labels, by task; several instance answers share one map."""
    quality: dict[str, float] = Field(default_factory=dict)
    """Sum over answers, by task."""
    gauges: tuple[Gauge, ...] = ()
    referring: tuple[str, ...] = ()
    instance_classes: tuple[str, ...] = ()
    instances: tuple[dict[str, Any], ...] = ()
    """Per photo: name, and how many of each class."""
    prompts: dict[str, str] = Field(default_factory=dict)
    cost_usd: float = 0.0
    spared: dict[str, int] = Field(default_factory=dict)
    """Teacher to how often a cascade did without it."""
    spared_usd: float = 0.0
    """What those answers would have cost."""
    mended: int = 0
    """Answers that had drifted against their photos and were put back."""
    doubtful: tuple[dict[str, Any], ...] = ()
    """The labels that scored lowest, worst first: name, task, quality, expected error, drift, parts of the score."""
    teachers: tuple[str, ...] = ()
    licenses: dict[str, str] = Field(default_factory=dict)
    """License of the labels to where its terms can be read."""


class Accounts:
    """What happened in a slice so far."""

    def __init__(self) -> None:
        self.photos = 0
        self.labeled = 0
        self.failures: list[dict[str, str]] = []
        self._unanswered: list[dict[str, str]] = []
        self._notes: list[dict[str, str]] = []
        self._answered: dict[str, int] = {}
        self._cost_usd = 0.0
        self._counts: dict[str, int] = {}
        self._quality: dict[str, float] = {}
        self._gauges: dict[Gauge, None] = {}
        self._referring: dict[str, None] = {}
        self._instance_classes: dict[str, None] = {}
        self._instances: list[dict[str, Any]] = []
        self._prompts: dict[str, str] = {}
        self._spared: dict[str, int] = {}
        self._spared_usd = 0.0
        self._mended = 0
        self._doubtful: list[dict[str, Any]] = []
        self._teachers: dict[str, None] = {}
        self._licenses: dict[str, str] = {}

    def add(self, photo: Photo, lesson: Lesson) -> None:
        """Count a lesson."""
        self._unanswered += [{"name": photo.name, **failure} for failure in lesson.failures]
        self._notes += [{"name": photo.name, **note} for note in lesson.notes]
        self._cost_usd += sum(lesson.paid_usd)
        for record in lesson.records:
            self._answered[record["task"]] = self._answered.get(record["task"], 0) + 1
            self._quality[record["task"]] = self._quality.get(record["task"], 0.0) + record["quality"]
            self._teachers[record["teacher"]] = None
            self._licenses[record["license"]] = record["terms"] or self._licenses.get(record["license"], "")
            for teacher, usd in record.get("spared", {}).items():
                self._spared[teacher] = self._spared.get(teacher, 0) + 1
                self._spared_usd += usd
            self._note_quality(photo, record)
            if "prompt_hash" in record:
                self._prompts[record["prompt_hash"]] = record["prompt"]
        for task, label in lesson.labels.items():
            self._counts[task] = self._counts.get(task, 0) + 1
            if task is Task.DEPTH:
                self._gauges[label.gauge or Gauge.METRIC] = None
            if task is Task.REFERRING:
                self._referring |= dict.fromkeys(label.classes)
            if task is Task.INSTANCE:
                self._instance_classes |= dict.fromkeys(label.classes)
                names = list(label.instance_classes.values())
                self._instances.append({"name": photo.name, **{name: names.count(name) for name in sorted(set(names))}})

    def _note_quality(self, photo: Photo, record: dict[str, Any]) -> None:
        """Count what was mended, and keep the labels that scored lowest."""
        placements = [answer["placement"] for answer in record.get("answers", [record]) if "placement" in answer]
        drifts = [said for placement in placements if (said := drift_in_words(placement))]
        self._mended += len(drifts)
        if "quality_parts" not in record:
            return
        row = {"name": photo.name, "task": record["task"], "quality": record["quality"], "drift": "; ".join(drifts)}
        if "expected_error" in record:
            row["expected_error"] = record["expected_error"]
        self._doubtful.append({**row, **record["quality_parts"]})
        if len(self._doubtful) > 2 * MOST_DOUBTFUL:
            self._doubtful = worst_first(self._doubtful)

    def page(self, identity: str, entry: ShardEntry | None) -> Page:
        """The accounts as they are written down."""
        return Page(
            identity=identity,
            shard=entry,
            photos=self.photos,
            labeled=self.labeled,
            failures=tuple(self.failures),
            unanswered=tuple(self._unanswered),
            notes=tuple(self._notes),
            answered=self._answered,
            counts=self._counts,
            quality=self._quality,
            gauges=tuple(self._gauges),
            referring=tuple(self._referring),
            instance_classes=tuple(self._instance_classes),
            instances=tuple(self._instances),
            prompts=self._prompts,
            cost_usd=self._cost_usd,
            spared=self._spared,
            spared_usd=self._spared_usd,
            mended=self._mended,
            doubtful=tuple(worst_first(self._doubtful)),
            teachers=tuple(self._teachers),
            licenses=self._licenses,
        )


def worst_first(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the lowest quality, at most `MOST_DOUBTFUL`."""
    return sorted(rows, key=lambda row: (row["quality"], row["name"], row["task"]))[:MOST_DOUBTFUL]


def drift_in_words(placement: dict[str, Any]) -> str:
    """How an answer was mended, such as ``shifted by 3.0 down, -1.5 right, zoom 1.012``; empty when it was not."""
    down, right = placement["shift_px"]
    said = [f"shifted by {down:.1f} down, {right:.1f} right"] if down or right else []
    said += [f"{name} {placement[name]:.4f}" for name in ("zoom", "aspect") if placement[name] != 1.0]
    return ", ".join(said)
