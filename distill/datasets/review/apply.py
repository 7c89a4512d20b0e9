"""Apply a person's verdicts to a set: drop or down-weight rejected labels, ignore classes and regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from distill.datasets.operations.copying import LEFT_OUT, OperationResult, copy_parts, task_bits
from distill.datasets.operations.sample_edits import keep_tasks, with_files
from distill.datasets.review.verdicts import Verdict, Verdicts, read_verdicts, set_digest
from distill.datasets.shard_set import ShardSet, open
from distill.datasets.writer import DEFAULT_SHARD_SIZE
from distill.errors import UsageError
from distill.labels import Label, encode, write_meta
from distill.labels.conversions import drop_absent_instances
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import Manifest, Sample
from distill.tasks import Task

_ByTask = Mapping[Task, Verdict]
Scorer = Callable[[Task, Mapping[str, float]], Mapping[str, float] | None]
"""From the parts of a label's score to the new values of its record; None: the task keeps its scores."""


def apply(
    shards: str | Path,
    verdicts: str | Path | Verdicts,
    *,
    out: str | Path,
    rejected_weight: float = 0.0,
    shard_size: int = DEFAULT_SHARD_SIZE,
    scorer: Scorer | None = None,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> OperationResult:
    """Copy a set as a review of it says.

    Rejected labels are left out, and samples without any label left; pixels of ignored classes and in ignored regions
    become invalid. All else keeps its bytes.

    Args:
        shards: Folder of shards.
        verdicts: What the review page downloaded, or its path.
        out: Folder of the new set.
        rejected_weight: Keep rejected labels with their confidence multiplied by this, in [0, 1); 0 leaves them out.
        shard_size: Samples in a tar.
        scorer: Gives the labels new quality scores.
        plan: Count, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: The verdicts are of another set or name what it lacks, no sample would be left, or `out` has files.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> apply("shards", "verdicts.json", out="reviewed")
    """
    source, reporter = open(shards), reporter or SilentReporter()
    if not 0 <= rejected_weight < 1:
        raise UsageError(f"a weight of {rejected_weight} is not in [0, 1)", hint="0 leaves rejected labels out")
    given = verdicts if isinstance(verdicts, Verdicts) else read_verdicts(Path(verdicts))
    where = "the verdicts" if isinstance(verdicts, Verdicts) else str(verdicts)
    _check_set(given, source, where)
    by_key: dict[str, dict[Task, Verdict]] = {}
    for verdict in given.verdicts:
        by_key.setdefault(verdict.key, {})[verdict.task] = verdict
    part_of, tasks_of = np.zeros(len(source), np.int8), np.zeros(len(source), np.uint8)
    missing, left_out = set(by_key), 0
    for position, info in enumerate(reporter.track(source.infos(), "apply: read", len(source))):
        judged = by_key.get(info.key, {})
        if strange := [task for task in judged if task not in info.tasks]:
            raise UsageError(
                f"{where}: judges the {strange[0]} label of {info.key}, which has none", hint="review the set again"
            )
        missing.discard(info.key)
        kept = set(info.tasks) - _dropped(judged, rejected_weight)
        tasks_of[position] = task_bits(kept)
        if not kept:
            part_of[position], left_out = LEFT_OUT, left_out + 1
    if missing:
        raise UsageError(
            f"{where}: judges {min(missing)}, which {source.folder} does not have", hint="review the set again"
        )
    if not (part_of != LEFT_OUT).any():
        raise UsageError(f"{where}: rejects every label of {source.folder}", hint="nothing would be left to train on")

    def edit(sample: Sample) -> Sample | None:
        judged = by_key.get(sample.key)
        edited = _apply(sample, judged, source.manifest, rejected_weight) if judged else sample
        return _rescored(edited, scorer) if edited is not None and scorer is not None else edited

    return copy_parts(
        source,
        [Path(out)],
        part_of,
        tasks_of,
        operation="apply",
        shard_size=shard_size,
        plan=plan,
        reporter=reporter,
        edit=edit,
        notes=_notes(given, left_out, rejected_weight),
    )


def _check_set(given: Verdicts, source: ShardSet, where: str) -> None:
    """Raise if the verdicts are of another set, or there is none."""
    if not given.verdicts:
        raise UsageError(f"{where}: has no verdict", hint="judge at least one label on the review page")
    if given.reviewed.sha256 != set_digest(source.manifest):
        name = f" ({given.reviewed.name})" if given.reviewed.name else ""
        raise UsageError(
            f"{where}: judges another set{name}, or {source.folder} has changed since",
            hint=f"give the set that was reviewed, or review this one: distill review {source.folder}",
        )


def _dropped(judged: _ByTask, rejected_weight: float) -> set[Task]:
    """Tasks whose label is left out."""
    return {task for task, verdict in judged.items() if verdict.verdict == "reject" and not rejected_weight}


def _apply(sample: Sample, judged: _ByTask, manifest: Manifest, rejected_weight: float) -> Sample | None:
    """The sample with its verdicts applied; None without a label."""
    kept = keep_tasks(sample, set(sample.tasks) - _dropped(judged, rejected_weight))
    if kept is None:
        return None
    files, meta = dict[str, bytes](), dict(kept.meta)
    unusable: list[Task] = []  # without a pixel that is not ignored
    for task, verdict in judged.items():
        rejected = verdict.verdict == "reject"
        if task not in kept.tasks or not (verdict.masks or rejected):
            continue
        label = _masked(kept.label(task, manifest), verdict)
        if not label.valid.any():
            unusable.append(task)
            continue
        if rejected:
            label = replace(label, confidence=label.confidence * np.float32(rejected_weight))
        files |= encode(label)
        meta |= write_meta(label)
    edited = with_files(kept, kept.key, files, meta) if files else kept
    return keep_tasks(edited, set(edited.tasks) - set(unusable)) if unusable else edited


def _rescored(sample: Sample, scorer: Scorer) -> Sample:
    """The sample with new scores in the records of its labels, from the parts that are stored there."""
    records: list[Any] = []
    for record in sample.meta.get("records") or ():
        parts = record.get("quality_parts") if isinstance(record, Mapping) else None
        task = next((task for task in sample.tasks if isinstance(parts, Mapping) and record.get("task") == task), None)
        numbers = {name: float(one) for name, one in (parts or {}).items() if isinstance(one, int | float)}
        values = scorer(task, numbers) if task is not None else None
        if values is None:
            records.append(record)
        else:  # the expected error belongs to the old score
            records.append({name: one for name, one in record.items() if name != "expected_error"} | dict(values))
    return with_files(sample, sample.key, {}, {**sample.meta, "records": records})


def _masked(label: Label, verdict: Verdict) -> Label:
    """The label without the ignored classes and regions."""
    numbers = _ignored_ids(label, verdict)
    ignored = _inside(verdict, label.size_hw)
    if numbers:
        ignored |= np.isin(label.value, numbers)
    valid = label.valid & ~ignored
    masked = replace(
        label,
        valid=valid,
        confidence=np.where(valid, label.confidence, np.float32(0)),
        layers=tuple(np.where(ignored | np.isin(layer, numbers), 0, layer).astype(np.uint16) for layer in label.layers),
    )
    return drop_absent_instances(masked) if label.instance_classes else masked


def _inside(verdict: Verdict, size_hw: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Pixels inside of any ignored region."""
    mask = np.zeros(size_hw, np.uint8)
    for region in verdict.ignore_regions:
        corners = np.array(region) * (size_hw[1], size_hw[0]) - 0.5
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask.astype(bool)


def _ignored_ids(label: Label, verdict: Verdict) -> list[int]:
    """Ids of the ignored classes in the map.

    Raises:
        UsageError: The label has no class of a name.
    """
    names = label.instance_classes or dict(enumerate(label.classes))
    if unknown := set(verdict.ignore_classes) - set(names.values()):
        raise UsageError(
            f"the verdict on {verdict.task} of {verdict.key} ignores {min(unknown)!r}, which the label does not have",
            hint="review the set again",
        )
    return [number for number, name in names.items() if name in verdict.ignore_classes]


def _notes(given: Verdicts, left_out: int, rejected_weight: float) -> list[str]:
    """What the verdicts did, a sentence each."""
    count = sum(verdict.verdict == "reject" for verdict in given.verdicts)
    accepted = sum(verdict.verdict == "accept" for verdict in given.verdicts)
    masked = sum(verdict.masks and verdict.verdict != "reject" for verdict in given.verdicts)
    fate = f"kept with {rejected_weight:g} of their confidence" if rejected_weight else "left out"
    notes = [f"{accepted} labels accepted, {count} rejected ({fate})"]
    if masked:
        notes.append(f"classes or regions of {masked} labels are ignored")
    if left_out:
        notes.append(f"{left_out} samples have no label left, and were not copied")
    return notes
