"""Several teachers as one: picked by weight, as a cascade until a label passes, or fused.

Each label keeps the records of the teachers that contributed to it, with their licenses.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill.config import load_config
from distill.config.ensemble import BlendConfig, EnsembleConfig, MemberConfig
from distill.config.teacher_base import TeacherConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.labels.conversions import convert_depth, remap_classes, resample_nearest
from distill.tasks import TASKS, DepthKind, Task
from distill.teachers.base import Dependencies, PhotoRef, Teacher, TeacherResult, dependencies_of
from distill.teachers.builder_options import TeacherContext
from distill.teachers.kinds import KINDS, kind_of
from distill.teachers.plugins import find_kind
from distill.teachers.quality.filter import QualityFilter, score_result
from distill.teachers.quality.fusion import fuse_labels
from distill.teachers.quality.score import describe


@dataclass(frozen=True)
class Member:
    """One teacher of a blend, restricted to the blend's task.

    Attributes:
        price_usd: Price of one answer.
        min_quality: cascade: score that its label needs to pass.
    """

    teacher: Teacher
    weight: float
    price_usd: float
    min_quality: float


class EnsembleTeacher:
    """One blend per task."""

    min_size_hw = None

    def __init__(
        self, config: EnsembleConfig, members: dict[Task, list[Member]], quality_filter: QualityFilter | None = None
    ) -> None:
        self.name, self.terms = config.name, ""
        self.tasks = tuple(members)
        everyone = [member.teacher for group in members.values() for member in group]
        self.license = ", ".join(dict.fromkeys(teacher.license for teacher in everyone))
        semantic = [member.teacher.classes for member in members.get(Task.SEMANTIC, [])]
        self.classes = tuple(dict.fromkeys(name for names in semantic for name in names))
        self._config, self._members = config, members
        self._quality_filter = quality_filter
        self.max_parallel = min(teacher.max_parallel for teacher in everyone)
        self.answer_usd = max(member.price_usd for group in members.values() for member in group)
        self._depth_kind = config.depth_kind

    def fingerprint(self) -> list[str]:
        """As `Teacher.fingerprint`, of all members."""
        return [
            digest for group in self._members.values() for member in group for digest in member.teacher.fingerprint()
        ]

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """As `Teacher.dependencies`, of all members that know this photo."""
        found = []
        for group in self._members.values():
            for member in group:
                with suppress(DistillError):
                    found.append(dependencies_of(member.teacher, photo))
        return Dependencies(
            "\n".join(part.text for part in found), tuple(path for part in found for path in part.files)
        )

    def label(self, photo: Photo) -> list[TeacherResult]:
        """One result with all tasks.

        Raises:
            UsageError: The depth kinds of the teachers differ, and the config does not name one to convert to.
        """
        result = TeacherResult(labels={})
        for task in self.tasks:
            blend = self._config.blends()[task]
            _STRATEGIES[blend.strategy](self, photo, task, blend, result)
        return [result]

    def _pick_by_weight(self, photo: Photo, task: Task, blend: BlendConfig, result: TeacherResult) -> None:
        """One teacher per photo. All tasks share the draw, so that equal weights give consistent labels."""
        group = self._members[task]
        digest = hashlib.sha256(f"{self._config.seed} {photo.sha256 or photo.key}".encode(errors="surrogateescape"))
        draw = int.from_bytes(digest.digest()[:8]) / 2**64 * sum(member.weight for member in group)
        for member in group:
            draw -= member.weight
            if draw < 0:
                break
        answer = _label_task(member, photo, task)
        _merge_records(answer, result)
        if task in answer.labels:
            self._store(task, answer.labels[task], answer.records, result)

    def _run_cascade(self, photo: Photo, task: Task, blend: BlendConfig, result: TeacherResult) -> None:
        """The first label that passes; the record has the price of the teachers that were skipped."""
        group = self._members[task]
        best: tuple[float, TeacherResult] | None = None
        for number, member in enumerate(group, 1):
            answer = _label_task(member, photo, task)
            _merge_records(answer, result)
            if task not in answer.labels:
                continue
            quality = min(record["quality"] for record in answer.records)
            if best is None or quality > best[0]:
                best = quality, answer
            if quality >= member.min_quality:
                skipped = {other.teacher.name: other.price_usd for other in group[number:]}
                records = [record | {"passed": True, "skipped": skipped} for record in answer.records[:1]]
                self._store(task, answer.labels[task], [*records, *answer.records[1:]], result)
                return
        if best is None:
            return
        reason = f"no teacher's label passes; the best scores {best[0]:.2f}"
        if blend.fallback == "none":
            result.failures.append({"task": str(task), "kind": "rejected", "reason": reason})
            return
        result.notes.append({"task": str(task), "reason": reason})
        self._store(task, best[1].labels[task], best[1].records, result)

    def _fuse_all(self, photo: Photo, task: Task, blend: BlendConfig, result: TeacherResult) -> None:
        """All labels fused into one, at the largest of their sizes."""
        labels, records = [], []
        for member in self._members[task]:
            answer = _label_task(member, photo, task)
            _merge_records(answer, result)
            if task in answer.labels:
                labels.append(self._to_depth_kind(answer.labels[task]))
                records += answer.records
        if not labels:
            return
        size_hw = max((label.size_hw for label in labels), key=lambda hw: hw[0] * hw[1])
        label = fuse_labels([resample_nearest(label, size_hw) for label in labels])
        fused = TeacherResult({task: label}, [record | describe(label) | {"fused": len(labels)} for record in records])
        generated = any("answer" in record for record in records)
        score_result(photo, fused, self._quality_filter, generated=generated)
        result.failures.extend(fused.failures)
        result.notes.extend(fused.notes)
        if task in fused.labels:
            self._store(task, fused.labels[task], fused.records, result)

    def _store(self, task: Task, label: Label, records: Iterable[dict[str, Any]], result: TeacherResult) -> None:
        label = self._to_depth_kind(label)
        result.labels[task] = remap_classes(label, self.classes) if TASKS[task].class_list == "classes" else label
        result.records.extend(records)

    def _to_depth_kind(self, label: Label) -> Label:
        """Depth in the config's depth kind, or in that of the first label if the config names none.

        Raises:
            UsageError: The teachers' depth kinds differ.
        """
        if not TASKS[label.task].has_depth_kind:
            return label
        have = label.depth_kind or DepthKind.METRIC
        self._depth_kind = self._depth_kind or have
        if have is not self._depth_kind and self._config.depth_kind is None:
            raise UsageError(
                f"the teachers' depth has different depth kinds: {self._depth_kind} and {have}",
                hint="name the one to convert to, such as --set depth.depth_kind=affine_invariant_disparity",
            )
        return convert_depth(label, self._depth_kind)


_STRATEGIES: dict[str, Callable[[EnsembleTeacher, Photo, Task, BlendConfig, TeacherResult], None]] = {
    "weight": EnsembleTeacher._pick_by_weight,
    "cascade": EnsembleTeacher._run_cascade,
    "fuse": EnsembleTeacher._fuse_all,
}


def _label_task(member: Member, photo: Photo, task: Task) -> TeacherResult:
    """The result of one teacher for one task; its failure on this photo becomes a failure of the result."""
    try:
        results = member.teacher.label(photo)
    except UsageError:
        raise
    except DistillError as error:
        reason = f"{member.teacher.name}: {error.message.removeprefix(f'{photo.name}: ')}"
        return TeacherResult(labels={}, failures=[{"task": str(task), "kind": "failed", "reason": reason}])
    # A teacher with several legends gives several results; each sample here has one label per task.
    return next((result for result in results if task in result.labels), results[0])


def _merge_records(answer: TeacherResult, result: TeacherResult) -> None:
    """Add failures, notes, costs and images to the result, whether the label is used or not."""
    result.failures.extend(answer.failures)
    result.notes.extend(answer.notes)
    result.costs_usd.extend(answer.costs_usd)
    for name, image in answer.generated.items():
        result.generated.setdefault(name, image)


def member_config(member: MemberConfig) -> TeacherConfig:
    """The checked config of a member.

    Raises:
        UsageError: Unknown kind, wrong keys, or an ensemble within an ensemble.
    """
    name = str(member.teacher.get("kind", ""))
    kind = find_kind(name)
    if kind is None or name == "ensemble":
        raise UsageError(f"an ensemble cannot have a teacher of kind {name!r}", hint=f"one of {', '.join(KINDS)}")
    return load_config(kind.config, member.teacher, name=f"the {name} teacher of the ensemble")


def build_ensemble(config: EnsembleConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The ensemble; a teacher that is in several blends is built once.

    Raises:
        UsageError: A teacher cannot be built, or cannot do the task of its blend.
    """
    built: dict[str, Teacher] = {}
    members: dict[Task, list[Member]] = {}
    for task, blend in config.blends().items():
        members[task] = [_member(member, task, blend, context, built) for member in blend.teachers]
    return EnsembleTeacher(config, members, context.quality_filter)


def _member(
    member: MemberConfig, task: Task, blend: BlendConfig, context: TeacherContext, built: dict[str, Teacher]
) -> Member:
    key = json.dumps([member.teacher, member.folder], sort_keys=True, default=str)
    if key not in built:
        built[key] = _build_member(member_config(member), Path(member.folder), context)
    # A copy that does only this task; it shares everything that is open (weights, stores).
    teacher = copy.copy(built[key])
    if task not in teacher.tasks:
        raise UsageError(f"{teacher.name} cannot do {task}; it does {', '.join(teacher.tasks)}")
    teacher.tasks = (task,)
    price_usd = teacher.answer_usd if member.price_usd is None else member.price_usd
    min_quality = blend.min_quality if member.min_quality is None else member.min_quality
    return Member(teacher, member.weight, price_usd, min_quality)


def _build_member(config: TeacherConfig, folder: Path, context: TeacherContext) -> Teacher:
    """A member; only generators use the store."""
    kind = kind_of(config)
    return kind.build(config, folder, context if kind.generates_images else replace(context, store=None))
