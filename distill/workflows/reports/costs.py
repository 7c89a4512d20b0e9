"""Cost of the teacher's labels against the student's speed, from the files of the project itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from distill.report import Block, Metric, Metrics, Table, Text
from distill.workflows.reports.read import is_number

FRAMES = 10_000
MACHINE_USD_PER_HOUR = 0.10
"""Assumed price of a rented machine with two virtual CPU cores; named wherever it enters a number."""


def best_throughput(bench: Mapping[str, Any]) -> float:
    """Largest measured images/s of the engine alone."""
    return float(max(row["images_per_s"] for row in bench["timings"] if row["scope"] == "engine"))


def cost_blocks(
    labels: Sequence[Mapping[str, Any]], train: Mapping[str, Any] | None, bench: Mapping[str, Any] | None
) -> list[Block]:
    """Cost of 10,000 frames with teacher and student, and the number of frames from which the student is cheaper.

    Args:
        labels: Contents of ``label.json`` of the labeling jobs.
        train: Content of ``train.json``.
        bench: Content of ``bench.json``.
    """
    paid = sum(row["cost_usd"] for row in labels if is_number(row.get("cost_usd")))
    photos = sum(row["labeled"] for row in labels if is_number(row.get("labeled")))
    seconds = sum(row["seconds"] for row in labels if is_number(row.get("seconds")))
    missing = [
        name
        for name, there in (("label.json (distill label)", photos), ("bench.json (distill bench)", bench))
        if not there
    ]
    if missing:
        text = f"The cost per frame is not shown: {' and '.join(missing)} not found in the folders given."
        return [Text(text, "note")]
    assert bench is not None
    per_photo, rate = paid / photos, best_throughput(bench)
    student_usd = MACHINE_USD_PER_HOUR / 3600 / rate
    training_s = train["elapsed_s"] if train and is_number(train.get("elapsed_s")) else 0.0
    fixed_usd = paid + training_s / 3600 * MACHINE_USD_PER_HOUR
    rows: list[list[Any]] = [
        ["labels (once)", paid, f"{photos:,} photos, {_duration(seconds)}"],
        ["training (once)", training_s / 3600 * MACHINE_USD_PER_HOUR, _duration(training_s)],
        [f"{FRAMES:,} frames with the teacher", per_photo * FRAMES, _duration(seconds / photos * FRAMES)],
        [f"{FRAMES:,} frames with the student", student_usd * FRAMES, _duration(FRAMES / rate)],
    ]
    if per_photo > student_usd:
        count = math.ceil(fixed_usd / (per_photo - student_usd))
        verdict = f"The student is cheaper than the teacher from {count:,} frames on, labels and training included."
    else:
        verdict = (
            "No break-even: the teacher of this project was free (stored images, a local model or synthetic data), so "
            "only time is saved."
        )
    return [
        Metrics(
            [
                Metric(f"{per_photo * FRAMES:,.2f} USD", "teacher", f"{FRAMES:,} frames at the price paid here"),
                Metric(f"{student_usd * FRAMES:.4f} USD", "student", f"{FRAMES:,} frames, {_duration(FRAMES / rate)}"),
            ]
        ),
        Text(verdict),
        Table(
            ["", "USD", "how much, how long"],
            rows,
            note="From label.json, train.json and bench.json; engine alone, best batch size. Assumed price of the "
            f"machine: {MACHINE_USD_PER_HOUR:.2f} USD an hour. The two differ in accuracy too: read both.",
        ),
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
