"""The strip of pictures in the README: photo, generated depth, label, confidence, student, error.

    python benchmarks/readme_strip.py --work strip --out docs/images/strip.jpg

Labels rendered scenes with the synthetic teacher and moderate faults, trains a student on them for two minutes, and
draws one scene that it was not trained on. All of it is rendered, so the picture has no other license.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

import distill
from distill.datasets.shard_set import open as open_set
from distill.images import decode_rgb, encode_jpeg
from distill.labels.conversions import resample_nearest
from distill.report.blocks import Table
from distill.tasks import DepthKind, Task
from distill.teachers.labeling.previews import read_previews
from distill.visualization.colormaps import draw_confidence, draw_depth, draw_error

CELL_WH = (300, 225)
GAP, CAPTION = 8, 30
LIMIT = 0.5
"""Relative error at the end of the color scale."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for labels and run; continued if it exists")
    parser.add_argument("--out", type=Path, required=True, help="JPEG file")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--scene", type=int, default=3, help="of the held-out scenes")
    given = parser.parse_args()
    teacher = {"kind": "synthetic", "size_hw": [240, 320], "faults": "moderate"}
    labels = distill.label(teacher={**teacher, "scenes": given.scenes}, out=given.work / "labels", task=[Task.DEPTH])
    held_out = {"kind": "synthetic", "size_hw": [240, 320], "scenes": 8, "first": 1_000_000}
    distill.label(teacher={**held_out, "faults": "moderate"}, out=given.work / "seen", task=[Task.DEPTH], previews=8)
    distill.label(teacher=held_out, out=given.work / "truth", task=[Task.DEPTH], check=False)
    run = distill.train(
        shards=labels.out,
        out=given.work / "run",
        overrides={"student.preset": "nano", "train.minutes": given.minutes, "student.size_hw": [192, 256]},
    )
    seen, truth = open_set(given.work / "seen"), open_set(given.work / "truth")
    sample = seen[given.scene]
    photo, _ = decode_rgb(sample.photo, sample.key)
    label = sample.label(Task.DEPTH)
    preview = next(one for one in read_previews(seen.folder) if one.key == sample.key and one.what == "depth generated")
    generated, _ = decode_rgb(preview.path.read_bytes(), preview.path.name)
    exact = resample_nearest(truth[sample.key].label(Task.DEPTH), (photo.shape[0], photo.shape[1]))
    with distill.load(run.run) as student:
        predicted = np.asarray(student(photo).depth)
    predicted = cv2.resize(predicted, (photo.shape[1], photo.shape[0]), interpolation=cv2.INTER_NEAREST)
    far = (draw_depth(exact.value) == draw_depth(np.full_like(exact.value, 1e6))).all(axis=-1)
    error = np.abs(predicted - exact.value) / np.maximum(exact.value, 0.1)
    cells = {
        "photo": photo,
        "image of the generator": generated,
        "label, in meters": draw_depth(label.value, label.valid, depth_kind=label.depth_kind or DepthKind.METRIC),
        "confidence of the label": draw_confidence(np.where(label.valid, label.confidence, 0)),
        "student": draw_depth(predicted),
        f"error of the student, 0 to {LIMIT:.0%}": draw_error(error, exact.valid & ~far, limit=LIMIT),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_bytes(encode_jpeg(strip(cells), quality=88))
    mean = float(np.mean(error[exact.valid & ~far]))
    print(Table(["", "value"], [["scenes", labels.labeled], ["mean relative error of this scene", round(mean, 3)]]))


def strip(cells: dict[str, ndarray]) -> ndarray:
    """The cells in two rows with captions, on white."""
    columns = (len(cells) + 1) // 2
    width, height = CELL_WH
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, 2 * (height + CAPTION + GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for number, (caption, picture) in enumerate(cells.items()):
        left = GAP + number % columns * (width + GAP)
        top = GAP + number // columns * (height + CAPTION + GAP)
        shrink = picture.shape[1] > width
        cell = cv2.resize(picture, CELL_WH, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
        sheet.paste(Image.fromarray(cell), (left, top))
        pen.text((left + 2, top + height + 4), caption, fill=(40, 44, 50), font=font)
    return np.asarray(sheet)


if __name__ == "__main__":
    main()
