"""Samples with other labels: fewer tasks, the labels of two samples of one photo, new values in the json."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from distill.labels.sample_digest import NAME
from distill.shards import Sample
from distill.tasks import TASKS, Task

_EMPTY: Mapping[str, Any] = {"depth_kind": None, "instances": [], "referring": []}
"""Keys of a sample's json that belong to one task, with their value where the sample has no label of it."""


def with_files(sample: Sample, key: str, files: Mapping[str, bytes], meta: Mapping[str, Any]) -> Sample:
    """A sample with these maps and json values instead of the old ones.

    Args:
        sample: Gives its photo and all that is not replaced.
        key: Of the new sample.
        files: Extension to bytes.
        meta: All values of the json.
    """
    values = {name: value for name, value in meta.items() if name != NAME}
    json_bytes = json.dumps(values, sort_keys=True, ensure_ascii=False).encode(errors="replace")
    return Sample(key, {**sample.files, **files, "json": json_bytes})


def task_files(task: Task) -> tuple[str, str]:
    """Extensions of a task's files."""
    return f"{task}.png", f"{task}.confidence.png"


def keep_tasks(sample: Sample, tasks: Collection[Task]) -> Sample | None:
    """The sample with the labels of these tasks only, and the records that belong to them; None without any label."""
    dropped = [task for task in sample.tasks if task not in tasks]
    if len(dropped) == len(sample.tasks):
        return None
    if not dropped:
        return sample
    files = {name: data for name, data in sample.files.items() if not _belongs_to(name, dropped)}
    meta = dict(sample.meta)
    for task in dropped:
        meta |= {name: _EMPTY[name] for name in _meta_names(task) if name in meta}
    names = {str(task) for task in dropped}
    for rows in ("records", "failures"):
        if isinstance(meta.get(rows), list):
            meta[rows] = [row for row in meta[rows] if not (isinstance(row, dict) and row.get("task") in names)]
    return with_files(Sample(sample.key, files), sample.key, {}, meta)


def join_tasks(first: Sample, second: Sample) -> Sample:
    """One sample with the labels of two samples of the same photo; of a task that both have, those of the first."""
    added = [task for task in second.tasks if task not in first.tasks]
    rest = keep_tasks(second, added)
    if rest is None:
        return first
    meta, other = {**rest.meta, **first.meta}, rest.meta
    for task in added:
        meta |= {name: other[name] for name in _meta_names(task) if name in other}
    for rows in ("records", "failures"):
        if rows in first.meta or rows in other:
            meta[rows] = [*(first.meta.get(rows) or ()), *(other.get(rows) or ())]
    files = {name: data for name, data in rest.files.items() if _belongs_to(name, added)}
    return with_files(first, first.key, files, meta)


def _belongs_to(name: str, tasks: Collection[Task]) -> bool:
    return any(name in task_files(task) for task in tasks)


def _meta_names(task: Task) -> list[str]:
    """Keys of a sample's json that describe the label of a task."""
    lists = {"instance_classes": "instances", "referring": "referring"}
    info = TASKS[task]
    return [*(["depth_kind"] if info.has_depth_kind else []), *filter(None, [lists.get(info.class_list)])]
