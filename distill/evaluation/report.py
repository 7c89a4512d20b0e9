"""Evaluation report: tables of scores with one column per predictor, worst cases, warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from distill.evaluation.report_plots import (
    class_bars,
    color_legends,
    confusion_matrix,
    image_error_histogram,
    image_table,
    reliability_curve,
    slice_bars,
)
from distill.metrics.base import HIGHER, task_metric
from distill.report import Block, Cell, Fold, Gallery, Metric, Metrics, Report, Section, Table, Text
from distill.tasks import TASKS, Task

_COUNTS = {
    "images": "images scored",
    "images_skipped": "images without a valid pixel",
    "pixels": "pixels scored",
    "bad_pixels": "predictions not finite",
    "coverage": "coverage of the truth",
    "missing": "photos without an answer",
}


def ratios(scores: Mapping[str, Mapping[str, Any]], task: Task) -> dict[str, dict[str, float | None]]:
    """Ratio of the first predictor's scores to each other one's, by name and metric."""
    first, *others = scores
    return {
        other: {
            metric: _ratio(scores[first].get(metric), scores[other].get(metric)) for metric in task_metric(task).columns
        }
        for other in others
    }


def _ratio(part: Any, whole: Any) -> float | None:
    usable = all(isinstance(value, (int, float)) and math.isfinite(value) for value in (part, whole))
    return part / whole if usable and whole else None


def build_report(values: Mapping[str, Any], galleries: Mapping[str, Gallery | None]) -> Report:
    """Build the report from the values of ``evaluate.json`` and the worst cases by task."""
    tiles, sections = [], []
    for name, found in values["tasks"].items():
        task, scores = Task(name), found["scores"]
        first = next(iter(scores))
        metric, label = TASKS[task].headline, TASKS[task].headline_title
        others = [f"{other} {_short(scores[other].get(metric))}" for other in scores if other != first]
        tiles.append(Metric(scores[first].get(metric), label, ", ".join(others)))
        sections.append(Section(TASKS[task].title, _task_blocks(task, found, galleries.get(name))))
    warnings = [Text(text, "warning") for text in values["warnings"]]
    predictors = values["predictors"]
    lead = Section("Result", [Metrics(tiles), *warnings])
    summary = f"{', '.join(predictors)} against the truth in {values['truth']}: {values['images']:,} images."
    return Report("Evaluation", [lead, *sections], summary, values.get("environment", {}))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) and math.isfinite(value) else "–"


def _task_blocks(task: Task, found: Mapping[str, Any], gallery: Gallery | None) -> list[Block]:
    """Scores, then pictures, then plots; long tables are below folds."""
    names = list(found["scores"])
    blocks: list[Block] = [_score_table(task, found)]
    if found.get("ceiling"):
        blocks.append(Text(_describe_ceiling(task, found["ceiling"])))
    if gallery:
        blocks += [*color_legends(task, found), gallery]
    slices = found.get("slices", {})
    blocks += [slice_bars(task, kind, rows, names) for kind, rows in slices.items()]
    if "per_class" in found:
        blocks.append(class_bars(found["per_class"], names))
    blocks += [*reliability_curve(task, found.get("reliability", ())), *image_error_histogram(task, found, names[0])]
    blocks += confusion_matrix(found, names[0])
    details: list[Block] = [_confidence_table(task, found)]
    details += [_class_table(found["per_class"], names)] if "per_class" in found else []
    details += [_slice_table(kind, rows, names) for kind, rows in slices.items()]
    blocks.append(Fold("Intervals, and the plots as tables", details))
    if found.get("per_image"):
        blocks.append(Fold(f"Every image ({len(found['per_image']):,})", [image_table(task, found, names)]))
    return blocks


def _score_table(task: Task, found: Mapping[str, Any]) -> Table:
    scores = found["scores"]
    names, first = list(scores), next(iter(scores))
    # With more predictors the ratios would fill the page; evaluate.json has them all.
    compared = [name for name in found["ratios"] if name in names[1:2] or name == "baseline"]
    rows: list[list[Cell]] = []
    strong = set()
    for metric, (label, arrow) in task_metric(task).columns.items():
        values = [scores[name].get(metric) for name in names]
        if metric == "miou_known" and values == [scores[name].get("miou") for name in names]:
            continue  # every predictor has every class
        strong |= {(len(rows), 1 + best) for best in _best(values, arrow)}
        rows.append([f"{label} {arrow}".strip(), *values, *(found["ratios"][name].get(metric) for name in compared)])
    for key, label in _COUNTS.items():
        values = [scores[name].get(key) for name in names]
        if any(value is not None for value in values) and (
            key not in ("bad_pixels", "images_skipped", "missing") or any(values)
        ):
            rows.append([label, *values, *([None] * len(compared))])
    aligned = {scores[name].get("alignment") for name in names} - {None}
    if aligned:
        rows.insert(0, ["alignment", *(scores[name].get("alignment") for name in names), *([None] * len(compared))])
        strong = {(row + 1, column) for row, column in strong}
    few = found.get("few", {})
    marked = [f"{name} (few data)" if name in few else name for name in names]
    return Table(
        ["", *marked, *(f"{first} / {name}" for name in compared)],
        rows,
        note=f"{task_metric(task).note} {_describe_protocol(found['protocol'])} {_describe_few(few)}".strip(),
        bold=frozenset(strong) if len(names) > 1 else frozenset(),
    )


def _describe_few(few: Mapping[str, Mapping[str, int]]) -> str:
    """Meaning of the mark of scores over few data."""
    row = next(iter(few.values()), None)
    return f"Few data: under {row['min_images']} images or {row['min_pixels']:,} pixels were scored." if row else ""


def _confidence_table(task: Task, found: Mapping[str, Any]) -> Table:
    """Headline score with its interval, and the difference between the first predictor and the others."""
    metric, label = TASKS[task].headline, TASKS[task].headline_title
    first, rows = next(iter(found["scores"]), ""), list[list[Cell]]()
    for name in found["scores"]:
        row: list[Cell] = [
            name,
            found["scores"][name].get(metric),
            *found.get("intervals", {}).get(name, {}).get(metric, (None, None)),
        ]
        difference = found.get("differences", {}).get(name, {}).get(metric)
        keys = ("difference", "low", "high", "p", "photos")
        rows.append([*row, *((difference[key] if difference else None) for key in keys)])
    return Table(
        ["", label, "from", "to", f"{first} minus it", "from", "to", "p", "photos"],
        rows,
        title="How sure this is",
        note="95 % intervals: bootstrap over photos. p: paired permutation test over photos, two-sided; below 0.05 the "
        "difference is hardly luck.",
    )


def _describe_ceiling(task: Task, ceiling: Mapping[str, Any]) -> str:
    label = TASKS[task].headline_title
    text = f"{ceiling['student']} is {ceiling['gap']:+.4g} ({label}) away from {ceiling['teacher']}, its ceiling"
    share = ceiling.get("gap_closed")
    return text + (f"; it has gone {share:.0%} of the way there from the mean baseline." if share is not None else ".")


def _slice_table(kind: str, rows: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Table:
    return Table(
        ["", *names], [[label, *(row.get(name) for name in names)] for label, row in rows.items()], title=f"By {kind}"
    )


def _describe_protocol(protocol: Mapping[str, Any]) -> str:
    """Protocol as a sentence."""
    parts = []
    if protocol["crop"] != "none":
        parts.append(f"{protocol['crop'].capitalize()} crop.")
    if "min_depth_m" in protocol:
        parts.append(f"Truth from {protocol['min_depth_m']:g} to {protocol['max_depth_m']:.4g} m; sky is left out.")
    return " ".join(parts)


def _best(values: Sequence[Any], arrow: str) -> list[int]:
    known = [value for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
    if not known or not arrow:
        return []
    best = max(known) if arrow == HIGHER else min(known)
    return [index for index, value in enumerate(values) if value == best]


def _class_table(per_class: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Table:
    rows: list[list[Cell]] = [
        [name, *(row["iou"].get(one) for one in names), row["pixels"]] for name, row in per_class.items()
    ]
    strong = {
        (index, 1 + best) for index, row in enumerate(rows) for best in _best(row[1:-1], HIGHER) if len(names) > 1
    }
    return Table(["class", *names, "pixels of truth"], rows, "IoU by class", "", frozenset(strong))
