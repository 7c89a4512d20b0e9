"""A teacher that predicts label maps directly: a network, or maps on disk."""

from __future__ import annotations

from collections.abc import Sequence

from distill.images import Photo
from distill.tasks import Task
from distill.teachers.base import Lesson, Specialist
from distill.teachers.quality.filter import Checks, score_lesson
from distill.teachers.quality.score import describe
from distill.teachers.registration.align import place


class PredictingTeacher:
    """A specialist, its labels brought to the photo's frame."""

    def __init__(
        self,
        specialist: Specialist,
        *,
        name: str,
        license: str,
        terms: str = "",
        tasks: Sequence[Task],
        classes: Sequence[str],
        checks: Checks | None = None,
        side_by_side: int = 1,
    ) -> None:
        self.name, self.license, self.terms = name, license, terms
        self.tasks = tuple(tasks)
        self.classes = tuple(classes)
        self._specialist, self._checks = specialist, checks
        self.side_by_side = side_by_side
        """How many photos may be worked on at once, in threads."""

    @property
    def enough_hw(self) -> tuple[int, int] | None:
        """How large a photo has to be read at least, (height, width); None: as it is.

        Raises:
            DistillError: The specialist says so itself, and cannot be opened.
        """
        held_against_photos = self._checks is not None and self._checks.specialists
        return None if held_against_photos else getattr(self._specialist, "enough_hw", None)

    def teach(self, photo: Photo) -> list[Lesson]:
        """One lesson with every task.

        Raises:
            DistillError: The specialist cannot answer about this photo.
        """
        lesson = Lesson(labels={})
        for label in self._specialist.predict(photo):
            if label.task in self.tasks:
                placed = place(label, photo.size_hw, "stretch")
                lesson.labels[label.task] = placed
                record = {"task": str(label.task), "teacher": self.name, "license": self.license, "terms": self.terms}
                lesson.records.append(record | {"cost_usd": 0.0} | describe(placed))
        if self._checks is not None and self._checks.specialists:
            score_lesson(photo, lesson, self._checks)
        return [lesson]
