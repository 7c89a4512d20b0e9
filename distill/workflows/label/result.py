"""Result of a labeling job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.teachers.labeling.job import Job
    from distill.teachers.labeling.shard_stats import ShardStats

_SHOWN = 20
"""Failures in `LabelResult.to_text`; label.json and the report list all."""

_WHOLE = 0.9995
"""Fractions of pixels with a value that are shown as 100.0%."""
_USUAL_DEPTH_M = (0.5, 200.0)
"""Range of the median depth of a set of photos that are not taken through a microscope or from a plane."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HostedSpend:
    """Requests to hosted teachers in this run.

    Attributes:
        stopped: Why the run ended early: budget, deadline, disk or service; empty if it did not.
        hint: What to do about it.
        calls: Requests sent.
        spent_usd: Their cost.
        uncertain_usd: Cost of requests whose outcome is unknown.
    """

    stopped: str
    hint: str
    calls: int
    spent_usd: float
    uncertain_usd: float


@dataclass(frozen=True, slots=True)
class LabelResult:
    """Outcome of `distill.label`.

    Attributes:
        out: Folder of the shards; `distill.train` takes it.
        complete: Whether all shards are done and ``dataset.json`` is written.
        photos: Number of photos.
        labeled: Photos with at least one label.
        answers: Answers of the teacher.
        labels: Number of label maps by task.
        valid_fraction: Mean fraction of pixels with a value, by task.
        quality: Mean quality by task: scores of the labels against their photos, in [0, 1].
        instances: Per photo: name, and number of instances of each class.
        failed: Photos that could not be used: name, reason.
        unanswered: Prompts without a label: name, task, kind, reason.
        notes: Remarks on photos, and labels that were decoded otherwise than prompted: name, task, reason.
        realigned: Answers that were shifted against their photos and moved back.
        low_quality: Labels with the lowest scores, worst first.
        ignored: Files that are not images.
        left_out: Results of earlier runs, and folders of storage systems and recycle bins, among the photos.
        near_duplicates: Photos that were left out because they look like another one.
        changed: What had changed since an earlier run, one sentence for each shard that was labeled again.
        shards: Number of shards written.
        cost_usd: Cost of all answers, stored ones included.
        skipped: Answers that a cascade did not need, by teacher.
        skipped_usd: Cost of the skipped answers, had they been requested.
        seconds: Duration of this run.
        hosted: Requests of this run; None without a hosted teacher.
        report: The HTML report; None until the job is complete.
    """

    out: Path
    complete: bool
    photos: int
    labeled: int
    answers: int
    labels: Mapping[str, int]
    valid_fraction: Mapping[str, float]
    quality: Mapping[str, float]
    instances: tuple[Row, ...]
    failed: tuple[Row, ...]
    unanswered: tuple[Row, ...]
    notes: tuple[Row, ...]
    realigned: int
    low_quality: tuple[Row, ...]
    ignored: tuple[str, ...]
    left_out: tuple[str, ...]
    near_duplicates: tuple[str, ...]
    changed: tuple[str, ...]
    shards: int
    cost_usd: float
    skipped: Mapping[str, int]
    skipped_usd: float
    seconds: float
    hosted: HostedSpend | None = None
    report: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, as in ``label.json``."""
        values = {name: _plain(getattr(self, name)) for name in self.__slots__ if name not in ("hosted", "report")}
        hosted = asdict(self.hosted) if self.hosted else {}
        return values | hosted | ({"report": str(self.report)} if self.report else {})

    def to_text(self) -> str:
        """Format for a terminal."""
        per_task = ", ".join(f"{count} {task}" for task, count in self.labels.items())
        lines = [
            f"{self.labeled} of {self.photos} photos labeled with {self.answers} answers in {self.seconds:.1f} s for "
            f"{self.cost_usd:.2f} USD; maps: {per_task}; {self.shards} shards in {self.out}"
        ]
        if partial := [f"{share:.1%} of {task}" for task, share in self.valid_fraction.items() if share < _WHOLE]:
            lines.append(f"pixels with a value: {', '.join(partial)}")
        if self.realigned:
            lines.append(f"{self.realigned} answers were shifted against their photos and have been realigned")
        if self.hosted and self.hosted.stopped:
            hint = self.hosted.hint or "run the same command again to continue"
            lines += [f"stopped: {self.hosted.stopped}", f"  {hint}"]
        elif not self.complete:
            lines.append("other parts of the job are still to do; the last one completes dataset.json")
        if self.skipped:
            skipped = ", ".join(f"{count} answers of {name}" for name, count in self.skipped.items())
            lines.append(f"the cascade did without {skipped}, which would have cost {self.skipped_usd:.2f} USD")
        for one, many, rest, rows in (
            ("photo", "photos", "could not be used", self.failed),
            ("prompt", "prompts", "gave no label", self.unanswered),
            ("remark", "remarks", "on photos and on labels that were decoded otherwise than prompted", self.notes),
        ):
            lines += self._failure_lines(f"{one if len(rows) == 1 else many} {rest}", rows)
        if self.report:
            lines.append(f"report: {self.report}")
        return "\n".join(lines)

    def _failure_lines(self, title: str, rows: Sequence[Row]) -> list[str]:
        if not rows:
            return []
        lines = [f"{len(rows)} {title}:"]
        for row in rows[:_SHOWN]:
            task = f" ({row['task']})" if "task" in row else ""
            lines.append(f"  {row['name']}{task}: {row['reason']}")
        more = len(rows) - _SHOWN
        return [*lines, f"  ... and {more} more in {self.out}/label.json"] if more > 0 else lines


def summarize(
    job: Job,
    all_stats: Sequence[ShardStats],
    changes: Mapping[int, str],
    *,
    complete: bool,
    seconds: float,
    hosted: HostedSpend | None,
) -> LabelResult:
    """Sum the statistics of all shards that are done."""
    from distill.teachers.labeling.shard_stats import lowest_quality

    tasks = [str(task) for task in job.teacher.tasks]
    answered = {task: sum(stats.answered.get(task, 0) for stats in all_stats) for task in tasks}
    unanswered = tuple(failure for stats in all_stats for failure in stats.unanswered)
    quality = {task: sum(stats.quality.get(task, 0.0) for stats in all_stats) for task in tasks}
    counts = {task: sum(stats.counts.get(task, 0) for stats in all_stats) for task in tasks}
    valid = {task: sum(stats.valid.get(task, 0.0) for stats in all_stats) for task in tasks}
    notes = [note for stats in all_stats for note in stats.notes]
    names = dict.fromkeys(name for stats in all_stats for name in stats.skipped)
    return LabelResult(
        out=job.out,
        complete=complete,
        photos=sum(stats.photos for stats in all_stats),
        labeled=sum(stats.labeled for stats in all_stats),
        answers=sum(answered.values()) + sum(row["kind"] == "rejected" for row in unanswered),
        labels=counts,
        valid_fraction={task: round(valid[task] / counts[task], 4) for task in tasks if counts[task]},
        quality={task: round(quality[task] / answered[task], 4) for task in tasks if answered[task]},
        instances=tuple(row for stats in all_stats for row in stats.instances),
        failed=tuple(failure for stats in all_stats for failure in stats.failures),
        unanswered=unanswered,
        notes=(*_remark_on_depth(all_stats), *_remark_on_content(counts, all_stats), *notes),
        realigned=sum(stats.realigned for stats in all_stats),
        low_quality=tuple(lowest_quality(row for stats in all_stats for row in stats.low_quality)),
        ignored=tuple(job.source.ignored),
        left_out=tuple(job.source.left_out),
        near_duplicates=tuple(sorted(job.copies)),
        changed=tuple(changes.values()),
        shards=sum(stats.shard is not None for stats in all_stats),
        cost_usd=round(sum(stats.cost_usd for stats in all_stats), 4),
        skipped={name: sum(stats.skipped.get(name, 0) for stats in all_stats) for name in names},
        skipped_usd=round(sum(stats.skipped_usd for stats in all_stats), 4),
        seconds=round(seconds, 2),
        hosted=hosted,
    )


def _remark_on_depth(all_stats: Sequence[ShardStats]) -> list[Row]:
    """A remark if the depths as a whole are unusually small or large, as in another unit."""
    from statistics import median

    from distill.tasks import TASKS

    medians = [one for stats in all_stats for one in stats.median_depths_m]
    least, most = _USUAL_DEPTH_M
    if not medians or least <= median(medians) <= most:
        return []
    task = next(str(task) for task, info in TASKS.items() if info.has_depth_kind)
    reason = f"the median of all depths is {median(medians):.3g} m: check that the unit is meters (scale)"
    return [{"name": "all photos", "task": task, "reason": reason}]


def _remark_on_content(counts: Mapping[str, int], all_stats: Sequence[ShardStats]) -> list[Row]:
    """Remarks on tasks of which all maps say the same: one class everywhere, or no instance at all."""
    from distill.tasks import TASKS

    shown = {name for stats in all_stats for name in stats.classes_shown}
    found = {
        "classes": f"are {next(iter(shown))!r} everywhere" if len(shown) == 1 else "",
        "instance_classes": "" if any(len(row) > 1 for stats in all_stats for row in stats.instances) else "are empty",
    }
    return [
        {"name": "all photos", "task": str(task), "reason": f"all {counts[task]} maps {what}: check the ids"}
        for task, info in TASKS.items()
        if counts.get(task, 0) > 1 and (what := found.get(info.class_list, ""))
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else dict(value) if isinstance(value, Mapping) else value
