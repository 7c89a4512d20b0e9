"""Labels to review, worst first or most informative first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from distill.datasets.review.verdicts import MAX_PARTS, MAX_SCORE
from distill.datasets.shard_set import SampleInfo, ShardSet
from distill.errors import UsageError
from distill.runtime.progress import Reporter
from distill.tasks import Task

_UNKNOWN_SCORE = 0.5
_MAX_NAME = 300


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One label of one sample.

    Attributes:
        position: Of the sample in the set.
        key: Of the sample.
        task: Of the label.
        name: Of the photo.
        quality: Score in [0, 1]; None where the set has none.
        parts: Parts of the score by name.
    """

    position: int
    key: str
    task: Task
    name: str
    quality: float | None
    parts: Mapping[str, float]


def list_items(shards: ShardSet, tasks: Sequence[Task], reporter: Reporter) -> dict[Task, list[ReviewItem]]:
    """All labels of a set by task, worst score first; labels without a score come last. Reads headers and json only.

    Raises:
        UsageError: The set has no labels of a task.
    """
    for task in tasks:
        if task not in shards.manifest.tasks:
            raise UsageError(
                f"{shards.folder}: has no {task} labels", hint=f"it has {', '.join(shards.manifest.tasks)}"
            )
    wanted = tuple(tasks) or shards.manifest.tasks
    found: dict[Task, list[ReviewItem]] = {task: [] for task in wanted}
    for position, info in enumerate(reporter.track(shards.infos(), "review: read", len(shards))):
        for task in info.tasks:
            if task in found:
                found[task].append(_item(info, position, task))
    for items in found.values():
        items.sort(key=lambda item: (item.quality is None, item.quality, item.position))
    return {task: items for task, items in found.items() if items}


def task_record(meta: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Record of a task's label with its score: of several (one per prompt), the one with the lowest score."""
    rows = [row for row in meta.get("records") or () if isinstance(row, Mapping) and row.get("task") == task]
    scored = [row for row in rows if isinstance(row.get("quality"), int | float)]
    return min(scored, key=lambda row: float(row["quality"])) if scored else (rows[0] if rows else {})


def _item(info: SampleInfo, position: int, task: Task) -> ReviewItem:
    record = task_record(info.meta, task)
    quality, parts = record.get("quality"), record.get("quality_parts")
    # Sets of strangers: what a verdict could not hold is left out.
    numbers = {
        str(name)[:_MAX_NAME]: float(value)
        for name, value in islice(parts.items() if isinstance(parts, Mapping) else (), MAX_PARTS)
        if isinstance(value, int | float) and abs(value) <= MAX_SCORE
    }
    return ReviewItem(
        position=position,
        key=info.key,
        task=task,
        name=str(info.meta.get("name") or info.key)[:_MAX_NAME],
        quality=float(quality) if isinstance(quality, int | float) and abs(quality) <= MAX_SCORE else None,
        parts=numbers,
    )


def most_informative(items: Sequence[ReviewItem], count: int) -> list[ReviewItem]:
    """The `count` items whose verdicts are expected to change a calibration most, most informative first.

    The expected length of the gradient of the logistic loss: 2 p (1 - p) |x|, where p is the score and x are its parts
    with the offset; "expected gradient length" of Settles and Craven, "An Analysis of Active Learning Strategies for
    Sequence Labeling Tasks", EMNLP 2008. A label without a score counts as undecided.
    """

    def change(item: ReviewItem) -> float:
        p = min(max(_UNKNOWN_SCORE if item.quality is None else item.quality, 0.0), 1.0)
        return 2 * p * (1 - p) * math.sqrt(1 + sum(value * value for value in item.parts.values()))

    return sorted(items, key=lambda item: (-change(item), item.position))[:count]
