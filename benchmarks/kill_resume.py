"""Kill `distill label` at random moments and compare the resumed shards with those of an undisturbed run, byte by byte.

    python benchmarks/kill_resume.py --kills 30 --scenes 240 --workers 2 --out benchmarks/results/kill_resume.md

A kill is counted only when it meets a running process that has published a shard since the last one; the moment within
the following shard is random. The tests do the same at three chosen moments.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import results_page

from distill.report.blocks import Table
from distill.shards import file_sha256, verify


def command(out: Path, scenes: int, workers: int) -> list[str]:
    """A labeling job of synthetic scenes with faulty answers, which are aligned with their photos."""
    settings = ("--set", f"scenes={scenes}", "--set", "size_hw=[48,64]", "--set", "faults=moderate")
    job = ("--out", str(out), "--shard-size", "4", "--previews", "3", "--workers", str(workers))
    return [sys.executable, "-m", "distill", "label", "--teacher", "synthetic", *settings, *job]


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every shard and of the manifest."""
    return {path.name: file_sha256(path) for path in [*sorted(folder.glob("*.tar")), folder / "dataset.json"]}


def kill_once(words: list[str], out: Path, rng: random.Random, longest_s: float) -> bool:
    """Start a job, wait for a new shard, kill its process group up to `longest_s` later; False: it had finished."""
    before = len(list(out.glob("*.tar")))
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(list(out.glob("*.tar"))) == before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, longest_s))
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def main() -> None:
    """Measure and print one page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--scenes", type=int, default=240)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--longest-s", type=float, default=2.0, help="latest moment of a kill after a new shard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        subprocess.run(command(whole, chosen.scenes, chosen.workers), check=True, capture_output=True)
        words, kills = command(killed, chosen.scenes, chosen.workers), 0
        while kills < chosen.kills and kill_once(words, killed, rng, chosen.longest_s):
            kills += 1
        subprocess.run(words, check=True, capture_output=True)
        same = contents(killed) == contents(whole) and not verify(killed)
    row = [chosen.scenes, chosen.workers, kills, "yes" if same else "NO"]
    table = Table(["scenes", "processes", "kills", "bytes of all shards the same"], [row])
    results_page("Labeling killed and resumed", "Each kill ends all processes of the job.", [table], chosen.out)
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
