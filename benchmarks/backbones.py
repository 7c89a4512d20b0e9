"""Accuracy and speed of backbones with the same training data, steps and engine.

    python benchmarks/backbones.py --work runs/backbones --stage learn          # two minutes of one core for each
    python benchmarks/backbones.py --work runs/backbones --out benchmarks/results/backbones.md

Depth, normals and classes of rendered scenes, trained from scratch with equal photos, steps and losses; scored as ONNX
files on held-out scenes, timed in turns. A candidate is on the Pareto front if no other is better in every score and
faster. Finished candidates are stored: the same command continues.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from machine import results_page
from multitask import CONFIG, SCORES, SETTINGS, TASKS, distill, label, time_engines

from distill.report.blocks import Table

BACKBONES = (
    "mobilenetv4_conv_small_050",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "mobilenetv3_small_100",
    "lcnet_100",
    "efficientvit_b0",
    "regnetx_002",
    "repvit_m0_9",
    "fastvit_t8",
    "edgenext_xx_small",
    "convnextv2_atto",
    "hgnetv2_b0",
    "starnet_s1",
    "resnet18",
)
BATCH = 8


def learn(work: Path, backbone: str, epochs: int) -> dict[str, Any]:
    """Train, export and score one candidate; store the result or the reason of the failure."""
    kept = work / f"{backbone}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    settings = [*SETTINGS, f"name={backbone}", f"student.backbone={backbone}"]
    run = work / backbone
    trained = distill("train", CONFIG, *settings, f"train.epochs={epochs}", "--shards", work / "shards", "--out", run)
    distill("export", run, "--to", "onnx", "--images", work / "test", "--num-images", 8)
    file = next(run.glob("*.onnx"))
    found = distill("evaluate", file, "--truth", work / "test", "--worst", 0)["tasks"]
    scores = {task: next(iter(found[task]["scores"].values()))[SCORES[task][0]] for task in TASKS}
    values = {"scores": scores, "steps": trained["steps"], "cpu_s": trained["cpu_s"], "file": str(file)}
    kept.write_text(json.dumps(values, indent=2))
    return values


def on_front(merits: dict[str, list[float]]) -> set[str]:
    """Pareto front; larger is better."""
    return {
        name
        for name, ours in merits.items()
        if not any(
            all(b >= a for a, b in zip(ours, theirs, strict=True)) and theirs != ours for theirs in merits.values()
        )
    }


def table_of(found: dict[str, dict[str, Any]], seconds: float) -> Table:
    """Table rows, fastest candidate first."""
    taken_ms = time_engines({name: Path(values["file"]) for name, values in found.items()}, BATCH, seconds)
    merits = {
        name: [
            -taken_ms[name],
            *(values["scores"][task] * (1 if rises else -1) for task, (_, rises) in SCORES.items()),
        ]
        for name, values in found.items()
    }
    front = on_front(merits)
    rows: list[list[Any]] = []
    for name in sorted(found, key=lambda name: taken_ms[name]):
        values = found[name]
        rows.append(
            [
                name,
                *(values["scores"][task] for task in TASKS),
                1000 * BATCH / taken_ms[name],
                Path(values["file"]).stat().st_size / 1e6,
                values["cpu_s"] / 60,
                "yes" if name in front else "",
            ]
        )
    columns = ["backbone", *(f"{task} {SCORES[task][0]}" for task in TASKS)]
    return Table([*columns, "images/s", "MB", "CPU minutes of training", "on the front"], rows)


def main() -> None:
    """Label, train, score, time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for shards and runs")
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.5, help="of timing for each")
    parser.add_argument("--only", nargs="*", help="these backbones alone")
    parser.add_argument("--stage", choices=("learn", "all"), default="all", help="learn: leave the timing for later")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    label(given.work, given.scenes, given.tests)
    found = {backbone: learn(given.work, backbone, given.epochs) for backbone in given.only or BACKBONES}
    if given.stage == "learn":
        return
    steps = {values["steps"] for values in found.values()}
    notes = (
        f"{given.scenes} scenes, {given.tests} others to score on, 96x128, {min(steps)} to {max(steps)} steps of 8"
        f" photos from scratch. images/s: ONNX Runtime, one thread, batches of {BATCH}. On the front:"
        " no other is better in every score and faster."
    )
    results_page("Backbones", notes, [table_of(found, given.seconds)], given.out)


if __name__ == "__main__":
    main()
