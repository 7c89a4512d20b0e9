"""A teacher that paints: ask, read, place, and keep what can be kept.

    photo -> questions -> variants -> generator.paint -> read (decode, find, place) -> fuse -> score -> lessons

A question that fails (refused, unreadable, wrong) costs that question only; the photo keeps its other labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.label_ops import join_classes, join_instances, picked_at
from distill.labels import Label
from distill.tasks import MAX_CLASSES, Task
from distill.teachers.answer_parser import Reading, Rejection, read_answer
from distill.teachers.base import Answer, Generator, Lesson, Question, Refusal
from distill.teachers.prompts.templates import prompt_hash
from distill.teachers.prompts.variants import ONCE, Asking, Variant, mirrored_photo
from distill.teachers.quality.filter import Checks, score_lesson
from distill.teachers.quality.fusion import agreement, fuse, mirror
from distill.teachers.quality.score import describe
from distill.teachers.registration.cache import Placements
from distill.teachers.store.answers import StoreFull

_SWAPPED = "the answer is not in the colors of its own legend; read with that of {}: two answers seem to be swapped"


@dataclass(frozen=True, slots=True)
class _Heard:
    """An answer and what was read out of it, mirrored back."""

    answer: Answer
    reading: Reading
    variant: Variant

    @property
    def record(self) -> dict[str, Any]:
        """Where this one answer comes from."""
        question = self.reading.question
        values: dict[str, Any] = {
            "answer": self.answer.name,
            "answer_format": self.reading.container,
            "model": self.answer.model,
            "prompt": question.prompt,
            "prompt_hash": prompt_hash(question),
            "cost_usd": self.answer.cost_usd,
            "seed": self.answer.seed,
        }
        if self.variant.sample:
            values["sample"] = self.variant.sample
        if self.variant.mirrored:
            values["mirrored"] = True
        return values


class PaintingTeacher:
    """A generator and our reading of it."""

    def __init__(
        self,
        generator: Generator,
        *,
        name: str,
        license: str,
        terms: str = "",
        tasks: Sequence[Task],
        classes: Sequence[str],
        seed: int = 0,
        checks: Checks | None = None,
        asking: Asking = ONCE,
    ) -> None:
        if len(classes) > MAX_CLASSES:
            raise UsageError(
                f"{name}: the legends name {len(classes)} classes together, and ids are stored in 8 bits",
                hint=f"label at most {MAX_CLASSES} classes into one --out",
            )
        self.name, self.license, self.terms = name, license, terms
        self.tasks = tuple(tasks)
        self.classes = tuple(classes)
        self._generator, self._seed, self._checks, self._asking = generator, seed, checks, asking
        self._known = Placements(checks.memory) if checks is not None and checks.memory is not None else None

    def teach(self, photo: Photo) -> list[Lesson]:
        """Lessons about the photo.

        Raises:
            DistillError: The teacher has nothing to say about this photo.
        """
        questions = [question for question in self._generator.questions(photo) if question.task in self.tasks]
        if not questions:
            raise DistillError(
                f"{photo.name}: the teacher has no answer about this photo", hint="add it, or remove the photo"
            )
        mirrored = mirrored_photo(photo) if self._asking.flip else photo
        lessons = [Lesson(labels={})]
        for group in self._asking.groups(questions):
            self._learn(photo, mirrored, group, questions, lessons)
        if self._checks is not None:
            for lesson in lessons:
                score_lesson(photo, lesson, self._checks)
        return lessons

    def _learn(
        self, photo: Photo, mirrored: Photo, group: list[Question], asked: list[Question], lessons: list[Lesson]
    ) -> None:
        """Ask one question in all its ways, and file what came back as one label."""
        heard: list[_Heard] = []
        failures: list[DistillError] = []
        for variant in (variant for question in group for variant in self._asking.variants(question)):
            about = mirrored if variant.mirrored else photo
            try:
                answer = self._generator.paint(about, variant.question, seed=self._seed, sample=variant.sample)
            except (UsageError, StoreFull):
                raise  # the job or the disk is wrong, not the question: no other question will fare better
            except DistillError as error:
                failures.append(error)
                continue
            # Noted before it is read: an answer costs the same whether it can be used or not.
            lessons[0].paid_usd.append(answer.cost_usd)
            try:
                heard.append(self._read(about, answer, variant, asked))
            except DistillError as error:
                failures.append(error)
        if len(heard) < len(failures):
            _file_failures(photo, group[0].task, heard, failures, lessons[0])
            return
        lesson = self._file(heard, lessons)
        for unused in failures:
            reason = f"one of {len(heard) + len(failures)} answers was not used: {_reason(photo, unused)}"
            lesson.notes.append({"task": str(group[0].task), "reason": reason})

    def _read(self, about: Photo, answer: Answer, variant: Variant, asked: list[Question]) -> _Heard:
        """The answer's label, mirrored back if need be, in this teacher's class list."""
        register = self._checks is not None and self._checks.register
        reading = read_answer(about, answer, [variant.question, *asked], register=register, known=self._known)
        label = mirror(reading.label) if variant.mirrored else reading.label
        if label.task is Task.SEMANTIC:
            label = join_classes(label, self.classes)
        return _Heard(answer, replace(reading, label=label), variant)

    def _file(self, heard: list[_Heard], lessons: list[Lesson]) -> Lesson:
        """The lesson that now holds what was heard: the first one that had no such label yet."""
        size_hw = heard[0].reading.label.size_hw
        labels = [picked_at(each.reading.label, size_hw) for each in heard]
        label = fuse(labels)
        lesson = _place_for(label, lessons)
        for each in heard:
            if each.reading.question.legend != each.variant.question.legend:
                said = _SWAPPED.format(", ".join(each.reading.question.legend))
                lesson.notes.append({"task": str(label.task), "reason": said})
        record = self._record(heard, label)
        if len(heard) > 1:
            record["agreement"] = round(agreement(label, labels), 4)
        lesson.records.append(record)
        _file_label(label, heard[0].reading.painted, lesson)
        return lesson

    def _record(self, heard: list[_Heard], label: Label) -> dict[str, Any]:
        """Where a label comes from, and how good it looks."""
        question = heard[0].reading.question
        record: dict[str, Any] = {
            "task": str(question.task),
            "teacher": self.name,
            "license": heard[0].answer.license or self.license,
            # Where an answer has a license of its own, the teacher's terms are not about it.
            "terms": "" if heard[0].answer.license else self.terms,
            **heard[0].record,
            "cost_usd": sum(each.answer.cost_usd for each in heard),
            **describe(label),
        }
        if question.legend:
            record["asked_classes"] = list(question.legend)
        if question.class_name:
            record["class"] = question.class_name
        if len(heard) > 1:
            record["answers"] = [each.record for each in heard]
        if self._checks is not None:
            record["placement"] = asdict(heard[0].reading.placement)
            for each, values in zip(heard, record.get("answers", ()), strict=False):
                values["placement"] = asdict(each.reading.placement)
        return record


def _file_failures(photo: Photo, task: Task, heard: list[_Heard], failures: list[DistillError], lesson: Lesson) -> None:
    """Note why a question gave no label: each reason, and what was left when too few answers could be read."""
    if heard:
        count = len(heard) + len(failures)
        few = Rejection(f"only {len(heard)} of {count} answers could be read; {_reason(photo, failures[0])}")
        few.painted = heard[0].reading.painted
        failures = [few]
    for error in failures:
        lesson.failures.append({"task": str(task), "kind": _kind(error), "reason": _reason(photo, error)})
        if isinstance(error, Rejection) and error.painted is not None:
            lesson.pictures[f"{task} rejected {len(lesson.failures)}"] = error.painted


def _reason(photo: Photo, error: DistillError) -> str:
    return error.message.removeprefix(f"{photo.name}: ")


def _kind(error: DistillError) -> str:
    """refused: the teacher would not; rejected: we would not; failed: something broke."""
    if isinstance(error, Refusal):
        return "refused"
    return "rejected" if isinstance(error, Rejection) else "failed"


def _place_for(label: Label, lessons: list[Lesson]) -> Lesson:
    """The first lesson without this task; instances of another class join the map that is there."""
    for lesson in lessons:
        known = lesson.labels.get(label.task)
        if known is None or (label.task is Task.INSTANCE and not set(label.classes) & set(known.classes)):
            return lesson
    lessons.append(Lesson(labels={}))
    return lessons[-1]


def _file_label(label: Label, painted: UInt8[ndarray, "h w 3"], lesson: Lesson) -> None:
    known = lesson.labels.get(label.task)
    if known is not None:
        label = join_instances(known, picked_at(label, known.size_hw))
    lesson.labels[label.task] = label
    name = (
        str(label.task) if known is None else f"{label.task} {next(iter(label.instance_classes.values()), '')}".strip()
    )
    lesson.pictures[name] = painted
