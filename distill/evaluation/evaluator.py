"""Evaluation loop: run every predictor on every photo and accumulate scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.evaluation.ground_truth import GroundTruth
from distill.evaluation.image_records import ImageRecords
from distill.evaluation.near_duplicates import (
    NearDuplicate,
    NearDuplicateIndex,
    collect_warnings,
    near_duplicate_warning,
)
from distill.evaluation.predictors import Predictor
from distill.evaluation.report import build_report, ratios
from distill.evaluation.scoreboard import TaskScores, describe_photo, slice_scores
from distill.evaluation.scorers import EvalProtocol, scorer_type
from distill.evaluation.worst_cases import WorstCases
from distill.images import decode_rgb, max_pixels
from distill.labels import Label
from distill.labels.conversions import resample_nearest
from distill.metrics import Alignment, can_align, default_alignment
from distill.report import Gallery, Report
from distill.run_dir import machine, versions
from distill.runtime.progress import Reporter
from distill.shards import Manifest, Sample
from distill.tasks import TASKS, Task

MAX_PIXELS = 32_000_000
"""Largest map of the truth that is scored at every pixel; scores take about 70 bytes per pixel."""


@dataclass(frozen=True)
class Evaluation:
    """Result of one evaluation.

    Attributes:
        values: All results, as in ``evaluate.json``.
        galleries: Images of the worst cases by task.
    """

    values: dict[str, Any]
    galleries: Mapping[str, Gallery | None]

    @property
    def report(self) -> Report:
        """HTML report."""
        return build_report(self.values, self.galleries)


def choose_tasks(wanted: Sequence[Task], predictors: Sequence[Predictor], truth: GroundTruth) -> list[Task]:
    """Tasks to score: those requested, or all that the truth and at least one predictor have.

    Raises:
        UsageError: A requested task is missing on one side, or no task is shared.
    """
    answered, manifest = {task for one in predictors for task in one.tasks}, truth.manifest
    for task in wanted:
        if task not in manifest.tasks:
            raise UsageError(
                f"{truth.name}: the truth holds no {task} labels, only {', '.join(manifest.tasks)}",
                hint="choose another --task",
            )
        if task not in answered:
            raise UsageError(f"no predictor answers {task}", hint=f"they answer {', '.join(sorted(answered))}")
    tasks = list(dict.fromkeys(wanted)) or [task for task in Task if task in manifest.tasks and task in answered]
    if not tasks:
        raise UsageError(
            f"nothing can be compared: the truth holds {', '.join(manifest.tasks) or 'no labels'}, "
            f"the predictors answer {', '.join(sorted(answered)) or 'nothing'}",
            hint="label the truth for a task that the predictors answer",
        )
    return tasks


def evaluate_predictors(
    predictors: Sequence[Predictor],
    truth: GroundTruth,
    tasks: Sequence[Task],
    protocol: EvalProtocol,
    reporter: Reporter,
    *,
    limit: int | None = None,
    num_worst: int = 8,
    training_index: NearDuplicateIndex | None = None,
) -> Evaluation:
    """Score every predictor; `training_index` holds the photos of the training set.

    Raises:
        DistillError: No photo of the truth could be scored.
    """
    max_pixels()  # a limit that is no number is one error, not one per photo
    manifest = truth.manifest
    _check_class_map(protocol, predictors)
    protocol = _one_alignment(protocol, predictors)
    scores_by_task = {task: TaskScores(task, predictors, manifest, protocol) for task in tasks}
    worst = {task: WorstCases(task_scores, num_worst) for task, task_scores in scores_by_task.items()}
    records = {task: ImageRecords(task_scores) for task, task_scores in scores_by_task.items()}
    photos: dict[Task, list[dict[str, float]]] = {task: [] for task in tasks}
    warnings: list[str] = []
    near_duplicates: list[NearDuplicate] = []
    images = 0
    total = min(truth.count, limit) if limit else truth.count
    for sample in reporter.track(islice(truth.samples(), limit), "evaluate", total):
        try:
            name = str(sample.meta.get("name", sample.key))
            rgb, _ = decode_rgb(sample.photo, name)
            labels = {
                task: _bounded(sample.label(task, manifest), name, warnings)
                for task in sample.tasks
                if task in _needed(tasks)
            }
        except DistillError as error:
            warnings.append(f"{error.message}; it is left out")
            continue
        _score_sample(name, sample, rgb, labels, predictors, scores_by_task, worst, records)
        for task in set(tasks) & set(labels):
            photos[task].append(describe_photo(rgb))
        if training_index is not None and (near_duplicate := training_index.find(name, sample.photo)) is not None:
            near_duplicates.append(near_duplicate)
        images += 1
    warnings += [f"{read_error}; what it held is left out" for read_error in truth.read_errors]
    _check_scored(truth.name, scores_by_task, warnings)
    if near_duplicates:
        warnings.insert(0, near_duplicate_warning(near_duplicates, images))
    values = {
        "truth": truth.name,
        "images": images,
        "predictors": [one.name for one in predictors],
        "kinds": {one.name: one.kind for one in predictors},
        "tasks": {
            str(task): {
                **_task_values(scores_by_task[task], worst[task], protocol, manifest, photos[task], predictors),
                "reliability": records[task].reliability(),
                "per_image": records[task].rows(),
            }
            for task in tasks
        },
        "training_photos": None if training_index is None else len(training_index),
        "near_duplicates": [dataclasses.asdict(near_duplicate) for near_duplicate in near_duplicates],
        "warnings": [*warnings, *collect_warnings(predictors, scores_by_task.values())],
        "environment": {**versions(), **machine()},
    }
    return Evaluation(values, {str(task): worst[task].gallery() for task in tasks})


def _bounded(label: Label, name: str, warnings: list[str]) -> Label:
    """A true label of at most `MAX_PIXELS`; of a larger one, every k-th row and column is scored."""
    height, width = label.size_hw
    step = math.ceil(math.sqrt(height * width / MAX_PIXELS))
    if step == 1:
        return label
    warnings.append(
        f"{name}: its {label.task} has {height * width / 1e6:.0f} megapixels; every {step}th row and column is scored"
    )
    return resample_nearest(label, (max(1, height // step), max(1, width // step)))


def _check_scored(truth: str, scores_by_task: Mapping[Task, TaskScores], warnings: Sequence[str]) -> None:
    """Raise DistillError if no photo has a prediction, or no pixel was compared."""
    if not any(num_scored(task_scores) for task_scores in scores_by_task.values()):
        raise DistillError(
            f"{truth}: no photo of the truth has an answer to score{f' ({warnings[0]})' if warnings else ''}",
            hint="give the shards of the same photos, or a student",
        )
    if not any(task_scores.scored(name)[0] for task_scores in scores_by_task.values() for name in task_scores.scorers):
        raise DistillError(
            f"{truth}: no pixel was scored: all pixels of the truth ({', '.join(scores_by_task)}) are invalid, to be "
            "ignored, outside of the range of the protocol, or without a prediction",
            hint="check the ids and units of the truth, and --crop, --min-depth and --max-depth",
        )


def _one_alignment(protocol: EvalProtocol, predictors: Sequence[Predictor]) -> EvalProtocol:
    """The protocol with the alignment of the relative predictors applied to all, so that scores are comparable."""
    depth_kinds = {one.depth_kind for one in predictors if Task.DEPTH in one.tasks}
    needed = {default_alignment(depth_kind) for depth_kind in depth_kinds} - {Alignment.NONE}
    if protocol.alignment is not None or len(needed) != 1:
        return protocol
    alignment = needed.pop()
    return (
        replace(protocol, alignment=alignment)
        if all(can_align(alignment, depth_kind) for depth_kind in depth_kinds)
        else protocol
    )


def _check_class_map(protocol: EvalProtocol, predictors: Sequence[Predictor]) -> None:
    """Raise if no predictor has a class that `--map-classes` renames."""
    said = {name.casefold() for one in predictors for name in one.classes}
    for name in protocol.class_map:
        if name.casefold() not in said:
            raise UsageError(
                f"--map-classes: no predictor has a class {name!r}",
                hint=f"they have {', '.join(sorted(said)) or 'none'}",
            )


def _needed(tasks: Sequence[Task]) -> set[Task]:
    """Tasks whose true labels are read; classes also group the pixels of other tasks."""
    return {*tasks, Task.SEMANTIC}


def num_scored(task_scores: TaskScores) -> int:
    """Number of scored predictions, over all predictors."""
    return sum(task_scores.images - row["missing"] for row in task_scores.compute().values())


def _score_sample(
    name: str,
    sample: Sample,
    rgb: UInt8[ndarray, "h w 3"],
    labels: Mapping[Task, Label],
    predictors: Sequence[Predictor],
    scores_by_task: Mapping[Task, TaskScores],
    worst: Mapping[Task, WorstCases],
    records: Mapping[Task, ImageRecords],
) -> None:
    answers: dict[str, dict[Task, Label]] = {one.name: one.predict(sample, rgb) for one in predictors}
    classes = labels[Task.SEMANTIC].value if Task.SEMANTIC in labels else None
    for task, task_scores in scores_by_task.items():
        if task not in labels:
            continue
        truth = labels[task]
        given = {one: said[task] for one, said in answers.items() if task in said}
        groups = classes if classes is not None and classes.shape == truth.size_hw else None
        image_error = task_scores.update(truth, given, groups)
        worst[task].add(name, image_error, rgb, truth, given)
        records[task].add(name, image_error, truth, given)


def _task_values(
    task_scores: TaskScores,
    worst: WorstCases,
    protocol: EvalProtocol,
    manifest: Manifest,
    photos: list[dict[str, float]],
    predictors: Sequence[Predictor],
) -> dict[str, Any]:
    scores = task_scores.compute()
    metric = TASKS[task_scores.task].headline
    values: dict[str, Any] = {
        "protocol": scorer_type(task_scores.task).protocol_values(protocol),
        "scores": scores,
        "ratios": ratios(scores, task_scores.task),
        "intervals": task_scores.intervals(),
        "differences": {
            name: {score: dataclasses.asdict(found) for score, found in rows.items()}
            for name, rows in task_scores.differences().items()
        },
        "slices": slice_scores(task_scores, photos, metric, manifest.classes),
        "ceiling": _teacher_ceiling(scores, metric, {one.name: one.kind for one in predictors}),
        "worst": worst.rows(),
        "classes_without_truth": list(task_scores.classes_without_truth),
        "few": task_scores.few(),
    }
    tables = {name: table for name, scorer in task_scores.scorers.items() if (table := scorer.per_class())}
    if tables:
        values["classes"] = list(manifest.classes)
        values["confusion"] = {name: scorer.confusion() for name, scorer in task_scores.scorers.items()}
        classes = dict.fromkeys(name for table in tables.values() for name in table)
        values["per_class"] = {
            name: {
                "iou": {one: table[name]["iou"] for one, table in tables.items() if name in table},
                "pixels": max(table[name]["pixels"] for table in tables.values() if name in table),
            }
            for name in classes
        }
    return values


def _teacher_ceiling(
    scores: Mapping[str, Mapping[str, Any]], metric: str, kinds: Mapping[str, str]
) -> dict[str, Any] | None:
    """Gap between the first predictor and the labels it learned from; None without such labels.

    A student of noisy labels is not expected to score above the labels themselves, which is the ceiling; the mean
    baseline, if given, is the lower bound.
    """
    first = next(iter(scores), None)
    teacher = next((name for name in scores if name != first and kinds[name] in ("labels", "model")), None)
    if first is None or teacher is None or kinds[first] == "baseline":
        return None
    mine, best = scores[first].get(metric), scores[teacher].get(metric)
    if not isinstance(mine, float) or not isinstance(best, float) or not math.isfinite(mine - best):
        return None
    found: dict[str, Any] = {"metric": metric, "student": first, "teacher": teacher, "gap": mine - best}
    lowest = next((scores[name].get(metric) for name in scores if kinds[name] == "baseline"), None)
    if lowest is not None and math.isfinite(lowest) and lowest != best:
        found["gap_closed"] = (mine - lowest) / (best - lowest)
    return found
