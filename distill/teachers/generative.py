"""Teacher with a generator: prompts, generated images, labels.

    photo -> prompts -> variants -> generator.generate -> parse (decode, register) -> fuse -> score -> results

A failed prompt (refused, unreadable, rejected) costs its own label only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.labels.conversions import drop_absent_instances, merge_instances, remap_classes, resample_nearest
from distill.tasks import MAX_CLASSES, TASKS, Task
from distill.teachers.answer_parser import ParsedAnswer, parse_answer
from distill.teachers.answer_reading import AnswerRejected
from distill.teachers.base import (
    ContentRefused,
    Dependencies,
    GeneratedImage,
    Generator,
    NoAnswer,
    PhotoRef,
    PromptSpec,
    TeacherResult,
    dependencies_of,
)
from distill.teachers.prompts.prompt_ensemble import SINGLE, PromptEnsemble, Variant, hflip_photo
from distill.teachers.prompts.templates import prompt_hash
from distill.teachers.quality.filter import QualityFilter, score_result
from distill.teachers.quality.fusion import agreement, fuse_labels, hflip_label
from distill.teachers.quality.off_code import NO_FLAWS, Flaws
from distill.teachers.quality.score import describe
from distill.teachers.quality.straight_lines import StraightLine, longest_unexplained_line
from distill.teachers.quality.wrong_image import explain_wrong_image
from distill.teachers.registration.result_cache import RegistrationCache
from distill.teachers.store.records import StoreFull
from distill.teachers.tasks import teacher_task

_SECOND = "a second answer about {} is a sample of its own; --fuse makes one label of all answers about a class"


@dataclass(frozen=True, slots=True)
class _ParsedSample:
    """A generated image and its label, in the orientation of the photo."""

    answer: GeneratedImage
    parsed: ParsedAnswer
    variant: Variant
    flaws: Flaws = NO_FLAWS

    @property
    def record(self) -> dict[str, Any]:
        """Provenance of this image."""
        prompt_spec = self.parsed.prompt_spec
        values: dict[str, Any] = {
            "answer": self.answer.name,
            "answer_format": self.parsed.container,
            "model": self.answer.model,
            "prompt": prompt_spec.prompt,
            "prompt_hash": prompt_hash(prompt_spec),
            "cost_usd": self.answer.cost_usd,
            "seed": self.answer.seed,
        }
        if self.parsed.colors.background is not None:
            values["background"] = list(self.parsed.colors.background)
        values |= self.flaws.to_record()
        if self.parsed.notes:
            values["notes"] = list(self.parsed.notes)
        if self.variant.sample:
            values["sample"] = self.variant.sample
        if self.variant.mirrored:
            values["mirrored"] = True
        return values


class GenerativeTeacher:
    """A generator with decoding, registration, fusion and quality checks."""

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
        quality_filter: QualityFilter | None = None,
        prompt_ensemble: PromptEnsemble = SINGLE,
        answer_usd: float = 0.0,
    ) -> None:
        if len(classes) > MAX_CLASSES:
            raise UsageError(
                f"{name}: the legends have {len(classes)} classes in total, and ids are stored in 8 bits",
                hint=f"label at most {MAX_CLASSES} classes into one --out",
            )
        self.name, self.license, self.terms = name, license, terms
        self.tasks = tuple(tasks)
        self.classes = tuple(classes)
        self.max_parallel, self.min_size_hw, self.answer_usd = 1, None, answer_usd
        self._generator, self._seed, self._quality_filter, self._prompt_ensemble = (
            generator,
            seed,
            quality_filter,
            prompt_ensemble,
        )
        self._registration_cache = (
            RegistrationCache(quality_filter.cache_dir)
            if quality_filter is not None and quality_filter.cache_dir is not None
            else None
        )

    def fingerprint(self) -> list[str]:
        """As `Teacher.fingerprint`."""
        return self._generator.fingerprint()

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """As `Teacher.dependencies`."""
        return dependencies_of(self._generator, photo)

    def label(self, photo: Photo) -> list[TeacherResult]:
        """Results for the photo.

        Raises:
            DistillError: There are no prompts about this photo.
        """
        prompt_specs = [
            prompt_spec for prompt_spec in self._generator.prompt_specs(photo) if prompt_spec.task in self.tasks
        ]
        if not prompt_specs:
            raise NoAnswer(
                f"{photo.name}: the teacher has no generated image of this photo", hint="add one, or remove the photo"
            )
        mirrored = hflip_photo(photo) if self._prompt_ensemble.flip else photo
        results = [TeacherResult(labels={})]
        for group in self._prompt_ensemble.group(prompt_specs):
            self._label_prompts(photo, mirrored, group, prompt_specs, results)
        for result in results:
            score_result(photo, result, self._quality_filter)
        return results

    def _label_prompts(
        self,
        photo: Photo,
        mirrored: Photo,
        group: list[PromptSpec],
        all_prompts: list[PromptSpec],
        results: list[TeacherResult],
    ) -> None:
        """Generate all variants of one prompt and store them as one label."""
        samples: list[_ParsedSample] = []
        failures: list[DistillError] = []
        for variant in (variant for prompt_spec in group for variant in self._prompt_ensemble.variants(prompt_spec)):
            about = mirrored if variant.mirrored else photo
            try:
                answer = self._generator.generate(about, variant.prompt_spec, seed=self._seed, sample=variant.sample)
            except (UsageError, StoreFull):
                raise  # a problem of the job or the disk, which affects every prompt
            except DistillError as error:
                failures.append(error)
                continue
            # Before parsing: an image costs the same whether it can be used or not.
            results[0].costs_usd.append(answer.cost_usd)
            try:
                samples.append(self._parse(about, answer, variant, all_prompts))
            except DistillError as error:
                failures.append(error)
        if len(samples) < len(failures):
            _record_failures(photo, group[0].task, samples, failures, results[0])
            return
        result = self._fuse_samples(samples, results)
        for unused in failures:
            reason = f"one of {len(samples) + len(failures)} images was not used: {_failure_reason(photo, unused)}"
            result.notes.append({"task": str(group[0].task), "reason": reason})

    def _parse(
        self, about: Photo, answer: GeneratedImage, variant: Variant, all_prompts: list[PromptSpec]
    ) -> _ParsedSample:
        """Label of a generated image in the photo's orientation and this teacher's class list."""
        register = self._quality_filter is not None and self._quality_filter.register
        try:
            parsed = parse_answer(
                about,
                answer,
                [variant.prompt_spec, *all_prompts],
                register=register,
                registration_cache=self._registration_cache,
            )
        except AnswerRejected as rejection:
            if register:
                _name_wrong_image(about, variant.prompt_spec, rejection)
            raise
        flaws = NO_FLAWS
        if register:
            line = longest_unexplained_line(parsed.generated, about.rgb, parsed.registration)
            if reason := self._explain_wrong_image(about, parsed, line):
                raise _rejected(reason, parsed.generated)
            flaws = Flaws(parsed.off_code, line.share)
        label = hflip_label(parsed.label) if variant.mirrored else parsed.label
        if TASKS[label.task].class_list == "classes":
            label = remap_classes(label, self.classes)
        return _ParsedSample(answer, replace(parsed, label=label), variant, flaws)

    def _explain_wrong_image(self, about: Photo, parsed: ParsedAnswer, line: StraightLine) -> str:
        """As `explain_wrong_image`; with the minimum quality 0, flat images may say that nothing was found."""
        task = parsed.label.task
        anything = self._quality_filter is not None and self._quality_filter.least(task) == 0
        return explain_wrong_image(
            about.rgb,
            parsed.generated,
            parsed.colors,
            parsed.label,
            parsed.registration,
            off_code=parsed.off_code,
            line=line,
            may_be_flat=anything and teacher_task(task).can_miss_objects,
        )

    def _fuse_samples(self, samples: list[_ParsedSample], results: list[TeacherResult]) -> TeacherResult:
        """Fuse the samples and store them in the first result without such a label."""
        size_hw = samples[0].parsed.label.size_hw
        labels = [resample_nearest(each.parsed.label, size_hw) for each in samples]
        label = drop_absent_instances(fuse_labels(labels))
        result = _result_for(label, results)
        if result is not results[0] and TASKS[label.task].class_list == "instance_classes":
            result.notes.append({"task": str(label.task), "reason": _SECOND.format(", ".join(label.classes))})
        for reason in dict.fromkeys(note for each in samples for note in each.parsed.notes):
            result.notes.append({"task": str(label.task), "reason": reason})
        record = self._record(samples, label)
        if len(samples) > 1:
            record["agreement"] = round(agreement(label, labels), 4)
        result.records.append(record)
        _store_label(label, samples[0].parsed.generated, result)
        if "instances" in record:
            stored = result.labels[label.task].instance_classes.values()
            record["instances"] = sum(name in label.classes for name in stored)
        return result

    def _record(self, samples: list[_ParsedSample], label: Label) -> dict[str, Any]:
        """Provenance and quality of a label."""
        prompt_spec = samples[0].parsed.prompt_spec
        record: dict[str, Any] = {
            "task": str(prompt_spec.task),
            "teacher": self.name,
            "license": samples[0].answer.license or self.license,
            # The teacher's terms do not apply to an image with a license of its own.
            "terms": "" if samples[0].answer.license else self.terms,
            **samples[0].record,
            "cost_usd": sum(each.answer.cost_usd for each in samples),
            **describe(label),
        }
        if legend := samples[0].parsed.colors.legend:
            record["prompted_classes"] = list(legend)
        if prompt_spec.class_name:
            record["class"] = prompt_spec.class_name
        if len(samples) > 1:
            record["answers"] = [each.record for each in samples]
        if self._quality_filter is not None:
            record["registration"] = asdict(samples[0].parsed.registration)
            for each, values in zip(samples, record.get("answers", ()), strict=False):
                values["registration"] = asdict(each.parsed.registration)
        return record


def _rejected(reason: str, generated: UInt8[ndarray, "h w 3"] | None) -> AnswerRejected:
    rejection = AnswerRejected(reason)
    rejection.generated = generated
    return rejection


def _name_wrong_image(photo: Photo, prompt_spec: PromptSpec, rejection: AnswerRejected) -> None:
    """Raise a rejection that names what the image shows instead, where that is clear."""
    if rejection.generated is None:
        return
    if reason := explain_wrong_image(photo.rgb, rejection.generated, prompt_spec, None):
        raise _rejected(reason, rejection.generated) from rejection


def _record_failures(
    photo: Photo, task: Task, samples: list[_ParsedSample], failures: list[DistillError], result: TeacherResult
) -> None:
    """Record why a prompt has no label: each reason, and the images if too few were usable."""
    if samples:
        count = len(samples) + len(failures)
        few = AnswerRejected(
            f"only {len(samples)} of {count} images could be used; {_failure_reason(photo, failures[0])}"
        )
        few.generated = samples[0].parsed.generated
        failures = [few]
    for error in failures:
        result.failures.append(
            {"task": str(task), "kind": _failure_kind(error), "reason": _failure_reason(photo, error)}
        )
        if isinstance(error, AnswerRejected) and error.generated is not None:
            result.generated[f"{task} rejected {len(result.failures)}"] = error.generated


def _failure_reason(photo: Photo, error: DistillError) -> str:
    return error.message.removeprefix(f"{photo.name}: ")


def _failure_kind(error: DistillError) -> str:
    """``refused`` by the service, ``rejected`` by a check, or ``failed``."""
    if isinstance(error, ContentRefused):
        return "refused"
    return "rejected" if isinstance(error, AnswerRejected) else "failed"


def _result_for(label: Label, results: list[TeacherResult]) -> TeacherResult:
    """First result without this task, or whose label the new one extends (instances of another class)."""
    for result in results:
        known = result.labels.get(label.task)
        if known is None or teacher_task(label.task).joins(known, label):
            return result
    results.append(TeacherResult(labels={}))
    return results[-1]


def _store_label(label: Label, generated: UInt8[ndarray, "h w 3"], result: TeacherResult) -> None:
    known, name = result.labels.get(label.task), str(label.task)
    if known is not None:
        # Each of several images is named by its own class, which the merged label no longer tells.
        if name in result.generated:
            result.generated[_name_of(known)] = result.generated.pop(name)
        name = _name_of(label)
        label = drop_absent_instances(merge_instances(known, resample_nearest(label, known.size_hw)))
    result.labels[label.task] = label
    result.generated[name] = generated


def _name_of(label: Label) -> str:
    return f"{label.task} {next(iter(label.instance_classes.values()), '')}".strip()
