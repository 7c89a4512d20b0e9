"""Videos with this source tree against an earlier one: wall and CPU seconds and memory of whole commands, in turns.

    git archive COMMIT | tar x -C BASE
    python benchmarks/video_paired.py BASE WORK [--frames 120] [--rounds 3] [--out results.md]

Each run is a process of its own: ``distill predict`` on one clip with a random student. The two trees take turns, and
each round begins with the other one. A ratio is this tree over the earlier one, the median over the rounds; CPU seconds
are hardly changed by other work on the machine, wall seconds are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
from machine import results_page
from random_students import random_student
from video import make_clip

from distill.report.blocks import Table
from distill.tasks import Task

TREE = Path(__file__).resolve().parents[1]
CASES = {
    "360p, sound, overlay": (360, ("overlay",)),
    "720p, overlay": (720, ("overlay",)),
    "1080p, overlay and maps": (1080, ("overlay", "maps")),
}

STARTER = """
import os, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
os.write(int(sys.argv[1]), f"{code} {used.ru_utime + used.ru_stime} {used.ru_maxrss / 1000}".encode())
"""


def with_sound(clip: Path, path: Path) -> Path:
    """The clip with a tone as AAC."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        tone = target.add_stream("aac", rate=48000, layout="stereo")
        seconds = float(source.duration or 0) / av.time_base
        wave = np.sin(np.arange(round(48000 * seconds)) / 20).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
        target.mux([*tone.encode(frame), *tone.encode(None)])
    return path


def run(tree: Path, words: list[str], work: Path) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, largest resident MB) of one command of a source tree."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    code, cpu, peak_mb = measured(["predict", *words, "--out", str(out), "--batch", "2"], work, tree)
    if code:
        raise SystemExit(f"{tree}: the command ended with {code}")
    return time.perf_counter() - started, cpu, peak_mb


def measured(words: list[str], work: Path, tree: Path = TREE) -> tuple[int, float, float]:
    """(exit code, CPU seconds, largest resident MB) of a command; what it says is in two files of the folder.

    It is started by a small process, because Linux counts the memory of the process that starts another to that one.
    """
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-c", STARTER, sys.executable, "-m", "distill", *words]
    with (work / "result.json").open("wb") as result, (work / "messages.txt").open("wb") as messages:
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [*command[:3], str(writing), *command[3:]],
            env=environment,
            cwd=work,
            stdout=result,
            stderr=messages,
            pass_fds=[writing],
        )
        os.close(writing)
        with os.fdopen(reading) as numbers:
            code, cpu, peak_mb = numbers.read().split()
        process.wait()
    return int(code), float(cpu), float(peak_mb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    model = random_student("nano", (Task.DEPTH,), work)
    trees = {"base": options.base.resolve(), "this": TREE}
    rows = []
    for name, (height, write) in CASES.items():
        clip = make_clip(work / f"clip{height}_{options.frames}.mp4", (height, height * 16 // 9), options.frames, None)
        if "sound" in name:
            clip = with_sound(clip, work / f"sound{height}_{options.frames}.mp4")
        words = [str(model), str(clip), *(word for kind in write for word in ("--write", kind))]
        found: dict[str, list[tuple[float, float, float]]] = {key: [] for key in trees}
        for number in range(options.rounds):
            for key in list(trees)[:: 1 if number % 2 else -1]:
                found[key].append(run(trees[key], words, work))
        row: list[str | float] = [name]
        for index, digits in ((0, 2), (1, 2), (2, 0)):
            pairs = [(base[index], this[index]) for base, this in zip(found["base"], found["this"], strict=True)]
            base, this = (statistics.median(values) for values in zip(*pairs, strict=True))
            ratio = statistics.median(this / base for base, this in pairs)
            row += [round(base, digits), round(this, digits), round(ratio, 3)]
        rows.append(row)
        print(row, flush=True)
    columns = [f"{what}, {which}" for what in ("wall s", "CPU s", "MB") for which in ("base", "this", "ratio")]
    table = Table(["clip and output", *columns], rows, title="This tree against the earlier one")
    load = f"Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    results_page("Videos, before and after", f"{__doc__}\n\n{load}", [table], options.out)


if __name__ == "__main__":
    main()
