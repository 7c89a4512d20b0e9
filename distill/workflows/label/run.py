"""A labeling job run: every slice not done yet, over processes; then dataset.json, label.json and the report."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.runtime.progress import Reporter
from distill.workflows.label.hosted import UNLIMITED, RunBudget, shards_with_answers
from distill.workflows.label.workers import num_workers, run_shards

if TYPE_CHECKING:
    from distill.teachers.labeling.job import Job
    from distill.teachers.labeling.shard_stats import ShardStats

_SHOWN = 20
"""Failures named on the screen; label.json and the report name all."""


def run_label(
    job: Job,
    reporter: Reporter,
    *,
    workers: int = 0,
    job_index: str = "1/1",
    overwrite: bool = False,
    budget: RunBudget = UNLIMITED,
) -> dict[str, Any]:
    """Label every slice that is not done yet; gives the result as `--json` prints it.

    Raises:
        DistillError: Nothing can be written, or the teacher cannot be opened.
    """
    from distill.config import dump_config
    from distill.images import write_atomic
    from distill.run_dir import open_run_dir
    from distill.teachers.labeling.publish import write_dataset_manifest

    started = time.monotonic()
    if any(Path(word).is_dir() and Path(word).resolve() == job.out.resolve() for word in job.inputs):
        raise UsageError(f"{job.out}: is both an input and --out", hint="choose another --out")
    mine = _shards_of_job(job_index, job.num_shards)
    job.teacher  # noqa: B018 - a teacher that cannot be built stops the job before anything is written
    if overwrite:
        _clear(job.out)
    # Refused before anything is written: the folder may hold another job.
    todo = [index for index in mine if job.read_stats(index) is None]
    open_run_dir(job.out, config_yaml=dump_config(job.config), verb="label")
    resumed = len(mine) - len(todo)
    if resumed:
        reporter.info(f"resuming: {resumed} of {len(mine)} shards are done")
    if job.source.ignored:
        reporter.info(f"passing over {len(job.source.ignored)} files that are no pictures")
    with reporter.progress("label", sum(stop - start for start, stop in map(job.photo_range, todo))) as progress:
        with shards_with_answers(job, todo, budget, reporter) as slices:
            for count in run_shards(job, slices, num_workers(job, workers, len(todo))):
                progress.advance(count, slices.note)
        asked = slices.result
    published = write_dataset_manifest(job)
    all_stats = published[1] if published else [stats for stats in map(job.read_stats, range(job.num_shards)) if stats]
    result = _result(job, all_stats, complete=published is not None, seconds=time.monotonic() - started)
    result |= asked
    write_atomic(job.out / "label.json", json.dumps(result, indent=2, default=str).encode())
    if published is not None:
        from distill.workflows.reports.label import write_label_report

        result["report"] = str(write_label_report(job, all_stats, result))
    return result


def _shards_of_job(job_index: str, num_shards: int) -> list[int]:
    """The slices of ``k/n``: every n-th, from the k-th on."""
    number, _, count = job_index.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--job-index {job_index}: give it as k/n with 1 <= k <= n, such as 3/10")
    return list(range(int(number) - 1, num_shards, int(count)))


def _clear(out: Path) -> None:
    """Remove what an earlier job left, and nothing else."""
    from distill.shards import MANIFEST
    from distill.teachers.labeling.job import STATS_DIR
    from distill.teachers.labeling.previews import PREVIEWS

    for path in (*out.glob("shard-*.tar"), *out.glob(".shard-*.part"), out / MANIFEST, out / "label.json"):
        path.unlink(missing_ok=True)
    for folder in (STATS_DIR, PREVIEWS):
        shutil.rmtree(out / folder, ignore_errors=True)


def _result(job: Job, all_stats: list[ShardStats], *, complete: bool, seconds: float) -> dict[str, Any]:
    from distill.teachers.labeling.shard_stats import lowest_quality

    tasks = [str(task) for task in job.teacher.tasks]
    counts = {task: sum(stats.counts.get(task, 0) for stats in all_stats) for task in tasks}
    answered = {task: sum(stats.answered.get(task, 0) for stats in all_stats) for task in tasks}
    unanswered = [failure for stats in all_stats for failure in stats.unanswered]
    return {
        "out": str(job.out),
        "complete": complete,
        "photos": sum(stats.photos for stats in all_stats),
        "labeled": sum(stats.labeled for stats in all_stats),
        "answers": sum(answered.values()) + sum(row["kind"] == "rejected" for row in unanswered),
        "labels": counts,
        "quality": {
            task: round(sum(stats.quality.get(task, 0.0) for stats in all_stats) / answered[task], 4)
            for task in tasks
            if answered[task]
        },
        "instances": [row for stats in all_stats for row in stats.instances],
        "failed": [failure for stats in all_stats for failure in stats.failures],
        "unanswered": unanswered,
        "notes": [note for stats in all_stats for note in stats.notes],
        "realigned": sum(stats.realigned for stats in all_stats),
        "low_quality": lowest_quality(row for stats in all_stats for row in stats.low_quality),
        "ignored": list(job.source.ignored),
        "shards": sum(stats.shard is not None for stats in all_stats),
        "cost_usd": round(sum(stats.cost_usd for stats in all_stats), 4),
        "skipped": {
            name: sum(stats.skipped.get(name, 0) for stats in all_stats)
            for name in dict.fromkeys(name for stats in all_stats for name in stats.skipped)
        },
        "skipped_usd": round(sum(stats.skipped_usd for stats in all_stats), 4),
        "seconds": round(seconds, 2),
    }


def format_result(result: dict[str, Any]) -> str:
    """The result of `run_label` for a person."""
    per_task = ", ".join(f"{count} {task}" for task, count in result["labels"].items())
    lines = [
        f"{result['labeled']} of {result['photos']} photos labeled with {result['answers']} answers in "
        f"{result['seconds']:.1f} s for {result['cost_usd']:.2f} USD; maps: {per_task}; {result['shards']} shards in "
        f"{result['out']}"
    ]
    if result["realigned"]:
        lines.append(f"{result['realigned']} answers had drifted against their photos and were put back")
    if result.get("stopped"):
        lines += [f"stopped: {result['stopped']}", f"  {result['hint'] or 'run the same command again to go on'}"]
    elif not result["complete"]:
        lines.append("other parts are still to do; the last one writes dataset.json")
    if result["skipped"]:
        skipped = ", ".join(f"{count} answers of {name}" for name, count in result["skipped"].items())
        lines.append(f"the cascade did without {skipped}, which would have cost {result['skipped_usd']:.2f} USD")
    failures = (
        ("photos could not be used", "failed"),
        ("questions gave no label", "unanswered"),
        ("labels were read in another way than asked", "notes"),
    )
    for title, rows in ((title, result[name]) for title, name in failures):
        if rows:
            lines.append(f"{len(rows)} {title}:")
            for row in rows[:_SHOWN]:
                what = f" ({row['task']})" if "task" in row else ""
                lines.append(f"  {row['name']}{what}: {row['reason']}")
            if len(rows) > _SHOWN:
                lines.append(f"  ... and {len(rows) - _SHOWN} more in {result['out']}/label.json")
    if "report" in result:
        lines.append(f"look at it: {result['report']}")
    return "\n".join(lines)
