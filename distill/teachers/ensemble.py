"""Several teachers as one: drawn by weight, asked in turn until a label passes, or fused.

Every label keeps the records of the teachers that it comes from, license included.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.ensemble import BlendRecipe, MemberRecipe, MixRecipe
from distill.config.hosted import HostedRecipe
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.label_ops import join_classes, picked_at, to_gauge
from distill.labels import Label
from distill.tasks import Gauge, Task
from distill.teachers.base import Lesson, Teacher
from distill.teachers.context import Ways
from distill.teachers.hosted.services.open import prices_of
from distill.teachers.quality.filter import Checks, score_lesson
from distill.teachers.quality.fusion import fuse
from distill.teachers.quality.score import describe

if TYPE_CHECKING:
    from distill.teachers.factory import TeacherRecipe

Build = Callable[["TeacherRecipe", Path, Ways], Teacher]


@dataclass(frozen=True)
class Member:
    """One teacher of a blend, restricted to the blend's task.

    Attributes:
        price_usd: Of one answer.
        min_quality: cascade: what its label has to score.
    """

    teacher: Teacher
    weight: float
    price_usd: float
    min_quality: float


class MixedTeacher:
    """A blend for each task."""

    def __init__(self, recipe: MixRecipe, members: dict[Task, list[Member]], checks: Checks | None = None) -> None:
        self.name, self.terms = recipe.name, ""
        self.tasks = tuple(members)
        everyone = [member.teacher for group in members.values() for member in group]
        self.license = ", ".join(dict.fromkeys(teacher.license for teacher in everyone))
        semantic = [member.teacher.classes for member in members.get(Task.SEMANTIC, [])]
        self.classes = tuple(dict.fromkeys(name for names in semantic for name in names))
        self._recipe, self._members = recipe, members
        self._checks = checks or Checks(register=False)
        self.side_by_side = min(getattr(teacher, "side_by_side", 1) for teacher in everyone)
        """How many photos may be worked on at once: what the most particular teacher allows."""
        self._gauge = recipe.depth.gauge if recipe.depth else None

    def teach(self, photo: Photo) -> list[Lesson]:
        """One lesson with every task.

        Raises:
            UsageError: Depth of different gauges, and the recipe does not say to which one it is brought.
        """
        lesson = Lesson(labels={})
        for task in self.tasks:
            blend = self._recipe.blends()[task]
            _HOW[blend.how](self, photo, task, blend, lesson)
        return [lesson]

    def _by_weight(self, photo: Photo, task: Task, blend: BlendRecipe, lesson: Lesson) -> None:
        """One teacher for each photo. The same draw for all tasks, so that equal weights give labels that agree."""
        group = self._members[task]
        digest = hashlib.sha256(f"{self._recipe.seed} {photo.sha256 or photo.key}".encode(errors="surrogateescape"))
        draw = int.from_bytes(digest.digest()[:8]) / 2**64 * sum(member.weight for member in group)
        for member in group:
            draw -= member.weight
            if draw < 0:
                break
        answer = _ask(member, photo, task)
        _pass_on(answer, lesson)
        if task in answer.labels:
            self._keep(task, answer.labels[task], answer.records, lesson)

    def _cascade(self, photo: Photo, task: Task, blend: BlendRecipe, lesson: Lesson) -> None:
        """The first label that passes; those behind are spared, and the record says what they would have cost."""
        group = self._members[task]
        best: tuple[float, Lesson] | None = None
        for number, member in enumerate(group, 1):
            answer = _ask(member, photo, task)
            if not _is_scored(answer):
                # By its own word every specialist is sure, which is no test to pass.
                score_lesson(photo, answer, self._checks)
            _pass_on(answer, lesson)
            if task not in answer.labels:
                continue
            quality = min(record["quality"] for record in answer.records)
            if best is None or quality > best[0]:
                best = quality, answer
            if quality >= member.min_quality:
                spared = {other.teacher.name: other.price_usd for other in group[number:]}
                records = [record | {"passed": True, "spared": spared} for record in answer.records[:1]]
                self._keep(task, answer.labels[task], [*records, *answer.records[1:]], lesson)
                return
        if best is None:
            return
        reason = f"no teacher's label passes; the best scores {best[0]:.2f}"
        if blend.otherwise == "none":
            lesson.failures.append({"task": str(task), "kind": "rejected", "reason": reason})
            return
        lesson.notes.append({"task": str(task), "reason": reason})
        self._keep(task, best[1].labels[task], best[1].records, lesson)

    def _fused(self, photo: Photo, task: Task, blend: BlendRecipe, lesson: Lesson) -> None:
        """All answers as one label, on the grid of the finest."""
        labels, records = [], []
        for member in self._members[task]:
            answer = _ask(member, photo, task)
            _pass_on(answer, lesson)
            if task in answer.labels:
                labels.append(self._in_gauge(answer.labels[task]))
                records += answer.records
        if not labels:
            return
        size_hw = max((label.size_hw for label in labels), key=lambda hw: hw[0] * hw[1])
        label = fuse([picked_at(label, size_hw) for label in labels])
        self._keep(task, label, [record | describe(label) | {"fused": len(labels)} for record in records], lesson)

    def _keep(self, task: Task, label: Label, records: Iterable[dict[str, Any]], lesson: Lesson) -> None:
        label = self._in_gauge(label)
        lesson.labels[task] = join_classes(label, self.classes) if task is Task.SEMANTIC else label
        lesson.records.extend(records)

    def _in_gauge(self, label: Label) -> Label:
        """Depth in the recipe's gauge, or in that of the first label where the recipe names none.

        Raises:
            UsageError: The teachers' gauges differ.
        """
        if label.task is not Task.DEPTH:
            return label
        have = label.gauge or Gauge.METRIC
        self._gauge = self._gauge or have
        if have is not self._gauge and (self._recipe.depth is None or self._recipe.depth.gauge is None):
            raise UsageError(
                f"the teachers' depth has different gauges: {self._gauge} and {have}",
                hint="say to which they are brought, such as --set depth.gauge=affine_invariant_disparity",
            )
        return to_gauge(label, self._gauge)


_HOW: dict[str, Callable[[MixedTeacher, Photo, Task, BlendRecipe, Lesson], None]] = {
    "weight": MixedTeacher._by_weight,
    "cascade": MixedTeacher._cascade,
    "fuse": MixedTeacher._fused,
}


def _ask(member: Member, photo: Photo, task: Task) -> Lesson:
    """What a teacher says about one task; a teacher that cannot say anything about this photo is no end."""
    try:
        lessons = member.teacher.teach(photo)
    except UsageError:
        raise
    except DistillError as error:
        reason = f"{member.teacher.name}: {error.message.removeprefix(f'{photo.name}: ')}"
        return Lesson(labels={}, failures=[{"task": str(task), "kind": "failed", "reason": reason}])
    # A teacher that was asked with several legends gives several lessons; each sample here has one label per task.
    return next((lesson for lesson in lessons if task in lesson.labels), lessons[0])


def _is_scored(answer: Lesson) -> bool:
    """Whether the teacher's own checks have held its label against the photo."""
    return all("quality_parts" in record for record in answer.records)


def _pass_on(answer: Lesson, lesson: Lesson) -> None:
    """What was paid, seen and noted is told, whether the label is kept or not."""
    lesson.failures.extend(answer.failures)
    lesson.notes.extend(answer.notes)
    lesson.paid_usd.extend(answer.paid_usd)
    for what, picture in answer.pictures.items():
        lesson.pictures.setdefault(what, picture)


def member_recipe(member: MemberRecipe) -> TeacherRecipe:
    """The checked recipe of a member.

    Raises:
        UsageError: Unknown kind, wrong keys, or a mix within a mix.
    """
    from distill.config import load_recipe
    from distill.teachers.factory import RECIPES, recipe_type
    from distill.teachers.plugins import plugins

    kind = str(member.teacher.get("kind", ""))
    if kind == "mix" or (kind not in RECIPES and kind not in plugins()):
        raise UsageError(f"a mix cannot hold a teacher of the kind {kind!r}", hint=f"one of {', '.join(RECIPES)}")
    return load_recipe(recipe_type(kind), member.teacher, name=f"the {kind} teacher of the mix")


def build_mixed(recipe: MixRecipe, ways: Ways, build: Build) -> Teacher:
    """The mix; a teacher that stands in several blends is opened once.

    Raises:
        UsageError: A teacher cannot be built, or cannot do the task that it is named for.
    """
    built: dict[str, Teacher] = {}
    members: dict[Task, list[Member]] = {}
    for task, blend in recipe.blends().items():
        members[task] = [_member(member, task, blend, ways, build, built) for member in blend.teachers]
    return MixedTeacher(recipe, members, ways.checks)


def _member(
    member: MemberRecipe, task: Task, blend: BlendRecipe, ways: Ways, build: Build, built: dict[str, Teacher]
) -> Member:
    recipe = member_recipe(member)
    key = json.dumps([member.teacher, member.folder], sort_keys=True, default=str)
    if key not in built:
        built[key] = build(recipe, Path(member.folder), ways)
    # A copy that answers this task only; what is opened (weights, answers) is shared.
    teacher = copy.copy(built[key])
    if task not in teacher.tasks:
        raise UsageError(f"{teacher.name} cannot do {task}; it does {', '.join(teacher.tasks)}")
    teacher.tasks = (task,)
    price = member.price_usd
    if price is None:
        price = _price_usd(recipe)
    least = blend.min_quality if member.min_quality is None else member.min_quality
    return Member(teacher, member.weight, price, least)


def _price_usd(recipe: TeacherRecipe) -> float:
    """What one answer of a teacher costs by its recipe."""
    if isinstance(recipe, HostedRecipe):
        return prices_of(recipe)[0].likely_usd()
    return float(getattr(recipe, "price_per_image_usd", 0.0) or getattr(recipe, "cost_usd", 0.0))
