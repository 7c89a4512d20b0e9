"""Videos end to end against decoder, engine and encoder alone, measured in turns.

    python benchmarks/video.py WORK [--clip clip.mp4] [--frames 240] [--rounds 3] [--out results.md]

Bare stages are the unavoidable work: decoding to RGB (PyAV), the engine alone (ONNX Runtime, frames in memory), drawing
panels, encoding canvases (x264), encoding maps and writing them as PNG. Each is timed alone, with all cores, and its
CPU seconds are counted. Lower bound of a pipeline: the slowest stage, and all CPU seconds over the number of cores.
``plain loop`` does the same sequentially: read, infer, write, with PyAV's defaults.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from machine import results_page
from random_students import random_student

from distill.export.inference.batched_inference import engine_threads
from distill.export.inference.map_encoding import encode_outputs, to_stored_maps
from distill.export.inference.panels import Panels
from distill.export.inference.photos import PredictionSummary
from distill.export.inference.video_options import OutputPaths, VideoOptions
from distill.export.inference.videos import predict_video
from distill.export.runners import Runner, open_runner
from distill.export.verification.timing import bench_image
from distill.images import encode_map
from distill.report.blocks import Table
from distill.runtime.cpu import usable_cores
from distill.tasks import Task
from distill.video import VideoReader, VideoWriter, choose_encoding

TASKS = {"depth": (Task.DEPTH,), "all": (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)}
HELD = 40
"""Frames that are held in memory for the bare stages."""


def make_clip(path: Path, size_hw: tuple[int, int], frames: int, source: Path | None) -> Path:
    """H.264 clip, High profile with B-frames, 30 frames/s: a real clip enlarged, or a panning synthetic scene."""
    if path.is_file():
        return path
    height, width = size_hw
    if source is not None:
        pictures = (frame.rgb for frame in itertools.islice(_looped(source), frames))
    else:
        scene = bench_image((height + 64, width + 128))
        pictures = (scene[n % 64 :][:height, (2 * n) % 128 :][:, :width] for n in range(frames))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "medium", "crf": "20"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for rgb in pictures:
            picture = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _looped(source: Path):
    while True:
        yield from VideoReader(source).frames()


def _there_and_back(k: int) -> int:
    """Frames in memory as a video without a cut."""
    k %= 2 * HELD - 2
    return k if k < HELD else 2 * HELD - 2 - k


def spent(items: Iterable[object]) -> None:
    """Consume all outputs; storing them would cost more than the engine."""
    deque(items, maxlen=0)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Case:
    """One student, one clip, one kind of output."""

    def __init__(
        self,
        runner: Runner,
        alone: Runner,
        clip: Path,
        write: frozenset[str],
        work: Path,
        frames: int,
        batch: int,
    ) -> None:
        self.runner, self.clip, self.write, self.work, self.frames = runner, clip, write, work, frames
        self.alone = alone  # with all cores, as an engine is run when nothing else is
        self.batch = batch
        self.reader = VideoReader(clip)
        self.panels = Panels(runner.spec, self.reader.size_hw)
        self.hw = self.panels.panel_hw if write == {"overlay"} else self.reader.size_hw
        self.held = [frame.rgb for frame in self.reader.frames(stop=HELD, size_hw=self.hw)]
        batched = [np.stack(self.held[n : n + batch]) for n in range(0, HELD, batch)]
        self.batches = batched
        # Every held frame has its own maps: a panel that stands still would be encoded for nothing.
        self.outputs = [
            {name: value[n] for name, value in outputs.items()}
            for images, outputs in ((images, runner(images)) for images in batched)
            for n in range(len(images))
        ]
        self.canvases = [self.panels.draw(rgb, maps).copy() for rgb, maps in zip(self.held, self.outputs, strict=True)]

    def stages(self) -> dict[str, Callable[[], object]]:
        """Bare stages, each alone."""
        n = self.frames
        found: dict[str, Callable[[], object]] = {
            "decode": lambda: spent(self.reader.frames(stop=n, size_hw=self.hw)),
            "engine": lambda: spent(self.alone(self.batches[k % len(self.batches)]) for k in range(n // self.batch)),
        }
        if "maps" in self.write:
            found["maps"] = self._write_maps
        if "overlay" in self.write:
            blank = self.panels.blank()
            found["draw"] = lambda: spent(
                self.panels.draw(self.held[k % HELD], self.outputs[k % HELD], blank) for k in range(n)
            )
            found["encode"] = self._encode
        return found

    def _encode(self) -> None:
        path = self.work / "bare.mp4"
        clock = {"time_base": Fraction(1, 30), "rate": Fraction(30)}
        with VideoWriter(path, self.panels.size_hw, **clock) as writer:
            for k in range(self.frames):
                writer.write(self.canvases[_there_and_back(k)], k)

    def _write_maps(self) -> None:
        folder = self.work / "bare"
        folder.mkdir(exist_ok=True)
        for k in range(self.frames):
            outputs = self.outputs[k % HELD]
            for name, data in encode_outputs(outputs, self.runner.spec).items():
                (folder / f"{k:06d}.{name}").write_bytes(data)

    def pipeline(self) -> None:
        """Pipeline of `distill predict`."""
        out = self.work / "whole"
        shutil.rmtree(out, ignore_errors=True)
        output_paths = OutputPaths(out / "x", out / "x.mp4", out / "x.maps")
        done = PredictionSummary()
        video_options = VideoOptions(write=self.write, batch=self.batch)
        predict_video(self.runner, "x", VideoReader(self.clip), output_paths, video_options, done, lambda count: None)
        assert done.rows[0]["frames"] == self.frames, done.failed

    def plain_loop(self) -> None:
        """Sequential loop with PyAV's defaults and the same quality."""
        out = self.work / "plain"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        height, width = (side + side % 2 for side in self.panels.size_hw)
        with av.open(str(out / "x.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=self.reader.rate, options=dict(choose_encoding().options))
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            for frame in self.reader.frames(size_hw=self.hw):
                outputs = {name: value[0] for name, value in self.alone(frame.rgb[None]).items()}
                if "maps" in self.write:
                    for name, values in to_stored_maps(outputs, self.runner.spec).items():
                        (out / f"{frame.index:06d}.{name}.png").write_bytes(encode_map(values))
                picture = av.VideoFrame.from_ndarray(self.panels.draw(frame.rgb, outputs), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))


def measure(case: Case, rounds: int) -> dict[str, dict[str, float]]:
    """Best wall and CPU seconds of every stage and of the pipeline, in turns."""
    calls = {**case.stages(), "pipeline": case.pipeline, "plain loop": case.plain_loop}
    best: dict[str, dict[str, float]] = {name: {"wall": 1e9, "cpu": 1e9} for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            cpu, wall = cpu_s(), time.perf_counter()
            call()
            wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
            if wall < best[name]["wall"]:
                best[name] = {"wall": wall, "cpu": cpu}
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--clip", type=Path, help="A real clip, enlarged to each size; a generated one unless given.")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--presets", nargs="*", default=["nano", "small"])
    parser.add_argument("--tasks", nargs="*", default=["depth"])
    parser.add_argument("--rows", nargs="*", type=int, default=[720, 1080])
    parser.add_argument("--write", nargs="*", default=["overlay", "overlay+maps"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    frames = options.frames // options.batch * options.batch
    summary, details = [], []
    for preset, tasks, rows, write in itertools.product(options.presets, options.tasks, options.rows, options.write):
        model = random_student(preset, TASKS[tasks], options.work)
        clip = make_clip(options.work / f"clip{rows}_{frames}.mp4", (rows, rows * 16 // 9), frames, options.clip)
        with (
            open_runner(model, allow_spinning=False, threads=engine_threads(usable_cores())) as runner,
            open_runner(model, allow_spinning=False) as alone,
        ):
            case = Case(runner, alone, clip, frozenset(write.split("+")), options.work, frames, options.batch)
            best = measure(case, options.rounds)
        name = f"{preset}, {tasks}, {rows}p, {write}"
        stages = {key: best[key] for key in case.stages()}
        total, slowest = sum(stage["cpu"] for stage in stages.values()), max(s["wall"] for s in stages.values())
        bound, wall = max(total / usable_cores(), slowest), best["pipeline"]["wall"]
        summary.append(
            [
                name,
                frames / wall,
                wall / bound,
                best["plain loop"]["wall"] / wall,
                frames / stages["engine"]["wall"],
                best["pipeline"]["cpu"] / total,
                best["pipeline"]["cpu"] / wall,
            ]
        )
        for stage, value in best.items():
            details.append([name, stage, 1000 * value["wall"] / frames, 1000 * value["cpu"] / frames])
        print(summary[-1], flush=True)
    tables = [
        Table(
            [
                "student, clip, output",
                "frames/s",
                "wall / bound",
                "plain loop / wall",
                "engine alone, frames/s",
                "CPU of whole / of bare stages",
                "cores busy",
            ],
            [[row[0], *(round(value, 3) for value in row[1:])] for row in summary],
            title="The pipeline against its lower bound",
            note=f"bound = max(CPU seconds of bare stages / {usable_cores()} cores, slowest stage alone)",
        ),
        Table(
            ["student, clip, output", "stage", "wall ms/frame", "CPU ms/frame"],
            [[*row[:2], round(row[2], 2), round(row[3], 2)] for row in details],
            title="Stages alone",
        ),
    ]
    load = f"Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    results_page("Videos end to end", f"{__doc__}\n\n{load}", tables, options.out)


if __name__ == "__main__":
    main()
