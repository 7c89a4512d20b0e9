"""Export a set to the format of another tool, and import one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.datasets.formats.base import Options, staged_folder
from distill.datasets.formats.registry import find_format
from distill.datasets.shard_set import open
from distill.datasets.writer import DEFAULT_SHARD_SIZE, ShardSetWriter, check_out
from distill.errors import UsageError
from distill.runtime.progress import Reporter, SilentReporter


@dataclass(frozen=True)
class ConversionResult:
    """What was exported or imported.

    Attributes:
        format: Name of the format.
        out: The new folder.
        counts: What was written and what was left out.
        loses: What the format cannot hold.
        notes: What the reader should know, one sentence each.
        planned: Whether nothing was written.
    """

    format: str
    out: Path
    counts: Mapping[str, int]
    loses: tuple[str, ...]
    notes: tuple[str, ...] = ()
    planned: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "format": self.format,
            "out": str(self.out),
            "planned": self.planned,
            "counts": dict(self.counts),
            "cannot_hold": list(self.loses),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        done = "would write" if self.planned else "wrote"
        counts = ", ".join(f"{number} {what}" for what, number in self.counts.items())
        lines = [f"{done} {self.out} ({self.format}): {counts or 'nothing'}"]
        lines += [f"{self.format} cannot hold: {loss}" for loss in self.loses]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def export(
    shards: str | Path,
    format: str,
    *,
    out: str | Path,
    depth_scale: float = 1000.0,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> ConversionResult:
    """Write a set in the format of another tool; the result lists what the format cannot hold.

    Args:
        shards: Folder of shards.
        format: Such as ``coco``, ``coco-panoptic``, ``indexed-png``, ``yolo`` or ``parquet``.
        out: New folder.
        depth_scale: Stored levels per meter of 16-bit depth: 1000 as NYU, 256 as KITTI.
        plan: Show what the format holds, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: There is no such format, it holds no label of the set, or `out` has files.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> distill.data.export("shards", "coco", out="coco")
    """
    source, folder, row = open(shards), Path(out), find_format(format)
    options = Options(depth_scale=_checked_scale(depth_scale), reporter=reporter or SilentReporter())
    if plan:
        check_out(folder, [source.folder])
        return ConversionResult(
            format, folder, {"samples": len(source)}, row.loses, (f"holds {row.holds}",), planned=True
        )
    with staged_folder(folder, [source.folder]) as staged:
        counts = row.load().write(source, staged, options)
    return ConversionResult(format, folder, counts, row.loses)


def import_(
    path: str | Path,
    format: str,
    *,
    out: str | Path,
    license: str = "unknown",
    images: str | Path | None = None,
    classes: str | Path | None = None,
    depth_scale: float = 1000.0,
    shard_size: int = DEFAULT_SHARD_SIZE,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> ConversionResult:
    """Read a data set of another tool into a new set of shards.

    Args:
        path: Folder of the data set, or its annotation file.
        format: As of `export`.
        out: Folder of the new set.
        license: Of the labels; every sample carries it.
        images: Folder of the photos, if it is not where the format puts it.
        classes: File of class names, one a line, if it is not where the format puts it.
        depth_scale: Stored levels per meter of 16-bit depth: 1000 as NYU, 256 as KITTI.
        shard_size: Samples in a tar.
        plan: Read the list of photos, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: There is no such format, or no data set of it, or `out` has files.
        DistillError: A file is damaged; names file and entry.

    Example:
        >>> distill.data.import_("coco/annotations/instances_val2017.json", "coco", out="shards", license="CC-BY-4.0")
    """
    source, folder, row = Path(path), Path(out), find_format(format)
    check_out(folder, [source] if source.is_dir() else [])
    options = Options(
        depth_scale=_checked_scale(depth_scale),
        images=Path(images) if images is not None else None,
        classes=Path(classes) if classes is not None else None,
        license=license,
        teacher=f"imported {format}",
        reporter=reporter or SilentReporter(),
    )
    if not re.fullmatch(r"[^\x00-\x1f]{1,200}", license):
        raise UsageError(f"the license {license[:40]!r} is no name", hint="give it as CC-BY-4.0, or leave it out")
    found = row.load().read(source, options)
    if plan:
        return ConversionResult(format, folder, {"samples": found.total}, (), tuple(found.notes), planned=True)
    lists = found.source.referring if found.source is not None else ()
    with ShardSetWriter(
        folder,
        tasks=found.tasks,
        classes=found.classes,
        instance_classes=found.instance_classes,
        referring=lists,
        shard_size=shard_size,
    ) as writer:
        for sample in found.samples:
            writer.add(sample, *([found.source] if found.source is not None else []))
    counts = {"samples": writer.written.samples, **writer.written.counts}
    return ConversionResult(format, folder, counts, (), tuple(found.notes))


def _checked_scale(scale: float) -> float:
    if not 1e-3 <= scale <= 1e6:
        raise UsageError(f"a depth scale of {scale:g}", hint="give the levels per meter, such as 1000 or 256")
    return float(scale)
