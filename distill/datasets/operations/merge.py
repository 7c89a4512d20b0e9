"""Make one set of several: labels of different tasks about the same photos, and different photos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from distill.datasets.operations.classes import (
    ClassChange,
    ClassLists,
    ClassMap,
    check_names,
    read_class_map,
)
from distill.datasets.operations.copying import OperationResult, check_whole
from distill.datasets.operations.fields import all_class_names
from distill.datasets.operations.sample_edits import join_tasks, task_files
from distill.datasets.shard_set import ShardSet, open
from distill.datasets.writer import DEFAULT_SHARD_SIZE, ShardSetWriter, WrittenSet, check_out
from distill.errors import DistillError, UsageError
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import Sample
from distill.tasks import TASKS, Task


def merge(
    shards: Sequence[str | Path],
    *,
    out: str | Path,
    classes: ClassMap | str | Path | None = None,
    keep_first: bool = False,
    shard_size: int = DEFAULT_SHARD_SIZE,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> OperationResult:
    """Merge sets: samples of the same photo become one sample with the labels of all, other samples are appended.

    Photos are the same if their bytes are. Class lists are united by name, and ids are rewritten. The order is that of
    the sets; of two equal keys the later one gets eight digits of its photo's digest.

    Args:
        shards: Two or more folders of shards.
        out: Folder of the new set.
        classes: Old class name to new name before the lists are united, or a YAML or JSON file of this; null drops a
            class.
        keep_first: Of two different labels of one photo and task keep that of the earlier set, instead of an error.
        shard_size: Samples in a tar.
        plan: Count, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: Two sets label the same photo for the same task, have different depth kinds, or `out` has files.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> distill.data.merge(["depth", "classes"], out="both")
    """
    sources, folder, reporter = [open(path) for path in shards], Path(out), reporter or SilentReporter()
    _check_sets(sources)
    check_out(folder, [source.folder for source in sources])
    mapping = read_class_map(classes) if classes is not None else {}
    known = [name for source in sources for name in all_class_names(source.manifest)]
    check_names(mapping, list(dict.fromkeys(known)), " and ".join(str(source.folder) for source in sources))
    lists = ClassLists()
    for source in sources:
        lists = lists.united(ClassLists.of(source.manifest).renamed(mapping))
    groups = _match(sources, keep_first=keep_first, reporter=reporter)
    joined = sum(len(group) > 1 for group in groups)
    notes = [f"{joined} photos are in several sets, and {len(groups) - joined} in one", *_class_notes(sources, mapping)]
    total = sum(map(len, sources))
    if plan:
        planned = WrittenSet(folder, len(groups), -(-len(groups) // shard_size))
        return OperationResult("merge", total, (planned,), planned=True, notes=tuple(notes))
    changes = [ClassChange(source.manifest, lists.classes, mapping) for source in sources]
    tasks = [task for task in Task if any(task in source.manifest.tasks for source in sources)]
    with lists.new_writer(folder, tasks, shard_size) as writer:
        for group in reporter.track(groups, "merge", len(groups)):
            _write(writer, sources, changes, group)
    return OperationResult("merge", total, (writer.written,), notes=tuple(notes))


Place = tuple[int, int]
"""(number of the set, position in it)."""


def _check_sets(sources: Sequence[ShardSet]) -> None:
    """Raise if fewer than two different sets are given, or sets with different depth kinds.

    Raises:
        UsageError: They are.
    """
    folders = [source.folder.resolve() for source in sources]
    if len(set(folders)) < max(2, len(folders)):
        raise UsageError("merge needs two or more different sets", hint="give each folder once")
    with_depth = [source for source in sources if any(TASKS[task].has_depth_kind for task in source.manifest.tasks)]
    for source in with_depth[1:]:
        first = with_depth[0]
        if source.manifest.depth_kind is not first.manifest.depth_kind:
            raise UsageError(
                f"{source.folder}: its depth is {source.manifest.depth_kind}, that of {first.folder} is "
                f"{first.manifest.depth_kind}, and a set has one depth kind",
                hint="leave the depth of one out with distill data filter SET --tasks, or make two sets",
            )


_BIT = {task: 1 << number for number, task in enumerate(Task)}


def _match(sources: Sequence[ShardSet], *, keep_first: bool, reporter: Reporter) -> list[list[Place]]:
    """Samples to join, in the order of the result: the n-th sample of a photo in one set with the n-th in another.

    Needs about 400 bytes a photo.

    Raises:
        UsageError: Two sets have different labels of the same photo and task.
    """
    groups_of_photo: dict[bytes, list[int]] = {}
    groups, tasks_of_group = list[list[Place]](), bytearray()
    for number, source in enumerate(sources):
        seen: dict[bytes, int] = {}
        for info in reporter.track(source.infos(), f"merge: read {source.folder.name}", len(source)):
            digest = bytes.fromhex(str(info.meta.get("photo_sha256") or ""))
            digest = digest or hashlib.sha256(source[info.position].photo).digest()
            known = groups_of_photo.setdefault(digest, [])
            index = seen[digest] = seen.get(digest, -1) + 1
            if index == len(known):
                known.append(len(groups))
                groups.append([])
                tasks_of_group.append(0)
            group = known[index]
            for task in info.tasks:
                if tasks_of_group[group] & _BIT[task] and not keep_first:
                    _check_equal(sources, task, groups[group], (number, info.position))
                tasks_of_group[group] |= _BIT[task]
            groups[group].append((number, info.position))
    return groups


def _check_equal(sources: Sequence[ShardSet], task: Task, earlier: Sequence[Place], second: Place) -> None:
    """Raise unless a sample has the same label of a task as the earlier one that has it.

    Raises:
        UsageError: It has not.
    """
    place, first = next((place, sample) for place in earlier if task in (sample := sources[place[0]][place[1]]).tasks)
    other = sources[second[0]][second[1]]
    if all(first.files.get(name) == other.files.get(name) for name in task_files(task)):
        return
    raise UsageError(
        f"{sources[second[0]].folder}: sample {other.key} has a {task} label of the same photo as sample {first.key} "
        f"of {sources[place[0]].folder}, and a different one",
        hint="give --keep-first to keep the labels of the earlier set, or leave them out of one set with "
        "distill data filter SET --tasks",
    )


def _write(
    writer: ShardSetWriter, sources: Sequence[ShardSet], changes: Sequence[ClassChange], group: Sequence[Place]
) -> None:
    samples: list[tuple[ShardSet, Sample]] = []
    for number, position in group:
        sample = sources[number][position]
        check_whole(sample, sources[number].folder)
        samples.append((sources[number], changes[number].apply(sample)))
    (_, result), *others = samples
    for source, sample in others:
        if sample.photo != result.photo:
            raise DistillError(
                f"{source.folder}: the photo of sample {sample.key} is not the one that its json states",
                hint=f"distill data verify {source.folder} lists such samples",
            )
        result = join_tasks(result, sample)
    digest = hashlib.sha256(result.photo).hexdigest()
    # The records of each label state teacher and license; what one leaves out is that of its own set.
    writer.add(Sample(writer.free_key(result.key, digest), result.files), *[source.manifest for source, _ in samples])


def _class_notes(sources: Sequence[ShardSet], mapping: ClassMap) -> Iterator[str]:
    """What a student should know of class lists that differ."""
    lists = [(source.folder, ClassLists.of(source.manifest).renamed(mapping).classes) for source in sources]
    with_classes = [(folder, names) for folder, names in lists if names]
    every = dict.fromkeys(name for _, names in with_classes for name in names)
    for folder, names in with_classes:
        missing = [name for name in every if name not in names]
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            yield f"{folder} has no class {shown}: its maps do not say where they are"
    spellings: dict[str, list[str]] = {}
    for name in every:
        spellings.setdefault("".join(name.casefold().split()), []).append(name)
    for names_alike in spellings.values():
        if len(names_alike) > 1:
            yield f"{' and '.join(names_alike)} stay different classes; --classes joins them"
