"""A long video in one run and with SIGKILL at random moments: memory over time, equality of results.

    python benchmarks/video_endurance.py WORK [--frames 20000] [--kills 20] [--out results.md]

The clip is looped, with the frame number drawn into each frame. Overlay, FFV1 maps and statistics are written, with
temporal smoothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from machine import results_page
from random_students import random_student

from distill.report.blocks import Table
from distill.tasks import Task
from distill.video import VideoWriter

SIZE_HW = (96, 128)
SEGMENT = 240
SETTLED_FRAMES = 500


def make_clip(path: Path, frames: int) -> Path:
    """Gradient that moves in a loop of 200 frames, with the frame number as 16 black or white blocks."""
    if path.is_file():
        return path
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    with VideoWriter(path, SIZE_HW, time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
        for number in range(frames):
            phase = 2 * np.pi * (number % 200) / 200
            waves = [np.sin(columns / 9 + phase), np.cos(rows / 7 - phase), np.sin((rows + columns) / 11 + phase)]
            rgb = np.rint(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)
            for bit in range(16):
                rgb[:8, bit * 8 : bit * 8 + 8] = 255 * (number >> bit & 1)
            writer.write(rgb, number)
    return path


def command(model: Path, clip: Path, out: Path) -> list[str]:
    words = [
        "predict",
        str(model),
        str(clip),
        "--out",
        str(out),
        "--batch",
        "4",
        "--temporal-smoothing",
        "0.5",
        "--json",
    ]
    for sink in ("overlay", "ffv1", "statistics"):
        words += ["--write", sink]
    return [sys.executable, "-m", "distill", *words, "--checkpoint-every", str(SEGMENT)]


def frames_done(out: Path) -> int:
    lines = [
        line for segment_log in out.glob(".*.work/segments.jsonl") for line in segment_log.read_text().splitlines()[1:]
    ]
    return json.loads(lines[-1])["stop"] if lines else 0


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def run_whole(words: list[str], out: Path) -> tuple[list[tuple[int, float]], float]:
    """((frames done, resident MB) over time, seconds)."""
    start, samples = time.perf_counter(), []
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.5)
        try:
            samples.append((frames_done(out), resident_mb(process.pid)))
        except (OSError, ValueError, IndexError):
            continue  # it ended, or a line is being written
    if process.returncode:
        raise SystemExit(f"the job ended with {process.returncode}")
    return samples, time.perf_counter() - start


def run_killed(words: list[str], out: Path, frames: int, kills: int) -> list[int]:
    """Frames done at each SIGKILL; the last start runs to the end."""
    dice, at = random.Random(7), []
    for goal in sorted(dice.randrange(0, frames - 2 * SEGMENT) for _ in range(kills)):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and frames_done(out) < goal:
            time.sleep(0.05)
        time.sleep(dice.uniform(0.0, 1.0))
        process.kill()
        process.wait()
        at.append(frames_done(out))
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return at


def fingerprints(out: Path) -> dict[str, str]:
    """Digest per result: of decoded frames with their times for videos, else of the bytes."""
    found = {}
    for path in sorted(out.iterdir()):
        if path.suffix in (".mp4", ".mkv"):
            digest, number = hashlib.sha256(), 0
            with av.open(str(path)) as container:
                for frame in container.decode(video=0):
                    digest.update(f"{frame.time:.6f}".encode() + frame.to_ndarray().tobytes())
                    number += 1
            found[path.name] = f"{number} frames {digest.hexdigest()[:16]}"
        elif path.name.endswith(".jsonl"):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model = random_student("nano", (Task.DEPTH, Task.SEMANTIC), options.work)
    clip = make_clip(options.work / f"clip{options.frames}.mp4", options.frames)
    whole, killed = options.work / "whole", options.work / "killed"
    for folder in (whole, killed):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    samples, seconds = run_whole(command(model, clip, whole), whole)
    kills = run_killed(command(model, clip, killed), killed, options.frames, options.kills)
    first, second = fingerprints(whole), fingerprints(killed)
    settled = np.array([size for done, size in samples if done >= SETTLED_FRAMES])
    third = len(settled) // 3
    rows = [
        ["frames", options.frames],
        ["seconds, in one piece", round(seconds, 1)],
        ["resident MB after 500 frames: median of the first third", round(float(np.median(settled[:third])), 1)],
        ["... of the last third", round(float(np.median(settled[-third:])), 1)],
        ["growth in %", round(100 * float(np.median(settled[-third:]) / np.median(settled[:third]) - 1), 2)],
        ["largest against the median in %", round(100 * float(settled.max() / np.median(settled) - 1), 2)],
        ["SIGKILL after frames", ", ".join(map(str, kills))],
        *[
            [name, f"{value}: {'the same' if second.get(name) == value else 'DIFFERS'}"]
            for name, value in first.items()
        ],
    ]
    table = Table(["what", "value"], rows)
    results_page("Long videos", __doc__ or "", [table], options.out)


if __name__ == "__main__":
    main()
