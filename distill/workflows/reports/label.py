"""HTML report of a labeling job: counts, failures, lowest scores and previews."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.images import decode_rgb
from distill.report import (
    CaptionedImage,
    Gallery,
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
from distill.teachers.labeling.previews import Preview, read_previews
from distill.teachers.quality.calibration import PARTS

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
    sections = [_overview(job, all_stats, result)]
    if result.instances:
        sections.append(_instances(result.instances))
    if result.low_quality:
        sections.append(_low_quality(result.low_quality))
    if result.failed or result.unanswered or result.notes:
        sections.append(_failures(result))
    sections.append(Section("Answers of the teacher, and their labels", list(_galleries(job.out))))
    report = Report(
        title=f"Labels of {job.teacher.name}",
        summary=f"{result.labeled} of {result.photos} photos labeled with {result.answers} answers.",
        sections=sections,
        facts={**machine(), **versions()},
    )
    return write_report(report, job.out, "report", formats=("html",))["html"]


def _overview(job: Job, all_stats: list[ShardStats], result: LabelResult) -> Section:
    rows = [
        [task, count, result.valid_fraction.get(task), result.quality.get(task)]
        for task, count in result.labels.items()
    ]
    metrics = [
        Metric(result.labeled, "photos labeled", f"of {result.photos}"),
        Metric(result.answers, "answers read", f"{len(result.unanswered)} gave no label"),
        Metric(f"{result.cost_usd:.2f}", "USD paid", "to the teacher"),
    ]
    prompts = {key: text for stats in all_stats for key, text in stats.prompts.items()}
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
            *([Table(["hash", "prompt"], sorted(prompts.items())[:_MOST_PROMPTS], title="Prompts")] if prompts else []),
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
            blocks.append(Table(["photo", "task", "reason"], table, title=title, note=note))
    return Section("Failures", blocks)


def _galleries(out: Path) -> list[Gallery | Text]:
    """One row of images per label: photo, generated image, label, confidence."""
    previews = read_previews(out)
    if not previews:
        return [Text("No previews were written (--previews 0).", tone="note")]
    galleries: list[Gallery | Text] = []
    for _, group in groupby(previews, key=lambda preview: (preview.position, preview.number)):
        by_kind = {preview.what: preview for preview in group}
        photo = by_kind.pop("photo")
        tasks = [kind for kind in by_kind if f"{kind} confidence" in by_kind]
        rejected = [_captioned(item, kind) for kind, item in by_kind.items() if "rejected" in kind]
        if rejected or not tasks:
            galleries.append(Gallery([_captioned(photo, "photo"), *rejected], title=f"{photo.key}: no label"))
        for task in tasks:
            row = [_captioned(photo, "photo")]
            row += [
                _captioned(item, kind)
                for kind, item in by_kind.items()
                if kind.startswith(task) and "generated" in kind
            ]
            row += [
                _captioned(by_kind[task], task),
                _captioned(by_kind[f"{task} confidence"], "confidence, 0 where invalid"),
            ]
            galleries.append(Gallery(row, columns=max(4, len(row)), title=f"{photo.key}: {task}"))
    return galleries


def _captioned(preview: Preview, caption: str) -> CaptionedImage:
    return CaptionedImage(decode_rgb(preview.path.read_bytes(), preview.path.name)[0], caption)
