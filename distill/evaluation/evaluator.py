"""One pass over the truth: every contestant answers every photo, every board counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.console import Console
from distill.errors import DistillError, UsageError
from distill.evaluation.ground_truth import Truth
from distill.evaluation.near_duplicates import Twin, TwinFinder, warn_of_twins, warnings_about
from distill.evaluation.predictors import Contestant
from distill.evaluation.report import HEADLINE, build_page, ratios
from distill.evaluation.scoreboard import Board, describe_photo, slice_scores
from distill.evaluation.scorers import Rules, SemanticJudge
from distill.evaluation.worst_cases import WorstList
from distill.images import decode_rgb
from distill.labels import Label
from distill.metrics import Alignment, can_align, default_alignment
from distill.report import Gallery, Report
from distill.run_dir import machine, versions
from distill.shards import Manifest, Sample
from distill.tasks import Task


@dataclass(frozen=True)
class Evaluation:
    """The outcome of one evaluation.

    Attributes:
        values: Everything measured, as ``evaluate.json`` holds it.
        galleries: Worst-first pictures by task.
    """

    values: dict[str, Any]
    galleries: Mapping[str, Gallery | None]

    @property
    def report(self) -> Report:
        """The page."""
        return build_page(self.values, self.galleries)


def choose_tasks(wanted: Sequence[Task], contestants: Sequence[Contestant], truth: Truth) -> list[Task]:
    """The tasks to score: those wanted, or all that the truth and at least one contestant have.

    Raises:
        UsageError: A wanted task is missing on one side, or nothing is shared.
    """
    answered, manifest = {task for one in contestants for task in one.tasks}, truth.manifest
    for task in wanted:
        if task not in manifest.tasks:
            raise UsageError(
                f"{truth.name}: the truth holds no {task} labels, only {', '.join(manifest.tasks)}",
                hint="choose another --task",
            )
        if task not in answered:
            raise UsageError(f"no subject answers {task}", hint=f"they answer {', '.join(sorted(answered))}")
    tasks = list(dict.fromkeys(wanted)) or [task for task in Task if task in manifest.tasks and task in answered]
    if not tasks:
        raise UsageError(
            f"nothing can be compared: the truth holds {', '.join(manifest.tasks) or 'no labels'}, "
            f"the subjects answer {', '.join(sorted(answered)) or 'nothing'}",
            hint="label the truth for a task that the subjects answer",
        )
    return tasks


def evaluate_contestants(
    contestants: Sequence[Contestant],
    truth: Truth,
    tasks: Sequence[Task],
    rules: Rules,
    console: Console,
    *,
    limit: int | None = None,
    num_worst: int = 8,
    twins: TwinFinder | None = None,
) -> Evaluation:
    """Every contestant's scores over the truth; `twins` knows the photos of the training set.

    Raises:
        DistillError: No photo of the truth could be scored.
    """
    manifest = truth.manifest
    _check_renamed(rules, contestants)
    rules = _one_alignment(rules, contestants)
    boards = {task: Board(task, contestants, manifest, rules) for task in tasks}
    worst = {task: WorstList(board, rules, num_worst) for task, board in boards.items()}
    photos: dict[Task, list[dict[str, float]]] = {task: [] for task in tasks}
    warnings: list[str] = []
    found_twins: list[Twin] = []
    images = 0
    total = min(truth.count, limit) if limit else truth.count
    for sample in console.track(islice(truth.samples(), limit), "evaluate", total):
        try:
            name = str(sample.meta.get("name", sample.key))
            rgb, _ = decode_rgb(sample.photo, name)
            labels = {task: sample.label(task, manifest) for task in sample.tasks if task in _needed(tasks)}
        except DistillError as error:
            warnings.append(f"{error.message}; it is left out")
            continue
        _score_sample(name, sample, rgb, labels, contestants, boards, worst)
        for task in set(tasks) & set(labels):
            photos[task].append(describe_photo(rgb))
        if twins is not None and (twin := twins.find(name, sample.photo)) is not None:
            found_twins.append(twin)
        images += 1
    warnings += [f"{fault}; what it held is left out" for fault in truth.faults]
    if not any(judge_images(board) for board in boards.values()):
        raise DistillError(
            f"{truth.name}: no photo of the truth has an answer to score{f' ({warnings[0]})' if warnings else ''}",
            hint="give the shards of the same photos, or a student",
        )
    if found_twins:
        warnings.insert(0, warn_of_twins(found_twins, images))
    values = {
        "truth": truth.name,
        "images": images,
        "subjects": [one.name for one in contestants],
        "kinds": {one.name: one.kind for one in contestants},
        "tasks": {
            str(task): _task_values(boards[task], worst[task], rules, manifest, photos[task], contestants)
            for task in tasks
        },
        "training_photos": None if twins is None else len(twins),
        "twins": [dataclasses.asdict(twin) for twin in found_twins],
        "warnings": [*warnings, *warnings_about(contestants, boards.values())],
        "made_with": {**versions(), **machine()},
    }
    return Evaluation(values, {str(task): worst[task].gallery() for task in tasks})


def _one_alignment(rules: Rules, contestants: Sequence[Contestant]) -> Rules:
    """The rules with what one relative contestant needs granted to all: only then do their scores compare."""
    depth_kinds = {one.depth_kind for one in contestants if Task.DEPTH in one.tasks}
    needed = {default_alignment(depth_kind) for depth_kind in depth_kinds} - {Alignment.NONE}
    if rules.alignment is not None or len(needed) != 1:
        return rules
    alignment = needed.pop()
    return (
        replace(rules, alignment=alignment)
        if all(can_align(alignment, depth_kind) for depth_kind in depth_kinds)
        else rules
    )


def _check_renamed(rules: Rules, contestants: Sequence[Contestant]) -> None:
    """Refuse a renaming of a class that nobody has: it would be passed over in silence."""
    said = {name.casefold() for one in contestants for name in one.classes}
    for name in rules.renamed:
        if name.casefold() not in said:
            raise UsageError(
                f"--map-classes: no subject has a class {name!r}",
                hint=f"they have {', '.join(sorted(said)) or 'none'}",
            )


def _needed(tasks: Sequence[Task]) -> set[Task]:
    """The true labels that are looked at: classes sort the pixels of the other tasks as well."""
    return {*tasks, Task.SEMANTIC}


def judge_images(board: Board) -> int:
    """How many answers a board has scored, over all contestants."""
    return sum(board.images - row["missing"] for row in board.compute().values())


def _score_sample(
    name: str,
    sample: Sample,
    rgb: UInt8[ndarray, "h w 3"],
    labels: Mapping[Task, Label],
    contestants: Sequence[Contestant],
    boards: Mapping[Task, Board],
    worst: Mapping[Task, WorstList],
) -> None:
    answers: dict[str, dict[Task, Label]] = {one.name: one.predict(sample, rgb) for one in contestants}
    classes = labels[Task.SEMANTIC].value if Task.SEMANTIC in labels else None
    for task, board in boards.items():
        if task not in labels:
            continue
        truth = labels[task]
        given = {one: said[task] for one, said in answers.items() if task in said}
        groups = classes if classes is not None and classes.shape == truth.size_hw else None
        worst[task].offer(name, board.update(truth, given, groups), rgb, truth, given)


def _task_values(
    board: Board,
    worst: WorstList,
    rules: Rules,
    manifest: Manifest,
    photos: list[dict[str, float]],
    contestants: Sequence[Contestant],
) -> dict[str, Any]:
    scores = board.compute()
    metric = HEADLINE[board.task][0]
    values: dict[str, Any] = {
        "terms": _terms(board.task, rules),
        "scores": scores,
        "ratios": ratios(scores, board.task),
        "intervals": board.intervals(),
        "differences": {
            name: {score: dataclasses.asdict(found) for score, found in rows.items()}
            for name, rows in board.differences().items()
        },
        "slices": slice_scores(board, photos, metric, manifest.classes),
        "ceiling": _ceiling(scores, metric, {one.name: one.kind for one in contestants}),
        "worst": worst.rows(),
    }
    tables = {name: judge.per_class() for name, judge in board.judges.items() if isinstance(judge, SemanticJudge)}
    if tables:
        values["classes"] = list(manifest.classes)
        classes = dict.fromkeys(name for table in tables.values() for name in table)
        values["per_class"] = {
            name: {
                "iou": {one: table[name]["iou"] for one, table in tables.items() if name in table},
                "pixels": max(table[name]["pixels"] for table in tables.values() if name in table),
            }
            for name in classes
        }
    return values


def _ceiling(scores: Mapping[str, Mapping[str, Any]], metric: str, kinds: Mapping[str, str]) -> dict[str, Any] | None:
    """How much of what its labels could teach the first contestant has learned; None without labels to compare with.

    A student of noisy labels is not expected above their own score against the truth, the ceiling; the trivial
    predictor, where there is one, is the floor.
    """
    first = next(iter(scores), None)
    teacher = next((name for name in scores if name != first and kinds[name] in ("labels", "model")), None)
    if first is None or teacher is None or kinds[first] == "trivial":
        return None
    mine, best = scores[first].get(metric), scores[teacher].get(metric)
    if not isinstance(mine, float) or not isinstance(best, float) or not math.isfinite(mine - best):
        return None
    found: dict[str, Any] = {"metric": metric, "student": first, "teacher": teacher, "gap": mine - best}
    floor = next((scores[name].get(metric) for name in scores if kinds[name] == "trivial"), None)
    if floor is not None and math.isfinite(floor) and floor != best:
        found["share_of_the_way"] = (mine - floor) / (best - floor)
    return found


def _terms(task: Task, rules: Rules) -> dict[str, Any]:
    terms: dict[str, Any] = {"crop": str(rules.crop)}
    if task is Task.DEPTH:
        terms |= {"min_depth_m": rules.min_depth_m, "max_depth_m": rules.max_depth_m}
    return terms
