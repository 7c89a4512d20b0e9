"""Near-duplicate check between training and test photos by perceptual hash; finds re-saved and resized copies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt64
from numpy import ndarray

from distill.errors import DistillError
from distill.evaluation.predictors import Predictor, ShardPredictor
from distill.evaluation.scoreboard import MIN_IMAGES, MIN_PIXELS, TaskScores
from distill.images import decode_rgb
from distill.images.photo_hash import MAX_COPY_BITS, different_bits, hash_photo, read_hash
from distill.metrics.base import task_metric
from distill.shards import Sample
from distill.tasks import TASKS, Task


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Pair of photos that look the same.

    Attributes:
        photo: Name in the test set.
        other: Name in the training set.
        bits: Number of different bits of 128.
    """

    photo: str
    other: str
    bits: int


def photo_hash(data: bytes) -> UInt64[ndarray, " 2"] | None:
    """Bits of `hash_photo` of a photo file; None for a damaged photo and for one of a single color."""
    try:
        return read_hash(hash_photo(decode_rgb(data, "photo")[0]))
    except DistillError:
        return None


class NearDuplicateIndex:
    """Index of the photos of a training set."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        names, hashes = [], []
        for sample in samples:
            stored = sample.meta.get("photo_hash")  # decoding the photo would take several milliseconds
            found = photo_hash(sample.photo) if stored is None else read_hash(stored)
            if found is not None:
                names.append(str(sample.meta.get("name", sample.key)))
                hashes.append(found)
        self._names, self._hashes = names, np.array(hashes, np.uint64).reshape(-1, 2)

    def __len__(self) -> int:
        """Number of photos."""
        return len(self._names)

    def find(self, name: str, data: bytes) -> NearDuplicate | None:
        """Photo of the training set that looks like this one, or None."""
        wanted = photo_hash(data)
        if wanted is None or not self._names:
            return None
        bits = different_bits(self._hashes, wanted[None])
        nearest = int(bits.argmin())
        return NearDuplicate(name, self._names[nearest], int(bits[nearest])) if bits[nearest] <= MAX_COPY_BITS else None


def near_duplicate_warning(near_duplicates: Sequence[NearDuplicate], images: int) -> str:
    """Warning that photos of the test set were in the training set."""
    first = near_duplicates[0]
    return (
        f"{len(near_duplicates)} of {images} photos look like photos of the training set (such as {first.photo} and "
        f"{first.other}): these scores do not show what the student does on new photos"
    )


def collect_warnings(predictors: Sequence[Predictor], task_scores_list: Iterable[TaskScores]) -> list[str]:
    """Warnings shown above the scores."""
    found = []
    for one in predictors:
        if isinstance(one, ShardPredictor):
            found += [f"{one.name}: {read_error}" for read_error in one.read_errors]
            if one.matched_by_key:
                found.append(f"{one.name}: {one.matched_by_key} photos were matched by key alone; their bytes differ")
    for task_scores in task_scores_list:
        rows = task_scores.compute()
        if len({row.get("alignment") for row in rows.values()}) > 1:
            found.append("the depth of the predictors is aligned differently, so their scores do not compare")
        for name, row in rows.items():
            if row["missing"]:
                found.append(
                    f"{name}: no {task_scores.task} answer for {row['missing']} of {task_scores.images} photos"
                )
            unpredicted = _seen(task_scores, name, row.get("classes_not_predicted", ()))
            if unpredicted:
                found.append(f"{name}: does not have the classes {', '.join(unpredicted)}; they count with IoU 0")
            if row.get("classes_not_in_truth"):
                names = ", ".join(row["classes_not_in_truth"])
                found.append(f"{name}: {names} are no classes of the truth; such pixels are wrong")
            if row.get("instances_not_scored"):
                names = ", ".join(row["instances_not_scored"])
                found.append(f"{name}: instances of {names} are not scored: the truth has no such class")
        found += [*_truth_warnings(task_scores), *_undefined(task_scores.task, rows)]
    return found


def _undefined(task: Task, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Main scores that are undefined although pixels were scored."""
    metric, title, why = TASKS[task].headline, TASKS[task].headline_title, task_metric(task).undefined
    names = [name for name, row in rows.items() if math.isnan(row.get(metric, 0.0))]
    return [f"{task}: {title} of {', '.join(names)} is undefined: {why}"] if names and why else []


def _truth_warnings(task_scores: TaskScores) -> list[str]:
    """Classes without a pixel in the truth, and scores over few images or pixels."""
    found = []
    absent = task_scores.classes_without_truth
    if absent:
        shown = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        found.append(
            f"{task_scores.task}: the truth has no pixel of {shown}; how well these classes are predicted is not scored"
        )
    few = task_scores.few()
    if few:
        counts = ", ".join(f"{name} {row['images']:,} images and {row['pixels']:,} pixels" for name, row in few.items())
        found.append(
            f"{task_scores.task}: the scores are over few images or pixels ({counts}; at least {MIN_IMAGES} and "
            f"{MIN_PIXELS:,} say something)"
        )
    return found


def _seen(task_scores: TaskScores, name: str, classes: Sequence[str]) -> list[str]:
    """Classes that occur in the truth; the others do not enter a mean."""
    pixels = {one: row["pixels"] for one, row in task_scores.scorers[name].per_class().items()}
    return [one for one in classes if pixels.get(one, 0) > 0]
