"""Index of the samples in folders of shards, their common properties, and the train/validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.config.train import DENSE_TASKS, STUDENT_TASKS
from distill.errors import UsageError
from distill.shards import Manifest, read_manifest
from distill.students.data.bad_samples import BadSample, check_bad_fraction
from distill.students.data.shard_index import CLASS_SOURCES, SampleRef, index_shard
from distill.students.tasks.base import student_task
from distill.tasks import TASKS, DepthKind, Task

BACKGROUND = "background"
"""Class 0 of a student whose classes come from instances or from referring phrases."""


@dataclass(frozen=True, slots=True)
class DatasetIndex:
    """All samples of one or more folders of shards, and their common properties.

    Attributes:
        entries: In the order of the shards.
        tasks: Tasks that a student of these labels has; a sample may lack some of them.
        depth_kind: Of the depth labels.
        classes: Of the semantic labels; else background and the classes of instances or referring phrases.
        things: Classes that have instances.
        licenses: Of the labels.
        terms: License to the address of its terms.
        teachers: Sources of the labels.
        bad_samples: Samples and shards that are skipped.
    """

    entries: tuple[SampleRef, ...]
    tasks: tuple[Task, ...]
    depth_kind: DepthKind
    classes: tuple[str, ...]
    things: tuple[str, ...]
    licenses: tuple[str, ...]
    terms: dict[str, str]
    teachers: tuple[str, ...]
    bad_samples: tuple[BadSample, ...] = ()


def read_index(folders: Sequence[Path], tasks: Sequence[Task] = ()) -> DatasetIndex:
    """Index the samples in these folders that have a label of at least one task.

    Args:
        folders: Folders of shards.
        tasks: Tasks to learn; empty: all dense ones that every folder has.

    Raises:
        UsageError: No folder, a folder that is given twice, a task that a folder lacks, different class lists or depth
            kinds, or no sample.
        DistillError: More than half of the samples are bad; fewer are skipped.
    """
    if not folders:
        raise UsageError("no shards are given", hint="give --shards DIR, as written by distill label")
    places = [folder.resolve() for folder in folders]
    for number, (folder, place) in enumerate(zip(folders, places, strict=True)):
        if place in places[:number]:
            raise UsageError(
                f"{folder}: given twice",
                hint="give each folder once; data.mix=[2,1] uses the photos of the first folder twice an epoch",
            )
    manifests = [(folder, read_manifest(folder)) for folder in folders]
    chosen = _choose_tasks(manifests, tasks)
    _check_manifests_match(manifests, chosen)
    first = manifests[0][1]
    classes = _classes(first, chosen)
    entries, bad_samples = list[SampleRef](), list[BadSample]()
    for folder, manifest in manifests:
        for shard in manifest.shards:
            found, faults = index_shard(folder, shard, chosen, classes)
            entries, bad_samples = entries + found, bad_samples + faults
    check_bad_fraction(bad_samples, len(entries))
    if not entries:
        raise UsageError(f"{folders[0]}: no sample is labeled for {', '.join(chosen)}", hint="label some photos first")
    return DatasetIndex(
        entries=tuple(entries),
        tasks=_stored_tasks(chosen),
        depth_kind=first.depth_kind,
        classes=classes,
        things=first.instance_classes if Task.INSTANCE in chosen else (),
        licenses=tuple(sorted({license for _, manifest in manifests for license in manifest.licenses})),
        terms={license: link for _, manifest in manifests for license, link in manifest.terms.items()},
        teachers=tuple(sorted({teacher for _, manifest in manifests for teacher in manifest.teachers})),
        bad_samples=tuple(bad_samples),
    )


def _choose_tasks(manifests: Sequence[tuple[Path, Manifest]], tasks: Sequence[Task]) -> tuple[Task, ...]:
    if not tasks:
        common = [task for task in STUDENT_TASKS if all(task in manifest.tasks for _, manifest in manifests)]
        # Instances and referring phrases must be named, unless the shards hold no other labels.
        common = [task for task in common if task in DENSE_TASKS] or common[:1]
        if not common:
            held = "; ".join(f"{folder} has {', '.join(manifest.tasks) or 'none'}" for folder, manifest in manifests)
            raise UsageError(
                f"no task that a student can learn is common to all shards: {held}",
                hint="make one set of labels of the same photos with: distill data merge"
                if len(manifests) > 1
                else f"label for {', '.join(STUDENT_TASKS)}",
            )
        return tuple(common)
    for folder, manifest in manifests:
        for task in tasks:
            if task not in manifest.tasks:
                raise UsageError(
                    f"{folder}: has no {task} labels, only {', '.join(manifest.tasks) or 'none at all'}",
                    hint=f"label with --task {task}, or leave it out of tasks",
                )
    if Task.REFERRING in tasks and {Task.SEMANTIC, Task.INSTANCE} & set(tasks):
        raise UsageError(
            "referring phrases and classes cannot be learned together: a student has one class list",
            hint="train one student for referring, and another one for the classes",
        )
    return tuple(task for task in STUDENT_TASKS if task in tasks)


def _stored_tasks(chosen: Sequence[Task]) -> tuple[Task, ...]:
    """Tasks of the labels in a batch: those of the heads that learn the chosen tasks, and those that these need."""
    learned = {TASKS[task].learned_as or task for task in chosen}
    learned |= {needed for task in learned for needed in student_task(task).needs}
    return tuple(task for task in STUDENT_TASKS if task in learned)


def _classes(manifest: Manifest, chosen: Sequence[Task]) -> tuple[str, ...]:
    """Class list of a student of these tasks."""
    source = next((task for task in CLASS_SOURCES if task in chosen), None)
    if source is None:
        return ()
    names: tuple[str, ...] = getattr(manifest, TASKS[source].class_list)
    if TASKS[source].class_list != "classes":
        return (BACKGROUND, *(name for name in names if name != BACKGROUND))
    missing = [name for name in manifest.instance_classes if name not in names]
    if Task.INSTANCE in chosen and missing:
        raise UsageError(
            f"instances of {', '.join(missing)} are no semantic classes of these shards",
            hint="leave semantic or instance out of tasks, or label with classes that include those of the instances",
        )
    return names


def _check_manifests_match(manifests: Sequence[tuple[Path, Manifest]], tasks: Sequence[Task]) -> None:
    (first_folder, first), *others = manifests
    for folder, manifest in others:
        for task in tasks:
            for name in TASKS[task].must_agree:
                ours, theirs = getattr(first, name), getattr(manifest, name)
                if ours != theirs:
                    raise UsageError(
                        f"{folder}: {name} of its {task} labels is {_shorten(theirs)}, that of {first_folder} is "
                        f"{_shorten(ours)}",
                        hint=f"label both with the same {name}, or train one student for each",
                    )


def _shorten(value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(value[:4]) + (f", ... {len(value)} in all" if len(value) > 4 else "")
