"""One predictor on one task: how its answers are scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from numpy import ndarray

from distill.errors import UsageError
from distill.evaluation.predictors import BACKGROUND_NAME, Predictor
from distill.evaluation.protocol import Crop, remap_classes
from distill.labels import Label, is_sky
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
from distill.tasks import FAR_DEPTH_M, DepthKind, Task


@dataclass(frozen=True)
class EvalProtocol:
    """On what terms is scored.

    Attributes:
        alignment: Of depth; None takes the weakest that each predictor's depth kind needs.
        class_map: A predictor's class name to the truth's; None says it is no class of the truth.
    """

    alignment: Alignment | None = None
    crop: Crop = Crop.NONE
    min_depth_m: float = 1e-3
    max_depth_m: float = FAR_DEPTH_M
    class_map: Mapping[str, str | None] = field(default_factory=dict)


class PooledMetrics(Protocol):
    """Scores that are functions of sums over images, so that images can be resampled."""

    def __len__(self) -> int:
        """How many rows there are so far."""
        ...

    def rows(self) -> Float[ndarray, "n k"]:
        """One row of sums per scored image (or mask)."""
        ...

    def pool(self, sums: Float[ndarray, "... k"]) -> dict[str, ndarray]:
        """Scores from a sum of rows."""
        ...


class Scorer(Protocol):
    """Scores one predictor on one task."""

    facts: dict[str, Any]
    """What has to be known to read the scores: alignment, classes left out."""
    metrics: PooledMetrics

    def update(
        self,
        answer: Label,
        value: Shaped[ndarray, "h w *c"],
        counts: Bool[ndarray, "h w"],
        truth: Label,
        groups: UInt8[ndarray, "h w"] | None,
    ) -> float:
        """How bad this image is (larger is worse), for the worst-first list; NaN when nothing counts."""
        ...

    def compute(self) -> dict[str, float]:
        """The scores so far."""
        ...


class DepthScorer:
    """Depth under an alignment."""

    def __init__(self, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        if truth.depth_kind is not DepthKind.METRIC:
            raise UsageError(
                f"the truth's depth is {truth.depth_kind}, and nothing can be measured against depth without meters",
                hint="score other tasks with --task, or label the truth in meters",
            )
        alignment = protocol.alignment or default_alignment(predictor.depth_kind)
        self.metrics: Any = DepthMetrics(
            alignment=alignment,
            min_depth_m=protocol.min_depth_m,
            max_depth_m=protocol.max_depth_m,
            depth_kind=predictor.depth_kind,
        )
        self.facts: dict[str, Any] = {"alignment": str(alignment), "depth_kind": str(predictor.depth_kind)}

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """AbsRel."""
        return self.metrics.update(value, truth.value, counts & ~is_sky(truth), groups)["abs_rel"]

    def compute(self) -> dict[str, float]:
        """Depth scores."""
        return self.metrics.compute()


def alignment_used(scorer: Scorer) -> Alignment:
    """What will be fitted before depth is scored; none for the other tasks."""
    return Alignment(scorer.facts.get("alignment", Alignment.NONE))


class NormalsScorer:
    """Angles between normals."""

    def __init__(self, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        self.metrics: Any = NormalsMetrics()
        self.facts: dict[str, Any] = {}

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """Mean angle."""
        return self.metrics.update(value, truth.value, counts, groups)["mean_deg"]

    def compute(self) -> dict[str, float]:
        """Angular scores."""
        return self.metrics.compute()


class SemanticScorer:
    """Class ids, joined by name."""

    def __init__(self, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        self._class_mapping = remap_classes(predictor.classes, truth.classes, protocol.class_map)
        self._classes = truth.classes
        self.metrics: Any = SegmentationMetrics(len(truth.classes))
        self.facts: dict[str, Any] = {
            "classes_not_predicted": list(self._class_mapping.unpredicted),
            "classes_not_in_truth": list(self._class_mapping.extra),
        }

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """The share of wrong pixels."""
        return 1.0 - self.metrics.update(self.in_truth_ids(value), truth.value, counts)["pixel_accuracy"]

    def in_truth_ids(self, ids: ndarray) -> ndarray:
        """The predictor's ids as the truth's; 255 where the truth has no such class."""
        return self._class_mapping.table[ids]

    def compute(self) -> dict[str, float]:
        """Segmentation scores; ``miou_known`` leaves out the classes that the predictor has no word for."""
        scores = self.metrics.compute()
        known = [row["iou"] for name, row in self.per_class().items() if name not in self._class_mapping.unpredicted]
        return {**scores, "miou_known": float(np.mean(known)) if known else math.nan}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Class name to its scores."""
        return {self._classes[index]: row for index, row in self.metrics.per_class().items()}


class InstanceScorer:
    """Instances per image and class, as SA-Co scores them."""

    def __init__(self, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        self.metrics: Any = InstanceMetrics()
        self._classes = truth.instance_classes
        self.facts: dict[str, Any] = {}

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """The share of instances missed or invented, over all classes."""
        matched = total = 0.0
        for name in self._classes:
            found = self.metrics.update(
                instance_masks(_only(value, answer, name, counts)),
                instance_masks(_only(truth.value, truth, name, counts)),
            )
            matched += 2 * found["matched"]
            total += found["predicted"] + found["true"]
        return 1.0 - matched / total if total else math.nan

    def compute(self) -> dict[str, float]:
        """Instance scores."""
        return self.metrics.compute()


def _only(ids: ndarray, label: Label, name: str, counts: ndarray) -> ndarray:
    """The ids of one class, where they count; the rest is background."""
    wanted = [number for number, found in label.instance_classes.items() if found.casefold() == name.casefold()]
    return np.where(np.isin(ids, wanted) & counts, ids, 0).astype(np.uint16)


class ReferringScorer:
    """One mask per sentence."""

    def __init__(self, predictor: Predictor, truth: Manifest, protocol: EvalProtocol) -> None:
        self.metrics: Any = ReferringMetrics()
        self.facts: dict[str, Any] = {}

    def update(self, answer: Label, value: ndarray, counts: ndarray, truth: Label, groups: ndarray | None) -> float:
        """1 - mean IoU over the sentences of the image; a sentence without an answer is an empty mask."""
        said = {name.casefold(): index for index, name in enumerate(answer.classes)}
        ious = [
            self.metrics.update(value == said.get(name.casefold(), -1), truth.value == index, counts)["iou"]
            for index, name in enumerate(truth.classes)
            if name != BACKGROUND_NAME
        ]
        return 1.0 - float(np.mean(ious)) if ious else math.nan

    def compute(self) -> dict[str, float]:
        """Referring scores."""
        return self.metrics.compute()


SCORERS: dict[Task, Callable[[Predictor, Manifest, EvalProtocol], Scorer]] = {
    Task.DEPTH: DepthScorer,
    Task.NORMALS: NormalsScorer,
    Task.SEMANTIC: SemanticScorer,
    Task.INSTANCE: InstanceScorer,
    Task.REFERRING: ReferringScorer,
}
