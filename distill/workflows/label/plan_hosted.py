"""Plan of a labeling job with a hosted teacher: cost, duration and size for each mode of the service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from distill.errors import DistillError
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.config.hosted import HostedConfig
    from distill.teachers.hosted.generator import HostedGenerator
    from distill.teachers.hosted.services.base import Request
    from distill.teachers.labeling.job import Job

_SCAN_TIMEOUT_S = 2.0
"""Time for looking up stored answers; the remaining photos are estimated from those that were scanned."""
_SCAN_PHOTOS = 200
_ANSWER_BYTES_PER_PIXEL = 0.6
_LABEL_BYTES_PER_PIXEL = {Task.NORMALS: 0.7}
_OTHER_LABEL_BYTES_PER_PIXEL = 0.1
"""As measured on generated images of a megapixel and their labels, confidence included."""


def plan_hosted(job: Job, config: HostedConfig) -> tuple[dict[str, Any], str]:
    """Plan for a teacher that costs money: from prices, rate limits and stored answers."""
    from distill.teachers.hosted.generator import HostedGenerator
    from distill.teachers.hosted.services.registry import prices_of, service_of
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
    service = service_of(config)
    for mode in service.modes:
        price, _ = prices_of(config, mode=mode)
        modes[mode] = {
            "usd": round(share * sum(map(price.likely_usd, prompts)), 2) if price.known else None,
            "at_most_usd": round(share * sum(map(price.worst_usd, prompts)), 2) if price.known else None,
            "minutes": None if mode == "batch" else round(_minutes(config, answers - cached, price.typical_s), 1),
        }
    price, _ = prices_of(config)
    mode = service.mode
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
        "shards": job.expected_shards,
        "teacher": job.teacher.name,
        "license": job.teacher.license,
        "terms": config.terms,
        "prices_dated": price.dated if price.known else "",
        "store": str(job.store),
    }
    return values, _hosted_text(values, len(prompts))


class _RequestCounter:
    """Counts the requests that a teacher would send."""

    use_cached = False

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, generator: HostedGenerator, request: Request) -> None:
        from distill.teachers.store.records import AnswerMissing

        self.calls += 1
        raise AnswerMissing("counted only")


def _scan_store(job: Job) -> tuple[int, int, float, float]:
    """Scan photos spread over the job; return (photos scanned, missing answers, mean pixels, mean bytes per photo)."""
    from distill.inputs import UnreadablePhoto

    counted = _RequestCounter()
    teacher, photos = job.build_teacher(counted), job.num_photos
    until, num_scanned, pixels, size = time.monotonic() + _SCAN_TIMEOUT_S, 0, 0, 0
    store_is_empty = not _store(job).folder.is_dir()
    step = max(1, photos // (4 if store_is_empty else _SCAN_PHOTOS))
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
    """Duration at the known rate limits, with the allowed number of requests in flight."""
    limits = config.limits
    per_minute = [limits.concurrency / typical_s * 60]
    per_minute += [rate for rate in (limits.images_per_minute, limits.requests_per_minute) if rate is not None]
    return calls / min(per_minute)


def _hosted_text(values: dict[str, Any], per_photo: int) -> str:
    """Format the plan for a terminal."""
    lines = [
        f"{values['photos']} photos, {per_photo} prompts each ({', '.join(values['tasks'])}): {values['answers']} "
        f"answers of {values['teacher']}; {'' if values['cached_exact'] else 'about '}{values['cached']} are stored in "
        f"{values['store']}, {values['to_request']} are to be requested"
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
        "No request was sent and no file was written.",
    ]
    return "\n".join(lines)


def _span(minutes: float) -> str:
    return f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.0f} minutes"
