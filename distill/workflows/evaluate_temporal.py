"""How much students flicker: over a video, or over shards of consecutive frames, beyond the change of their truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from distill.errors import DistillError
from distill.export.inference.stream import Model
from distill.images import decode_rgb
from distill.metrics import TemporalMetrics
from distill.report.blocks import Section, Table, Text
from distill.runtime.progress import Reporter
from distill.shards import MANIFEST, read_manifest, read_samples
from distill.tasks import Task
from distill.workflows.model import open_model

_TITLES = {
    "depth_change_percent": "depth change, % per frame",
    "depth_scale_jitter_percent": "depth scale jitter, %",
    "normals_change_deg": "normals change, degrees per frame",
    "semantic_change_percent": "pixels that change class, % per frame",
}
_NOTE = (
    "What changes from frame to frame beyond the motion of the picture, where flow explains the picture. 0 is steady;"
    " a map that never changes is steady, too, so read it beside the accuracy. Of shards, frames in order, the change"
    " of the truth is subtracted."
)
_STEADY = 0.5


def evaluate_temporal(
    predictors: Sequence[Path], clips: Sequence[Path], reporter: Reporter
) -> tuple[list[Any], Section]:
    """(values, section of the report): each student over each clip, as it is and steadied.

    Args:
        predictors: Those that are students; others cannot be run over a video.
        clips: Videos, or folders of shards whose samples are consecutive frames.
        reporter: Shows progress.

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
        with Model(open_model(predictor, allow_spinning=False)) as model:
            for clip in clips:
                for steady in (0.0, _STEADY):
                    scores = _measure(model, clip, steady, reporter)
                    values.append({"predictor": str(predictor), "clip": str(clip), "steady": steady, **scores})
    columns = ["student, clip", *_TITLES.values(), "frames"]
    rows: list[list[Any]] = [
        [f"{row['predictor']}, {Path(row['clip']).name}" + (f", steady {row['steady']:g}" if row["steady"] else "")]
        + [row.get(name) for name in (*_TITLES, "frames")]
        for row in values
    ]
    return values, Section("Temporal consistency", [Text(_NOTE), Table(columns, rows)])


def _measure(model: Model, clip: Path, steady: float, reporter: Reporter) -> dict[str, float]:
    from distill.export.inference.temporal_filter import TemporalFilter, TemporalFilterConfig

    metrics = TemporalMetrics(model.spec)
    if not (clip / MANIFEST).is_file():
        for frame, maps in reporter.track(model.stream(clip, temporal_smoothing=steady), clip.name):
            metrics.update(frame.rgb, maps)
        return metrics.compute()
    temporal_filter = TemporalFilter(model.spec, TemporalFilterConfig(steady)) if steady else None
    for index, (rgb, truth) in enumerate(reporter.track(_samples(clip), clip.name)):
        maps = {name: value[0] for name, value in model(rgb[None]).items()}
        metrics.update(rgb, maps if temporal_filter is None else temporal_filter.apply(rgb, maps, index), truth)
    return metrics.compute()


def _samples(folder: Path) -> Iterator[tuple[ndarray, Mapping[str, ndarray]]]:
    """(frame, its truth at the frame's size or none where sizes differ) of shards, in order."""
    manifest = read_manifest(folder)
    for sample in read_samples(folder):
        rgb = decode_rgb(sample.files[sample.photo_suffix], sample.key)[0]
        truth = {}
        for task in (Task.DEPTH, Task.NORMALS, Task.SEMANTIC):
            if task in sample.tasks:
                label = sample.label(task, manifest)
                if label.size_hw == rgb.shape[:2]:
                    value = label.value.astype(np.float32) if task is Task.DEPTH else label.value
                    truth[str(task)] = np.where(label.valid, value, np.nan) if task is Task.DEPTH else value
        yield rgb, truth
