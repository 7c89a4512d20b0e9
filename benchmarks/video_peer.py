"""Fraction of the engine's speed in video prediction: a well-known tool and `distill predict`, in turns.

    PEER_PYTHON venv-with-ultralytics/bin/python
    python benchmarks/video_peer.py WORK CLIP --peer PEER_PYTHON [--rounds 3] [--out results.md]

Theirs: Ultralytics' segmentation network (random weights, exported to ONNX by Ultralytics), ``predict(stream=True,
save=True)`` on the clip, against the bare ONNX Runtime session on the same file. Ours: a student of similar cost with a
depth overlay (`distill predict --show depth`), against the bare session on its file. Both sessions use all cores.
Theirs is written as MPEG-4 part 2 (OpenCV), ours as H.264, which takes longer to encode and needs fewer bytes.
Ultralytics is installed in a separate environment; it is not needed to use or test this project.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
from machine import results_page
from random_students import random_student

from distill.export.inference.batched_inference import engine_threads
from distill.export.inference.panels import Panels
from distill.export.inference.photos import PredictionSummary
from distill.export.inference.video_options import OutputPaths, VideoOptions
from distill.export.inference.videos import predict_video
from distill.export.runners import open_runner
from distill.report.blocks import Table
from distill.runtime.cpu import usable_cores
from distill.tasks import Task
from distill.video import VideoReader

QUIETLY = {**os.environ, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
PEER = """
import json, sys, time
from pathlib import Path
from ultralytics import YOLO
work, clip, config, size = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
model = work / f"{config}_{size}.onnx"
if not model.exists():
    Path(YOLO(config + ".yaml", task="segment").export(format="onnx", imgsz=size, simplify=False)).replace(model)
student = YOLO(str(model), task="segment")
times = []
for n in range(2):  # the first opens the session
    start = time.perf_counter()
    options = dict(stream=True, save=True, verbose=False, project=str(work), name="p", exist_ok=True)
    count = sum(1 for _ in student.predict(clip, imgsz=size, **options))
    times.append(count / (time.perf_counter() - start))
print(json.dumps({"rate": times[-1], "frames": count}))
"""


def bare_rate(model: Path, seconds: float, size_hw: tuple[int, int]) -> float:
    """Images per second of the session alone, batch 1, all cores, at this size if the model takes any."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    fixed = all(isinstance(side, int) for side in entry.shape)
    shape = entry.shape if fixed else (1, *size_hw, 3)
    kind = np.uint8 if entry.type == "tensor(uint8)" else np.float32
    values = np.zeros(shape, kind)
    session.run(None, {entry.name: values})
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        session.run(None, {entry.name: values})
        count += 1
    return count / (time.perf_counter() - start)


def our_rate(model: Path, clip: Path, work: Path) -> float:
    """Frames per second of `distill predict`."""
    with open_runner(model, allow_spinning=False, threads=engine_threads(usable_cores())) as runner:
        source = VideoReader(clip)
        output_paths, done = (
            OutputPaths(work / "ours" / "x", work / "ours" / "x.mp4", work / "ours" / "x.maps"),
            PredictionSummary(),
        )
        start = time.perf_counter()
        predict_video(runner, "x", source, output_paths, VideoOptions(only=Task.DEPTH), done, lambda count: None)
        return done.rows[0]["frames"] / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--config", default="yolo11n-seg")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    student = random_student(options.preset, (Task.DEPTH,), work)
    with open_runner(student) as runner:
        size_hw = Panels(runner.spec, VideoReader(options.clip).size_hw, Task.DEPTH).panel_hw
    words = [str(options.peer.absolute()), "-c", PEER, str(work), str(options.clip.resolve()), options.config]
    found: dict[str, list[float]] = {"theirs": [], "their engine": [], "ours": [], "our engine": []}
    for _ in range(options.rounds):
        said = subprocess.run(
            [*words, str(options.size)], capture_output=True, text=True, check=False, cwd=work, env=QUIETLY
        )
        if said.returncode:
            raise SystemExit(said.stderr[-2000:])
        found["theirs"].append(json.loads(said.stdout.splitlines()[-1])["rate"])
        found["their engine"].append(
            bare_rate(work / f"{options.config}_{options.size}.onnx", options.seconds, size_hw)
        )
        found["ours"].append(our_rate(student, options.clip, work))
        found["our engine"].append(bare_rate(student, options.seconds, size_hw))
    best = {name: max(rates) for name, rates in found.items()}
    rows = [
        [f"Ultralytics {options.config}, {options.size} px", best["theirs"], best["their engine"]],
        [f"distill {options.preset}, depth", best["ours"], best["our engine"]],
    ]
    table = Table(
        ["tool", "end to end, frames/s", "engine alone, images/s", "share"],
        [[name, round(whole, 1), round(alone, 1), f"{whole / alone:.0%}"] for name, whole, alone in rows],
        note=f"best of {options.rounds} rounds in turns; {options.clip.name}, video written by both",
    )
    results_page("Videos against a well-known tool", __doc__ or "", [table], options.out)


if __name__ == "__main__":
    main()
