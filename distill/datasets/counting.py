"""Counters of a set's labels: classes, stored levels, confidence, quality, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from distill.errors import DistillError
from distill.images import decode_map
from distill.labels.formats import label_format
from distill.shards import Sample
from distill.tasks import TASKS, DepthKind, Task

DEPTH_EDGES_M = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 90.0)
"""Lower edges of the bins of metric depth; the last bin has no upper edge: it is sky, and what is as far."""
BINS = 10
MAX_SIZES = 100


class CountedMap(NamedTuple):
    """Pixels of one map.

    Attributes:
        size_hw: Of the map.
        valid: Pixels with a value.
        levels: Pixels of each stored level; empty for vectors.
        confidence: Valid pixels of each stored confidence.
    """

    size_hw: tuple[int, int]
    valid: int
    levels: ndarray
    confidence: ndarray


def count_map(sample: Sample, task: Task) -> CountedMap | None:
    """Count the pixels of a map; None if it does not decode, or is no map of the task."""
    info, name = TASKS[task], f"{task}.png"
    try:
        stored = decode_map(sample.files[name], name)
        confidence_name = f"{task}.confidence.png"
        confidence = decode_map(sample.files[confidence_name], name) if confidence_name in sample.files else None
    except DistillError:
        return None
    if stored.dtype != np.dtype(info.dtype) or stored.shape[2:] != info.channels:
        return None
    size_hw = (stored.shape[0], stored.shape[1])
    if confidence is None:
        confidence = np.full(size_hw, 255, np.uint8)
    if confidence.dtype != np.uint8 or confidence.shape != size_hw:
        return None
    valid = stored.any(axis=-1) if info.channels else stored != info.ignore
    levels = np.zeros(0, np.int64) if info.channels else np.bincount(stored.ravel())
    return CountedMap(size_hw, int(np.count_nonzero(valid)), levels, np.bincount(confidence[valid], minlength=256))


@dataclass(slots=True)
class TaskStats:
    """Statistics of the labels of one task.

    Attributes:
        labels: Samples with a label.
        pixels: Of their maps.
        valid: Pixels with a value.
        class_pixels: Pixels of each class, by name; of instances, hidden parts included.
        class_images: Samples that show the class.
        instances: Number of instances of each class.
        levels: Pixels of each stored level.
        confidence: Valid pixels of each stored confidence, 0 to 255.
        quality: Quality of each answer, in ten bins from 0 to 1.
        quality_sum: Of all answers.
        sizes: Maps of each size, as HEIGHTxWIDTH.
    """

    labels: int = 0
    pixels: int = 0
    valid: int = 0
    class_pixels: Counter[str] = field(default_factory=Counter[str])
    class_images: Counter[str] = field(default_factory=Counter[str])
    instances: Counter[str] = field(default_factory=Counter[str])
    levels: ndarray = field(default_factory=lambda: np.zeros(65536, np.int64))
    confidence: ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    quality: ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    quality_sum: float = 0.0
    sizes: Counter[str] = field(default_factory=Counter[str])

    def to_dict(self, task: Task, samples: int, kind: DepthKind) -> dict[str, Any]:
        """Convert to JSON values."""
        answers = int(self.quality.sum())
        values: dict[str, Any] = {
            "labels": self.labels,
            "coverage": self.labels / samples if samples else 0.0,
            "valid_fraction": self.valid / self.pixels if self.pixels else 0.0,
            "confidence_histogram": ten_bins(self.confidence),
            "quality_histogram": self.quality.tolist(),
            "mean_quality": self.quality_sum / answers if answers else None,
            "sizes": dict(self.sizes.most_common(MAX_SIZES)),
        }
        if TASKS[task].class_list:
            total = sum(self.class_pixels.values())
            values["classes"] = [
                {
                    "name": name,
                    "pixels": pixels,
                    "fraction": pixels / total if total else 0.0,
                    "images": self.class_images[name],
                }
                | ({"instances": self.instances[name]} if self.instances else {})
                for name, pixels in self.class_pixels.items()
            ]
        if self.levels.any() and TASKS[task].storage != "ids":
            values["histogram"] = self._histogram(task, kind)
        return values

    def _histogram(self, task: Task, kind: DepthKind) -> list[dict[str, Any]]:
        """Pixels by value: meters for metric depth, [0, 1] for others."""
        info = TASKS[task]
        is_metric = info.has_depth_kind and kind is DepthKind.METRIC
        levels = np.flatnonzero(self.levels)
        levels = levels[levels != info.ignore].astype(info.dtype)
        values, _ = label_format(task).decode(levels[None], info, kind if info.has_depth_kind else None)
        edges = np.array(DEPTH_EDGES_M) if is_metric else np.linspace(0, 1, BINS + 1)[:-1]
        bins = np.searchsorted(edges, values[0], side="right") - 1
        counts = np.bincount(bins, self.levels[levels], minlength=len(edges)).astype(int)
        tops = [*edges[1:].tolist(), None if is_metric else 1.0]
        return [
            {"from": round(low, 3), "to": None if top is None else round(top, 3), "pixels": int(count)}
            for low, top, count in zip(edges.tolist(), tops, counts, strict=True)
        ]

    def add(self, sample: Sample, task: Task, found: CountedMap, classes: Sequence[str]) -> None:
        """Count a map and the records of its label."""
        self.labels += 1
        self.pixels += found.size_hw[0] * found.size_hw[1]
        self.valid += found.valid
        self.confidence += found.confidence
        self.levels[: found.levels.size] += found.levels
        self.sizes[f"{found.size_hw[0]}x{found.size_hw[1]}"] += 1
        for record in sample.meta.get("records") or []:
            if record.get("task") == str(task) and record.get("quality") is not None:
                quality = min(max(float(record["quality"]), 0.0), 1.0)
                self.quality[min(int(quality * BINS), BINS - 1)] += 1
                self.quality_sum += quality
        class_list = TASKS[task].class_list
        if class_list == "instance_classes":
            self._add_instances(sample)
        elif class_list:
            names = classes if class_list == "classes" else [str(name) for name in sample.meta.get("referring") or []]
            for number in np.flatnonzero(found.levels).tolist():
                if number != TASKS[task].ignore:
                    name = names[number] if number < len(names) else f"id {number}"
                    self.class_pixels[name] += int(found.levels[number])
                    self.class_images[name] += 1

    def _add_instances(self, sample: Sample) -> None:
        rows = [row for row in sample.meta.get("instances") or [] if isinstance(row, dict)]
        for row in rows:
            name = str(row.get("class"))
            self.instances[name] += 1
            self.class_pixels[name] += pixels if isinstance(pixels := row.get("pixels"), int) else 0
        self.class_images.update({str(row.get("class")) for row in rows})


def ten_bins(levels: ndarray) -> list[int]:
    """Counts of 256 levels in ten bins of equal width."""
    counts: list[int] = np.bincount(np.arange(256) * BINS // 256, levels, minlength=BINS).astype(int).tolist()
    return counts
