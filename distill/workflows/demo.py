"""The demo: all steps from labels to an overlay video, offline, with the synthetic teacher."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.runtime.progress import Reporter, SilentReporter
from distill.workflows.arguments import to_path
from distill.workflows.packaged import packaged_configs

if TYPE_CHECKING:
    from distill.config.synthetic import SyntheticConfig
    from distill.export.verification.parity import ParityResult
    from distill.workflows.bench.result import BenchResult
    from distill.workflows.evaluate.run import EvaluationResult
    from distill.workflows.label.result import LabelResult
    from distill.workflows.predict.result import PredictResult
    from distill.workflows.train.result import TrainResult

FOLDERS = ("shards", "truth", "teacher", "run", "evaluation", "bench")
FIRST_HELD_OUT_SCENE = 1_000_000
"""Scenes from this index on are never trained on."""
_FRAME_HW = (240, 320)


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo.

    Attributes:
        out: Folder for all files.
        scenes: Scenes to label and train on.
        held_out: Other scenes to evaluate on.
        minutes: Training time.
        frames: Frames of the video.
        seed: Seed of the scenes.
    """

    out: Path
    scenes: int = 640
    held_out: int = 96
    minutes: float = 2.5
    frames: int = 96
    seed: int = 0

    def teacher_config(self, scenes: int, first: int) -> SyntheticConfig:
        """Config of the synthetic teacher with moderate faults."""
        from distill.config.synthetic import PRESETS, SyntheticConfig

        return SyntheticConfig(
            scenes=scenes, first=first, seed=self.seed, size_hw=(144, 192), faults=PRESETS["moderate"]
        )


@dataclass(frozen=True)
class DemoResult:
    """Outcome of the demo: the results of all steps.

    Attributes:
        labels: Labels for training.
        train: The student.
        model: The exported student.
        parity: Its comparison with the original.
        scores: Scores of student, labels and mean baseline on held-out scenes.
        bench: Speed of the exported student.
        video: Overlay video of a camera flight.
        seconds: Duration of each step.
        report: The HTML report; None until it is written.
    """

    labels: LabelResult
    train: TrainResult
    model: Path
    parity: ParityResult
    scores: EvaluationResult
    bench: BenchResult
    video: PredictResult
    seconds: Mapping[str, float] = field(default_factory=dict)
    report: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, as in ``demo.json``."""
        return {
            "labels": self.labels.to_dict(),
            "train": self.train.to_dict(),
            "parity": self.parity.to_dict(),
            "scores": self.scores.to_dict(),
            "bench": self.bench.to_dict(),
            "video": self.video.to_dict(),
            "seconds": dict(self.seconds),
            "report": str(self.report),
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        from distill.workflows.reports.demo import comparison_rows, speed_text

        lines = ["", "on held-out scenes, against exact ground truth:"]
        for row in comparison_rows(self.scores):
            lines.append(f"  {row.name:28} student {row.student:.4g}, baseline {row.baseline:.4g}: {row.improvement}")
        total = sum(self.seconds.values())
        return "\n".join(
            [*lines, "", speed_text(self.bench), "", f"done in {total / 60:.1f} minutes; report: {self.report}"]
        )


def run_demo(options: DemoOptions, reporter: Reporter | None = None) -> DemoResult:
    """Run all steps, and write ``report.html`` and ``demo.json``.

    Raises:
        DistillError: A step failed.
    """
    to_path(options.out)
    from distill.files import write_atomic
    from distill.run_dir import open_run_dir
    from distill.workflows.bench.run import bench
    from distill.workflows.evaluate.run import evaluate
    from distill.workflows.export.run import export
    from distill.workflows.reports.demo import write_demo_report
    from distill.workflows.train.run import train

    reporter, out, seconds = reporter or SilentReporter(), options.out, dict[str, float]()
    facts = {"scenes": options.scenes, "seed": options.seed, "minutes": options.minutes}
    open_run_dir(out, verb="demo", facts=facts)
    held_out = options.teacher_config(options.held_out, FIRST_HELD_OUT_SCENE)

    @contextmanager
    def step(name: str, text: str) -> Iterator[None]:
        reporter.info(f"[{name}] {text}")
        started = time.monotonic()
        yield
        seconds[name] = round(time.monotonic() - started, 1)

    with step("label", f"a synthetic teacher generates images of {options.scenes} scenes; they are decoded to labels"):
        labels = _label(out / "shards", options.teacher_config(options.scenes, 0), reporter)
    with step("truth", f"{options.held_out} other scenes, with their exact ground truth and with generated images"):
        _label(out / "truth", held_out.model_copy(update={"truth": True}), reporter)
        _label(out / "teacher", held_out, reporter)
    with step("train", f"a nano student learns depth, normals and classes for {options.minutes:g} minutes"):
        trained = train(
            packaged_configs("runs")["synthetic_multitask"],
            shards=out / "shards",
            out=out / "run",
            overrides={
                "name": "nano",
                "train.minutes": options.minutes,
                "train.epochs": 400,
                "train.accelerator": "auto",
            },
            reporter=reporter,
        )
    with step("export", "the student is exported to ONNX, and compared with the original on real samples"):
        exported = export(
            out / "run", out=out / "run" / "nano.onnx", images=out / "truth", seconds=0, reporter=reporter
        )
    artifact = exported.targets["onnx"].artifact
    assert artifact.path is not None and artifact.parity is not None
    with step("evaluate", "student, labels and mean baseline against the ground truth"):
        scores = evaluate(
            [artifact.path, out / "teacher"],
            out / "truth",
            baseline=out / "shards",
            out=out / "evaluation",
            reporter=reporter,
        )
    with step("bench", "speed of the file on this machine"):
        timed = bench(artifact.path, out=out / "bench", reporter=reporter)
    with step("predict", f"a camera flight of {options.frames} frames becomes an overlay video"):
        video = _predict(artifact.path, options, reporter)
    result = DemoResult(labels, trained, artifact.path, artifact.parity, scores, timed, video, seconds)
    with step("report", "all results on one page"):
        result = replace(result, report=write_demo_report(out, held_out, result))
    write_atomic(out / "demo.json", json.dumps(result.to_dict(), indent=2, default=str).encode())
    return result


def _label(out: Path, config: SyntheticConfig, reporter: Reporter) -> LabelResult:
    from distill.workflows.label.run import label

    return label(teacher=config, out=out, shard_size=32, previews=12, check=False, reporter=reporter)


def _predict(model: Path, options: DemoOptions, reporter: Reporter) -> PredictResult:
    from distill.teachers.synthetic.generator import fly_through
    from distill.video import VideoWriter
    from distill.workflows.predict.run import predict

    clip = options.out / "fly_through.mp4"
    config = options.teacher_config(1, 0).model_copy(update={"size_hw": _FRAME_HW})
    with VideoWriter(clip, _FRAME_HW, time_base=Fraction(1, 24), rate=Fraction(24)) as writer:
        for index, view in enumerate(reporter.track(fly_through(options.frames, config), "render", options.frames)):
            writer.write(view.rgb, index)
    return predict(model, clip, out=options.out / "overlay.mp4", reporter=reporter)
