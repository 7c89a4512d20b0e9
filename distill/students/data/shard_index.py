"""Index of one tar of labels: its samples and the byte ranges of their files.

Tar members are not compressed, so one scan of the headers gives random access: any sample can be read by any process,
and an ordinary sampler decides the order. This allows complete shuffles, equal shares per process and exact epochs.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from distill.errors import DistillError
from distill.files import open_regular
from distill.labels import read_meta
from distill.shards import Sample, ShardEntry, iter_sample_files, length_fault
from distill.students.data.bad_samples import BadSample, to_bad_sample
from distill.tasks import IGNORE_SEMANTIC, TASKS, Task

CLASS_SOURCES = (Task.SEMANTIC, Task.INSTANCE, Task.REFERRING)
"""Tasks whose labels can hold the classes of a student; the first one that is learned decides."""
MIN_VISIBLE = 0.2
"""The center of a smaller visible part of an instance says little about where the instance is."""
MemberOffsets = dict[str, dict[str, tuple[int, int]]]
"""Key to extension to (offset, size)."""


@dataclass(frozen=True, slots=True)
class SampleRef:
    """Position of one sample.

    Attributes:
        shard: Its tar.
        key: Its key.
        members: Extension to (offset, size) in the tar.
        photo_sha256: Of the photo's bytes.
        quality: Quality of the labels in [0, 1], by task; 1 without a score.
        class_of: Class of each stored id, if classes come from instances or referring phrases.
        name: Of the photo, relative to its folder; a frame of a video is ``video#number``.
        is_frame: Whether it is a frame of a video.
        photo_hash: Perceptual hash (see `distill.images.photo_hash`); may be empty.
        slivers: Instances of which less than `MIN_VISIBLE` is visible: their pixels are not learned as an instance.
    """

    shard: Path
    key: str
    members: dict[str, tuple[int, int]]
    photo_sha256: str
    quality: dict[Task, float]
    class_of: dict[int, int] = field(default_factory=dict)
    name: str = ""
    is_frame: bool = False
    photo_hash: str = ""
    slivers: tuple[int, ...] = ()

    def read(self) -> Sample:
        """The sample's bytes."""
        try:
            with open_regular(self.shard) as file:
                return Sample(self.key, {name: _read(file, *place) for name, place in self.members.items()})
        except OSError as error:
            raise DistillError(
                f"{self.shard}: cannot be read: {error}", hint="check that the disk is still mounted"
            ) from error


def index_shard(
    folder: Path, entry: ShardEntry, tasks: Sequence[Task], classes: tuple[str, ...]
) -> tuple[list[SampleRef], list[BadSample]]:
    """(samples of one tar that have any of the tasks; bad samples).

    Of a tar that is cut off, the whole samples count. One that is whole, but has another length than the manifest
    states, holds other labels than those that were written: none of its samples counts.

    Args:
        folder: Of the set.
        entry: The tar, as the manifest describes it.
        tasks: Tasks to learn.
        classes: Class list of the student.
    """
    shard, samples = folder / entry.name, entry.samples
    places, damage = _read_members(shard)
    changed = "" if damage or len(places) < samples else length_fault(folder, entry)
    if changed:
        lost = max(1, samples)
        return [], [BadSample(str(shard), "", f"{lost} samples are left out: the tar {changed}", lost)]
    bad_samples = list[BadSample]()
    if places and (damage or len(places) < samples):
        places.popitem()  # the last one before the damage may lack some of its files
    if damage or len(places) < samples:
        lost = max(1, samples - len(places))
        bad_samples.append(BadSample(str(shard), "", f"{lost} samples are lost: {damage or 'it ends too early'}", lost))
    wanted = {key: found for key, found in places.items() if any(f"{task}.png" in found for task in tasks)}
    entries = list[SampleRef]()
    if wanted:
        with open_regular(shard) as file:
            for key, found in wanted.items():
                try:
                    entries.append(_sample_ref(shard, key, found, tasks, classes, file))
                except (DistillError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
                    bad_samples.append(to_bad_sample(shard, key, error))  # json that is damaged or has wrong values
    return entries, bad_samples


def _read_members(shard: Path) -> tuple[MemberOffsets, str]:
    """(members of each key, as far as they can be read; the fault of the rest, or "")."""
    places: MemberOffsets = {}
    try:
        for member in iter_sample_files(shard):
            places.setdefault(member.key, {})[member.extension] = (member.offset, member.size)
    except OSError as error:
        return places, f"it cannot be read: {error.strerror or error}"
    except tarfile.TarError as error:
        return places, f"it cannot be read: {str(error).partition(chr(10))[0]}"
    return places, ""


def _sample_ref(
    shard: Path,
    key: str,
    places: dict[str, tuple[int, int]],
    tasks: Sequence[Task],
    classes: tuple[str, ...],
    file: BinaryIO,
) -> SampleRef:
    sample = Sample(key, {"json": _read(file, *places["json"])} if "json" in places else {})
    sha256 = str(sample.meta.get("photo_sha256") or "")
    suffix = next((name for name in places if name != "json" and "." not in name), None)
    if suffix is None:
        raise DistillError("the sample has no photo", hint="rebuild the shard")
    if not sha256:  # shards of other programs
        sha256 = hashlib.sha256(_read(file, *places[suffix])).hexdigest()
    wanted = {suffix, *(f"{task}.png" for task in tasks), *(f"{task}.confidence.png" for task in tasks)}
    members = {name: place for name, place in places.items() if name in wanted}
    quality, class_of = _quality(sample, tasks), _class_of(sample, tasks, classes)
    origin = sample.meta.get("origin")
    return SampleRef(
        shard,
        key,
        members,
        sha256,
        quality,
        class_of,
        slivers=_slivers(sample, tasks),
        name=str(sample.meta.get("name") or key),
        is_frame=isinstance(origin, dict) and origin.get("frame") is not None,
        photo_hash=str(sample.meta.get("photo_hash") or ""),
    )


def _class_of(sample: Sample, tasks: Sequence[Task], classes: tuple[str, ...]) -> dict[int, int]:
    """Class of each stored id, by name; empty if the stored ids are classes already."""
    source = next((task for task in CLASS_SOURCES if task in tasks), None)
    if source is None or TASKS[source].class_list == "classes":
        return {}
    context = read_meta(source, sample.meta)
    names = context.instance_classes or dict(enumerate(context.classes))
    index_of = {name: index for index, name in enumerate(classes)}
    return {number: index_of.get(name, IGNORE_SEMANTIC) for number, name in names.items()}


def _slivers(sample: Sample, tasks: Sequence[Task]) -> tuple[int, ...]:
    visible = [read_meta(task, sample.meta).visible for task in tasks]
    return tuple(number for shares in visible for number, share in shares.items() if share < MIN_VISIBLE)


def _quality(sample: Sample, tasks: Sequence[Task]) -> dict[Task, float]:
    scores: dict[Task, list[float]] = {task: [] for task in tasks}
    for record in sample.meta.get("records", ()):
        task = record.get("task")
        if task in scores and record.get("quality") is not None:
            scores[Task(task)].append(float(record["quality"]))
    quality = {task: sum(found) / len(found) if found else 1.0 for task, found in scores.items()}
    source = next((task for task in CLASS_SOURCES if task in quality), Task.SEMANTIC)
    return quality | {Task.SEMANTIC: quality.get(source, 1.0)}


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
