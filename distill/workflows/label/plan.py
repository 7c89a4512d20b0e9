"""`distill label --plan`: what would be done, how long, how large, at what cost. Asks nothing and writes nothing."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distill.errors import DistillError, UsageError
from distill.runtime.progress import Reporter
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.config.hosted import HostedConfig
    from distill.teachers.hosted.generator import HostedGenerator
    from distill.teachers.hosted.services.base import Request
    from distill.teachers.labeling.job import Job

_TRIAL_PHOTOS = 4
"""Photos on which a teacher that is free to ask is tried; the first one opens the model."""
_TRIAL_PHOTOS_GENERATOR = 2
"""The same for image generators, which take seconds to minutes for each picture."""
_SCAN_TIMEOUT_S = 2.0
"""How long stored answers are looked for; more photos than that are judged by those that were looked at."""
_SCAN_PHOTOS = 200
_ANSWER_BYTES_PER_PIXEL = 0.6
_LABEL_BYTES_PER_PIXEL = {Task.NORMALS: 0.7}
_OTHER_LABEL_BYTES_PER_PIXEL = 0.1
"""As measured on generated images of a megapixel and their labels, confidence included."""


def show_plan(job: Job, reporter: Reporter) -> None:
    """Say what the job would do; of a hosted teacher what it would cost, of any other how long it takes."""
    from distill.config.hosted import HostedConfig

    # A plan fetches no model.
    os.environ["HF_HUB_OFFLINE"] = "1"
    values, text = plan_hosted(job, job.config) if isinstance(job.config, HostedConfig) else plan_local(job)
    reporter.result(values, text)


def plan_local(job: Job) -> tuple[dict[str, Any], str]:
    """(plan, the same as a sentence) of a teacher that is free to ask: it is tried on the first photos."""
    from distill.config.ensemble import EnsembleConfig
    from distill.config.local import DiffusersConfig
    from distill.teachers.local.hub import ModelUnavailable

    photos = job.num_photos
    if job.store is not None and not job.offline and not isinstance(job.config, EnsembleConfig):
        job = replace(job, store=None)  # a trial leaves no answers behind
    values: dict[str, Any] = {"photos": photos, "shards": job.num_shards, "cost_usd": 0.0}
    try:
        tasks = job.teacher.tasks
        trial = _run_trial(
            job, min(_TRIAL_PHOTOS_GENERATOR if isinstance(job.config, DiffusersConfig) else _TRIAL_PHOTOS, photos)
        )
    except ModelUnavailable as missing:
        values |= {"tasks": list(job.tasks), "answers": None, "seconds": None, "bytes": None, "timed_photos": 0}
        values |= {"teacher": job.config.kind, "license": job.config.license, "missing": missing.message}
        return values, (
            f"{photos} photos in {job.num_shards} shards, 0.00 USD. How long it takes cannot be said: "
            f"{missing.message}; {missing.hint}. Nothing was asked and nothing was written."
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
    where = "on this machine" if job.config.uses_all_cores else "on one core"
    return values, (
        f"{photos} photos, {len(tasks)} tasks ({', '.join(tasks)}): {values['answers']} answers of {job.teacher.name}, "
        f"{'at most ' if most_usd else ''}{most_usd:,.2f} USD, about {seconds:.0f} s {where} and "
        f"{values['bytes'] / 1e6:.1f} MB in {job.num_shards} shards (from {trial.photos} photos tried). "
        "Nothing was written."
    )


def _ensemble_usd(job: Job) -> float:
    """What the hosted members of a mix would cost if each was asked about every photo, and nothing was stored."""
    from distill.teachers.hosted.services.open import prices_of
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
    """What a few photos took.

    Attributes:
        photos: How many were tried.
        opening_s: What the first photo took more than the others: opening a model.
        photo_s: Of one photo.
        photo_bytes: Of one sample.
    """

    photos: int
    opening_s: float
    photo_s: float
    photo_bytes: float


def _run_trial(job: Job, count: int) -> _Trial:
    """Teach the first photos, and throw the labels away.

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
    # Several photos at once share the cores that one photo had to itself here.
    max_parallel = getattr(job.teacher, "max_parallel", 1)
    return _Trial(len(taken), max(0.0, taken[0] - photo_s), photo_s / max_parallel, size / len(taken))


def plan_hosted(job: Job, config: HostedConfig) -> tuple[dict[str, Any], str]:
    """(plan, the same for a person) of a teacher that costs money: from prices, rates and what is stored already."""
    from distill.teachers.hosted.generator import HostedGenerator
    from distill.teachers.hosted.services.open import prices_of
    from distill.teachers.prompts.build import build_prompt_specs

    photos, tasks = job.num_photos, job.teacher.tasks
    prompt_specs = [prompt_spec for prompt_spec in build_prompt_specs(config.prompts) if prompt_spec.task in tasks]
    prompts = [
        variant.prompt_spec.prompt
        for prompt_spec in prompt_specs
        for variant in job.prompt_ensemble.variants(prompt_spec)
    ]
    num_scanned, wanted, pixels, photo_bytes = _scan_store(job)
    stored = 1 - wanted / (num_scanned * len(prompts)) if num_scanned else 0.0
    answers = photos * len(prompts)
    cached = round(answers * stored)
    share = (answers - cached) / max(1, len(prompts))
    modes: dict[str, dict[str, Any]] = {}
    for mode in ("online", "flex", "batch") if hasattr(config, "batch_images") else ("online",):
        price, _ = prices_of(config, mode=mode)
        modes[mode] = {
            "usd": round(share * sum(map(price.likely_usd, prompts)), 2) if price.known else None,
            "at_most_usd": round(share * sum(map(price.worst_usd, prompts)), 2) if price.known else None,
            "minutes": None if mode == "batch" else round(_minutes(config, answers - cached, price.typical_s), 1),
        }
    price, _ = prices_of(config)
    mode = str(getattr(config, "mode", "online"))
    canvas = HostedGenerator(config, _store(job)).typical_canvas_hw
    answer_bytes = round(canvas[0] * canvas[1] * _ANSWER_BYTES_PER_PIXEL)
    label_bytes = sum(_LABEL_BYTES_PER_PIXEL.get(task, _OTHER_LABEL_BYTES_PER_PIXEL) for task in tasks) * pixels
    values: dict[str, Any] = {
        "photos": photos,
        "tasks": list(tasks),
        "answers": answers,
        "cached": cached,
        "cached_exact": num_scanned == photos or not cached,
        "to_request": answers - cached,
        "modes": modes,
        "mode": mode,
        "cost_usd": modes[mode]["usd"],
        "seconds": None if mode == "batch" else round((modes[mode]["minutes"] or 0.0) * 60),
        "bytes": round((answers - cached) * answer_bytes + photos * (photo_bytes + label_bytes)),
        "answer_bytes": (answers - cached) * answer_bytes,
        "shards": job.num_shards,
        "teacher": job.teacher.name,
        "license": job.teacher.license,
        "terms": config.terms,
        "prices_dated": price.dated if price.known else "",
        "store": str(job.store),
    }
    return values, _hosted_text(values, len(prompts))


class _RequestCounter:
    """Counts the calls that a teacher would make."""

    use_cached = False

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, generator: HostedGenerator, request: Request) -> None:
        from distill.teachers.store.answers import AnswerMissing

        self.calls += 1
        raise AnswerMissing("only looked at")


def _scan_store(job: Job) -> tuple[int, int, float, float]:
    """(photos looked at, answers that they lack, mean pixels, mean bytes of a photo), spread over the job."""
    from distill.inputs import UnreadablePhoto

    counted = _RequestCounter()
    teacher, photos = job.build_teacher(counted), job.num_photos
    until, num_scanned, pixels, size = time.monotonic() + _SCAN_TIMEOUT_S, 0, 0, 0
    nothing_stored = not _store(job).folder.is_dir()
    step = max(1, photos // (4 if nothing_stored else _SCAN_PHOTOS))
    for index in range(0, photos, step):
        for photo in job.source.read(index, index + 1):
            if isinstance(photo, UnreadablePhoto):
                continue
            num_scanned += 1
            pixels += photo.size_hw[0] * photo.size_hw[1]
            size += len(photo.data)
            try:
                teacher.label(photo)
            except DistillError:
                continue
        if time.monotonic() > until:
            break
    return num_scanned, counted.calls, pixels / max(1, num_scanned), size / max(1, num_scanned)


def _store(job: Job) -> Any:
    from distill.teachers.store.answers import AnswerStore

    assert job.store is not None
    return AnswerStore(job.store)


def _minutes(config: HostedConfig, calls: int, typical_s: float) -> float:
    """At the known rate limits, and with all calls in flight that are allowed."""
    limits = config.limits
    per_minute = [limits.concurrency / typical_s * 60]
    per_minute += [rate for rate in (limits.images_per_minute, limits.requests_per_minute) if rate is not None]
    return calls / min(per_minute)


def _hosted_text(values: dict[str, Any], per_photo: int) -> str:
    """The plan for a person."""
    lines = [
        f"{values['photos']} photos, {per_photo} questions each ({', '.join(values['tasks'])}): {values['answers']} "
        f"answers of {values['teacher']}; {'' if values['cached_exact'] else 'about '}{values['cached']} are stored in "
        f"{values['store']}, {values['to_request']} are to be asked for"
    ]
    for mode, plan in values["modes"].items():
        cost = "no price is known; name a table in the config: prices: FILE"
        if plan["usd"] is not None:
            cost = f"{plan['usd']:,.2f} USD (at most {plan['at_most_usd']:,.2f})"
        time_needed = "within a day" if plan["minutes"] is None else f"about {_span(plan['minutes'])}"
        chosen = "  <- this config" if mode == values["mode"] else ""
        lines.append(f"  {mode:7} {cost}, {time_needed}{chosen}")
    dated = f"; prices of {values['prices_dated']}" if values["prices_dated"] else ""
    lines += [
        f"about {values['bytes'] / 1e9:.2f} GB on disk: {values['answer_bytes'] / 1e9:.2f} GB of answers, the rest in "
        f"{values['shards']} shards{dated}",
        f"license class of the labels: {values['license']}" + (f", see {values['terms']}" if values["terms"] else ""),
        "Nothing was asked and nothing was written.",
    ]
    return "\n".join(lines)


def _span(minutes: float) -> str:
    return f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.0f} minutes"
