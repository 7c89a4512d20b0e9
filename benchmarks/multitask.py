"""One student of three tasks against three students of one: accuracy and engine time.

    python benchmarks/multitask.py --work runs/multitask --stage learn  # an hour of one core at most
    python benchmarks/multitask.py --work runs/multitask --out benchmarks/results/multitask.md

Rendered scenes with exact truth, the same photos, size, losses and number of steps for all four; scores of the exported
ONNX files on held-out scenes. Finished stages are stored: the same command continues.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from machine import results_page

from distill.export.runners import open_runner
from distill.export.verification.timing import bench_image, time_calls
from distill.report.blocks import Table

TASKS = ("depth", "normals", "semantic")
SCORES = {"depth": ("delta1", True), "normals": ("mean_deg", False), "semantic": ("miou", True)}
"""Task to (score, whether larger is better)."""
TEST_FIRST = 1_000_000
CONFIG = Path(__file__).parent.parent / "configs" / "runs" / "synthetic_pretraining.yaml"
SETTINGS = ("train.num_validations=3", "train.sample_images=0", "train.logger=none", "train.accelerator=cpu")
BATCHES = (1, 8)


def distill(*words: object) -> dict[str, Any]:
    """JSON output of a command, with its CPU seconds as ``cpu_s``."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "distill", *map(str, words), "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    after = os.times()
    spent_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {**json.loads(done.stdout), "cpu_s": spent_s}


def label(work: Path, scenes: int, tests: int) -> None:
    """Training and test shards."""
    for name, first, count in (("shards", 0, scenes), ("test", TEST_FIRST, tests)):
        settings = [f"first={first}", f"scenes={count}", "truth=true", "size_hw=[144,192]"]
        words = [word for setting in settings for word in ("--set", setting)]
        distill("label", "--teacher", "synthetic", *words, "--no-check", "--workers", 1, "--out", work / name)


def learn(work: Path, name: str, tasks: tuple[str, ...], epochs: int) -> dict[str, Any]:
    """Train, export and score one student; store the result next to it."""
    kept = work / f"{name}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    run = work / name
    settings = [*SETTINGS, f"name={name}", f"tasks=[{','.join(tasks)}]", f"train.epochs={epochs}"]
    trained = distill("train", CONFIG, *settings, "--shards", work / "shards", "--out", run)
    distill("export", run, "--to", "onnx")
    file = next(run.glob("*.onnx"))
    found = distill("evaluate", file, "--truth", work / "test", "--worst", 0)["tasks"]
    scores = {task: next(iter(found[task]["scores"].values()))[SCORES[task][0]] for task in tasks}
    values = {"scores": scores, "steps": trained["steps"], "cpu_s": trained["cpu_s"], "file": str(file)}
    kept.write_text(json.dumps(values, indent=2))
    return values


def time_engines(files: dict[str, Path], batch: int, seconds: float) -> dict[str, float]:
    """Median milliseconds of a call by student; the engines take turns, on one thread."""
    runners = {name: open_runner(path, threads=1) for name, path in files.items()}
    size_hw = next(iter(runners.values())).spec.input.size_hw
    images = np.stack([bench_image(size_hw, seed) for seed in range(batch)])
    calls = {name: (lambda runner=runner: runner(images)) for name, runner in runners.items()}
    return {name: float(np.median(taken)) for name, taken in time_calls(calls, seconds=seconds).items()}


def score_table(found: dict[str, dict[str, Any]]) -> Table:
    """Score of each task by both kinds of students, and the relative loss."""
    rows: list[list[Any]] = []
    for task, (score, rises) in SCORES.items():
        alone, together = found[task]["scores"][task], found["all"]["scores"][task]
        lost = (alone - together) / alone if rises else (together - alone) / alone
        rows.append([f"{task} {score}", alone, together, f"{100 * lost:+.1f} %"])
    return Table(["score on unseen scenes", "student of this task", "student of all three", "lost"], rows)


def cost_table(found: dict[str, dict[str, Any]], seconds: float) -> Table:
    """Milliseconds by batch, and their ratio."""
    files = {name: Path(values["file"]) for name, values in found.items()}
    rows: list[list[Any]] = []
    for batch in BATCHES:
        taken_ms = time_engines(files, batch, seconds)
        three_ms = sum(taken_ms[task] for task in TASKS)
        rows.append([batch, *(taken_ms[task] for task in TASKS), three_ms, taken_ms["all"], taken_ms["all"] / three_ms])
    return Table(["batch", *(f"{task}, ms" for task in TASKS), "the three, ms", "the one, ms", "share"], rows)


def main() -> None:
    """Label, train four students, score them, time their engines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for shards and runs")
    parser.add_argument("--scenes", type=int, default=5000)
    parser.add_argument("--tests", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing for each engine and batch")
    parser.add_argument("--stage", choices=("learn", "all"), default="all", help="learn: leave the timing for later")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    label(given.work, given.scenes, given.tests)
    wanted = {"all": TASKS, **{task: (task,) for task in TASKS}}
    found = {name: learn(given.work, name, tasks, given.epochs) for name, tasks in wanted.items()}
    if given.stage == "learn":
        return
    steps = {values["steps"] for values in found.values()}
    minutes = ", ".join(f"{name} {values['cpu_s'] / 60:.1f}" for name, values in found.items())
    notes = (
        f"nano at 96x128 with a neck of 64 and heads of 48 channels; {given.scenes} scenes, {given.tests} others to "
        f"score on; {min(steps)} to {max(steps)} steps "
        f"of 8 photos on one thread. CPU minutes of training: {minutes}. Engines: ONNX Runtime, one thread, float32."
    )
    tables = [score_table(found), cost_table(found, given.seconds)]
    results_page("One student of three tasks against three of one", notes, tables, given.out)


if __name__ == "__main__":
    main()
