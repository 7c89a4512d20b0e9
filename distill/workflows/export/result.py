"""Results of an export: one row per target, compared and timed, as JSON values and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.export.targets.artifact import Artifact

METHOD = (
    "scores are of the artifact itself, on the same images as the original's; p50 of one image, images/s in batches"
    " of 8, arrays in, final maps out, all artifacts in turns"
)
TORCH = "torch"


@dataclass(frozen=True, slots=True)
class Performance:
    """Scores and speed of one model; None where they were not measured.

    Attributes:
        scores: Score by task and metric, such as ``depth delta1``; None without labels.
        p50_ms: Median time of one image.
        images_per_s: Throughput in batches of 8.
    """

    scores: Mapping[str, float | None]
    p50_ms: float | None
    images_per_s: float | None


@dataclass(frozen=True, slots=True)
class TargetResult:
    """Outcome of one target.

    Attributes:
        artifact: Path, size, status (``passed``, ``failed``, ``refused``, ``not made``), parity and notes.
        performance: Scores and speed.
    """

    artifact: Artifact
    performance: Performance

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        artifact = self.artifact
        return {
            "target": artifact.target,
            "engine": artifact.engine,
            "precision": artifact.precision,
            "path": str(artifact.path) if artifact.path else None,
            "size_bytes": artifact.size_bytes,
            "status": artifact.status,
            "reason": artifact.reason,
            "notes": list(artifact.notes),
            "sensitivity": [asdict(row) for row in artifact.sensitivity],
            "parity": artifact.parity.to_dict() if artifact.parity else None,
            **asdict(self.performance),
        }


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Outcome of `distill.export`.

    Attributes:
        folder: Folder of the artifacts.
        images: Source of the images that were compared on.
        num_images: Number of these images.
        input_size_hw: Size at which the network works.
        passed: Whether no target failed, and at least one requested target passed.
        torch: Scores and speed of the student itself.
        targets: Outcome by name of target.
        machine: Processor, cores and operating system.
        versions: Versions of the packages involved.
    """

    folder: Path
    images: str
    num_images: int
    input_size_hw: tuple[int, int]
    passed: bool
    torch: Performance
    targets: Mapping[str, TargetResult]
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]

    @property
    def path(self) -> Path | None:
        """File of the first target that passed; None if none did."""
        passed = (row.artifact.path for row in self.targets.values() if row.artifact.status == "passed")
        return next(passed, None)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, as in ``export.json``."""
        return {
            "folder": str(self.folder),
            "method": METHOD,
            "images": self.images,
            "num_images": self.num_images,
            "input_size_hw": list(self.input_size_hw),
            "passed": self.passed,
            "torch": asdict(self.torch),
            "targets": [row.to_dict() for row in self.targets.values()],
            "machine": dict(self.machine),
            "versions": dict(self.versions),
        }

    def to_text(self) -> str:
        """Format as a table of all targets, and a table of the comparison where there is one target."""
        from distill.report.markdown import text_table

        metrics = list(self.torch.scores)
        columns = ["target", "verdict", *metrics, "p50 ms", "images/s", "MB"]
        rows: list[list[Any]] = [
            [TORCH, "", *self.torch.scores.values(), self.torch.p50_ms, self.torch.images_per_s, None]
        ]
        for row in self.targets.values():
            performance, size = row.performance, row.artifact.size_bytes
            scores = [performance.scores.get(metric) for metric in metrics]
            speed = [performance.p50_ms, performance.images_per_s]
            rows.append([row.artifact.target, row.artifact.status, *scores, *speed, size / 1e6 if size else None])
        remarks = [
            f"{row.artifact.target}: {text}"
            for row in self.targets.values()
            for text in (str(row.artifact.path or ""), row.artifact.reason, *row.artifact.notes)
            if text
        ]
        head = f"{self.folder}: {self.num_images} images from {self.images}; {METHOD}"
        parts = [head, "", text_table(columns, rows), "", *remarks]
        if len(self.targets) == 1:
            parts += self._parity_table()
        return "\n".join(parts).rstrip()

    def _parity_table(self) -> list[str]:
        from distill.report.markdown import text_table

        parity = next(iter(self.targets.values())).artifact.parity
        if parity is None:
            return []
        columns = ["task", "score", parity.reference, parity.candidate, "difference", "largest", "tolerance", "verdict"]
        rows: list[list[Any]] = [
            [
                row.task,
                row.measure,
                row.reference,
                row.candidate,
                row.pixel_difference,
                row.max_abs_difference,
                row.tolerance,
                "passed" if row.passed else "FAILED",
            ]
            for row in parity.tasks
        ]
        return ["", "difference: fraction of pixels, or mean degrees", "", text_table(columns, rows)]


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """Estimate for one target."""

    target: str
    engine: str
    precision: str
    size_bytes: int
    minutes: float


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """Estimate of an export.

    Attributes:
        student: Name and backbone.
        folder: Folder of the artifacts.
        images: Source of the images to compare on.
        num_images: Number of these images.
        targets: Size and duration by target.
    """

    student: str
    folder: Path
    images: str
    num_images: int
    targets: tuple[PlannedTarget, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {**asdict(self), "folder": str(self.folder), "usd": 0}

    def to_text(self) -> str:
        """Format for a terminal."""
        lines = [
            f"would write {self.student} into {self.folder} and compare each file with the original on"
            f" {self.num_images} images from {self.images}, at no cost:"
        ]
        lines += [
            f"  {row.target}: {row.engine} {row.precision}, about {row.size_bytes / 1e6:.1f} MB,"
            f" {row.minutes:g} minutes"
            for row in self.targets
        ]
        return "\n".join(lines)
