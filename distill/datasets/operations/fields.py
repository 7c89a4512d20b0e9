"""Fields of a sample that a filter can name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from distill.datasets.operations.conditions import Field
from distill.datasets.operations.copying import check_whole
from distill.datasets.shard_set import SampleInfo, ShardSet
from distill.labels import Label
from distill.licenses import LicenseClass, license_class
from distill.shards import Manifest, Sample
from distill.tasks import TASKS, DepthKind, Task

_ORDER = list(LicenseClass)
_FRAME = re.compile(r"(?P<video>.+)#(?P<frame>\d+)")


@dataclass(frozen=True)
class SampleView:
    """A sample, read as far as a field needs it.

    Attributes:
        shards: Its set.
        info: Its json and the sizes of its files.
    """

    shards: ShardSet
    info: SampleInfo

    @property
    def meta(self) -> Mapping[str, Any]:
        """The sample's json."""
        return self.info.meta

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """Origins of the labels."""
        return [row for row in self.meta.get("records") or () if isinstance(row, Mapping)]

    @cached_property
    def sample(self) -> Sample:
        """The sample with its photo and maps."""
        sample = self.shards[self.info.position]
        check_whole(sample, self.shards.folder)
        return sample

    def label(self, task: Task) -> Label | None:
        """The decoded label map; None if there is none."""
        return self.sample.label(task, self.shards.manifest) if task in self.info.tasks else None


def sample_fields(manifest: Manifest) -> dict[str, Field]:
    """All fields of the samples of a set, by name."""
    names = all_class_names(manifest)
    fields = {
        "key": Field("text", lambda view: view.info.key),
        "name": Field("text", _name),
        "folder": Field("text", lambda view: str(PurePosixPath(_name(view)).parent)),
        "video": Field("text", lambda view: found["video"] if (found := _frame(view)) else None),
        "frame": Field("number", lambda view: int(found["frame"]) if (found := _frame(view)) else None),
        "width": Field("number", partial(_side, index=1)),
        "height": Field("number", partial(_side, index=0)),
        "bytes": Field("number", lambda view: view.info.num_bytes),
        "tasks": Field("names", lambda view: view.info.tasks, [str(task) for task in Task]),
        "classes": Field("names", _classes, names),
        "instances": Field("number", _count),
        "license": Field("choice", _license, [str(kind) for kind in LicenseClass], _license_spelling),
        "licenses": Field("names", lambda view: _record_values(view, "license"), manifest.licenses),
        "teachers": Field("names", lambda view: _record_values(view, "teacher"), manifest.teachers),
        "depth_kind": Field("choice", lambda view: view.meta.get("depth_kind"), [str(kind) for kind in DepthKind]),
    }
    for task in manifest.tasks:
        fields |= {
            f"quality.{task}": Field("number", partial(_record_mean, task=task, name="quality")),
            f"expected_error.{task}": Field("number", partial(_record_mean, task=task, name="expected_error")),
            f"valid.{task}": Field("number", partial(_valid, task=task)),
            f"confidence.{task}": Field("number", partial(_confidence, task=task)),
        }
    for task in manifest.tasks:
        if TASKS[task].class_list == "classes":
            fields |= {
                f"share[{name!r}]": Field("number", partial(_share, task=task, number=number))
                for number, name in enumerate(manifest.classes)
            }
    return fields


def all_class_names(manifest: Manifest) -> tuple[str, ...]:
    """Names of classes, of classes of instances, and referring phrases."""
    return tuple(dict.fromkeys((*manifest.classes, *manifest.instance_classes, *manifest.referring)))


def _name(view: SampleView) -> str:
    return str(view.meta.get("name") or view.info.key)


def _frame(view: SampleView) -> re.Match[str] | None:
    return _FRAME.fullmatch(_name(view))


def _side(view: SampleView, index: int) -> int | None:
    size_hw = view.meta.get("size_hw")
    return int(size_hw[index]) if isinstance(size_hw, list) and len(size_hw) == 2 else None


def _record_values(view: SampleView, name: str) -> list[str]:
    return [str(row[name]) for row in view.records if row.get(name)]


def _license(view: SampleView) -> str:
    """The strictest class of the licenses of the labels."""
    kinds = [license_class(str(row.get("license") or "unknown")) for row in view.records]
    return str(max(kinds, key=_ORDER.index, default=LicenseClass.UNKNOWN))


def _license_spelling(given: str) -> str:
    """A class in its usual form: ``noncommercial`` is ``non-commercial``."""
    letters = re.sub("[^a-z]", "", given.lower())
    return next((str(kind) for kind in LicenseClass if kind.replace("-", "") == letters), given)


def _record_mean(view: SampleView, task: Task, name: str) -> float | None:
    found = [float(row[name]) for row in view.records if row.get("task") == str(task) and row.get(name) is not None]
    return sum(found) / len(found) if found else None


def _classes(view: SampleView) -> set[str] | None:
    """Names with at least one pixel or instance; None if the sample has no label with classes."""
    found, labeled = set[str](), False
    for task in view.info.tasks:
        reader = _PRESENT.get(TASKS[task].class_list)
        if reader is not None:
            labeled = True
            found |= reader(view, task)
    return found if labeled else None


def _indexed_names(view: SampleView, task: Task) -> set[str]:
    label = view.label(task)
    if label is None:
        return set()
    return {label.classes[number] for number in np.unique(label.value[label.valid]) if number < len(label.classes)}


def _instance_names(view: SampleView, task: Task) -> set[str]:
    return {str(row["class"]) for row in view.meta.get("instances") or ()}


_PRESENT: Mapping[str, Callable[[SampleView, Task], set[str]]] = {
    "classes": _indexed_names,
    "referring": _indexed_names,
    "instance_classes": _instance_names,
}


def _count(view: SampleView) -> int | None:
    has_instances = any(TASKS[task].class_list == "instance_classes" for task in view.info.tasks)
    return len(view.meta.get("instances") or ()) if has_instances else None


def _valid(view: SampleView, task: Task) -> float | None:
    label = view.label(task)
    return None if label is None else label.valid_fraction


def _confidence(view: SampleView, task: Task) -> float | None:
    """Mean over the valid pixels."""
    label = view.label(task)
    return float(label.confidence[label.valid].mean()) if label is not None and label.valid.any() else None


def _share(view: SampleView, task: Task, number: int) -> float | None:
    """Fraction of the pixels that have a class."""
    label = view.label(task)
    return None if label is None else float(np.mean((label.value == number) & label.valid))
