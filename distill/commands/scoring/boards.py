"""One board per task: every contestant's scores, side by side, over the same truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Shaped
from numpy import ndarray

from distill.commands.scoring.contestants import Contestant
from distill.commands.scoring.fitting import Crop, crop_mask, fit_label, join_classes
from distill.errors import UsageError
from distill.labels import Label, is_far
from distill.metrics import (
    Alignment,
    DepthMetrics,
    InstanceMetrics,
    NormalsMetrics,
    ReferringMetrics,
    SegmentationMetrics,
    default_alignment,
    instance_masks,
)
from distill.shards import Manifest
from distill.tasks import FAR_DEPTH_M, Gauge, Task

BACKGROUND_NAME = "background"
"""The referring class that stands for "none of the things asked for"."""


@dataclass(frozen=True)
class Rules:
    """On what terms is scored.

    Attributes:
        alignment: Of depth; None takes the weakest that each contestant's gauge needs.
        renamed: A contestant's class name to the truth's; None says it is no class of the truth.
    """

    alignment: Alignment | None = None
    crop: Crop = Crop.NONE
    min_depth_m: float = 1e-3
    max_depth_m: float = FAR_DEPTH_M
    renamed: Mapping[str, str | None] = field(default_factory=dict)


class Judge(Protocol):
    """Scores one contestant on one task."""

    facts: dict[str, Any]
    """What has to be known to read the scores: alignment, classes left out."""

    def update(
        self, answer: Label, value: Shaped[ndarray, "h w *c"], counts: Bool[ndarray, "h w"], truth: Label
    ) -> float:
        """How bad this image is (larger is worse), for the worst-first list; NaN when nothing counts."""
        ...

    def compute(self) -> dict[str, float]:
        """The scores so far."""
        ...


class DepthJudge:
    """Depth under an alignment."""

    def __init__(self, contestant: Contestant, truth: Manifest, rules: Rules) -> None:
        if truth.gauge is not Gauge.METRIC:
            raise UsageError(
                f"the truth's depth is {truth.gauge}, and nothing can be measured against depth without metres",
                hint="score other tasks with --task, or label the truth in metres",
            )
        alignment = rules.alignment or default_alignment(contestant.gauge)
        self._metrics = DepthMetrics(
            alignment=alignment,
            min_depth_m=rules.min_depth_m,
            max_depth_m=rules.max_depth_m,
            gauge=contestant.gauge,
        )
        self.facts: dict[str, Any] = {"alignment": str(alignment), "gauge": str(contestant.gauge)}

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label) -> float:
        """AbsRel."""
        return self._metrics.update(value, truth.value, counts & ~is_far(truth))["abs_rel"]

    def compute(self) -> dict[str, float]:
        """Depth scores."""
        return self._metrics.compute()


def alignment_of(judge: Judge) -> Alignment:
    """What will be fitted before depth is scored; none for the other tasks."""
    return Alignment(judge.facts.get("alignment", Alignment.NONE))


class NormalsJudge:
    """Angles between normals."""

    def __init__(self, contestant: Contestant, truth: Manifest, rules: Rules) -> None:
        self._metrics, self.facts = NormalsMetrics(), dict[str, Any]()

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label) -> float:
        """Mean angle."""
        return self._metrics.update(value, truth.value, counts)["mean_deg"]

    def compute(self) -> dict[str, float]:
        """Angular scores."""
        return self._metrics.compute()


class SemanticJudge:
    """Class ids, joined by name."""

    def __init__(self, contestant: Contestant, truth: Manifest, rules: Rules) -> None:
        self._join = join_classes(contestant.classes, truth.classes, rules.renamed)
        self._classes = truth.classes
        self._metrics = SegmentationMetrics(len(truth.classes))
        self.facts: dict[str, Any] = {
            "classes_it_cannot_say": list(self._join.unknown),
            "classes_not_in_truth": list(self._join.extra),
        }

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label) -> float:
        """The share of wrong pixels."""
        return 1.0 - self._metrics.update(self.in_truth_ids(value), truth.value, counts)["pixel_accuracy"]

    def in_truth_ids(self, ids: ndarray) -> ndarray:
        """The contestant's ids as the truth's; 255 where the truth has no such class."""
        return self._join.table[ids]

    def compute(self) -> dict[str, float]:
        """Segmentation scores; ``miou_known`` leaves out the classes that the contestant has no word for."""
        scores = self._metrics.compute()
        known = [row["iou"] for name, row in self.per_class().items() if name not in self._join.unknown]
        return {**scores, "miou_known": float(np.mean(known)) if known else math.nan}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Class name to its scores."""
        return {self._classes[index]: row for index, row in self._metrics.per_class().items()}


class InstanceJudge:
    """Instances per image and class, as SA-Co scores them."""

    def __init__(self, contestant: Contestant, truth: Manifest, rules: Rules) -> None:
        self._metrics, self._classes, self.facts = InstanceMetrics(), truth.instance_classes, dict[str, Any]()

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label) -> float:
        """The share of instances missed or invented, over all classes."""
        matched = total = 0.0
        for name in self._classes:
            found = self._metrics.update(
                instance_masks(_only(value, answer, name, counts)),
                instance_masks(_only(truth.value, truth, name, counts)),
            )
            matched += 2 * found["matched"]
            total += found["predicted"] + found["true"]
        return 1.0 - matched / total if total else math.nan

    def compute(self) -> dict[str, float]:
        """Instance scores."""
        return self._metrics.compute()


def _only(ids: ndarray, label: Label, name: str, counts: ndarray) -> ndarray:
    """The ids of one class, where they count; the rest is background."""
    wanted = [number for number, found in label.instance_classes.items() if found.casefold() == name.casefold()]
    return np.where(np.isin(ids, wanted) & counts, ids, 0).astype(np.uint16)


class ReferringJudge:
    """One mask per sentence."""

    def __init__(self, contestant: Contestant, truth: Manifest, rules: Rules) -> None:
        self._metrics, self.facts = ReferringMetrics(), dict[str, Any]()

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label) -> float:
        """1 - mean IoU over the sentences of the image; a sentence without an answer is an empty mask."""
        said = {name.casefold(): index for index, name in enumerate(answer.classes)}
        ious = [
            self._metrics.update(value == said.get(name.casefold(), -1), truth.value == index, counts)["iou"]
            for index, name in enumerate(truth.classes)
            if name != BACKGROUND_NAME
        ]
        return 1.0 - float(np.mean(ious)) if ious else math.nan

    def compute(self) -> dict[str, float]:
        """Referring scores."""
        return self._metrics.compute()


_JUDGES: dict[Task, Callable[[Contestant, Manifest, Rules], Judge]] = {
    Task.DEPTH: DepthJudge,
    Task.NORMALS: NormalsJudge,
    Task.SEMANTIC: SemanticJudge,
    Task.INSTANCE: InstanceJudge,
    Task.REFERRING: ReferringJudge,
}


class Board:
    """All contestants on one task."""

    def __init__(self, task: Task, contestants: Sequence[Contestant], truth: Manifest, rules: Rules) -> None:
        self.task, self._rules = task, rules
        self.judges = {one.name: _JUDGES[task](one, truth, rules) for one in contestants if task in one.tasks}
        self._asked = dict.fromkeys(self.judges, 0)
        self._answered = dict.fromkeys(self.judges, 0)
        self._missing = dict.fromkeys(self.judges, 0)
        self.images = 0

    def update(self, truth: Label, answers: Mapping[str, Label]) -> dict[str, float]:
        """How bad this image is, by contestant; larger is worse. Contestants without an answer are left out."""
        self.images += 1
        wanted = truth.valid & crop_mask(self._rules.crop, truth.size_hw)
        badness = {}
        for name, judge in self.judges.items():
            if name not in answers:
                self._missing[name] += 1
                continue
            value, valid = fit_label(answers[name], truth.size_hw, self._rules.max_depth_m, alignment_of(judge))
            counts = wanted & valid
            self._asked[name] += int(wanted.sum())
            self._answered[name] += int(counts.sum())
            badness[name] = judge.update(answers[name], value, counts, truth)
        return badness

    def compute(self) -> dict[str, dict[str, Any]]:
        """Contestant to scores, with ``coverage`` (its share of the truth's pixels) and ``missing`` (photos)."""
        return {
            name: {
                **judge.compute(),
                "coverage": self._answered[name] / self._asked[name] if self._asked[name] else math.nan,
                "missing": self._missing[name],
                **judge.facts,
            }
            for name, judge in self.judges.items()
        }
