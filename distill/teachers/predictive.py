"""Teacher around a specialist: a network that predicts label maps directly, or maps on disk."""

from __future__ import annotations

from collections.abc import Sequence

from distill.images import Photo
from distill.tasks import Task
from distill.teachers.base import Specialist, TeacherResult
from distill.teachers.quality.filter import QualityFilter, score_result
from distill.teachers.quality.score import describe
from distill.teachers.registration.align import warp_label


class PredictiveTeacher:
    """Resizes the labels of a specialist to the photo's size and records their origin."""

    def __init__(
        self,
        specialist: Specialist,
        *,
        name: str,
        license: str,
        terms: str = "",
        tasks: Sequence[Task],
        classes: Sequence[str],
        quality_filter: QualityFilter | None = None,
        max_parallel: int = 1,
    ) -> None:
        self.name, self.license, self.terms = name, license, terms
        self.tasks = tuple(tasks)
        self.classes = tuple(classes)
        self._specialist, self._quality_filter = specialist, quality_filter
        self.max_parallel = max_parallel
        self.answer_usd = 0.0

    @property
    def min_size_hw(self) -> tuple[int, int] | None:
        """As `Teacher.min_size_hw`; scoring a label against its photo needs the photo at full size.

        Raises:
            DistillError: The model's input size is not in its config, and the model cannot be opened.
        """
        scored = self._quality_filter is not None and self._quality_filter.specialists
        return None if scored else self._specialist.min_size_hw

    def fingerprint(self) -> list[str]:
        """As `Teacher.fingerprint`."""
        return self._specialist.fingerprint()

    def label(self, photo: Photo) -> list[TeacherResult]:
        """One result with all tasks.

        Raises:
            DistillError: The specialist failed on this photo.
        """
        result = TeacherResult(labels={})
        for label in self._specialist.predict(photo):
            if label.task in self.tasks:
                placed = warp_label(label, photo.size_hw, "fill")
                result.labels[label.task] = placed
                record = {"task": str(label.task), "teacher": self.name, "license": self.license, "terms": self.terms}
                result.records.append(record | {"cost_usd": 0.0} | describe(placed))
        if self._quality_filter is not None and self._quality_filter.specialists:
            score_result(photo, result, self._quality_filter)
        return [result]
