"""Rename, join and drop classes in the lists of a set and in the labels of its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distill.config import read_yaml
from distill.datasets.operations.conditions import nearest
from distill.datasets.operations.copying import OperationResult, read_whole
from distill.datasets.operations.fields import all_class_names
from distill.datasets.operations.sample_edits import with_files
from distill.datasets.shard_set import open
from distill.datasets.writer import DEFAULT_SHARD_SIZE, ShardSetWriter, WrittenSet, check_out
from distill.errors import DistillError, UsageError
from distill.labels import Label, encode, write_meta
from distill.labels.instance_layers import keep_ids, sort_layers
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import Manifest, Sample
from distill.tasks import IGNORE_INSTANCE, IGNORE_SEMANTIC, MAX_CLASSES, TASKS, Task

ClassMap = Mapping[str, str | None]
"""Old name to new name; None drops the class. Names that are missing stay."""


def relabel_classes(
    shards: str | Path,
    classes: ClassMap | str | Path,
    *,
    out: str | Path,
    shard_size: int = DEFAULT_SHARD_SIZE,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> OperationResult:
    """Copy a set with other class names: renamed, joined where two get the same name, dropped.

    Pixels of a dropped semantic class are ignored; instances of a dropped class become background.

    Args:
        shards: Folder of shards.
        classes: Old name to new name, or a YAML or JSON file of this; null drops a class, and classes that are missing
            stay as they are.
        out: Folder of the new set.
        shard_size: Samples in a tar.
        plan: Show the new class lists, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: The set has no class of a name, or `out` has files.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> distill.data.relabel_classes("shards", {"truck": "vehicle", "car": "vehicle", "sky": None}, out="fewer")
    """
    source, folder = open(shards), Path(out)
    mapping = read_class_map(classes)
    check_names(mapping, all_class_names(source.manifest), str(source.folder))
    check_out(folder, [source.folder])
    lists = ClassLists.of(source.manifest).renamed(mapping)
    change = ClassChange(source.manifest, lists.classes, mapping)
    notes = [
        f"{name.replace('_', ' ')}: {', '.join(names)}"
        for name, names in (("classes", lists.classes), ("instance_classes", lists.instance_classes))
        if names
    ]
    if plan:
        planned = WrittenSet(folder, len(source), -(-len(source) // shard_size))
        return OperationResult("relabel-classes", len(source), (planned,), planned=True, notes=tuple(notes))
    with lists.new_writer(folder, source.manifest.tasks, shard_size) as writer:
        for sample in (reporter or SilentReporter()).track(read_whole(source), "relabel-classes", len(source)):
            writer.add(change.apply(sample), source.manifest)
    return OperationResult("relabel-classes", len(source), (writer.written,), notes=tuple(notes))


def read_class_map(classes: ClassMap | str | Path) -> dict[str, str | None]:
    """A mapping of class names, or the file of one, checked.

    Raises:
        UsageError: The file cannot be read, or holds something else.
    """
    values: Any = dict(classes) if isinstance(classes, Mapping) else read_yaml(Path(classes))
    where = "the class map" if isinstance(classes, Mapping) else str(classes)
    for name, new in values.items():
        if not isinstance(name, str) or not (new is None or (isinstance(new, str) and new.strip())):
            raise UsageError(
                f"{where}: {name!r}: {new!r} is no pair of names", hint="write old: new, or old: null to drop a class"
            )
    return dict(values)


def check_names(mapping: ClassMap, known: Sequence[str], where: str) -> None:
    """Raise if a mapping names a class that does not exist.

    Raises:
        UsageError: It does.
    """
    for name in mapping:
        if name not in known:
            raise UsageError(f"{where}: has no class {name!r}", hint=nearest(name, known))


@dataclass(frozen=True)
class ClassLists:
    """The class lists of a set; fields as of `distill.shards.Manifest`."""

    classes: tuple[str, ...] = ()
    instance_classes: tuple[str, ...] = ()
    referring: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> ClassLists:
        """The lists of a manifest."""
        return cls(manifest.classes, manifest.instance_classes, manifest.referring)

    def renamed(self, mapping: ClassMap) -> ClassLists:
        """The lists with new names, each once, in the order of the old ones."""
        return ClassLists(*(_rename(names, mapping) for names in (self.classes, self.instance_classes, self.referring)))

    def united(self, other: ClassLists) -> ClassLists:
        """The names of both, those of this one first.

        Raises:
            UsageError: There are more semantic classes than ids.
        """
        pairs = zip(
            (self.classes, self.instance_classes, self.referring),
            (other.classes, other.instance_classes, other.referring),
            strict=True,
        )
        found = ClassLists(*(tuple(dict.fromkeys((*ours, *theirs))) for ours, theirs in pairs))
        if len(found.classes) > MAX_CLASSES:
            raise UsageError(
                f"the sets have {len(found.classes)} classes together, and a map holds at most {MAX_CLASSES}",
                hint="join or drop classes with a mapping (--classes)",
            )
        return found

    def new_writer(self, out: Path, tasks: Sequence[Task], shard_size: int) -> ShardSetWriter:
        """A writer of a set with these lists."""
        return ShardSetWriter(
            out,
            tasks=tasks,
            classes=self.classes,
            instance_classes=self.instance_classes,
            referring=self.referring,
            shard_size=shard_size,
        )


def _rename(names: Sequence[str], mapping: ClassMap) -> tuple[str, ...]:
    found = (mapping.get(name, name) for name in names)
    return tuple(dict.fromkeys(name for name in found if name is not None))


class ClassChange:
    """Changes the labels of one set to a new class list.

    Args:
        manifest: Of the set.
        classes: New semantic class list.
        mapping: Old name to new name.
    """

    def __init__(self, manifest: Manifest, classes: Sequence[str], mapping: ClassMap) -> None:
        self._manifest, self._classes, self._mapping = manifest, tuple(classes), mapping
        index = {name: number for number, name in enumerate(classes)}
        self._table = np.full(256, IGNORE_SEMANTIC, np.uint8)
        for number, name in enumerate(manifest.classes):
            new = mapping.get(name, name)
            self._table[number] = IGNORE_SEMANTIC if new is None else index[new]
        count = len(manifest.classes)
        self._moves_ids = not np.array_equal(self._table[:count], np.arange(count))

    def apply(self, sample: Sample) -> Sample:
        """The sample in the new classes; unchanged labels keep their bytes.

        Raises:
            DistillError: A label is damaged, or nothing of a semantic map has a class any more.
        """
        meta, files = dict(sample.meta), dict[str, bytes]()
        for task in sample.tasks:
            change = _CHANGES.get(TASKS[task].class_list)
            label = change(self, task, sample) if change is not None else None
            if label is not None:
                files |= encode(label)
                meta |= write_meta(label)
        return with_files(sample, sample.key, files, meta) if files else sample

    def _semantic(self, task: Task, sample: Sample) -> Label | None:
        if not self._moves_ids:
            return None
        label = sample.label(task, self._manifest)
        present = np.unique(label.value[label.valid])
        if present.size and int(present[-1]) >= len(self._manifest.classes):
            raise DistillError(
                f"sample {sample.key}: its {task} map has class {int(present[-1])}, and the set has "
                f"{len(self._manifest.classes)} classes",
                hint="label the photo again",
            )
        return _with_ids(label, self._table, self._classes)

    def _referring(self, task: Task, sample: Sample) -> Label | None:
        label = sample.label(task, self._manifest)
        if not set(label.classes) & set(self._mapping):
            return None
        names = _rename(label.classes, self._mapping)
        table = np.full(256, IGNORE_SEMANTIC, np.uint8)
        for number, name in enumerate(label.classes):
            new = self._mapping.get(name, name)
            table[number] = IGNORE_SEMANTIC if new is None else names.index(new)
        return _with_ids(label, table, names)

    def _instances(self, task: Task, sample: Sample) -> Label | None:
        listed = {str(row.get("class")) for row in sample.meta.get("instances") or () if isinstance(row, dict)}
        if not listed & set(self._mapping):
            return None
        label = sample.label(task, self._manifest)
        new = {number: self._mapping.get(name, name) for number, name in label.instance_classes.items()}
        names = {number: name for number, name in new.items() if name is not None}
        ignored = label.value == IGNORE_INSTANCE
        front, *behind = sort_layers(keep_ids(label.instance_layers, list(names)))
        value = np.where(ignored & (front == 0), np.uint16(IGNORE_INSTANCE), front)
        return replace(label, value=value, instance_classes=names, layers=tuple(behind))


_CHANGES = {
    "classes": ClassChange._semantic,
    "referring": ClassChange._referring,
    "instance_classes": ClassChange._instances,
}
"""One change per class list that labels use."""


def _with_ids(label: Label, table: np.ndarray, classes: Sequence[str]) -> Label:
    value = table[label.value]
    valid = label.valid & (value != IGNORE_SEMANTIC)
    return replace(
        label,
        value=np.where(valid, value, np.uint8(IGNORE_SEMANTIC)),
        valid=valid,
        confidence=np.where(valid, label.confidence, np.float32(0)),
        classes=tuple(classes),
    )
