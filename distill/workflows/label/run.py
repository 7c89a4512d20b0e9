"""Labeling as a function: label all shards that are not done, then write the manifest and the report."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.runtime.progress import Reporter, SilentReporter
from distill.tasks import Task
from distill.teachers.store.spending import UNLIMITED, Budget
from distill.workflows.arguments import (
    Overrides,
    Paths,
    StrPath,
    Tasks,
    to_override_words,
    to_path,
    to_strings,
    to_tasks,
)
from distill.workflows.label.hosted import parse_deadline, shards_with_answers
from distill.workflows.label.options import LabelOptions, read_classes, to_thresholds
from distill.workflows.label.result import LabelResult, summarize
from distill.workflows.label.stopping import seal_if_possible, sealed_on_stop
from distill.workflows.label.workers import num_workers, run_shards

if TYPE_CHECKING:
    from distill.config.teacher_base import TeacherConfig
    from distill.teachers.labeling.job import Job

_SHOWN_KINDS = 5
Threshold = float | Mapping[Task | str, float]


def label(
    photos: Paths = (),
    *,
    teacher: str | Path | Mapping[str, Any] | TeacherConfig,
    out: StrPath = "shards",
    task: Tasks = (),
    classes: str | Path | Sequence[str] = (),
    answers: StrPath | None = None,
    overrides: Overrides = (),
    store: StrPath | None = None,
    offline: bool = False,
    max_usd: float | None = None,
    max_requests: int | None = None,
    deadline: str = "",
    trust_service: bool = False,
    num_answers: int = 1,
    flip: bool = False,
    permute_legend: bool = True,
    fuse: bool = False,
    check: bool = True,
    min_quality: Threshold | None = None,
    full_weight_above: Threshold | None = None,
    calibration: StrPath | None = None,
    frame_stride: int = 1,
    dedupe: bool = False,
    limit: int | None = None,
    shard_size: int = 64,
    workers: int = 0,
    job_index: str = "1/1",
    previews: int = 24,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> LabelResult:
    """Label photos with a teacher, and write label shards.

    A photo that cannot be read is listed in the result and does not stop the job. An interrupted job continues when
    the same call is repeated: finished shards are kept.

    Args:
        photos: Folders, globs, image files, videos or folders of shards; none for the synthetic teacher.
        teacher: A name that ``distill teachers`` lists (``"tcmonodepth"``), a kind (``"synthetic"``), the path of a
            YAML config, a function (``"package.module:function"``), or config values.
        out: Folder for the shards.
        task: Label these tasks only.
        classes: Semantic classes to prompt for: names, a string with commas, or a file with one name per line.
        answers: replay: the manifest of the generated images.
        overrides: Config values by dotted key, such as ``{"scenes": 600, "faults": "moderate"}``.
        store: Folder of stored answers, looked up before each request; teachers that cost money use ``answers`` next
            to `out` unless given.
        offline: Use stored answers only.
        max_usd: Stop before this job, earlier runs included, could cost more.
        max_requests: Stop after this many requests of this job.
        trust_service: Send an API key although the config names another address or another variable than the
            service's own.
        deadline: Send no request later than this: ``90m``, ``06:30`` or ``2026-12-01T06:30``.
        num_answers: Answers per prompt, fused into one label; each is paid for.
        flip: Also prompt with the mirrored photo, and fuse.
        permute_legend: Draw new legend colors for each of several semantic answers.
        fuse: replay: fuse several answers to one prompt into one label.
        check: Realign or reject generated images that do not fit their photos; reject wrong images and low scores.
        min_quality: Reject labels that score lower; one number, or by task; default: 0.05 for generated images.
        full_weight_above: Reduce the weight of labels that score lower, in proportion.
        calibration: File that converts scores to expected errors; next to the config file unless given.
        frame_stride: Label every n-th frame of a video.
        dedupe: Leave out photos that look like an earlier one.
        limit: Stop after this many photos.
        shard_size: Photos per shard.
        workers: Processes; 0: chosen by the kind of teacher.
        job_index: Do only this part of the shards, such as ``3/10`` in a job array.
        previews: Number of photos in the report.
        overwrite: Delete the shards in `out` first; stored answers are kept.
        reporter: Receives messages and progress; silent unless given.

    Returns:
        Counts, failures, cost and quality of the labels.

    Raises:
        UsageError: The teacher or an option is wrong, or `out` holds another job.
        DistillError: The teacher cannot be opened, or a file cannot be written.

    Example:
        >>> result = distill.label("photos/", teacher="nano_banana", task="semantic", classes="road,car,sky")
        >>> result.labels, result.cost_usd
    """
    options = LabelOptions(
        teacher=teacher,
        photos=to_strings(photos),
        out=to_path(out),
        tasks=to_tasks(task),
        classes=read_classes(classes),
        answers=to_path(answers),
        overrides=to_override_words(overrides),
        store=to_path(store),
        offline=offline,
        frame_stride=frame_stride,
        dedupe=dedupe,
        limit=limit,
        shard_size=shard_size,
        previews=previews,
        check=check,
        min_quality=to_thresholds("min_quality", min_quality),
        full_weight_above=to_thresholds("full_weight_above", full_weight_above),
        calibration=to_path(calibration),
        num_answers=num_answers,
        flip=flip,
        permute_legend=permute_legend,
        fuse=fuse,
    )
    budget = Budget(max_usd, max_requests, parse_deadline(deadline) if deadline else None)
    return run_label(
        options.job(reporter),
        reporter,
        workers=workers,
        job_index=job_index,
        overwrite=overwrite,
        budget=budget,
        trust_service=trust_service,
    )


def run_label(
    job: Job,
    reporter: Reporter | None = None,
    *,
    workers: int = 0,
    job_index: str = "1/1",
    overwrite: bool = False,
    budget: Budget = UNLIMITED,
    trust_service: bool = False,
) -> LabelResult:
    """Label every shard that is not done yet; also writes ``label.json``.

    Raises:
        DistillError: A file cannot be written, or the teacher cannot be opened.
    """
    from distill.config import dump_config
    from distill.files import write_atomic
    from distill.run_dir import open_run_dir
    from distill.teachers.labeling.dataset_manifest import find_outdated, write_dataset_manifest

    started, reporter = time.monotonic(), reporter or SilentReporter()
    if any(Path(word).is_dir() and Path(word).resolve() == job.out.resolve() for word in job.inputs):
        raise UsageError(f"{job.out}: is both an input and --out", hint="choose another --out")
    _shards_of_job(job_index, 0)
    job.teacher  # noqa: B018 - a teacher that cannot be built stops the job before any file is written
    if overwrite:
        _clear(job.out)
    # Refused before any file is written: the folder may hold another job.
    if job.plan.shards:
        job.read_stats(0)
    open_run_dir(job.out, config_yaml=dump_config(job.config), verb="label")
    job.write_plan()
    mine = _shards_of_job(job_index, job.num_shards)
    todo = [index for index in mine if job.read_stats(index) is None]
    outdated = find_outdated(job)
    changes = {index: outdated[index] for index in todo if index in outdated}
    _report_state(job, mine, todo, changes, reporter)
    with (
        sealed_on_stop(job.out, reporter),
        reporter.progress("label", sum(len(job.positions(index)) for index in todo)) as progress,
    ):
        with shards_with_answers(job, todo, budget, reporter, trust_service=trust_service) as shards:
            for count in run_shards(job, shards, num_workers(job, workers, len(todo))):
                progress.advance(count, shards.note)
        hosted = shards.spend
    published = write_dataset_manifest(job)
    if published is None:
        seal_if_possible(job.out, reporter)
    all_stats = published[1] if published else [stats for stats in map(job.read_stats, range(job.num_shards)) if stats]
    seconds = time.monotonic() - started
    result = summarize(job, all_stats, changes, complete=published is not None, seconds=seconds, hosted=hosted)
    write_atomic(job.out / "label.json", json.dumps(result.to_dict(), indent=2, default=str).encode())
    if published is not None:
        from distill.workflows.reports.label import write_label_report

        result = replace(result, report=write_label_report(job, all_stats, result))
    return result


def _report_state(
    job: Job, mine: Sequence[int], todo: Sequence[int], changes: Mapping[int, str], reporter: Reporter
) -> None:
    """Say what an earlier run has done, what has changed since, and which files are left out."""
    if len(todo) < len(mine):
        new = sum(len(job.positions(index)) for index in todo if index not in changes)
        reporter.info(
            f"resuming: {len(mine) - len(todo)} of {len(mine)} shards are done"
            + (f"; {new} photos are not labeled yet" if new else "")
        )
    if changes:
        first = next(iter(changes.values()))
        reporter.info(f"labeling {len(changes)} shards again, because their photos or files have changed: {first}")
    if job.source.ignored:
        kinds = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in job.source.ignored)
        shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_SHOWN_KINDS))
        more = f" and {len(kinds) - _SHOWN_KINDS} other kinds" if len(kinds) > _SHOWN_KINDS else ""
        reporter.info(f"ignoring {len(job.source.ignored)} files that are not images: {shown}{more}")
    if job.source.left_out:
        names = job.source.left_out
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        reporter.info(
            f"leaving out {len(names)} results of earlier runs and system folders: {', '.join(names[:3])}{more}"
        )


def _shards_of_job(job_index: str, num_shards: int) -> list[int]:
    """Indices of the shards of part ``k/n``: every n-th, starting with the k-th."""
    number, _, count = job_index.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--job-index {job_index}: give it as k/n with 1 <= k <= n, such as 3/10")
    return list(range(int(number) - 1, num_shards, int(count)))


def _clear(out: Path) -> None:
    """Remove the files of an earlier job, and no others."""
    from distill.datasets.dataset_card import CARD, is_own_card
    from distill.shards import MANIFEST
    from distill.teachers.labeling.previews import PREVIEWS
    from distill.teachers.labeling.shard_plan import STATS_DIR

    for path in (*out.glob("shard-*.tar"), *out.glob(".shard-*.part"), out / MANIFEST, out / "label.json"):
        path.unlink(missing_ok=True)
    if is_own_card(out / CARD):
        (out / CARD).unlink()
    for folder in (STATS_DIR, PREVIEWS):
        shutil.rmtree(out / folder, ignore_errors=True)
