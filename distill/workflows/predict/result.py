"""Result of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHOWN = 20
"""Failures in `PredictResult.to_text`; predictions.json and --json list all."""


@dataclass(frozen=True)
class PredictResult:
    """Outcome of `distill.predict`.

    Attributes:
        model: Run folder or exported file.
        engine: Inference engine, such as ``onnxruntime-cpu``.
        threads: Threads of one call of the engine.
        out: Folder or video that was written.
        images: Number of images and frames.
        seconds: Total time.
        stage_seconds: Time at work by stage, such as ``decode`` and ``engine``.
        bottleneck: The slowest stage.
        busy_cores: Mean number of busy cores.
        results: One row per image or video: name, files, size, frames.
        failed: One row per input that could not be used: name, reason, hint.
    """

    model: Path
    engine: str
    threads: int
    out: Path | None
    images: int
    seconds: float
    stage_seconds: Mapping[str, float]
    bottleneck: str
    busy_cores: float
    results: tuple[Mapping[str, Any], ...]
    failed: tuple[Mapping[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, as in ``predictions.json``."""
        return {
            "model": str(self.model),
            "engine": self.engine,
            "threads": self.threads,
            "out": str(self.out),
            "images": self.images,
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self.images / self.seconds, 2),
            "stage_seconds": {name: round(value, 3) for name, value in self.stage_seconds.items()},
            "bottleneck": self.bottleneck,
            "busy_cores": round(self.busy_cores, 2),
            "results": list(self.results),
            "failed": list(self.failed),
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        videos = [row for row in self.results if "frames" in row]
        photos = len(self.results) - len(videos)
        counts = [f"{photos} images"] * bool(photos) + [f"{row['name']}: {row['frames']} frames" for row in videos]
        lines = ["no input could be predicted"]
        if counts:
            lines[0] = (
                f"{', '.join(counts)} to {self.out} in {self.seconds:.1f} s"
                f" ({self.images / self.seconds:.1f}/s with {self.engine}; slowest stage: {self.bottleneck})"
            )
        noted = [row for row in self.results if "frames" not in row and row.get("notes")]
        lines += [f"  {row['name']}: {'; '.join(row['notes'])}" for row in noted[:_SHOWN]]
        lines += [f"  and remarks on {len(noted) - _SHOWN} more images"] if len(noted) > _SHOWN else []
        if self.failed:
            lines.append(f"{len(self.failed)} inputs failed:")
            lines += [f"  {entry['name']}: {entry['reason']}" for entry in self.failed[:_SHOWN]]
            more = len(self.failed) - _SHOWN
            lines += [f"  and {more} more"] if more > 0 else []
        return "\n".join(lines)
