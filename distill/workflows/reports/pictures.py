"""Pictures and videos in the folders of a run: previews of labels, training samples, worst cases, overlays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from distill.errors import DistillError
from distill.files import read_json
from distill.images import decode_rgb
from distill.report import Block, CaptionedImage, ColorKey, ColorScale, Gallery, Text, Video
from distill.teachers.labeling.previews import Preview, read_previews
from distill.visualization.colormaps import NORMAL_COLORS
from distill.workflows.reports.read import FOREIGN_CONTENT, MAX_BYTES

_MAX_BYTES = 32 * 1024 * 1024
_MAX_ROWS = 48
_VIDEOS = (".mp4", ".webm", ".m4v")


def read_picture(path: Path, folder: Path, caption: str) -> list[CaptionedImage]:
    """A picture inside the folder; empty if it is none, or is outside of it."""
    try:
        if not path.resolve().is_relative_to(folder.resolve()) or path.stat().st_size > _MAX_BYTES:
            return []
        return [CaptionedImage(decode_rgb(path.read_bytes(), path.name)[0], caption)]
    except (OSError, DistillError):
        return []


def label_galleries(folder: Path, values: Mapping[str, Any]) -> list[Block]:
    """One row per previewed label, lowest quality first: photo, generated image, label, confidence."""
    try:
        previews = read_previews(folder)
    except ValueError:
        return []
    # `name` is the file of the photo, the key its stem or a code of it.
    quality = {(Path(str(row["name"])).stem, row["task"]): row["quality"] for row in values.get("low_quality", ())}
    rows: list[tuple[float, Gallery]] = []
    for _, group in groupby(previews, key=lambda preview: (preview.position, preview.number)):
        by_kind = {preview.what: preview for preview in group}
        if (photo := by_kind.get("photo")) is None:
            continue
        tasks = [kind for kind in by_kind if f"{kind} confidence" in by_kind]
        for task in tasks:
            score = quality.get((photo.key, task))
            title = f"{photo.key}: {task}" + (f", quality {score:.3f}" if score is not None else "")
            rows.append((2.0 if score is None else score, _label_row(folder, by_kind, task, title)))
        if not tasks:
            pictures = [picture for kind, item in by_kind.items() for picture in read_picture(item.path, folder, kind)]
            rows.append((-1.0, Gallery(pictures, title=f"{photo.key}: no label")))
    rows.sort(key=lambda row: row[0])
    return [gallery for _, gallery in rows[:_MAX_ROWS]]


def color_legends(tasks: Sequence[str], classes: Sequence[str]) -> list[Block]:
    """What the colors of label drawings mean."""
    from distill.visualization import class_colors
    from distill.visualization.colormaps import INVALID_RGB, depth_colors

    blocks: list[Block] = []
    if "depth" in tasks:
        stops = [row.tolist() for row in depth_colors()[::20]]
        labels = ("near: 0 m, or relative", "far: beyond 50 m, or relative; sky is light blue")
        blocks.append(ColorScale("depth labels", stops, labels))
    if "normals" in tasks:
        blocks.append(ColorKey(NORMAL_COLORS))
    if "semantic" in tasks and classes:
        colors = class_colors(len(classes))
        blocks.append(ColorKey({str(name): colors[index].tolist() for index, name in enumerate(classes)}))
    return [*blocks, ColorKey({"no value": INVALID_RGB})] if blocks else []


def legend_classes(folder: Path) -> list[str]:
    """Classes of the set in a folder; empty if it is no set."""
    try:
        found = read_json(folder / "dataset.json", MAX_BYTES)["classes"]
    except (OSError, *FOREIGN_CONTENT):
        return []
    return [str(name) for name in found[:256]] if isinstance(found, list) else []


def _label_row(folder: Path, by_kind: Mapping[str, Preview], task: str, title: str) -> Gallery:
    kinds = {"photo": "photo"}
    kinds |= {kind: kind for kind in by_kind if kind.startswith(task) and "generated" in kind}
    kinds |= {task: task, f"{task} confidence": "confidence: dark 0, yellow 1"}
    pictures = [
        picture for kind, caption in kinds.items() for picture in read_picture(by_kind[kind].path, folder, caption)
    ]
    return Gallery(pictures, columns=max(4, len(pictures)), title=title)


def training_samples(folder: Path, most: int = 3) -> list[Block]:
    """The first, middle and last sample sheet."""
    paths = sorted(path for path in (folder / "samples").glob("step-*.png") if path.is_file())
    chosen = [paths[index] for index in sorted({0, len(paths) // 2, len(paths) - 1})][:most] if paths else []
    pictures = [
        picture
        for path in reversed(chosen)
        for picture in read_picture(path, folder, f"after {path.stem.removeprefix('step-').lstrip('0') or '0'} steps")
    ]
    return [Gallery(pictures, columns=1, full_size=True)] if pictures else []


def worst_galleries(folder: Path, values: Mapping[str, Any]) -> dict[str, Gallery | None]:
    """Worst cases by task, whose pictures `evaluate` wrote into the same folder."""
    galleries: dict[str, Gallery | None] = {}
    for task, found in values["tasks"].items():
        rows: list[Sequence[CaptionedImage]] = []
        for row in found.get("worst", ()):
            files = row.get("pictures", ())
            rows.append([picture for file, text in files for picture in read_picture(folder / file, folder, str(text))])
        if any(rows):
            galleries[task] = Gallery([picture for row in rows for picture in row], max(map(len, rows)), "Worst first")
    return galleries


def video_blocks(folder: Path, values: Mapping[str, Any], base: Path) -> list[Block]:
    """Videos among the predictions: embedded by relative paths; a note if there is none."""
    blocks: list[Block] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _VIDEOS or not path.is_file() or path.is_symlink():
            continue
        relative = os.path.relpath(path.resolve(), base.resolve())
        blocks.append(Video(Path(relative).as_posix(), path.name))
    return blocks or [Text(f"{len(values.get('results', ()))} inputs, no video in {folder.name}.", "note")]
