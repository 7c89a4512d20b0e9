"""Evaluation of temporal consistency: flicker of students on videos or on shards of consecutive frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from distill.errors import DistillError
from distill.images import decode_rgb
from distill.metrics import TemporalMetrics
from distill.metrics.base import temporal_metrics
from distill.report.blocks import Section, Table, Text
from distill.runtime.progress import Reporter
from distill.shards import MANIFEST, read_manifest, read_samples
from distill.workflows.open_model import load
from distill.workflows.predict.model import Model

_NOTE = (
    "Change from frame to frame beyond the motion of the image, where optical flow explains the image. 0 is perfectly"
    " consistent; so is a map that never changes, so compare it together with the accuracy. For shards of consecutive"
    " frames, the change of the ground truth is subtracted."
)
_SMOOTHING = 0.5


def evaluate_temporal(
    predictors: Sequence[Path], clips: Sequence[Path], reporter: Reporter, *, allow_native: bool = False
) -> tuple[list[Any], Section]:
    """Measure each student on each clip without and with temporal smoothing; return (values, report section).

    Args:
        predictors: Run folders and exported files; others are skipped.
        clips: Videos, or folders of shards whose samples are consecutive frames.
        reporter: Receives progress.
        allow_native: Open model files with machine code.

    Raises:
        DistillError: No predictor is a student, or a clip cannot be read.
    """
    students = [path for path in predictors if not (path / MANIFEST).is_file() and path.suffix not in (".yaml", ".yml")]
    if not students:
        raise DistillError(
            "--temporal: none of the predictors is a student", hint="give a run folder or an exported file"
        )
    values: list[dict[str, Any]] = []
    for predictor in students:
        with load(predictor, allow_native=allow_native) as model:
            for clip in clips:
                for smoothing in (0.0, _SMOOTHING):
                    scores = _measure(model, clip, smoothing, reporter)
                    values.append({"predictor": str(predictor), "clip": str(clip), "smoothing": smoothing, **scores})
    titles = _titles()
    columns = ["student, clip", *titles.values(), "frames"]
    rows: list[list[Any]] = [
        [
            f"{row['predictor']}, {Path(row['clip']).name}"
            + (f", smoothing {row['smoothing']:g}" if row["smoothing"] else "")
        ]
        + [row.get(name) for name in (*titles, "frames")]
        for row in values
    ]
    return values, Section("Temporal consistency", [Text(_NOTE), Table(columns, rows)])


def _title(row: dict[str, Any]) -> str:
    smoothing = f", smoothing {row['smoothing']:g}" if row["smoothing"] else ""
    return f"{row['predictor']}, {Path(row['clip']).name}{smoothing}"


def _measure(model: Model, clip: Path, smoothing: float, reporter: Reporter) -> dict[str, float]:
    from distill.export.inference.temporal_filter import TemporalFilter, TemporalFilterConfig

    metrics = TemporalMetrics(model.spec)
    if not (clip / MANIFEST).is_file():
        for frame, maps in reporter.track(model.stream(clip, temporal_smoothing=smoothing), clip.name):
            metrics.update(frame.rgb, maps)
        return metrics.compute()
    temporal_filter = TemporalFilter(model.spec, TemporalFilterConfig(smoothing)) if smoothing else None
    for index, (rgb, truth) in enumerate(reporter.track(_samples(clip), clip.name)):
        maps = dict(model(rgb))
        metrics.update(rgb, maps if temporal_filter is None else temporal_filter.apply(rgb, maps, index), truth)
    return metrics.compute()


def _samples(folder: Path) -> Iterator[tuple[ndarray, Mapping[str, ndarray]]]:
    """Yield (frame, ground truth of the same size) of shards, in order."""
    manifest = read_manifest(folder)
    for sample in read_samples(folder):
        rgb = decode_rgb(sample.photo, sample.key)[0]
        truth = {}
        for task, metric in temporal_metrics().items():
            if task in sample.tasks:
                label = sample.label(task, manifest)
                if label.size_hw == rgb.shape[:2]:
                    value = label.value
                    if metric.marks_invalid:
                        value = np.where(label.valid, value.astype(np.float32), np.nan)
                    truth[str(task)] = value
        yield rgb, truth


def _titles() -> dict[str, str]:
    """Score to column."""
    titles: dict[str, str] = {}
    for metric in temporal_metrics().values():
        titles[metric.key] = metric.title
        if metric.jitter_key:
            titles[metric.jitter_key] = metric.jitter_title
    return titles
