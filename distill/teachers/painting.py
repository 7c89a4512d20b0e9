"""A teacher that paints: ask, read, place, and keep what can be kept.

    photo -> questions -> generator.paint -> decode (at the answer's own size) -> place over the photo -> lessons

Where answers are checked, the drift between photo and answer is found first, mended or rejected, and every label is
scored against the photo and the other labels.

A question that fails (refused, unreadable, wrong) costs that question only; the photo keeps its other labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.images import Photo, decode_rgb
from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, IGNORE_SEMANTIC, Task
from distill.teachers.base import Answer, Generator, Lesson, Question, Refusal
from distill.teachers.decoders import decode_answer
from distill.teachers.prompts import prompt_hash
from distill.teachers.quality import assess
from distill.teachers.register import EXACT, Placement, estimate, place

_FITS = 0.8
_SWAPPED = "the answer is not in the colours of its own legend; read with that of {}: two answers seem to be swapped"
MIN_SHARE_VALID = 0.05
"""An answer of which less can be read is no answer to the question that was asked."""


class Rejection(DistillError):  # noqa: N818 - as `Refusal`
    """An answer came and was read, and does not deserve to be a label."""


@dataclass(frozen=True, slots=True)
class Checks:
    """How strictly answers are held against their photos.

    Attributes:
        min_quality: Labels that score lower are rejected, in [0, 1].
    """

    min_quality: float = 0.0


class PaintingTeacher:
    """A generator and our reading of it."""

    def __init__(
        self,
        generator: Generator,
        *,
        name: str,
        licence: str,
        terms: str = "",
        tasks: Sequence[Task],
        classes: Sequence[str],
        seed: int = 0,
        checks: Checks | None = None,
    ) -> None:
        self.name, self.licence, self.terms = name, licence, terms
        self.tasks = tuple(tasks)
        self.classes = tuple(classes)
        self._generator, self._seed, self._checks = generator, seed, checks

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
        lessons: list[Lesson] = []
        for question in questions:
            self._learn(photo, question, questions, lessons)
        if self._checks is not None:
            for lesson in lessons:
                _score(photo, lesson, self._checks)
        return lessons

    def _learn(self, photo: Photo, question: Question, asked: list[Question], lessons: list[Lesson]) -> None:
        """Ask one question and file what came back."""
        try:
            answer = self._generator.paint(photo, question, seed=self._seed)
            painted, container = decode_rgb(answer.data, answer.name)
            read, legend_of = _read(painted, question, asked)
            placement = estimate(photo.rgb, painted, question.canvas) if self._checks is not None else EXACT
            if not placement.accepted:
                raise Rejection(f"the answer does not lie over the photo (agreement {placement.score:.2f})")
            label = place(read, photo.size_hw, question.canvas, placement)
        except DistillError as error:
            lesson = lessons[0] if lessons else _new(lessons)
            reason = error.message.removeprefix(f"{photo.name}: ")
            lesson.failures.append({"task": str(question.task), "kind": _kind(error), "reason": reason})
            if isinstance(error, Rejection):
                lesson.pictures[f"{question.task} rejected {len(lesson.failures)}"] = painted
            return
        if label.task is Task.SEMANTIC:
            label = join_classes(label, self.classes)
        lesson = _place_for(label, lessons)
        if legend_of is not question:
            lesson.notes.append({"task": str(question.task), "reason": _SWAPPED.format(", ".join(legend_of.legend))})
        lesson.records.append(self._record(replace(answer, question=legend_of), label, container, placement))
        _file(label, painted, lesson)

    def _record(self, answer: Answer, label: Label, container: str, placement: Placement) -> dict[str, Any]:
        """Where a label comes from, and how good it looks."""
        question = answer.question
        record = {
            "task": str(question.task),
            "teacher": self.name,
            "model": answer.model,
            "licence": answer.licence or self.licence,
            # Where an answer has a licence of its own, the teacher's terms are not about it.
            "terms": "" if answer.licence else self.terms,
            "prompt": question.prompt,
            "prompt_hash": prompt_hash(question),
            "answer": answer.name,
            "answer_format": container,
            "cost_usd": answer.cost_usd,
            "seed": answer.seed,
            **describe(label),
        }
        if question.legend:
            record["asked_classes"] = list(question.legend)
        if question.class_name:
            record["class"] = question.class_name
        if self._checks is not None:
            record["placement"] = asdict(placement)
        return record


def _score(photo: Photo, lesson: Lesson, checks: Checks) -> None:
    """Score every label against the photo and the other labels; drop what is too bad."""
    placed = {record["task"]: record["placement"] for record in lesson.records}
    for task, label in list(lesson.labels.items()):
        others = [other for name, other in lesson.labels.items() if name is not task]
        quality = assess(label, photo.rgb, placement=Placement(**placed[str(task)]), others=others)
        for record in lesson.records:
            if record["task"] == str(task):
                record["quality"] = round(quality.score, 4)
                record["quality_parts"] = {name: round(part, 4) for name, part in quality.parts.items()}
        if quality.score < checks.min_quality:
            del lesson.labels[task]
            lesson.records[:] = [record for record in lesson.records if record["task"] != str(task)]
            reason = f"quality {quality.score:.2f} is below {checks.min_quality:.2f}"
            lesson.failures.append({"task": str(task), "kind": "rejected", "reason": reason})
        else:
            lesson.labels[task] = replace(label, confidence=quality.pixels)


def _kind(error: DistillError) -> str:
    """refused: the teacher would not; rejected: we would not; failed: something broke."""
    if isinstance(error, Refusal):
        return "refused"
    return "rejected" if isinstance(error, Rejection) else "failed"


def _read(painted: UInt8[ndarray, "h w 3"], question: Question, asked: list[Question]) -> tuple[Label, Question]:
    """(label, the question in whose legend it is painted): the one that was asked, or another one about the same photo.

    Two answers about one photo get mixed up in manifests. An answer that holds next to nothing in its own legend and
    nearly everything in the other one's is read with that; the report says so.

    Raises:
        Rejection: Next to nothing can be read.
    """
    label = decode_answer(painted, question)
    if label.share_valid >= MIN_SHARE_VALID:
        return label, question
    if not question.legend:
        raise Rejection(f"only {label.share_valid:.1%} of the answer is painted as {question.task} is")
    for other in asked:
        if other.legend and other.task is question.task and other.legend != question.legend:
            found = decode_answer(painted, other)
            if found.share_valid > _FITS:
                return found, other
    raise Rejection(f"only {label.share_valid:.1%} of the answer is in the colours of its legend")


def describe(label: Label) -> dict[str, Any]:
    """Numbers about a label that tell a good one from a bad one at a glance."""
    share = label.share_valid
    confidence = float(label.confidence[label.valid].mean()) if share else 0.0
    values: dict[str, Any] = {"share_valid": round(share, 4), "confidence": round(confidence, 4)}
    values["quality"] = round(share * confidence, 4)
    if label.task is Task.INSTANCE:
        values["instances"] = len(label.instance_classes)
    return values


def join_classes(label: Label, classes: Sequence[str]) -> Label:
    """The label with its ids renumbered into another class list; classes that the list does not know become ignore."""
    if label.classes == tuple(classes):
        return label
    index = {name: position for position, name in enumerate(classes)}
    table = np.full(256, IGNORE_SEMANTIC, np.uint8)
    for position, name in enumerate(label.classes):
        table[position] = index.get(name, IGNORE_SEMANTIC)
    value = table[label.value]
    valid = label.valid & (value != IGNORE_SEMANTIC)
    return Label(label.task, value, valid, np.where(valid, label.confidence, np.float32(0)), classes=tuple(classes))


def _new(lessons: list[Lesson]) -> Lesson:
    lessons.append(Lesson(labels={}))
    return lessons[-1]


def _place_for(label: Label, lessons: list[Lesson]) -> Lesson:
    """The first lesson without this task; instances of another class join the map that is there."""
    for lesson in lessons:
        known = lesson.labels.get(label.task)
        if known is None or (label.task is Task.INSTANCE and not set(label.classes) & set(known.classes)):
            return lesson
    return _new(lessons)


def _file(label: Label, painted: UInt8[ndarray, "h w 3"], lesson: Lesson) -> None:
    known = lesson.labels.get(label.task)
    if known is not None and known.size_hw != label.size_hw:
        label = picked_at(label, known.size_hw)
    lesson.labels[label.task] = join_instances(known, label) if known is not None else label
    name = (
        str(label.task) if known is None else f"{label.task} {next(iter(label.instance_classes.values()), '')}".strip()
    )
    lesson.pictures[name] = painted


def picked_at(label: Label, size_hw: tuple[int, int]) -> Label:
    """The label on another grid over the same photo; pixels are picked, never mixed."""
    rows, columns = (
        ((np.arange(size) + 0.5) * have / size).astype(np.intp)
        for size, have in zip(size_hw, label.size_hw, strict=True)
    )
    grid = np.ix_(rows, columns)
    return replace(label, value=label.value[grid], valid=label.valid[grid], confidence=label.confidence[grid])


def join_instances(first: Label, second: Label) -> Label:
    """Two instance maps of one photo as one: ids renumbered from 1; where both claim a pixel, it is ignored.

    Raises:
        DistillError: The maps differ in size, or hold more instances than ids.
    """
    if first.size_hw != second.size_hw:
        raise DistillError(f"instance maps of {first.size_hw} and {second.size_hw} pixels cannot be joined")
    offset = max(first.instance_classes, default=0)
    names = dict(first.instance_classes) | {offset + i: name for i, name in second.instance_classes.items()}
    if len(names) >= IGNORE_INSTANCE:
        raise DistillError(f"{len(names)} instances in one photo are more than there are ids")
    claims_first = first.valid & (first.value != BACKGROUND_INSTANCE)
    claims_second = second.valid & (second.value != BACKGROUND_INSTANCE)
    value = np.where(claims_second, second.value.astype(np.int64) + offset, first.value)
    valid = np.where(claims_second | claims_first, claims_first ^ claims_second, first.valid & second.valid)
    confidence = np.where(claims_second, second.confidence, np.where(claims_first, first.confidence, 0))
    confidence = np.where(claims_first | claims_second, confidence, np.minimum(first.confidence, second.confidence))
    return Label(
        Task.INSTANCE,
        np.where(valid, value, IGNORE_INSTANCE).astype(np.uint16),
        valid,
        np.where(valid, confidence, 0).astype(np.float32),
        classes=tuple(dict.fromkeys((*first.classes, *second.classes))),
        instance_classes=names,
    )
