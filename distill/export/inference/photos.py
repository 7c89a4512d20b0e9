"""Predictions for photos, written as lossless maps and overlays; unreadable photos are skipped and listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2

from distill.errors import DistillError
from distill.export.inference.batched_inference import infer
from distill.export.inference.map_encoding import encode_outputs
from distill.export.inference.panels import Panels
from distill.export.inference.stages import PipelineItem, StageTimer
from distill.export.runners import Runner
from distill.export.sinks import make_folder, write_file
from distill.files import read_file
from distill.images import decode_image, encode_jpeg, max_pixels
from distill.runtime.parallel import prefetch
from distill.tasks import Task

_MAX_PX = 24_000_000
"""Larger photos are shrunk for the engine, which makes about 34 bytes of maps per pixel, and their maps enlarged."""
_ALONE_PX = 13_000_000
"""Photos larger than this pass all stages one after the other, to bound the memory for maps."""


@dataclass(frozen=True, slots=True)
class _PhotoInfo:
    """What is known of a photo besides its pixels."""

    name: str
    path: Path
    size_hw: tuple[int, int]
    notes: tuple[str, ...]


@dataclass
class PredictionSummary:
    """Results for all inputs.

    Attributes:
        rows: One dictionary per photo or video: name, files, size, frames, notes.
        failed: One dictionary per bad input: name, reason, hint.
        timer: Working time by stage.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    timer: StageTimer = field(default_factory=StageTimer)

    def add_failure(self, name: str, path: Path | str, error: Exception) -> None:
        """Add a bad input; its name is removed from the reason."""
        if isinstance(error, MemoryError):
            error = DistillError("there is not enough memory for it", hint="shrink it, or free memory")
        text = error.message if isinstance(error, DistillError) else str(getattr(error, "strerror", "") or error)
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
    max_pixels()  # a value that is not a number is one error, not one per photo
    photo_items = prefetch(summary.timer.items("read", _read_photos(photos, summary, advance)))
    for item, outputs in _infer(runner, photo_items, batch, summary.timer):
        photo: _PhotoInfo = item.source
        try:
            with summary.timer.stage("maps"):
                files = encode_outputs(outputs, runner.spec, confidence=confidence, size_hw=photo.size_hw)
            with summary.timer.stage("draw"):
                panels = Panels(runner.spec, (item.rgb.shape[0], item.rgb.shape[1]), only)
                files["overlay.jpg"] = encode_jpeg(panels.draw(item.rgb, outputs), quality=92)
        except MemoryError as error:
            summary.add_failure(photo.name, photo.path, error)
            advance()
            continue
        for extension, data in files.items():
            write_file(folder / f"{item.key}.{extension}", data)
        names = {extension: f"{item.key}.{extension}" for extension in files}
        row = {"name": photo.name, "size_hw": list(photo.size_hw), "files": names}
        summary.rows.append(row | ({"notes": list(photo.notes)} if photo.notes else {}))
        advance()


def _infer(
    runner: Runner, items: Iterable[PipelineItem], batch: int | None, timer: StageTimer
) -> Iterator[tuple[PipelineItem, Any]]:
    """(item, outputs); large photos alone, the others ahead of the consumer."""
    for is_large, group in groupby(items, key=lambda item: item.rgb.shape[0] * item.rgb.shape[1] > _ALONE_PX):
        pairs = infer(runner, group, batch=1 if is_large else batch, timer=timer)
        yield from pairs if is_large else prefetch(pairs)


def _read_photos(
    photos: Sequence[tuple[str, str, Path]], summary: PredictionSummary, advance: Callable[[], None]
) -> Iterator[PipelineItem]:
    for key, name, path in photos:
        try:
            item = _read_photo(key, name, path)
        except (DistillError, OSError, MemoryError) as error:
            summary.add_failure(name, path, error)
            advance()
            continue
        yield item
        del item


def _read_photo(key: str, name: str, path: Path) -> PipelineItem:
    photo = decode_image(read_file(path), name)
    height, width = photo.full_hw
    if height * width <= _MAX_PX:
        return PipelineItem(key, photo.rgb, source=_PhotoInfo(name, path, photo.full_hw, photo.notes))
    scale = (_MAX_PX / (height * width)) ** 0.5
    small_wh = (max(1, int(width * scale)), max(1, int(height * scale)))
    note = f"was predicted at {small_wh[0]}x{small_wh[1]} px, and its maps were enlarged to {width}x{height}"
    rgb = cv2.resize(photo.rgb, small_wh, interpolation=cv2.INTER_AREA)
    return PipelineItem(key, rgb, source=_PhotoInfo(name, path, photo.full_hw, (*photo.notes, note)))
