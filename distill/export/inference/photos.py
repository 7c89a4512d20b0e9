"""Photos through a runner into files: lossless maps and overlays; a bad photo stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import DistillError
from distill.export.inference.map_encoding import encode_outputs
from distill.export.inference.panels import Panels
from distill.export.inference.pipeline import Picture, Stopwatch, infer
from distill.export.runners import Runner
from distill.export.sinks import make_folder, write_file
from distill.images import decode_rgb, encode_jpeg
from distill.runtime.parallel import prefetch
from distill.tasks import Task


@dataclass
class Done:
    """What came of the inputs.

    Attributes:
        rows: One dictionary per photo or video: name, files, size, frames.
        failed: One per bad input: name, reason.
        watch: Seconds at work, by stage.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    watch: Stopwatch = field(default_factory=Stopwatch)

    def fail(self, name: str, path: Path | str, error: Exception) -> None:
        """Note a bad input; a reason need not repeat its name."""
        text = error.message if isinstance(error, DistillError) else str(error)
        hint = error.hint if isinstance(error, DistillError) else ""
        reason = text.removeprefix(f"{path}: ").removeprefix(f"{name}: ")
        self.failed.append({"name": name, "reason": reason, "hint": hint})


def predict_photos(
    runner: Runner,
    photos: Sequence[tuple[str, str, Path]],
    folder: Path,
    done: Done,
    advance: Callable[[], None],
    *,
    only: Task | None = None,
    confidence: bool = False,
    batch: int | None = None,
) -> None:
    """Write ``<key>.<task>.png`` and ``<key>.overlay.jpg`` for each photo (key, name, path).

    Raises:
        DistillError: The engine failed, or the folder cannot be written.
    """
    make_folder(folder)
    pictures = prefetch(done.watch.items("read", _read_photos(photos, done, advance)))
    pairs = prefetch(infer(runner, pictures, batch=batch, watch=done.watch))
    for picture, outputs in pairs:
        with done.watch.stage("maps"):
            files = encode_outputs(outputs, runner.spec, confidence=confidence)
        with done.watch.stage("draw"):
            panels = Panels(runner.spec, (picture.rgb.shape[0], picture.rgb.shape[1]), only)
            files["overlay.jpg"] = encode_jpeg(panels.draw(picture.rgb, outputs), quality=92)
        for extension, data in files.items():
            write_file(folder / f"{picture.key}.{extension}", data)
        names = {extension: f"{picture.key}.{extension}" for extension in files}
        done.rows.append({"name": picture.source, "size_hw": list(picture.rgb.shape[:2]), "files": names})
        advance()


def _read_photos(photos: Sequence[tuple[str, str, Path]], done: Done, advance: Callable[[], None]) -> Iterator[Picture]:
    for key, name, path in photos:
        try:
            yield Picture(key, decode_rgb(path.read_bytes(), name)[0], source=name)
        except (DistillError, OSError) as error:
            done.fail(name, path, error)
            advance()
