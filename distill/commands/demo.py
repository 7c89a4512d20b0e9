"""`distill demo`: the whole road, offline, on the synthetic teacher."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.console import Console

if TYPE_CHECKING:
    from distill.config.synthetic import SyntheticConfig

_FOLDERS = ("shards", "truth", "teacher", "run", "evaluation", "bench")
FIRST_HELD_OUT_SCENE = 1_000_000
"""Scenes from here on are never trained on."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("demo"),
    scenes: Annotated[int, typer.Option(min=64, help="Scenes to label and learn from.")] = 640,
    held_out: Annotated[int, typer.Option(min=4, help="Other scenes to be judged on, against their exact truth.")] = 96,
    minutes: Annotated[float, typer.Option(min=0.02, help="How long the student may train.")] = 2.5,
    frames: Annotated[int, typer.Option(min=2, help="Frames of the fly-through.")] = 96,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other worlds.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what an earlier demo left in --out.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Label, train, evaluate, export, bench, predict and report, offline.

    A synthetic teacher renders toy worlds and paints depth, normals and classes about them, with the faults that real
    generators have. A nano student learns from what was read out of the paintings, and is judged on worlds that it has
    never seen, against their exact truth. At the end stands report.html.
    """
    console = Console(as_json=as_json)
    if overwrite:
        for name in _FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
    demo_run = DemoRun(out, console, scenes=scenes, held_out=held_out, minutes=minutes, frames=frames, seed=seed)
    result = demo_run.run()
    console.result(result, _format_result(result))
    if not result["parity"]["passed"]:
        raise typer.Exit(1)


@dataclass
class DemoRun:
    """One walk down the road; every stage is one verb of the command line."""

    out: Path
    console: Console
    scenes: int
    held_out: int
    minutes: float
    frames: int
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """All stages, then the report; the result as ``demo.json`` holds it."""
        from distill.images import write_atomic
        from distill.run_dir import open_run_dir
        from distill.workflows.reports.demo import write_demo_report

        open_run_dir(self.out, verb="demo", facts={"scenes": self.scenes, "seed": self.seed, "minutes": self.minutes})
        with self._stage("label", f"a synthetic teacher paints answers about {self.scenes} scenes; they are read back"):
            labeled = self._label("shards", self.teacher_config(self.scenes, 0))
        with self._stage("truth", f"{self.held_out} other scenes, with their exact truth and with generated images"):
            held_out = self.teacher_config(self.held_out, FIRST_HELD_OUT_SCENE)
            self._label("truth", held_out.model_copy(update={"truth": True}))
            self._label("teacher", held_out)
        with self._stage("train", f"a nano student learns depth, normals and classes for {self.minutes:g} minutes"):
            trained = self._train()
        with self._stage("export", "the student becomes an ONNX file, compared with the original on real samples"):
            exported = self._export()
        model = Path(exported["path"])
        with self._stage("evaluate", "student, painted labels and the mean baseline, against the truth"):
            scores = self._evaluate(model)
        with self._stage("bench", "how fast the file is on this machine"):
            timed = self._bench(model)
        with self._stage("predict", f"a fly-through of {self.frames} frames becomes an overlay video"):
            video = self._predict(model)
        result = {
            "labels": labeled,
            "train": trained,
            "parity": exported["parity"],
            "scores": scores,
            "bench": timed,
            "video": video,
            "seconds": self.seconds,
        }
        with self._stage("report", "everything on one page"):
            result["report"] = str(write_demo_report(self.out, held_out, model, result))
        write_atomic(self.out / "demo.json", json.dumps(result, indent=2, default=str).encode())
        return result

    @contextmanager
    def _stage(self, name: str, what: str) -> Iterator[None]:
        self.console.info(f"[{name}] {what}")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)

    def teacher_config(self, scenes: int, first: int) -> SyntheticConfig:
        """The config of the teacher: moderate faults."""
        from distill.config.synthetic import PRESETS, SyntheticConfig

        return SyntheticConfig(
            scenes=scenes, first=first, seed=self.seed, size_hw=(144, 192), faults=PRESETS["moderate"]
        )

    def _label(self, name: str, config: SyntheticConfig) -> dict[str, Any]:
        from distill.teachers.labeling.job import Job
        from distill.workflows.label.run import run_label

        job = Job(out=self.out / name, config=config, folder=Path(), inputs=(), shard_size=32, previews=12)
        return run_label(job, self.console).to_dict()

    def _train(self) -> dict[str, Any]:
        from distill.config import load_config
        from distill.config.train import TrainConfig
        from distill.workflows.train import run_train

        # As configs/runs/synthetic_multitask.yaml, which says why.
        values = {
            "name": "nano",
            "shards": [str(self.out / "shards")],
            "student": {"preset": "nano", "size_hw": [96, 128]},
            "data": {"batch_size": 8},
            "train": {"minutes": self.minutes, "epochs": 400, "num_validations": 6},
        }
        run = self.out / "run"
        return run_train(load_config(TrainConfig, values), run, self.console).to_dict()

    def _export(self) -> dict[str, Any]:
        from distill.workflows.export import export

        result = export(self.out / "run", out=self.out / "run" / "nano.onnx", images=self.out / "truth", seconds=0)
        return result.to_dict()["targets"][0]

    def _evaluate(self, model: Path) -> dict[str, Any]:
        from distill.workflows.evaluate import EvalOptions, run_evaluate

        settings = EvalOptions(
            predictors=[model, self.out / "teacher"],
            truth=self.out / "truth",
            baseline=self.out / "shards",
            out=self.out / "evaluation",
        )
        return run_evaluate(settings, self.console).to_dict()

    def _bench(self, model: Path) -> dict[str, Any]:
        from distill.workflows.bench import bench

        return bench(model, out=self.out / "bench", reporter=self.console).to_dict()

    def _predict(self, model: Path) -> dict[str, Any]:
        from distill.teachers.synthetic.generator import fly_through
        from distill.video import VideoWriter
        from distill.workflows.predict import predict

        clip = self.out / "fly_through.mp4"
        config = self.teacher_config(1, 0).model_copy(update={"size_hw": (240, 320)})
        with VideoWriter(clip, (240, 320), time_base=Fraction(1, 24), rate=Fraction(24)) as writer:
            for index, view in enumerate(self.console.track(fly_through(self.frames, config), "render", self.frames)):
                writer.write(view.rgb, index)
        return predict(model, clip, out=self.out / "overlay.mp4", reporter=self.console).to_dict()


def _format_result(result: dict[str, Any]) -> str:
    """The outcome for a person."""
    from distill.workflows.reports.demo import comparison_rows, costs

    lines = ["", "on held-out scenes, against the truth:"]
    for row in comparison_rows(result["scores"]):
        lines.append(f"  {row.name:28} student {row.student:.4g}, baseline {row.baseline:.4g}: {row.improvement}")
    teacher, student = costs(result)
    total = sum(result["seconds"].values())
    lines += ["", teacher, student, "", f"done in {total / 60:.1f} minutes; look at {result['report']}"]
    return "\n".join(lines)
