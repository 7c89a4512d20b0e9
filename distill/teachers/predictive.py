"""Teacher around a specialist: a network that predicts label maps directly, or maps on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill.config.maps import MIN_VALID
from distill.errors import DistillError, describe_error
from distill.images import Photo
from distill.labels import Label
from distill.labels.conversions import drop_absent_instances
from distill.tasks import Task
from distill.teachers.base import Dependencies, PhotoRef, Specialist, TeacherResult, dependencies_of
from distill.teachers.quality.filter import QualityFilter, score_result
from distill.teachers.quality.score import describe
from distill.teachers.registration.align import warp_label
from distill.teachers.tasks import teacher_task


class PredictiveTeacher:
    """Resizes the labels of a specialist to the photo's size and records their origin.

    Labels with a smaller share of usable pixels than ``min_valid`` (by task; `MIN_VALID` by default) are refused;
    ``notes`` is called after the specialist and returns remarks about its labels of a photo.
    """

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
        min_valid: Mapping[Task, float] | None = None,
        notes: Callable[[Photo], list[dict[str, Any]]] | None = None,
    ) -> None:
        self.name, self.license, self.terms = name, license, terms
        self.tasks = tuple(tasks)
        self.classes = tuple(classes)
        self._specialist, self._quality_filter = specialist, quality_filter
        self.max_parallel = max_parallel
        self._min_valid, self._notes = dict(min_valid or {}), notes
        self.answer_usd = 0.0

    @property
    def min_size_hw(self) -> tuple[int, int] | None:
        """As `Teacher.min_size_hw`.

        Raises:
            DistillError: The model's input size is not in its config, and the model cannot be opened.
        """
        return self._specialist.min_size_hw

    def fingerprint(self) -> list[str]:
        """As `Teacher.fingerprint`."""
        return self._specialist.fingerprint()

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """As `Teacher.dependencies`."""
        return dependencies_of(self._specialist, photo)

    def label(self, photo: Photo) -> list[TeacherResult]:
        """One result with all tasks.

        Raises:
            DistillError: The specialist failed on this photo.
        """
        result = TeacherResult(labels={})
        try:
            labels = [label for label in self._specialist.predict(photo) if label.task in self.tasks]
            placed = [drop_absent_instances(warp_label(label, photo.size_hw, "fill")) for label in labels]
        except DistillError:
            raise
        except Exception as error:  # foreign files, models and code: their failure costs this photo, not the job
            raise DistillError(f"{photo.name}: {self.name} failed: {describe_error(error)}") from error
        result.notes.extend(self._notes(photo) if self._notes is not None else ())
        for label in placed:
            task = str(label.task)
            if reason := self._too_few_pixels(label):
                result.failures.append({"task": task, "kind": "rejected", "reason": reason})
                continue
            result.labels[label.task] = label
            record = {"task": task, "teacher": self.name, "license": self.license, "terms": self.terms}
            result.records.append(record | {"cost_usd": 0.0} | describe(label))
        if result.failures and not result.labels:
            raise DistillError(f"{photo.name}: {result.failures[0]['reason']}")
        score_result(photo, result, self._quality_filter, generated=False)
        return [result]

    def _too_few_pixels(self, label: Label) -> str:
        """Reason to refuse a label with almost no usable pixel; empty if it has enough."""
        share = float(teacher_task(label.task).informative(label).mean())
        if share > 0 and share >= self._min_valid.get(label.task, MIN_VALID):
            return ""
        return f"only {share:.1%} of the pixels of its {label.task} map are usable"
