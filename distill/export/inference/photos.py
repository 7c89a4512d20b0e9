"""Predictions for photos, written as lossless maps and overlays; unreadable photos are skipped and listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import DistillError
from distill.export.inference.batched_inference import infer
from distill.export.inference.map_encoding import encode_outputs
from distill.export.inference.panels import Panels
from distill.export.inference.stages import PipelineItem, StageTimer
from distill.export.runners import Runner
from distill.export.sinks import make_folder, write_file
from distill.images import decode_rgb, encode_jpeg
from distill.runtime.parallel import prefetch
from distill.tasks import Task


@dataclass
class PredictionSummary:
    """Results for all inputs.

    Attributes:
        rows: One dictionary per photo or video: name, files, size, frames.
        failed: One dictionary per bad input: name, reason, hint.
        timer: Working time by stage.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    timer: StageTimer = field(default_factory=StageTimer)

    def add_failure(self, name: str, path: Path | str, error: Exception) -> None:
        """Add a bad input; its name is removed from the reason."""
        text = error.message if isinstance(error, DistillError) else str(error)
        hint = error.hint if isinstance(error, DistillError) else ""
        reason = text.removeprefix(f"{path}: ").removeprefix(f"{name}: ")
        self.failed.append({"name": name, "reason": reason, "hint": hint})


def predict_photos(
    runner: Runner,
    photos: Sequence[tuple[str, str, Path]],
    folder: Path,
    summary: PredictionSummary,
    advance: Callable[[], None],
    *,
    only: Task | None = None,
    confidence: bool = False,
    batch: int | None = None,
) -> None:
    """Write ``<key>.<task>.png`` and ``<key>.overlay.jpg`` for each photo (key, name, path).

    Raises:
        DistillError: The engine failed, or the folder is not writable.
    """
    make_folder(folder)
    photo_items = prefetch(summary.timer.items("read", _read_photos(photos, summary, advance)))
    pairs = prefetch(infer(runner, photo_items, batch=batch, timer=summary.timer))
    for item, outputs in pairs:
        with summary.timer.stage("maps"):
            files = encode_outputs(outputs, runner.spec, confidence=confidence)
        with summary.timer.stage("draw"):
            panels = Panels(runner.spec, (item.rgb.shape[0], item.rgb.shape[1]), only)
            files["overlay.jpg"] = encode_jpeg(panels.draw(item.rgb, outputs), quality=92)
        for extension, data in files.items():
            write_file(folder / f"{item.key}.{extension}", data)
        names = {extension: f"{item.key}.{extension}" for extension in files}
        summary.rows.append({"name": item.source, "size_hw": list(item.rgb.shape[:2]), "files": names})
        advance()


def _read_photos(
    photos: Sequence[tuple[str, str, Path]], summary: PredictionSummary, advance: Callable[[], None]
) -> Iterator[PipelineItem]:
    for key, name, path in photos:
        try:
            yield PipelineItem(key, decode_rgb(path.read_bytes(), name)[0], source=name)
        except (DistillError, OSError) as error:
            summary.add_failure(name, path, error)
            advance()
