"""Plan of a labeling job: number of answers, duration, size and cost. Sends no request and writes no file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.errors import DistillError, UsageError

if TYPE_CHECKING:
    from distill.teachers.labeling.job import Job

_TRIAL_PHOTOS = 4
"""Photos on which a teacher that costs no money is run; the first one opens the model."""
_TRIAL_PHOTOS_GENERATOR = 2
"""The same for image generators, which take seconds to minutes for each image."""


class LabelPlan(NamedTuple):
    """Estimate of a labeling job.

    Attributes:
        values: The estimate as JSON values.
        text: The same for a terminal.
    """

    values: dict[str, Any]
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return self.values

    def to_text(self) -> str:
        """Format for a terminal."""
        return self.text


def plan_label(job: Job) -> LabelPlan:
    """Estimate the job: of a hosted teacher from its prices, of any other from a trial on a few photos.

    Raises:
        UsageError: The job is wrong.
    """
    from distill.config.hosted import HostedConfig
    from distill.workflows.label.plan_hosted import plan_hosted

    # A plan downloads no model.
    os.environ["HF_HUB_OFFLINE"] = "1"
    plan = LabelPlan(*plan_hosted(job, job.config)) if isinstance(job.config, HostedConfig) else plan_local(job)
    left_out = len(job.source.left_out)
    more = f"\n{left_out} results of earlier runs and system folders are left out." if left_out else ""
    return LabelPlan(plan.values | {"left_out": left_out}, plan.text + more)


def plan_local(job: Job) -> LabelPlan:
    """Plan for a teacher that costs no money: run it on the first photos and extrapolate."""
    from distill.config.ensemble import EnsembleConfig
    from distill.teachers.kinds import kind_of
    from distill.teachers.local.hub import ModelUnavailable

    photos, kind = job.num_photos, kind_of(job.config)
    if job.store is not None and not job.offline and not isinstance(job.config, EnsembleConfig):
        job = replace(job, store=None)  # a trial stores no answers
    values: dict[str, Any] = {"photos": photos, "shards": job.expected_shards, "cost_usd": 0.0}
    try:
        tasks = job.teacher.tasks
        trial = _run_trial(
            job, min(_TRIAL_PHOTOS_GENERATOR if kind.generates_images and kind.uses_gpu else _TRIAL_PHOTOS, photos)
        )
    except ModelUnavailable as missing:
        values |= {"tasks": list(job.tasks), "answers": None, "seconds": None, "bytes": None, "timed_photos": 0}
        values |= {"teacher": job.config.kind, "license": job.config.license, "missing": missing.message}
        return LabelPlan(
            values,
            f"{photos} photos in {job.expected_shards} shards, 0.00 USD. The duration is unknown: {missing.message}; "
            f"{missing.hint}. No request was sent and no file was written.",
        )
    seconds = trial.opening_s + trial.photo_s * photos
    most_usd = _ensemble_usd(job)
    values |= {
        "cost_usd": most_usd,
        "tasks": list(tasks),
        "answers": photos * len(tasks),
        "seconds": round(seconds, 1),
        "bytes": round(trial.photo_bytes * photos),
        "teacher": job.teacher.name,
        "license": job.teacher.license,
        "terms": job.teacher.terms,
        "timed_photos": trial.photos,
    }
    where = "on this machine" if kind.uses_all_cores else "on one core"
    return LabelPlan(
        values,
        f"{photos} photos, {len(tasks)} tasks ({', '.join(tasks)}): {values['answers']} answers of {job.teacher.name}, "
        f"{'at most ' if most_usd else ''}{most_usd:,.2f} USD, about {seconds:.0f} s {where} and "
        f"{values['bytes'] / 1e6:.1f} MB in {job.expected_shards} shards (from {trial.photos} photos tried). "
        "No file was written.",
    )


def _ensemble_usd(job: Job) -> float:
    """Cost of the hosted members of an ensemble if each labels every photo, and no answer is stored."""
    from distill.teachers.hosted.services.registry import prices_of
    from distill.teachers.prompts.build import build_prompt_specs
    from distill.workflows.label.hosted import hosted_configs

    each_usd = 0.0
    for part in hosted_configs(job.config):
        price, _ = prices_of(part)
        for prompt_spec in build_prompt_specs(part.prompts):
            if prompt_spec.task in job.teacher.tasks:
                each_usd += sum(
                    price.likely_usd(variant.prompt_spec.prompt)
                    for variant in job.prompt_ensemble.variants(prompt_spec)
                )
    return round(job.num_photos * each_usd, 2)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Measurements on a few photos.

    Attributes:
        photos: Number of photos.
        opening_s: Additional time of the first photo: opening the model.
        photo_s: Time per photo.
        photo_bytes: Size per sample.
    """

    photos: int
    opening_s: float
    photo_s: float
    photo_bytes: float


def _run_trial(job: Job, count: int) -> _Trial:
    """Label the first photos, and discard the labels.

    Raises:
        UsageError: The job is wrong.
    """
    from distill.inputs import UnreadablePhoto
    from distill.labels import encode

    taken: list[float] = []
    size, since = 0, time.monotonic()
    for photo in job.source.read(0, count):
        if not isinstance(photo, UnreadablePhoto):
            try:
                for result in job.teacher.label(photo):
                    maps = (data for label in result.labels.values() for data in encode(label).values())
                    size += len(photo.data) + sum(map(len, maps))
            except UsageError:
                raise
            except DistillError:
                pass
        taken.append(time.monotonic() - since)
        since = time.monotonic()
    if not taken:
        return _Trial(0, 0.0, 0.0, 0.0)
    others = taken[1:] or taken
    photo_s = sum(others) / len(others)
    # In the job, several photos share the cores that one photo had here.
    max_parallel = job.teacher.max_parallel
    return _Trial(len(taken), max(0.0, taken[0] - photo_s), photo_s / max_parallel, size / len(taken))
