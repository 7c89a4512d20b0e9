"""What ``dataset.json`` states about samples, collected while they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill.errors import DistillError
from distill.shards import Manifest, Sample, ShardEntry
from distill.tasks import TASKS, DepthKind, Task


class ManifestBuilder:
    """Collects what ``dataset.json`` states about samples.

    Args:
        classes: Names of the semantic ids.
        instance_classes: First names of the list; others follow in the order in which samples have them.
        referring: As `instance_classes`.
    """

    def __init__(
        self, classes: Sequence[str] = (), instance_classes: Sequence[str] = (), referring: Sequence[str] = ()
    ) -> None:
        self._lists = {"classes": dict.fromkeys(classes), "instance_classes": dict.fromkeys(instance_classes)}
        self._lists["referring"] = dict.fromkeys(referring)
        self._counts: dict[Task, int] = {}
        self._depth_kinds: dict[DepthKind, str] = {}
        self._teachers: dict[str, None] = {}
        self._licenses: dict[str, None] = {}
        self._terms: dict[str, str] = {}
        self._prompts: dict[str, str] = {}

    def add(self, sample: Sample, *sources: Manifest) -> None:
        """Count a sample; `sources`, the manifests of its sets, state what the sample itself does not.

        Raises:
            DistillError: Its depth kind differs from that of the samples before it.
        """
        meta = sample.meta
        for task in sample.tasks:
            self._counts[task] = self._counts.get(task, 0) + 1
            if TASKS[task].has_depth_kind:
                self._add_depth_kind(DepthKind(meta.get("depth_kind") or DepthKind.METRIC), sample.key)
        self._lists["referring"] |= dict.fromkeys(map(str, meta.get("referring") or ()))
        self._lists["instance_classes"] |= dict.fromkeys(str(row["class"]) for row in meta.get("instances") or ())
        for record in meta.get("records") or [{}]:
            self._add_record(record, sources)

    def _add_depth_kind(self, kind: DepthKind, key: str) -> None:
        self._depth_kinds.setdefault(kind, key)
        if len(self._depth_kinds) > 1:
            (first, earlier), (second, later) = self._depth_kinds.items()
            raise DistillError(
                f"the depth of sample {earlier} is {first}, that of {later} is {second}, and a set has one depth kind",
                hint="make one set for each depth kind, or leave the depth of one out with "
                "distill data filter SET --tasks",
            )

    def _add_record(self, record: dict[str, Any], sources: Sequence[Manifest]) -> None:
        teacher, license = record.get("teacher"), record.get("license")
        self._teachers |= dict.fromkeys(
            [str(teacher)] if teacher else [name for one in sources for name in one.teachers]
        )
        self._licenses |= dict.fromkeys(
            [str(license)] if license else [name for one in sources for name in one.licenses]
        )
        for source in sources:
            self._terms = {**source.terms, **self._terms}
        if license and record.get("terms"):
            self._terms[str(license)] = str(record["terms"])
        if record.get("prompt_hash"):
            self._prompts[str(record["prompt_hash"])] = str(record.get("prompt") or "")

    def build(self, shards: Sequence[ShardEntry]) -> Manifest:
        """The manifest of the samples so far; class lists only where a task uses them."""
        used = {TASKS[task].class_list for task in self._counts}
        lists = {name: tuple(names) if name in used else () for name, names in self._lists.items()}
        return Manifest(
            tasks=tuple(task for task in Task if task in self._counts),
            counts={str(task): self._counts[task] for task in Task if task in self._counts},
            depth_kind=next(iter(self._depth_kinds), DepthKind.METRIC),
            **lists,
            shards=tuple(shards),
            teachers=tuple(self._teachers),
            licenses=tuple(self._licenses) or ("unknown",),
            terms={name: link for name, link in self._terms.items() if name in self._licenses},
            prompts=self._prompts,
        )
