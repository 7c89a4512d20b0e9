"""Statistics of frames: a line of JSON per frame, or a Parquet table if ``pyarrow`` is installed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from distill.export.inference.stages import PipelineItem
from distill.export.runners import Outputs
from distill.export.sinks.base import JsonLinesSink, write_error
from distill.files import remove_if_possible, temporary_path
from distill.optional import require
from distill.spec import StudentSpec
from distill.tasks import Task

_STRIDE = 4
"""Every fourth pixel of every fourth row: percentiles of a 1080p map in 2 instead of 40 ms, with equal accuracy."""
_PERCENTILES = (5, 50, 95)
_ROWS_AT_ONCE = 10_000


def frame_statistics(item: PipelineItem, outputs: Outputs, spec: StudentSpec) -> dict[str, Any]:
    """Index, times of both clocks, the `STATISTICS` of each task, and the mean confidence of dense tasks."""
    row: dict[str, Any] = {"frame": item.index, "time_s": round(item.pts_s, 6), "play_s": round(item.play_s, 6)}
    coarse = {name: value[::_STRIDE, ::_STRIDE] for name, value in outputs.items()}
    for task, statistics in STATISTICS.items():
        if task in coarse:
            row |= statistics(coarse[task], spec)
    for task in spec.dense_tasks:
        if f"{task}_confidence" in coarse:
            row[f"{task}_confidence"] = _rounded(np.nanmean(coarse[f"{task}_confidence"]))
    return row


def _depth_statistics(depth: ndarray, spec: StudentSpec) -> dict[str, Any]:
    finite = depth[np.isfinite(depth)]
    found = np.percentile(finite, _PERCENTILES) if finite.size else [None] * len(_PERCENTILES)
    percentiles = {f"depth_p{p:02d}": _rounded(value) for p, value in zip(_PERCENTILES, found, strict=True)}
    return {"depth_valid": round(finite.size / max(depth.size, 1), 4), **percentiles}


def _normals_statistics(normals: ndarray, spec: StudentSpec) -> dict[str, Any]:
    mean = np.nanmean(normals, axis=(0, 1))
    return {f"normals_{axis}": _rounded(value) for axis, value in zip("xyz", mean, strict=True)}


def _semantic_statistics(ids: ndarray, spec: StudentSpec) -> dict[str, Any]:
    shares = np.bincount(ids.reshape(-1), minlength=256) / ids.size
    classes = spec.semantic.classes if spec.semantic else ()
    return {f"share_{name}": round(float(shares[number]), 5) for number, name in enumerate(classes)}


STATISTICS: Mapping[Task, Callable[[ndarray, StudentSpec], dict[str, Any]]] = {
    Task.DEPTH: _depth_statistics,
    Task.NORMALS: _normals_statistics,
    Task.SEMANTIC: _semantic_statistics,
}
"""Statistics by task (optional): depth percentiles, mean normal, fraction of each class."""


def _rounded(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 5)


class StatisticsSink(JsonLinesSink):
    """``<key>.statistics.jsonl``, or ``.parquet`` according to the suffix of `out`."""

    name = "statistics"
    stages = ("statistics", "")

    def __init__(self, work: Path, out: Path, spec: StudentSpec) -> None:
        super().__init__(work)
        self.out, self._spec = out, spec
        if out.suffix == ".parquet":
            require("pyarrow.parquet", extra="parquet", why="write Parquet (--write statistics gives JSON lines)")

    def prepare(self, item: PipelineItem, outputs: Outputs) -> list[str]:
        """One line with the statistics of a frame."""
        return [json.dumps(frame_statistics(item, outputs, self._spec))]

    def finish(self, segments: Sequence[Sequence[Path]]) -> list[Path]:
        """Join all lines to one table."""
        temporary = temporary_path(self.out)
        parts = [path for files in segments for path in files]
        try:
            if self.out.suffix == ".parquet":
                _write_parquet(_lines(parts), temporary)
            else:
                with temporary.open("x") as file:
                    file.writelines(_lines(parts))
            temporary.replace(self.out)
        except OSError as error:
            remove_if_possible(temporary)
            raise write_error(self.out, error) from error
        return [self.out]


class ParquetSink(StatisticsSink):
    """The same as Parquet, in addition to the lines or alone."""

    name = "parquet"


def _lines(parts: Sequence[Path]) -> Iterator[str]:
    for part in parts:
        with part.open() as file:
            yield from file


def _write_parquet(lines: Iterator[str], path: Path) -> None:
    arrow = require("pyarrow", extra="parquet", why="write Parquet")
    parquet = require("pyarrow.parquet", extra="parquet", why="write Parquet")
    writer: Any = None
    for group in _batched(lines):
        rows = [json.loads(line) for line in group]
        kinds = {name: arrow.int64() if name == "frame" else arrow.float64() for name in rows[0]}
        table = arrow.Table.from_pylist(rows, schema=arrow.schema(list(kinds.items())))
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _batched(lines: Iterator[str]) -> Iterator[list[str]]:
    while group := list(itertools.islice(lines, _ROWS_AT_ONCE)):
        yield group
