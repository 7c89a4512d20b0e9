"""Per-task scorers: one predictor on one task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distill.errors import UsageError
from distill.evaluation.predictors import BACKGROUND_NAME, Predictor
from distill.evaluation.protocol import Crop, remap_classes, resize_ids, resize_label
from distill.labels import Label, is_sky
from distill.labels.instance_layers import keep_ids
from distill.metrics import Alignment, DepthMetrics, InstanceMetrics, align_depth, default_alignment
from distill.metrics.base import MetricFacts, Values, task_metric
from distill.shards import Manifest
from distill.tasks import FAR_DEPTH_M, DepthKind, Task
from distill.visualization.label_drawers import DrawingFacts


@dataclass(frozen=True)
class EvalProtocol:
    """Evaluation protocol.

    Attributes:
        alignment: Alignment of depth; None takes the weakest that each predictor's depth kind needs.
        class_map: A predictor's class name to that of the truth; None if it is not a class of the truth.
    """

    alignment: Alignment | None = None
    crop: Crop = Crop.NONE
    min_depth_m: float = 1e-3
    max_depth_m: float = FAR_DEPTH_M
    class_map: Mapping[str, str | None] = field(default_factory=dict)


@runtime_checkable
class PooledMetrics(Protocol):
    """Scores computed from sums over images, so that images can be resampled."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def rows(self) -> Float[ndarray, "n k"]:
        """One row of sums per scored image (or mask)."""
        ...

    def pool(self, sums: Float[ndarray, "... k"]) -> dict[str, Values]:
        """Scores from a sum of rows."""
        ...


class Scorer:
    """Scores one predictor on one task; as it is, on tasks whose metric compares values pixel by pixel.

    Attributes:
        metrics: Accumulator of the scores.
        alignment: Fitted to depth before it is scored; none for other tasks.
        facts: Values reported with the scores: alignment, classes left out.
    """

    def __init__(self, task: Task, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        self.task, self._protocol, self._metric = task, protocol, task_metric(task)
        self.alignment = Alignment.NONE
        self.facts: dict[str, Any] = {}
        facts = MetricFacts(predictor.depth_kind, len(truth.classes))
        self.metrics: Any = self._metric.build(facts)

    def resize(self, answer: Label, size_hw: tuple[int, int]) -> tuple[ndarray, ndarray]:
        """(value, valid) of a prediction at the truth's size."""
        return resize_label(answer, size_hw, self._protocol.max_depth_m, self.alignment)

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """Error of this image, larger is worse; NaN when no pixel counts.

        Args:
            answer: The prediction.
            value: Its map at the truth's size.
            counts: Pixels that count.
            truth: The true label.
            groups: True class ids, for the breakdown by class.
        """
        return self._metric.error_of(self.metrics.update(value, truth.value, counts, groups))

    def compute(self) -> dict[str, float]:
        """Scores so far."""
        scores: dict[str, float] = self.metrics.compute()
        return scores

    def scored_value(self, answer: Label, truth: Label) -> tuple[ndarray, ndarray]:
        """(value, valid) as it was scored: at the truth's size, aligned, in the truth's ids."""
        return self.resize(answer, truth.size_hw)

    def counted(self, truth: Label, valid: ndarray) -> ndarray:
        """Pixels of the error map."""
        counted: ndarray = truth.valid & valid
        return counted

    def per_class(self) -> dict[str, dict[str, float]]:
        """Class name to scores; empty where there are none."""
        return {}

    def confusion(self) -> list[list[int]]:
        """Pixels by true class (row) and predicted class, the last column is no class; empty where there are none."""
        return []

    def breakdowns(self, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Heading to row to error: by distance, and by true class, where the metric has them."""
        found: dict[str, dict[str, float]] = {}
        if self._metric.band_title:
            found[self._metric.band_title] = {band: scores["abs_rel"] for band, scores in self.metrics.bands().items()}
        if self._metric.group_title and classes:
            found[f"class ({self._metric.group_title})"] = {
                classes[group]: error
                for group, (error, _) in self.metrics.by_group.means().items()
                if group < len(classes)
            }
        return found

    @staticmethod
    def protocol_values(protocol: EvalProtocol) -> dict[str, Any]:
        """Values of the protocol that the scores depend on."""
        return {"crop": str(protocol.crop)}

    def drawing_facts(self, label: Label, truth: Label) -> DrawingFacts:
        """Facts for drawing a label next to its truth."""
        return DrawingFacts(classes=label.classes)


class DepthScorer(Scorer):
    """Depth under an alignment."""

    def __init__(self, task: Task, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        super().__init__(task, predictor, truth, protocol)
        if truth.depth_kind is not DepthKind.METRIC:
            raise UsageError(
                f"the true depth is {truth.depth_kind}; depth is scored against meters only",
                hint="score other tasks with --task, or label the truth in meters",
            )
        self.alignment = protocol.alignment or default_alignment(predictor.depth_kind)
        self.metrics = DepthMetrics(
            alignment=self.alignment,
            min_depth_m=protocol.min_depth_m,
            max_depth_m=protocol.max_depth_m,
            depth_kind=predictor.depth_kind,
        )
        self.facts = {"alignment": str(self.alignment), "depth_kind": str(predictor.depth_kind)}

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """AbsRel; sky does not count."""
        return super().update(answer, value, counts & ~is_sky(truth), truth, groups)

    def scored_value(self, answer: Label, truth: Label) -> tuple[ndarray, ndarray]:
        """Aligned depth in meters."""
        protocol = self._protocol
        value, valid = self.resize(answer, truth.size_hw)
        aligned = align_depth(
            value,
            truth.value,
            truth.valid & valid & (truth.value <= protocol.max_depth_m),
            alignment=self.alignment,
            depth_kind=answer.depth_kind or DepthKind.METRIC,
            min_depth_m=protocol.min_depth_m,
            max_depth_m=protocol.max_depth_m,
        )
        return aligned.astype(np.float32), valid

    def counted(self, truth: Label, valid: ndarray) -> ndarray:
        """Pixels within the range of the protocol."""
        counted: ndarray = truth.valid & valid & (truth.value <= self._protocol.max_depth_m)
        return counted

    @staticmethod
    def protocol_values(protocol: EvalProtocol) -> dict[str, Any]:
        """Crop and depth range."""
        return {
            "crop": str(protocol.crop),
            "min_depth_m": protocol.min_depth_m,
            "max_depth_m": protocol.max_depth_m,
        }

    def drawing_facts(self, label: Label, truth: Label) -> DrawingFacts:
        """One color range for an image: that of the truth, without the 2 % at either end."""
        near_m, far_m = np.percentile(truth.value[truth.valid], (2, 98)) if truth.valid.any() else (0.0, FAR_DEPTH_M)
        far_m = min(max(float(far_m), float(near_m) + 0.1), FAR_DEPTH_M)
        return DrawingFacts(near_m=float(near_m), far_m=far_m)


class SemanticScorer(Scorer):
    """Class ids, joined by name."""

    def __init__(self, task: Task, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        super().__init__(task, predictor, truth, protocol)
        self._class_mapping = remap_classes(predictor.classes, truth.classes, protocol.class_map)
        self._classes = truth.classes
        self.facts = {
            "classes_not_predicted": list(self._class_mapping.unpredicted),
            "classes_not_in_truth": list(self._class_mapping.extra),
        }

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """Fraction of wrong pixels."""
        return self._metric.error_of(self.metrics.update(self._in_truth_ids(value), truth.value, counts))

    def _in_truth_ids(self, ids: ndarray) -> ndarray:
        """The predictor's ids as the truth's; 255 where the truth has no such class."""
        mapped: ndarray = self._class_mapping.table[ids]
        return mapped

    def scored_value(self, answer: Label, truth: Label) -> tuple[ndarray, ndarray]:
        """Ids of the truth's class list."""
        value, valid = self.resize(answer, truth.size_hw)
        return self._in_truth_ids(value), valid

    def compute(self) -> dict[str, float]:
        """Segmentation scores; ``miou_known`` leaves out the classes that the predictor does not have."""
        scores = super().compute()
        known = [row["iou"] for name, row in self.per_class().items() if name not in self._class_mapping.unpredicted]
        return {**scores, "miou_known": float(np.mean(known)) if known else math.nan}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Class name to its scores."""
        return {self._classes[index]: row for index, row in self.metrics.per_class().items()}

    def confusion(self) -> list[list[int]]:
        """Pixels by true class and predicted class."""
        counts: list[list[int]] = self.metrics.confusion().tolist()
        return counts

    def drawing_facts(self, label: Label, truth: Label) -> DrawingFacts:
        """The truth's class list."""
        return DrawingFacts(classes=truth.classes)


class InstanceScorer(Scorer):
    """Instances per image and class, as SA-Co scores them: whole masks, hidden parts included."""

    def __init__(self, task: Task, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        super().__init__(task, predictor, truth, protocol)
        self._classes = truth.instance_classes
        self._known = {name.casefold() for name in self._classes}
        self.metrics = InstanceMetrics()
        self.facts = {"instances_not_scored": []}

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """Fraction of instances missed or invented, over all classes."""
        matched = total = 0.0
        strangers = {name for name in answer.instance_classes.values() if name.casefold() not in self._known}
        self.facts["instances_not_scored"] = sorted({*self.facts["instances_not_scored"], *strangers})
        layers = [value, *(resize_ids(layer, truth.size_hw) for layer in answer.layers)]
        for name in self._classes:
            found = self.metrics.update_layers(
                _only(layers, answer, name, counts), _only([truth.value, *truth.layers], truth, name, counts)
            )
            matched += 2 * found["matched"]
            total += found["predicted"] + found["true"]
        return 1.0 - matched / total if total else math.nan

    def drawing_facts(self, label: Label, truth: Label) -> DrawingFacts:
        """Hidden parts at the truth's size."""
        return DrawingFacts(layers=tuple(resize_ids(layer, truth.size_hw) for layer in label.layers))


def _only(layers: Sequence[ndarray], label: Label, name: str, counts: ndarray) -> list[ndarray]:
    """Ids of one class, where they count; the rest is background."""
    wanted = [number for number, found in label.instance_classes.items() if found.casefold() == name.casefold()]
    return [layer * counts for layer in keep_ids(layers, wanted)]


class ReferringScorer(Scorer):
    """One mask per phrase."""

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """1 - mean IoU over the phrases of the image; a phrase without an answer is an empty mask."""
        index_of = {name.casefold(): index for index, name in enumerate(answer.classes)}
        ious = [
            self.metrics.update(value == index_of.get(name.casefold(), -1), truth.value == index, counts)["iou"]
            for index, name in enumerate(truth.classes)
            if name != BACKGROUND_NAME
        ]
        return 1.0 - float(np.mean(ious)) if ious else math.nan


SCORERS: Mapping[Task, type[Scorer]] = {
    Task.DEPTH: DepthScorer,
    Task.SEMANTIC: SemanticScorer,
    Task.INSTANCE: InstanceScorer,
    Task.REFERRING: ReferringScorer,
}
"""Tasks that need more than the base class."""


def scorer_type(task: Task) -> type[Scorer]:
    """Scorer class of a task."""
    return SCORERS.get(task, Scorer)
