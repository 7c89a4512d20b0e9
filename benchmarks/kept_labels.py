"""Students trained on filtered labels (aligned, rejected, weighted by quality) against unfiltered ones.

    python benchmarks/kept_labels.py --out benchmarks/results/kept_labels.md

One teacher with all faults, the same photos, student and number of steps; only the processing of the generated images
differs. Quality is calibrated on separate scenes with ground truth; students are scored against exact truth on
held-out scenes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from machine import results_page

from distill.report.blocks import Table
from distill.shards import read_manifest

FAULTS = {
    "jpeg_probability": 0.5,
    "jpeg_quality": 75,
    "color_noise_sigma": 3.0,
    "color_drift": 6.0,
    "edge_halo_px": 1.0,
    "drift_probability": 0.5,
    "shift_px": 20.0,
    "zoom": 0.07,
    "aspect": 0.02,
    "output_size": "other",
    "wrong_legend_probability": 0.3,
}
CALIBRATION_FIRST, TEST_FIRST = 50_000, 60_000
READINGS: dict[str, tuple[list[str], list[str]]] = {
    "all labels, unfiltered": (["--no-check"], ["loss.use_confidence=false", "loss.use_quality=false"]),
    "all labels, weighed by confidence": (["--no-check"], []),
    "aligned, filtered and weighted": (["--check", "--min-quality", "0.3", "--full-weight-above", "0.8"], []),
}
SCORES = (("depth", "abs_rel"), ("normals", "mean_deg"), ("semantic", "miou"))


def distill(*words: object) -> dict[str, Any]:
    """JSON output of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "distill", *map(str, words), "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=20, help="On all labels; others get as many steps.")
    parser.add_argument("--work", type=Path, help="Keep what is made here.")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp())
    config = work / "faulty.yaml"
    work.mkdir(parents=True, exist_ok=True)
    values = {"kind": "synthetic", "scenes": given.scenes, "size_hw": [192, 256], "faults": FAULTS}
    config.write_text(yaml.safe_dump(values))
    teacher = ["--teacher", config]
    for name, first, scenes in (("calibration", CALIBRATION_FIRST, 80), ("test", TEST_FIRST, 96)):
        more = ["--set", f"first={first}", "--set", f"scenes={scenes}", "--set", "truth=true", "--no-check"]
        distill("label", *teacher, *more, "--out", work / name)
    distill("label", work / "calibration", *teacher, "--calibrate", work / "calibration", "--out", work / "unused")
    rows = []
    for number, (name, (checks, losses)) in enumerate(READINGS.items()):
        shards, run = work / f"shards{number}", work / f"run{number}"
        labeled = distill("label", *teacher, *checks, "--out", shards)
        kept = read_manifest(shards).counts
        epochs = round(given.epochs * given.scenes / labeled["labeled"])
        settings = ["student.preset=nano", "student.size_hw=[96,128]", "data.batch_size=8", f"train.epochs={epochs}"]
        settings += ["train.accelerator=cpu", "train.seed=0", "train.num_validations=4", *losses]
        distill("train", *settings, "--shards", shards, "--out", run)
        scores = distill("evaluate", run, "--truth", work / "test", "--out", work / f"evaluation{number}")
        found = {task: scores["tasks"][task]["scores"][run.name] for task, _ in SCORES}
        rows.append([name, sum(kept.values()), epochs, *(f"{found[task][score]:.4g}" for task, score in SCORES)])
    columns = ["labels", "how many", "epochs", "depth AbsRel", "normals mean degrees", "mIoU"]
    notes = (
        f"{given.scenes} scenes of 256x192 px with three questions each; faults: "
        + ", ".join(f"{name} {value}" for name, value in FAULTS.items())
        + f". Students: nano at 128x96, equal steps; scored on {96} other scenes against exact truth."
    )
    results_page("Students of checked and unchecked labels", notes, [Table(columns, rows)], given.out)


if __name__ == "__main__":
    main()
