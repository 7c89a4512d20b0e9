"""Real generated images and damaged versions of them: which are accepted, corrected or rejected, with which quality.

    DISTILL_DATA=path/to/data python benchmarks/damaged_answers.py --out benchmarks/results/damaged_answers.md

DISTILL_DATA holds ``vision_banana/`` (or --data names such a folder): photos, answers and ``answers.yaml``. Every
answer is labeled by the replay teacher with default checks, as it is and damaged in each way of `ways` and `siblings`.
A damaged answer that is accepted is compared with the label of the answer as it is: pixels that differ are wrong. Exits
with 1 if nonsense was accepted, a good answer was rejected, or an accepted answer with more than 5 % wrong pixels
scores above any undamaged one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from machine import results_page
from numpy import ndarray
from PIL import Image

from distill.config.adapters import ReplayConfig
from distill.errors import DistillError
from distill.images import Photo, decode_rgb, encode_map, read_photo
from distill.labels import Label
from distill.report.blocks import Table
from distill.teachers.base import TeacherResult
from distill.teachers.factory import build_teacher
from distill.teachers.labeling.shard_stats import format_registration
from distill.teachers.tasks import teacher_task
from distill.workflows.label.options import read_quality_filter

LIMIT = 0.05
"""An accepted answer with a larger fraction of wrong pixels must score below every undamaged one."""
Row = dict[str, Any]
Change = Callable[[ndarray, ndarray], ndarray | bytes]
"""(pixels of the answer, pixels of its photo) to pixels or file of the damaged answer."""


@dataclass(frozen=True)
class Way:
    """One way of damaging an answer.

    Attributes:
        change: Of the pixels.
        kind: ``good`` (must be accepted), ``moved`` (must be rejected or corrected), ``lossy`` (accepted with few wrong
            pixels, or rejected), ``nonsense`` (must be rejected), ``alike`` (a segmentation given as another one whose
            colors it has, which cannot be told apart), ``sibling`` (as ``lossy``).
        row: Changed values of the manifest's row.
    """

    change: Change
    kind: str
    row: Callable[[Row], Row] = dict


def same(answer: ndarray, photo: ndarray) -> ndarray:
    return answer


def without(*keys: str) -> Callable[[Row], Row]:
    return lambda row: {key: value for key, value in row.items() if key not in keys}


def turned(degrees: float) -> Change:
    def change(answer: ndarray, photo: ndarray) -> ndarray:
        height, width = answer.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        return cv2.warpAffine(answer, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)

    return change


def cropped(share: float) -> Change:
    """The middle of the answer, scaled to the answer's size."""

    def change(answer: ndarray, photo: ndarray) -> ndarray:
        height, width = answer.shape[:2]
        inner = round(height * share), round(width * share)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        return cv2.resize(
            answer[top : top + inner[0], left : left + inner[1]], (width, height), interpolation=cv2.INTER_NEAREST
        )

    return change


def shifted(pixels: int) -> Change:
    def change(answer: ndarray, photo: ndarray) -> ndarray:
        height, width = answer.shape[:2]
        matrix = np.float32([[1, 0, pixels], [0, 1, pixels]])
        return cv2.warpAffine(answer, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)

    return change


def jpeg(quality: int) -> Change:
    """JPEG with half the resolution of the colors (4:2:0)."""
    return lambda answer, photo: jpeg_bytes(answer, quality)


def jpeg_bytes(rgb: ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=2)
    return buffer.getvalue()


def constant(color: Callable[[ndarray], Any]) -> Change:
    def change(answer: ndarray, photo: ndarray) -> ndarray:
        return np.broadcast_to(np.asarray(color(answer), np.uint8), answer.shape).copy()

    return change


def replaced_by_photo(edit: Callable[[ndarray], ndarray] = lambda photo: photo) -> Change:
    def change(answer: ndarray, photo: ndarray) -> ndarray:
        size = answer.shape[1], answer.shape[0]
        return edit(cv2.resize(photo, size, interpolation=cv2.INTER_AREA))

    return change


def as_task(task: str, **values: Any) -> Callable[[Row], Row]:
    def change(row: Row) -> Row:
        return {"photo": row["photo"], "answer": row["answer"], "task": task, **values}

    return change


SEGMENTATIONS = ("semantic", "instance", "referring")
STREET = {"sky": [70, 130, 180], "road": [128, 64, 128], "tree": [107, 142, 35], "person": [220, 20, 60]}
PURE = {"sky": [255, 0, 0], "road": [0, 255, 0], "tree": [0, 0, 255], "person": [255, 255, 0], "wall": [0, 0, 0]}
TASK_ROWS: Mapping[str, Callable[[Row], Row]] = {
    "depth": as_task("depth"),
    "depth in viridis": as_task("depth", colormap="viridis"),
    "disparity in gray": as_task("depth", colormap="gray", depth_kind="affine_invariant_disparity", near_is_low=False),
    "normals": as_task("normals"),
    "semantic of a street": as_task("semantic", legend=STREET),
    "semantic in pure colors": as_task("semantic", legend=PURE),
    "instances": as_task("instance", **{"class": "chair"}),
    "instances on black": as_task("instance", **{"class": "chair", "background": [0, 0, 0]}),
    "referring": as_task("referring", legend={"left one": "red", "right one": "green"}, background=[0, 0, 0]),
    "edges": as_task("edges"),
}


def ways() -> dict[str, Way]:
    """All ways, in the order of the table."""
    found = {
        "as it is": Way(same, "good"),
        "no background in the row": Way(same, "good", without("background")),
        "no legend in the row": Way(same, "good", without("legend")),
        "neither": Way(same, "good", without("legend", "background")),
    }
    found |= {f"JPEG {quality}": Way(jpeg(quality), "lossy") for quality in (90, 75, 60)}
    found |= {f"shifted by {pixels} px": Way(shifted(pixels), "moved") for pixels in (12, 30)}
    found |= {f"cropped to {share:.0%}": Way(cropped(share), "moved") for share in (0.9, 0.8)}
    found |= {f"turned by {degrees} degrees": Way(turned(degrees), "moved") for degrees in (2, 5)}
    found["mirrored"] = Way(lambda answer, photo: answer[:, ::-1].copy(), "nonsense")
    flat: dict[str, Callable[[ndarray], Any]] = {
        "its most frequent color": most_frequent,
        "its mean color": lambda answer: answer.mean(axis=(0, 1)),
        "the color at its center": lambda answer: answer[answer.shape[0] // 2, answer.shape[1] // 2],
        "gray": lambda answer: 128,
        "white": lambda answer: 255,
        "black": lambda answer: 0,
    }
    found |= {f"flat: {name}": Way(constant(color), "nonsense") for name, color in flat.items()}
    found["flat: a slight gradient"] = Way(gradient, "nonsense")
    found["flat: noise around a color"] = Way(noisy, "nonsense")
    edits: dict[str, Callable[[ndarray], ndarray]] = {
        "": lambda photo: photo,
        ", in gray": lambda photo: cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
        ", mirrored": lambda photo: photo[:, ::-1].copy(),
        ", blurred": lambda photo: cv2.GaussianBlur(photo, (0, 0), 2),
        ", color-graded": graded,
        ", posterized": lambda photo: (photo // 64 * 64 + 32).astype(np.uint8),
        ", half as large": lambda photo: cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    }
    found |= {f"photo{name}": Way(replaced_by_photo(edit), "nonsense") for name, edit in edits.items()}
    found["photo, JPEG 60"] = Way(lambda answer, photo: jpeg_bytes(replaced_by_photo()(answer, photo), 60), "nonsense")
    found |= siblings()
    found |= {f"given as {name}": Way(same, "nonsense", row) for name, row in TASK_ROWS.items()}
    return found


def siblings() -> dict[str, Way]:
    """More damage, and more nonsense."""
    edits: dict[str, Change] = {
        "upside down": lambda answer, photo: answer[::-1].copy(),
        "turned by 90 degrees": lambda answer, photo: cv2.resize(
            np.rot90(answer).copy(), (answer.shape[1], answer.shape[0]), interpolation=cv2.INTER_NEAREST
        ),
        "four times side by side": lambda answer, photo: np.tile(answer[::2, ::2], (2, 2, 1)),
        "photo and answer side by side": lambda answer, photo: np.hstack(
            [replaced_by_photo()(answer, photo)[:, ::2], answer[:, ::2]]
        ),
        "random pixels": lambda answer, photo: np.random.default_rng(0).integers(0, 256, answer.shape, dtype=np.uint8),
        "checkerboard": checkerboard,
        "photo with more contrast": replaced_by_photo(lambda photo: cv2.convertScaleAbs(photo, alpha=1.8, beta=-60)),
        "photo in its negative": replaced_by_photo(lambda photo: 255 - photo),
        "photo in a red tint": replaced_by_photo(lambda photo: (photo * [1.0, 0.4, 0.4]).astype(np.uint8)),
        "photo with a frame": replaced_by_photo(lambda photo: framed(photo, photo)),
    }
    found = {name: Way(change, "nonsense") for name, change in edits.items()}
    shown: dict[str, Change] = {
        "JPEG 30": jpeg(30),
        "left half flat": half_flat,
        "with a text": lambda answer, photo: cv2.putText(
            answer.copy(), "SAMPLE", (80, 300), cv2.FONT_HERSHEY_SIMPLEX, 5, (255, 255, 255), 14
        ),
        "with a watermark": lambda answer, photo: cv2.addWeighted(
            answer,
            0.8,
            cv2.putText(answer * 0, "PREVIEW", (60, 400), cv2.FONT_HERSHEY_SIMPLEX, 6, (255,) * 3, 30),
            0.2,
            0,
        ),
        "with a frame": framed,
        "blended with its photo": lambda answer, photo: cv2.addWeighted(
            answer, 0.6, replaced_by_photo()(answer, photo), 0.4, 0
        ),
        "in its negative": lambda answer, photo: 255 - answer,
        "red and blue swapped": lambda answer, photo: answer[..., ::-1].copy(),
        "x of normals negated": negative(0),
        "y of normals negated": negative(1),
        "quarter of the size": lambda answer, photo: answer[::4, ::4].copy(),
        "noise of 12 levels": lambda answer, photo: np.clip(
            answer + np.random.default_rng(0).normal(0, 12, answer.shape), 0, 255
        ).astype(np.uint8),
    }
    shown |= {f"channels in the order {order}": channels(order) for order in ("RBG", "GRB", "GBR", "BRG")}
    shown |= {
        "upper half flat": half_flat_above,
        "with a thick gray frame": lambda answer, photo: framed(answer, photo, 10, 128),
        "with a legend of colors": with_legend,
        "with a grid": with_grid,
        "darker": lambda answer, photo: (answer * 0.8).astype(np.uint8),
        "less saturated": lambda answer, photo: cv2.addWeighted(
            answer, 0.7, cv2.cvtColor(cv2.cvtColor(answer, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), 0.3, 0
        ),
    }
    return found | {name: Way(change, "sibling") for name, change in shown.items()}


def channels(order: str) -> Change:
    return lambda answer, photo: np.ascontiguousarray(answer[..., ["RGB".index(name) for name in order]])


def negative(channel: int) -> Change:
    def change(answer: ndarray, photo: ndarray) -> ndarray:
        changed = answer.copy()
        changed[..., channel] = 255 - changed[..., channel]
        return changed

    return change


def half_flat_above(answer: ndarray, photo: ndarray) -> ndarray:
    changed = answer.copy()
    changed[: answer.shape[0] // 2] = most_frequent(answer)
    return changed


def with_legend(answer: ndarray, photo: ndarray) -> ndarray:
    changed = answer.copy()
    changed[-220:-20, 20:320] = 255
    for number, color in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        top = answer.shape[0] - 205 + 60 * number
        cv2.rectangle(changed, (35, top), (75, top + 40), color, -1)
        cv2.putText(changed, f"class {number}", (90, top + 35), cv2.FONT_HERSHEY_SIMPLEX, 1.3, (0, 0, 0), 3)
    return changed


def with_grid(answer: ndarray, photo: ndarray) -> ndarray:
    changed = answer.copy()
    for offset in (0, 1):
        changed[offset::60], changed[:, offset::60] = 255, 255
    return changed


def checkerboard(answer: ndarray, photo: ndarray) -> ndarray:
    rows, columns = (np.arange(size) // 80 for size in answer.shape[:2])
    return np.where(((rows[:, None] + columns) % 2 > 0)[..., None], most_frequent(answer), 0).astype(np.uint8)


def half_flat(answer: ndarray, photo: ndarray) -> ndarray:
    changed = answer.copy()
    changed[:, : answer.shape[1] // 2] = most_frequent(answer)
    return changed


def framed(answer: ndarray, photo: ndarray, parts: int = 30, level: int = 255) -> ndarray:
    changed, edge = answer.copy(), max(answer.shape[:2]) // parts
    changed[:edge] = changed[-edge:] = changed[:, :edge] = changed[:, -edge:] = level
    return changed


def most_frequent(answer: ndarray) -> ndarray:
    colors, counts = np.unique((answer[::4, ::4] // 8).reshape(-1, 3), axis=0, return_counts=True)
    return colors[counts.argmax()] * 8 + 4


def gradient(answer: ndarray, photo: ndarray) -> ndarray:
    slope = np.linspace(-8, 8, answer.shape[1])[None, :, None]
    return np.clip(most_frequent(answer) + slope + np.zeros(answer.shape), 0, 255).astype(np.uint8)


def noisy(answer: ndarray, photo: ndarray) -> ndarray:
    noise = np.random.default_rng(0).normal(0, 3, answer.shape)
    return np.clip(most_frequent(answer) + noise, 0, 255).astype(np.uint8)


def graded(photo: ndarray) -> ndarray:
    """Warmer, with more contrast and less saturation."""
    values = photo.astype(np.float32) / 255
    values = 0.7 * values + 0.3 * values.mean(axis=-1, keepdims=True)
    return (255 * np.clip(values**1.3 * np.array([1.1, 1.0, 0.8], np.float32), 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class Outcome:
    """What happened to one answer.

    Attributes:
        verdict: ``accepted``, ``corrected`` or ``rejected``.
        quality: None if rejected.
        wrong: Fraction of pixels that differ from the undamaged label; None if rejected or not comparable.
        text: Reason of a rejection, or the correction.
        instances: Number of instances; None if rejected, or for other tasks.
    """

    verdict: str
    quality: float | None
    wrong: float | None
    text: str
    instances: int | None = None


class Answers:
    """The answers of a folder."""

    def __init__(self, folder: Path, work: Path, max_pixels: int | None = None) -> None:
        self.rows: list[Row] = yaml.safe_load((folder / "answers.yaml").read_text())
        self._photos: dict[str, Photo] = {}
        self._undamaged: dict[int, Label] = {}
        # The manifest has these two the other way round, which labeling the whole manifest repairs.
        swapped = [row for row in self.rows if row["photo"].endswith("/cats.jpg") and row["task"] == "semantic"]
        if len(swapped) == 2:
            swapped[0]["answer"], swapped[1]["answer"] = swapped[1]["answer"], swapped[0]["answer"]
        self._folder, self._work, self._max_pixels = folder, work, max_pixels

    def photo(self, name: str) -> Photo:
        """The photo, possibly shrunk."""
        if name not in self._photos:
            self._photos[name] = self._read_photo(name)
        return self._photos[name]

    def _read_photo(self, name: str) -> Photo:
        path = self._folder / name
        photo = read_photo(path.read_bytes(), key=path.stem, name=path.name)
        if self._max_pixels is None or photo.rgb[..., 0].size <= self._max_pixels:
            return photo
        share = (self._max_pixels / photo.rgb[..., 0].size) ** 0.5
        return replace(photo, rgb=cv2.resize(photo.rgb, None, fx=share, fy=share, interpolation=cv2.INTER_AREA))

    def pixels(self, name: str) -> ndarray:
        """Pixels of an answer."""
        return decode_rgb((self._folder / name).read_bytes(), name)[0]

    def label(self, row: Row, data: bytes, photo: Photo, *, check: bool = True) -> TeacherResult:
        """Result of the replay teacher for one answer."""
        suffix = "jpg" if data[:2] == b"\xff\xd8" else "png"
        (self._work / f"answer.{suffix}").write_bytes(data)
        manifest = self._work / "answers.yaml"
        manifest.write_text(yaml.safe_dump([row | {"photo": photo.name, "answer": f"answer.{suffix}"}]))
        options = {"min_quality": {}, "full_weight_above": {}, "calibration": None}
        quality_filter = read_quality_filter(check=True, **options) if check else None
        teacher = build_teacher(ReplayConfig(answers=manifest), folder=self._work, quality_filter=quality_filter)
        (result, *_) = teacher.label(photo)
        return result

    def undamaged(self, position: int) -> Label:
        """Label of an answer as it is; without checks if they reject it."""
        if position not in self._undamaged:
            self._undamaged[position] = self._label_undamaged(position)
        return self._undamaged[position]

    def _label_undamaged(self, position: int) -> Label:
        row = self.rows[position]
        data, photo = (self._folder / row["answer"]).read_bytes(), self.photo(row["photo"])
        results = (self.label(row, data, photo, check=check) for check in (True, False))
        return next(label for result in results for label in result.labels.values())

    def outcome(self, position: int, way: Way, photo_name: str = "") -> Outcome:
        """Outcome of an answer that was damaged in a way, or given to another photo."""
        row = self.rows[position]
        photo = self.photo(photo_name or row["photo"])
        if way.change is same:
            data = (self._folder / row["answer"]).read_bytes()
        else:
            changed = way.change(self.pixels(row["answer"]), photo.rgb)
            data = changed if isinstance(changed, bytes) else encode_map(changed)
        try:
            result = self.label(way.row(row), data, photo)
        except DistillError as error:
            return Outcome("rejected", None, None, str(error))
        if not result.labels:
            return Outcome("rejected", None, None, result.failures[0]["reason"])
        record, label = result.records[0], next(iter(result.labels.values()))
        text = format_registration(record["registration"])
        notes = "; ".join(note["reason"] for note in result.notes)
        truth = self.undamaged(position)
        wrong = None
        if way.kind != "nonsense" and (compared := teacher_task(label.task).label_error(label, truth)) is not None:
            wrong = 1 - float(compared.right[compared.known].mean())
        verdict = "corrected" if text else "accepted"
        text = "; ".join(filter(None, (text, notes)))
        return Outcome(verdict, record["quality"], wrong, text, len(label.instance_classes) or None)


def saved(files: Sequence[Path], answers: Answers) -> Iterator[tuple[int, str, Way, Outcome]]:
    """As `outcomes`, from files of --save."""
    position = {name_of(row): number for number, row in enumerate(answers.rows)}
    known = ways()
    for file in files:
        for line in file.read_text().splitlines():
            answer, name, kind, found = json.loads(line)
            way = known.get(name, Way(same, kind))
            yield position[answer], name, replace(way, kind=kind), Outcome(**found)


def name_of(row: Row) -> str:
    return Path(row["answer"]).stem


def outcomes(answers: Answers, chosen: Mapping[str, Way]) -> Iterator[tuple[int, str, Way, Outcome]]:
    """(position, way, outcome) of every answer in every way."""
    for position, row in enumerate(answers.rows):
        for name, way in chosen.items():
            given = way.row(row)
            if name.startswith("given as ") and same_colors(row, given):
                continue
            if way.change is same and name != "as it is" and given == row:
                continue  # nothing to leave out
            if " of normals " in name and row["task"] != "normals":
                continue
            if row["task"] in SEGMENTATIONS and given["task"] in SEGMENTATIONS and given["task"] != row["task"]:
                way = replace(way, kind="alike")  # noqa: PLW2901
            yield position, name, way, answers.outcome(position, way)
        wrong = Way(same, "nonsense")
        size = answers.pixels(row["answer"]).shape
        others = sorted(
            {other["photo"] for other in answers.rows} - {row["photo"]},
            key=lambda other: abs(np.log(np.divide(*answers.photo(other).rgb.shape[:2]) / np.divide(*size[:2]))),
        )
        for number, other in enumerate(others[:2], 1):
            yield position, f"wrong photo {number}", wrong, answers.outcome(position, wrong, other)


def same_colors(row: Row, other: Row) -> bool:
    """Whether the row is about the same task, with the same kind of colors."""
    return row["task"] == other["task"] and (row["task"] != "depth" or "colormap" not in other)


def summary(rows: Sequence[tuple[int, str, Way, Outcome]]) -> list[list[str | int]]:
    """One line per way."""
    table: list[list[str | int]] = []
    for name in dict.fromkeys(name for _, name, _, _ in rows):
        found = [outcome for _, other, _, outcome in rows if other == name]
        count = Counter(outcome.verdict for outcome in found)
        qualities = [outcome.quality for outcome in found if outcome.quality is not None]
        wrong = [outcome.wrong for outcome in found if outcome.wrong is not None]
        span = f"{min(qualities):.2f} to {max(qualities):.2f}" if qualities else "-"
        line: list[str | int] = [name, next(way.kind for _, other, way, _ in rows if other == name)]
        line += [count[verdict] for verdict in ("accepted", "corrected", "rejected")]
        table.append([*line, span, f"{max(wrong):.1%}" if wrong else "-"])
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DISTILL_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="ways whose names start with these")
    parser.add_argument("--answers", nargs="*", default=[], help="answers whose names start with these")
    parser.add_argument("--save", type=Path, help="keep the outcomes of these answers in a file")
    parser.add_argument("--parts", type=Path, nargs="*", help="write the page from such files")
    parser.add_argument("--max-pixels", type=int, help="shrink larger photos, for speed")
    given = parser.parse_args()
    folder = given.data / "vision_banana" if (given.data / "vision_banana").is_dir() else given.data
    chosen = {name: way for name, way in ways().items() if not given.only or name.startswith(tuple(given.only))}
    with tempfile.TemporaryDirectory() as work:
        answers = Answers(folder, Path(work), given.max_pixels)
        if given.parts:
            return report(answers.rows, list(saved(given.parts, answers)), given.out)
        if given.answers:
            answers.rows = [row for row in answers.rows if name_of(row).startswith(tuple(given.answers))]
        rows = []
        for position, name, way, outcome in outcomes(answers, chosen):
            rows.append((position, name, way, outcome))
            quality = "-" if outcome.quality is None else f"{outcome.quality:.3f}"
            wrong = "-" if outcome.wrong is None else f"{outcome.wrong:.1%}"
            print(name_of(answers.rows[position]), name, outcome.verdict, quality, wrong, outcome.text, sep=" | ")
            sys.stdout.flush()
    if given.save:
        lines = [[name_of(answers.rows[place]), name, way.kind, asdict(found)] for place, name, way, found in rows]
        given.save.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return report(answers.rows, rows, given.out)


def report(answers: Sequence[Row], rows: Sequence[tuple[int, str, Way, Outcome]], out: Path | None) -> int:
    """Write the page; the exit code."""
    nonsense = [row for row in rows if row[2].kind == "nonsense" and row[3].verdict != "rejected"]
    lost = [row for row in rows if row[2].kind == "good" and row[3].verdict == "rejected"]
    good = [outcome.quality for _, _, way, outcome in rows if way.kind == "good" and outcome.quality is not None]
    damaged = [row for row in rows if row[2].kind in ("lossy", "moved", "sibling")]
    wrong = [row for row in damaged if row[3].wrong is not None and row[3].wrong > LIMIT]
    above = [row for row in wrong if row[3].quality is not None and row[3].quality >= min(good, default=1.0)]
    exact = next((name for _, name, _, _ in rows), "")
    alike = [row for row in rows if row[2].kind == "alike" and row[3].verdict != "rejected"]
    counts = [
        [name_of(answers[position]), name, outcome.instances]
        for position, name, _, outcome in rows
        if way_keeps_count(name) and answers[position]["task"] == "instance"
    ]
    detail = [
        [
            name_of(answers[position]),
            name,
            outcome.verdict,
            "-" if outcome.quality is None else f"{outcome.quality:.2f}",
            "-" if outcome.wrong is None else f"{outcome.wrong:.1%}",
            outcome.text,
        ]
        for position, name, _, outcome in rows
    ]
    notes = (
        f"{len(answers)} real answers, {len(rows)} versions ({exact} first). Nonsense accepted: {len(nonsense)}. Good "
        f"answers rejected: {len(lost)}. Segmentations accepted as other ones whose colors they have: {len(alike)} "
        "(flat colors on a background fit the photo whichever prompt they answer, so nothing tells them apart). "
        f"Quality of good answers: {min(good, default=0):.2f} to {max(good, default=0):.2f}. Accepted with more than "
        f"{LIMIT:.0%} wrong pixels: {len(wrong)}, of which {len(above)} score as high as a good answer. "
        f"Wrong pixels: against the label of the answer as it is."
    )
    tables = [
        Table(["way", "kind", "accepted", "corrected", "rejected", "quality", "most wrong pixels"], summary(rows)),
        Table(
            ["answer", "way", "quality", "wrong pixels"],
            [
                [name_of(answers[place]), name, f"{found.quality:.2f}", f"{found.wrong:.1%}"]
                for place, name, _, found in above
            ],
            title="Accepted with many wrong pixels and the quality of a good answer",
        ),
        Table(["answer", "way", "instances"], counts, title="Instances"),
        Table(
            ["answer", "way", "verdict", "quality", "wrong pixels", "reason or correction"],
            detail,
            title="Every version",
        ),
    ]
    results_page("Real answers and damaged versions of them", notes, tables, out)
    return 1 if nonsense or above or lost else 0


def way_keeps_count(name: str) -> bool:
    return name in ("as it is", "no background in the row") or name.startswith("JPEG")


if __name__ == "__main__":
    sys.exit(main())
