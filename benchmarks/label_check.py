"""Speed of `distill label --check` on stored answers of one megapixel, on one core.

    DISTILL_DATA=path/to/data python benchmarks/label_check.py --out benchmarks/results/label_check.md

DISTILL_DATA holds ``vision_banana/``: its 13 real answers, and their photos shrunk to one megapixel, are repeated until
there are --answers of them; every copy of a photo differs by a pixel, so that nothing is known from another one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from machine import results_page
from PIL import Image

from distill.images import read_photo
from distill.report.blocks import Table
from distill.shards import read_samples

MAX_PIXELS = 1_000_000
WANTED = 10.0
"""Answers per second of one core."""


def small_photo(path: Path) -> np.ndarray:
    """Pixels of a photo, shrunk to one megapixel."""
    rgb = read_photo(path.read_bytes(), key=path.stem, name=path.name).rgb
    share = min(1.0, (MAX_PIXELS / rgb[..., 0].size) ** 0.5)
    return cv2.resize(rgb, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def write_job(data: Path, work: Path, count: int) -> None:
    """Photos, answers and the manifest of a replay teacher."""
    rows: list[dict[str, Any]] = yaml.safe_load((data / "answers.yaml").read_text())
    (work / "photos").mkdir()
    shutil.copytree(data / "answers", work / "answers")
    pixels = {row["photo"]: small_photo(data / row["photo"]) for row in rows}
    manifest: list[dict[str, Any]] = []
    for number in range(count):
        row, copy = rows[number % len(rows)], number // len(rows)
        name = f"photos/{Path(row['photo']).stem}_{copy}.jpg"
        if not (work / name).exists():
            rgb = pixels[row["photo"]].copy()
            rgb[:8, :8] = copy % 256
            Image.fromarray(rgb).save(work / name, quality=92)
        manifest.append(row | {"photo": name})
    (work / "answers.yaml").write_text(yaml.safe_dump(manifest))
    (work / "teacher.yaml").write_text("kind: replay\nanswers: answers.yaml\n")


def run(work: Path, check: str) -> tuple[float, float]:
    """(seconds, CPU seconds) of labeling on one core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    options = [check, "--workers", "1", "--previews", "0", "--out", f"out{check}", "--json"]
    subprocess.run(
        [sys.executable, "-m", "distill", "label", "photos", "--teacher", "teacher.yaml", *options],
        cwd=work,
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DISTILL_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answers", type=int, default=500)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_job(given.data / "vision_banana", work, given.answers)
        for check in ("--no-check", "--check"):
            seconds, busy = run(work, check)
            labels = Counter(
                record["task"] for sample in read_samples(work / f"out{check}") for record in sample.meta["records"]
            )
            kept = ", ".join(f"{count} {task}" for task, count in sorted(labels.items()))
            row = [check, given.answers, f"{seconds:.0f}", f"{busy:.0f}", f"{given.answers / seconds:.1f}"]
            rows.append([*row, f"{given.answers / busy:.1f}", kept])
            print(json.dumps(rows[-1]), flush=True)
    columns = ["labeling", "answers", "seconds", "CPU seconds", "answers per second", "per CPU second", "labels"]
    notes = (
        f"`distill label` with one worker on one core, start, reading of photos and writing of shards included; "
        f"{WANTED:g} answers per second are wanted. CPU seconds count the process alone."
    )
    results_page("Speed of label --check", notes, [Table(columns, rows)], given.out)


if __name__ == "__main__":
    main()
