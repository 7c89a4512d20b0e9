r"""Kill `distill label` at random moments; seal, train, continue, and compare with an uninterrupted run, byte by byte.

    python benchmarks/data_seal.py --kills 10 --scenes 96 --out benchmarks/results/data_seal.md

After each kill of all processes of the job, `distill data seal` makes a set, `distill data verify` reads all of it, and
a student is trained on it for at least five steps. A kill comes up to half a second after a new shard.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kill_resume import contents, kill_once
from machine import results_page

from distill.report.blocks import Table

STEPS = 5
STUDENT = (
    "student.size_hw=[64,64]",
    "student.neck_channels=16",
    "student.head_channels=16",
    "data.batch_size=2",
    "data.val_fraction=0",
    "train.num_validations=1",
    "train.accelerator=cpu",
)


def labeling(out: Path, scenes: int, workers: int) -> list[str]:
    """The command of a labeling job of synthetic scenes."""
    settings = ("--set", f"scenes={scenes}", "--set", "size_hw=[48,64]", "--no-check")
    job = ("--out", str(out), "--shard-size", "4", "--workers", str(workers))
    return [sys.executable, "-m", "distill", "label", "--teacher", "synthetic", *settings, *job]


def run(*words: str) -> tuple[int, dict[str, Any]]:
    """(exit code, result) of a command."""
    command = [sys.executable, "-m", "distill", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def main() -> None:
    """Measure and print one page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--scenes", type=int, default=96)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--longest-s", type=float, default=0.5, help="latest moment of a kill after a new shard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    rng, rows, good = random.Random(chosen.seed), [], True
    with tempfile.TemporaryDirectory() as folder:
        whole, killed, student = Path(folder) / "whole", Path(folder) / "killed", Path(folder) / "run"
        subprocess.run(labeling(whole, chosen.scenes, chosen.workers), check=True, capture_output=True)
        words = labeling(killed, chosen.scenes, chosen.workers)
        for number in range(1, chosen.kills + 1):
            running = kill_once(words, killed, rng, chosen.longest_s)
            code, sealed = run("data", "seal", str(killed))
            verified, report = run("data", "verify", str(killed)) if sealed.get("samples") else (0, {"num_faults": 0})
            trained = ""
            if sealed.get("samples"):
                epochs = -(-STEPS // max(1, sealed["samples"] // 2))
                words_of_training = ("--shards", str(killed), "--out", str(student), f"train.epochs={epochs}")
                result, _ = run("train", *words_of_training, *STUDENT)
                trained = "yes" if result == 0 else "NO"
                shutil.rmtree(student, ignore_errors=True)
            good &= code == 0 and verified == 0 and trained != "NO"
            state = "killed" if running else "had finished"
            shards = f"{sealed['shards']} of {sealed['planned']}"
            rows.append([number, state, shards, report["num_faults"], trained])
        subprocess.run(words, check=True, capture_output=True)
        code, sealed = run("data", "seal", str(killed))
        same = contents(killed) == contents(whole) and sealed["complete"]
    columns = ["run", "state", "shards in the sealed set", "faults", "trained at least 5 steps"]
    outcome = [chosen.scenes, chosen.kills, "yes" if same else "NO"]
    final = Table(["scenes", "kills", "final bytes those of an uninterrupted run"], [outcome])
    results_page(
        "Labeling killed, sealed, trained on, continued",
        "Each kill ends all processes of the job.",
        [Table(columns, rows), final],
        chosen.out,
    )
    if not (same and good):
        sys.exit(1)


if __name__ == "__main__":
    main()
