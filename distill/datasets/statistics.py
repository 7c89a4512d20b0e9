"""Statistics of a set: coverage, class balance, histograms of depth, quality and confidence, origins, cost."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.datasets.counting import MAX_SIZES, CountedMap, TaskStats, count_map
from distill.datasets.shard_set import open as open_set
from distill.errors import DistillError
from distill.images import image_size_hw
from distill.report.blocks import Cell
from distill.report.markdown import text_table
from distill.runtime.cpu import usable_cores
from distill.runtime.parallel import map_ordered
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import Manifest, Sample
from distill.tasks import TASKS, DepthKind, Task

_SHOWN, _BLOCKS = 30, " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class SetStats:
    """Outcome of `stats`.

    Attributes:
        folder: Of the set.
        samples: Number of samples.
        bytes: Of the tars.
        tasks: Statistics by task.
        depth_kind: Of the depth labels.
        photo_sizes: Photos of each size, as HEIGHTxWIDTH.
        photo_formats: Photos of each format.
        teachers: Labels by teacher.
        licenses: Samples by license.
        prompts: Prompt to number of labels.
        cost_usd: Of all labels.
        unreadable: Maps and samples that do not decode; they are in no other number.
    """

    folder: Path
    samples: int
    bytes: int
    tasks: Mapping[Task, TaskStats]
    depth_kind: DepthKind
    photo_sizes: Counter[str]
    photo_formats: Counter[str]
    teachers: Counter[str]
    licenses: Counter[str]
    prompts: Counter[str]
    cost_usd: float
    unreadable: int

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "folder": str(self.folder),
            "samples": self.samples,
            "bytes": self.bytes,
            "unreadable": self.unreadable,
            "depth_kind": str(self.depth_kind),
            "tasks": {
                str(task): found.to_dict(task, self.samples, self.depth_kind) for task, found in self.tasks.items()
            },
            "photo_sizes": dict(self.photo_sizes.most_common(MAX_SIZES)),
            "photo_formats": dict(self.photo_formats),
            "teachers": dict(self.teachers),
            "licenses": dict(self.licenses),
            "prompts": dict(self.prompts),
            "cost_usd": round(self.cost_usd, 6),
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        values = self.to_dict()
        sizes = ", ".join(f"{size} ({count})" for size, count in self.photo_sizes.most_common(5))
        more = f" and {len(self.photo_sizes) - 5} other sizes" if len(self.photo_sizes) > 5 else ""
        lines = [
            f"{self.folder}: {self.samples} samples, {self.bytes / 1e6:.1f} MB, {self.cost_usd:.2f} USD",
            f"photos: {sizes}{more}",
        ]
        if self.unreadable:
            lines.append(f"{self.unreadable} samples or maps cannot be read; distill data verify names them")
        rows: list[list[Cell]] = [
            [
                task,
                found["labels"],
                f"{100 * found['coverage']:.1f} %",
                f"{100 * found['valid_fraction']:.1f} %",
                "" if found["mean_quality"] is None else f"{found['mean_quality']:.3f}",
                _draw(found["quality_histogram"]),
                _draw(found["confidence_histogram"]),
            ]
            for task, found in values["tasks"].items()
        ]
        columns = ["task", "labels", "coverage", "valid", "mean quality", "quality 0..1", "confidence 0..1"]
        lines += ["", text_table(columns, rows)]
        for task, found in values["tasks"].items():
            lines += _class_lines(task, found.get("classes", [])) + _histogram_lines(task, found.get("histogram", []))
        for title, counted in (("teacher", self.teachers), ("license", self.licenses), ("prompt", self.prompts)):
            if shown := counted.most_common(_SHOWN):
                cells: list[list[Cell]] = [[textwrap.shorten(name, 100), count] for name, count in shown]
                lines += ["", text_table([title, "samples" if counted is self.licenses else "labels"], cells)]
        return "\n".join(lines)


class _Origins:
    """Counters of photos and of the labels' origins.

    Attributes:
        unreadable: Maps and samples that do not decode.
    """

    def __init__(self) -> None:
        self.sizes, self.formats = Counter[str](), Counter[str]()
        self.teachers, self.licenses, self.prompts = Counter[str](), Counter[str](), Counter[str]()
        self.cost_usd, self.unreadable = 0.0, 0

    def add(self, sample: Sample) -> None:
        """Count a sample.

        Raises:
            DistillError: Its json or photo is damaged.
        """
        meta = sample.meta
        size = meta.get("size_hw")
        stated = size if isinstance(size, list) and len(size) == 2 else None
        height, width = stated or image_size_hw(sample.photo, sample.key)
        self.sizes[f"{height}x{width}"] += 1
        self.formats[sample.photo_format] += 1
        records = meta.get("records") or []
        self.licenses.update({str(record.get("license") or "unknown") for record in records or [{}]})
        for record in records:
            self.teachers[str(record.get("teacher") or "unknown")] += 1
            self.cost_usd += _number(record.get("cost_usd"))
            if record.get("prompt"):
                self.prompts[str(record["prompt"])] += 1


def _number(value: Any) -> float:
    """A finite number of a sample's json; 0 for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def stats(folder: str | Path, *, reporter: Reporter | None = None) -> SetStats:
    """Count what a set contains; reads every label map once, and memory stays flat.

    Args:
        folder: Folder of shards.
        reporter: Receives progress.

    Returns:
        Statistics by task, and of photos and origins.

    Raises:
        UsageError: Not a folder of shards.
        DistillError: A tar cannot be read.

    Example:
        >>> distill.data.stats("shards").tasks[Task.DEPTH].labels
    """
    samples, reporter = open_set(folder), reporter or SilentReporter()
    tasks, origins = {task: _empty(task, samples.manifest) for task in samples.manifest.tasks}, _Origins()
    counted = map_ordered(samples, _count_maps, usable_cores())
    for sample, maps in reporter.track(counted, "count", len(samples)):
        _add(sample, maps, tasks, origins, samples.manifest)
    return SetStats(
        folder=samples.folder,
        samples=len(samples),
        bytes=sum(shard.bytes for shard in samples.manifest.shards),
        tasks={task: found for task, found in tasks.items() if found.labels},
        depth_kind=samples.manifest.depth_kind,
        photo_sizes=origins.sizes,
        photo_formats=origins.formats,
        teachers=origins.teachers,
        licenses=origins.licenses,
        prompts=origins.prompts,
        cost_usd=origins.cost_usd,
        unreadable=origins.unreadable,
    )


def _empty(task: Task, manifest: Manifest) -> TaskStats:
    """Counters with a row for each class of the set, also of those that no sample shows."""
    names: tuple[str, ...] = getattr(manifest, TASKS[task].class_list, ())
    return TaskStats(class_pixels=Counter(dict.fromkeys(names, 0)))


def _count_maps(sample: Sample) -> dict[Task, CountedMap | None]:
    return {task: count_map(sample, task) for task in sample.tasks}


def _add(
    sample: Sample,
    maps: Mapping[Task, CountedMap | None],
    tasks: Mapping[Task, TaskStats],
    origins: _Origins,
    manifest: Manifest,
) -> None:
    """Count a sample; one that does not decode is counted as unreadable only."""
    try:
        origins.add(sample)
    except DistillError:
        origins.unreadable += 1
        return
    for task, found in maps.items():
        if found is None:
            origins.unreadable += 1
        elif task in tasks:
            tasks[task].add(sample, task, found, manifest.classes)


def _class_lines(task: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    shown = sorted(rows, key=lambda row: -row["pixels"])[:_SHOWN]
    has_instances = "instances" in rows[0]
    cells = [
        [row["name"], f"{100 * row['fraction']:.2f} %", row["images"], *([row["instances"]] if has_instances else [])]
        for row in shown
    ]
    more = [f"... and {len(rows) - _SHOWN} more; --json lists all"] if len(rows) > _SHOWN else []
    columns = [f"{task} class", "pixels", "images", *(["instances"] if has_instances else [])]
    return ["", text_table(columns, cells), *more]


def _histogram_lines(task: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    total = sum(row["pixels"] for row in rows)
    if not total:
        return []
    cells = [
        [
            f"{row['from']:g} to {row['to']:g}" if row["to"] is not None else f"{row['from']:g} and more",
            f"{100 * row['pixels'] / total:.1f} %",
            "█" * round(40 * row["pixels"] / total),
        ]
        for row in rows
    ]
    return ["", text_table([f"{task} value", "pixels", ""], cells)]


def _draw(counts: Sequence[int]) -> str:
    """A histogram in one line of text."""
    most = max(counts, default=0)
    return "".join(_BLOCKS[-(-8 * count // most) if most else 0] for count in counts)
