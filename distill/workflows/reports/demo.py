"""HTML report of the demo: costs, scores, example images, training curves, speed and video frames."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.report import (
    Block,
    CaptionedImage,
    Curve,
    Curves,
    Gallery,
    KeyValues,
    Metric,
    Metrics,
    Report,
    Section,
    Table,
    Text,
    write_report,
)
from distill.run_dir import machine, versions
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.config.synthetic import SyntheticConfig
    from distill.workflows.bench.result import BenchResult
    from distill.workflows.demo import DemoResult
    from distill.workflows.evaluate.run import EvaluationResult

TEACHER_NAME = "Nano Banana Pro"
TEACHER_USD_PER_IMAGE = 0.134
"""List price of an image of 1 or 2 thousand pixels per side, November 2026; half of it in batch mode."""
TEACHER_S_PER_IMAGE = 20.0
"""Within the 15 to 30 seconds that are reported."""
MACHINE_USD_PER_HOUR = 0.10
"""Price of a rented machine with two virtual CPU cores."""
FRAMES = 10_000
_SHOWN_SCENES = 4
_CURVES = {
    "train_loss": "training loss",
    "val_depth_abs_rel": "depth AbsRel",
    "val_normals_mean_deg": "normals, degrees",
    "val_semantic_miou": "mIoU",
}


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One metric of student, labels and mean baseline."""

    name: str
    student: float
    teacher: float
    baseline: float
    lower_is_better: bool

    @property
    def improvement(self) -> str:
        """Improvement of the student over the baseline, in words."""
        if self.lower_is_better:
            return f"{1 - self.student / self.baseline:.0%} less error" if self.baseline else ""
        return f"{self.student / self.baseline:.1f} times" if self.baseline else ""


_METRICS = (
    (Task.DEPTH, "abs_rel", "depth AbsRel", True),
    (Task.DEPTH, "delta1", "depth delta1", False),
    (Task.NORMALS, "mean_deg", "normals mean error, deg", True),
    (Task.SEMANTIC, "miou", "semantic mIoU", False),
)


def comparison_rows(result: EvaluationResult) -> list[ScoreRow]:
    """Select the scores of the demo; the predictors are student, labels and baseline, in this order."""
    rows = []
    for task, metric, name, lower in _METRICS:
        by_predictor = result.scores[task]
        student, teacher, baseline = (by_predictor[predictor][metric] for predictor in list(by_predictor)[:3])
        rows.append(ScoreRow(name, student, teacher, baseline, lower))
    return rows


def costs(bench: BenchResult) -> tuple[str, str]:
    """Describe the cost of three maps for each of 10,000 frames, with the teacher and with the student."""
    images = FRAMES * 3
    teacher = (
        f"{FRAMES:,} frames with the teacher: {images * TEACHER_USD_PER_IMAGE:,.0f} USD and "
        f"{images * TEACHER_S_PER_IMAGE / 3600:,.0f} hours one after the other ({TEACHER_NAME}, "
        f"{TEACHER_USD_PER_IMAGE} USD and about {TEACHER_S_PER_IMAGE:.0f} s an image, three images a frame)"
    )
    seconds = FRAMES / student_images_per_s(bench)
    height, width = bench.timings[0].timing.size_hw
    student = (
        f"{FRAMES:,} frames with the student: {seconds / 3600 * MACHINE_USD_PER_HOUR:.4f} USD and {_time(seconds)} on "
        f"this machine (engine alone, {width}x{height} pixels; {MACHINE_USD_PER_HOUR:.2f} USD an hour)"
    )
    return teacher, student


def student_images_per_s(bench: BenchResult) -> float:
    """Best measured throughput of the engine."""
    return max(row.timing.images_per_s for row in bench.timings if row.timing.scope == "engine")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def write_demo_report(out: Path, held_out: SyntheticConfig, result: DemoResult) -> Path:
    """Write the report; return its path.

    Args:
        out: Folder of the demo.
        held_out: Config of the teacher for the held-out scenes.
        result: Results of all steps.
    """
    teacher, student = costs(result.bench)
    rows = comparison_rows(result.scores)
    report = Report(
        title="From generated images to a model of your own",
        summary="A synthetic teacher generated images of toy scenes; a student was trained on them, exported and run.",
        sections=[
            Section("Cost", [_metrics(result.bench), Text(f"{teacher}.\n\n{student}.")]),
            Section("Scores", [_comparison(rows)]),
            Section("Examples", list(_scenes(held_out, result.model))),
            Section("Training", _curves(out / "run")),
            Section("The exported file", _engine(result)),
            Section("The video", list(_frames(out / "overlay.mp4"))),
            Section("Time", [KeyValues({name: f"{seconds:.0f} s" for name, seconds in result.seconds.items()})]),
        ],
        facts={**machine(), **versions()},
    )
    return write_report(report, out, "report", formats=("html", "md"))["html"]


def _metrics(bench: BenchResult) -> Metrics:
    teacher_usd = FRAMES * 3 * TEACHER_USD_PER_IMAGE
    seconds = FRAMES / student_images_per_s(bench)
    return Metrics(
        [
            Metric(f"{teacher_usd:,.0f} USD", "teacher", f"for three maps of each of {FRAMES:,} frames"),
            Metric(f"{seconds / 3600 * MACHINE_USD_PER_HOUR:.4f} USD", "student", f"for the same, in {_time(seconds)}"),
            Metric(f"{student_images_per_s(bench):.0f}", "images/s", "on this machine, engine alone"),
        ]
    )


def _comparison(rows: list[ScoreRow]) -> Table:
    return Table(
        [
            "on held-out scenes, against exact truth",
            "student",
            "labels of generated images",
            "baseline",
            "student against baseline",
        ],
        [[row.name, row.student, row.teacher, row.baseline, row.improvement] for row in rows],
        note="Depth without alignment, in meters. The mean baseline ignores the image: per pixel the mean depth, mean "
        "normal and the most frequent class of the training labels. Labels are scored where they are valid.",
        bold=frozenset((index, 1) for index in range(len(rows))),
    )


def _scenes(config: SyntheticConfig, model: Path) -> list[Block]:
    """Photo, generated image, label, confidence, student and truth of a few held-out scenes."""
    from distill.teachers.factory import build_teacher
    from distill.teachers.synthetic.generator import scene_photo
    from distill.workflows.open_model import open_model

    teacher = build_teacher(config, folder=Path())
    truth = build_teacher(config.model_copy(update={"truth": True}), folder=Path())
    blocks: list[Block] = []
    with open_model(model) as runner:
        for index in range(config.first, config.first + min(_SHOWN_SCENES, config.scenes)):
            photo = scene_photo(index, config)
            outputs = {name: values[0] for name, values in runner(photo.rgb[None]).items()}
            blocks += _scene(photo, teacher.label(photo)[0], truth.label(photo)[0], outputs)
    return blocks


def _scene(photo: Any, teacher_result: Any, truth: Any, outputs: dict[str, np.ndarray]) -> list[Block]:
    from distill.evaluation.predictors import label_of_output
    from distill.teachers.labeling.previews import draw_label
    from distill.visualization import draw_confidence

    blocks: list[Block] = []
    for task, exact in truth.labels.items():
        row = [CaptionedImage(photo.rgb, "photo")]
        if task in teacher_result.labels:
            label = teacher_result.labels[task]
            row += [
                CaptionedImage(teacher_result.generated[str(task)], "generated image"),
                CaptionedImage(draw_label(label), "label"),
                CaptionedImage(draw_confidence(np.where(label.valid, label.confidence, 0)), "confidence"),
            ]
        student = label_of_output(task, outputs, classes=exact.classes)
        row += [CaptionedImage(draw_label(student), "student"), CaptionedImage(draw_label(exact), "truth")]
        blocks.append(Gallery(row, columns=6, title=f"{photo.key}: {task}"))
    return blocks


def _curves(run: Path) -> list[Block]:
    """The loss and the validation scores (against labels, not ground truth) over time."""
    rows = json.loads((run / "history.json").read_text())
    blocks: list[Block] = []
    for name, title in _CURVES.items():
        points = [(row["elapsed_s"], row[name]) for row in rows if name in row]
        if points:
            curve = Curve(title, [x for x, _ in points], [y for _, y in points])
            blocks.append(Curves(title, [curve], x_label="seconds"))
    return blocks


def _engine(result: DemoResult) -> list[Block]:
    parity = result.parity
    keys = ("measure", "reference", "candidate", "pixel_difference", "tolerance", "passed")
    checks: list[list[Any]] = [[row.task, *[getattr(row, key) for key in keys]] for row in parity.tasks]
    timings = [row.timing for row in result.bench.timings]
    rows: list[list[Any]] = [
        [
            timing.scope.replace("_", " "),
            timing.batch,
            *(round(timing.percentile_ms(percent), 3) for percent in (50.0, 95.0, 99.0)),
            round(timing.images_per_s, 2),
        ]
        for timing in timings
    ]
    size_hw = timings[0].size_hw
    return [
        Table(
            ["task", "measure", "torch", "ONNX", "difference", "tolerance", "passed"],
            checks,
            title="Comparison with the original",
            note=f"On {parity.samples} held-out scenes.",
        ),
        Table(
            ["timed", "batch", "p50, ms", "p95, ms", "p99, ms", "images/s"],
            rows,
            title="Speed",
            note=f"Images of {size_hw[1]}x{size_hw[0]}; end to end starts from JPEG bytes and ends with final maps.",
        ),
    ]


def _frames(video: Path) -> list[Block]:
    """A few frames of the overlay video."""
    from distill.video import VideoReader

    with VideoReader(video) as reader:
        total = reader.count()
    with VideoReader(video) as reader:
        wanted = reader.frames(0, None, max(1, total // 3))
        images = [CaptionedImage(frame.rgb, f"frame {frame.index}") for frame in wanted][:3]
    return [Gallery(images, columns=1, note=f"{total} frames in {video.name}")]
