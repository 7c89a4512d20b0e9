"""HTML report of a labeling job: counts, failures, lowest scores and previews."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.report import (
    Code,
    Fold,
    KeyValues,
    Metric,
    Metrics,
    Report,
    Section,
    Table,
    Text,
    write_report,
)
from distill.run_dir import machine, versions
from distill.teachers.quality.calibration import PARTS
from distill.workflows.reports.pictures import color_legends, label_galleries

if TYPE_CHECKING:
    from distill.teachers.labeling.job import Job
    from distill.teachers.labeling.shard_stats import ShardStats
    from distill.workflows.label.result import LabelResult, Row

_QUALITY = (
    "Quality is a score from 0 to 1 that compares the label with its photo and with the labels of other tasks: the "
    "parts below, weighted; it is not the confidence of the teacher in its pixels."
)
_MOST_ROWS = 200
_MOST_PROMPTS = 20


def write_label_report(job: Job, all_stats: list[ShardStats], result: LabelResult) -> Path:
    """Write the report; return its path."""
    values = result.to_dict()
    galleries = label_galleries(job.out, values) or [Text("No previews were written (--previews 0).", tone="note")]
    legends = color_legends([str(task) for task in result.labels], job.teacher.classes)
    sections = [_overview(job, result), Section("Labels to look at first", [*legends, *galleries])]
    if result.low_quality:
        sections.append(_low_quality(result.low_quality))
    if result.instances:
        sections.append(_instances(result.instances))
    if result.failed or result.unanswered or result.notes:
        sections.append(_failures(result))
    prompts = dict(sorted({key: text for stats in all_stats for key, text in stats.prompts.items()}.items()))
    if prompts:
        sections.append(Section("Prompts", [Code(text) for text in list(prompts.values())[:_MOST_PROMPTS]]))
    report = Report(
        title="Labels",
        summary=f"{result.labeled} of {result.photos} photos labeled with {result.answers} answers of "
        f"{job.teacher.name}. To judge single labels: distill review {job.out.name}",
        sections=sections,
        facts={**machine(), **versions()},
    )
    return write_report(report, job.out, "report", formats=("html",))["html"]


def _overview(job: Job, result: LabelResult) -> Section:
    rows = [
        [task, count, result.valid_fraction.get(task), result.quality.get(task)]
        for task, count in result.labels.items()
    ]
    metrics = [
        Metric(result.labeled, "photos labeled", f"of {result.photos}"),
        Metric(result.answers, "answers read", f"{len(result.unanswered)} gave no label"),
        Metric(f"{result.cost_usd:.2f}", "USD paid", "to the teacher"),
    ]
    facts = {
        "teacher": job.teacher.name,
        "license class": job.teacher.license,
        "classes": ", ".join(job.teacher.classes),
    }
    return Section(
        "Overview",
        [
            Metrics(metrics),
            Table(
                ["task", "labels", "pixels with a value", "mean quality"],
                rows,
                note=_QUALITY,
            ),
            KeyValues(facts, title="Teacher"),
        ],
    )


def _instances(rows: Sequence[Row]) -> Section:
    classes = sorted({name for row in rows for name in row if name != "name"})
    table = [[row["name"], *[row.get(name, 0) for name in classes]] for row in rows[:_MOST_ROWS]]
    return Section("Instances", [Table(["photo", *classes], table)])


def _low_quality(rows: Sequence[Row]) -> Section:
    """Labels with the lowest scores, and the parts of their scores."""
    parts = [name for name in PARTS if any(name in row for row in rows)]
    columns = ["photo", "task", "quality", *parts, "realigned by"]
    expected = any("expected_error" in row for row in rows)
    if expected:
        columns.insert(3, "expected error")
    table = []
    for row in rows:
        head = [row["name"], row["task"], row["quality"]] + ([row.get("expected_error")] if expected else [])
        table.append([*head, *(row.get(name) for name in parts), row["transform"]])
    note = (
        "Every part is between 0 and 1: valid colors; registration with the photo; label borders on edges of the "
        "photo; agreement with the other tasks; agreement of several answers; content. Parts that do not apply are "
        "empty: only generated images have colors and a registration, and a photo of one surface needs no borders."
    )
    return Section("Labels with the lowest scores", [Table(columns, table, note=note)])


def _failures(result: LabelResult) -> Section:
    blocks: list[Any] = []
    for title, rows in (
        ("Photos that could not be used", result.failed),
        ("Prompts without a label", result.unanswered),
        ("Remarks on photos, and labels decoded otherwise than prompted", result.notes),
    ):
        if rows:
            table = [[row["name"], row.get("task", ""), row["reason"]] for row in rows[:_MOST_ROWS]]
            left = len(rows) - len(table)
            note = f"... and {left} more in label.json" if left else ""
            blocks.append(Fold(f"{title} ({len(rows):,})", [Table(["photo", "task", "reason"], table, note=note)]))
    return Section("Failures", blocks)
