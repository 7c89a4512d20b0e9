"""Split a set into parts, or into folds for cross-validation: photos that belong together stay in one part."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int8
from numpy import ndarray

from distill.datasets.operations.capture_time import capture_time
from distill.datasets.operations.copying import OperationResult, copy_parts, task_bits
from distill.datasets.operations.groups import GroupBy, find_groups, is_photo
from distill.datasets.shard_set import SampleInfo, ShardSet, open
from distill.datasets.writer import DEFAULT_SHARD_SIZE, check_out
from distill.errors import UsageError
from distill.images import decode_rgb
from distill.images.photo_hash import hash_photo
from distill.runtime.progress import Reporter, SilentReporter

SplitBy = Literal["auto", "clip", "folder", "near-duplicates", "time"]
_MAX_PARTS = 100
_GROUPS: Mapping[SplitBy, GroupBy] = {"time": "auto"}
"""Photos of one clip stay together in a split by time, too."""


@dataclass(frozen=True, slots=True)
class _PhotoFacts:
    name: str
    is_frame: bool
    photo_sha256: str
    photo_hash: str


def split(
    shards: str | Path,
    *,
    out: str | Path,
    parts: Mapping[str, float] | None = None,
    folds: int = 0,
    by: SplitBy = "auto",
    shard_size: int = DEFAULT_SHARD_SIZE,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> OperationResult:
    """Split a set into parts, each a set of its own in a folder below `out`.

    Frames of one video, and samples of one photo, are never in two parts.

    Args:
        shards: Folder of shards.
        out: Folder of the parts.
        parts: Name of each part to its fraction of the samples, such as ``{"train": 0.8, "val": 0.2}``, the default.
        folds: Number of equal parts ``fold-1`` to ``fold-k`` instead, for cross-validation: train on all but one.
        by: ``clip``: videos, and numbered names of one folder; ``folder``: the folder of the photo;
            ``near-duplicates``: photos that look the same; ``auto``: clips whose neighbors look alike, and
            near-duplicates; ``time``: the earliest photos in the first part and the latest in the last, by the time in
            the name or of the EXIF data.
        shard_size: Samples in a tar.
        plan: Count, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: The fractions do not add up to 1, there are fewer groups of photos than parts, a photo has no time,
            or `out` has files.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> distill.data.split("shards", out="parts", parts={"train": 0.7, "val": 0.15, "test": 0.15}, by="time")
    """
    fractions = _fractions(parts, folds)
    source, reporter, folder = open(shards), reporter or SilentReporter(), Path(out)
    check_out(folder, [source.folder])
    facts, times, tasks_of = list[_PhotoFacts](), list[float](), np.zeros(len(source), np.uint8)
    for info in reporter.track(source.infos(), "split: read", len(source)):
        facts.append(_photo_facts(source, info))
        tasks_of[info.position] = task_bits(info.tasks)
        if by == "time":
            times.append(capture_time(source, info))
    groups = find_groups(facts, _GROUPS.get(by, by))  # type: ignore[arg-type]
    part_of = _assign(groups, list(fractions.values()), times)
    shared = {group for group in set(groups) if not is_photo(group)}
    kind = {"folder": "folders"}.get(by, "clips or groups of near-duplicates")
    notes = [f"{len(shared)} {kind} are kept in one part each"] if shared else []
    for name, fraction, count in zip(fractions, fractions.values(), np.bincount(part_of).tolist(), strict=False):
        if abs(count - fraction * len(source)) > max(1, 0.2 * fraction * len(source)):
            notes.append(
                f"{name} has {count / len(source):.0%} of the samples instead of {fraction:.0%}: groups stay whole"
            )
    return copy_parts(
        source,
        [folder / name for name in fractions],
        part_of,
        tasks_of,
        operation="split",
        shard_size=shard_size,
        plan=plan,
        reporter=reporter,
        notes=notes,
    )


def parse_parts(text: str) -> dict[str, float]:
    """``train=0.8,val=0.2`` as a dictionary.

    Raises:
        UsageError: Not of this form.
    """
    found = dict[str, float]()
    for item in text.split(","):
        name, _, value = item.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise UsageError(f"{item.strip()!r} is no part", hint="write train=0.8,val=0.2") from error
    if len(found) < text.count(",") + 1:
        raise UsageError(f"two parts of {text!r} have the same name", hint="write train=0.8,val=0.2")
    return found


def _fractions(parts: Mapping[str, float] | None, folds: int) -> dict[str, float]:
    if folds and parts:
        raise UsageError("parts and folds are both given", hint="give one of them")
    if folds:
        if not 2 <= folds <= _MAX_PARTS:
            raise UsageError(f"{folds} folds", hint=f"give 2 to {_MAX_PARTS}")
        return {f"fold-{number}": 1 / folds for number in range(1, folds + 1)}
    fractions = dict(parts or {"train": 0.8, "val": 0.2})
    for name, fraction in fractions.items():
        if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
            raise UsageError(f"{name!r} is no name of a part", hint="use letters, digits, - and _")
        if not 0 < fraction < 1:
            raise UsageError(f"part {name} is {fraction:g} of the samples", hint="give fractions between 0 and 1")
    if abs(sum(fractions.values()) - 1) > 1e-6 or len(fractions) > _MAX_PARTS:
        raise UsageError(
            f"the fractions of {', '.join(fractions)} add up to {sum(fractions.values()):g} instead of 1",
            hint="change them, such as train=0.8,val=0.2",
        )
    return fractions


def _photo_facts(source: ShardSet, info: SampleInfo) -> _PhotoFacts:
    meta, origin = info.meta, info.meta.get("origin")
    digest, bits = str(meta.get("photo_sha256") or ""), meta.get("photo_hash")
    if not digest or bits is None:  # a set of another program
        photo = source[info.position].photo
        digest = digest or hashlib.sha256(photo).hexdigest()
        bits = hash_photo(decode_rgb(photo, info.key)[0]) if bits is None else bits
    is_frame = isinstance(origin, dict) and origin.get("frame") is not None
    return _PhotoFacts(str(meta.get("name") or info.key), is_frame, digest, str(bits))


def _assign(groups: Sequence[str], fractions: Sequence[float], times: Sequence[float]) -> Int8[ndarray, " n"]:
    """Part of each sample: groups in the order of their hash, or of their first time, fill one part after the other.

    Raises:
        UsageError: There are fewer groups than parts.
    """
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    if len(rows) < len(fractions):
        raise UsageError(
            f"the photos form {len(rows)} groups that stay whole, fewer than {len(fractions)} parts",
            hint="split by something else (--by), or into fewer parts",
        )
    ordered = sorted(rows, key=lambda group: (min(times[row] for row in rows[group]) if times else 0.0, _hash(group)))
    ends, middle = np.cumsum(fractions)[:-1] * len(groups), 0.0
    parts = list[int]()
    for group in ordered:
        parts.append(int(np.searchsorted(ends, middle + len(rows[group]) / 2)))
        middle += len(rows[group])
    _fill_empty(parts, len(fractions))
    part_of = np.empty(len(groups), np.int8)
    for group, part in zip(ordered, parts, strict=True):
        part_of[rows[group]] = part
    return part_of


def _fill_empty(parts: list[int], count: int) -> None:
    """Give each empty part the nearest group, so that the parts stay in order and each has one."""
    for part in range(count):  # from the front: no part is skipped
        parts[part] = min(parts[part], part) if part < len(parts) else part
    for index in range(1, len(parts)):
        parts[index] = max(parts[index], parts[index - 1])
        parts[index] = min(parts[index], parts[index - 1] + 1)
    for back in range(count):
        parts[-1 - back] = max(parts[-1 - back], count - 1 - back)


def _hash(group: str) -> str:
    """Order of a group: for a single photo that of its bytes."""
    return group if is_photo(group) else hashlib.sha256(group.encode(errors="replace")).hexdigest()
