"""HTML report of the demo: the report of its folders, with scores in words, example images and the video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.report import Block, CaptionedImage, Gallery, Section, Table, Video
from distill.tasks import Task
from distill.workflows.reports.collect import write_collected_report
from distill.workflows.reports.costs import FRAMES, best_throughput
from distill.workflows.reports.pictures import color_legends

if TYPE_CHECKING:
    from distill.config.synthetic import SyntheticConfig
    from distill.workflows.bench.result import BenchResult
    from distill.workflows.demo import DemoResult
    from distill.workflows.evaluate.run import EvaluationResult

_SHOWN_SCENES = 4


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


def speed_text(bench: BenchResult) -> str:
    """Time for 10,000 frames with the student, in words."""
    rate = best_throughput(bench.to_dict())
    return f"{FRAMES:,} frames with the student: {FRAMES / rate:.0f} s on this machine (engine alone)"


def write_demo_report(out: Path, held_out: SyntheticConfig, result: DemoResult) -> Path:
    """Write the report; return its path.

    Args:
        out: Folder of the demo.
        held_out: Config of the teacher for the held-out scenes.
        result: Results of all steps.
    """
    sections = [
        Section("How well the student learned", [_comparison(comparison_rows(result.scores))]),
        Section("Examples", list(_scenes(held_out, result.model))),
        Section("The video", [Video("overlay.mp4", "Camera flight: photo, depth, normals and classes.")]),
    ]
    folders = [out / name for name in ("shards", "run", "evaluation", "bench")]
    title = "From generated images to a model of your own"
    return write_collected_report(folders, out / "report.html", title, first=sections).path


def _comparison(rows: list[ScoreRow]) -> Table:
    return Table(
        ["score", "student", "labels", "baseline", "student against baseline"],
        [[row.name, row.student, row.teacher, row.baseline, row.improvement] for row in rows],
        note="On held-out scenes, against exact truth. Labels: those of generated images, scored where they are valid. "
        "Depth without alignment, in meters. The mean baseline ignores the image: per pixel the mean depth, mean "
        "normal and the most frequent class of the training labels.",
        bold=frozenset((index, 1) for index in range(len(rows))),
    )


def _scenes(config: SyntheticConfig, model: Path) -> list[Block]:
    """Photo, generated image, label, confidence, student and truth of a few held-out scenes."""
    from distill.teachers.factory import build_teacher
    from distill.teachers.synthetic.generator import scene_photo
    from distill.workflows.open_model import open_model

    teacher = build_teacher(config, folder=Path())
    truth = build_teacher(config.model_copy(update={"truth": True}), folder=Path())
    blocks: list[Block] = color_legends([*map(str, teacher.tasks)], teacher.classes)
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
