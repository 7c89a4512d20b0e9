"""Detection rate and false alarms of `distill bench --compare` for an added slowdown of 5 %.

    python benchmarks/slowdown.py exported/nano.onnx --work WORK [--repeats 20] [--minutes 7] [--out page.md]

Every run is a separate process, as on the command line: it compares the file with a copy of itself, slowed down or not.
The copy's runner waits busily for 5 % of the time of each call. After --minutes the script stops; the next start
continues from --work.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from machine import results_page

from distill.console import Console
from distill.export.runners import OrtRunner, Outputs
from distill.report.blocks import Table
from distill.workflows.bench.run import bench

BATCHES = (1, 8)
COPY = "new.onnx"


def plant(share: float) -> None:
    """Slow down ONNX Runtime's runner of the copy."""
    run = OrtRunner._run

    def slowed(self: OrtRunner, images: Any) -> Outputs:
        start = time.perf_counter()
        outputs = run(self, images)
        end = time.perf_counter()
        while self.name == COPY and time.perf_counter() < end + share * (end - start):
            pass
        return outputs

    OrtRunner._run = slowed  # type: ignore[method-assign]


def measure(options: argparse.Namespace, name: str, slower: float) -> list[dict[str, Any]]:
    """Result of one comparison, from a new process unless it is stored."""
    folder = options.work / name
    if not (folder / "bench.json").is_file():
        words = [sys.executable, __file__, str(options.file), "--work", str(folder), "--one", str(slower)]
        subprocess.run([*words, "--seconds", str(options.seconds)], check=True, capture_output=True)
    found: list[dict[str, Any]] = json.loads((folder / "bench.json").read_text())["comparison"]
    return found


def tally(found: list[list[dict[str, Any]]], kind: str) -> list[list[Any]]:
    """Table rows: count of each verdict; first for whole runs by exit code."""
    slower = sum(any(row["verdict"] == "slower" for row in rows) for rows in found)
    table: list[list[Any]] = [[kind, "the run: exit code", slower, len(found) - slower, None, None, None, None]]
    for series in zip(*found, strict=True):
        verdicts = Counter(row["verdict"] for row in series)
        counts = [verdicts[word] for word in ("slower", "same", "faster")]
        ratios = np.percentile([row["ratio"] for row in series], [0, 50, 100]).tolist()
        table.append([kind, series[0]["series"].split(", ", 1)[1], *counts, *ratios])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--slower", type=float, default=0.05)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.one is not None:
        options.work.mkdir(parents=True, exist_ok=True)
        copy = shutil.copy(options.file, options.work / COPY)
        plant(options.one)
        bench(
            [Path(copy)],
            batch=BATCHES,
            seconds=options.seconds,
            out=options.work,
            compare=options.file,
            scope=("engine",),
            reporter=Console(),
        )
        return
    end = time.monotonic() + 60 * options.minutes
    plain, slowed = [], []
    for index in range(options.repeats):
        if time.monotonic() > end:
            raise SystemExit(f"{index} of {options.repeats} done; the same command goes on")
        plain.append(measure(options, f"plain{index}", 0.0))
        slowed.append(measure(options, f"slower{index}", options.slower))
    rows = [*tally(plain, "no change"), *tally(slowed, f"{options.slower:.0%} slower")]
    columns = ["planted", "series", "slower", "same", "faster", "least ratio", "median", "largest"]
    notes = (
        f"{options.repeats} runs of each kind, the file against a copy of itself; every run is a process of its own of"
        f" {options.seconds:g} s a series, engine only."
    )
    results_page("Detection of a slowdown of five percent", notes, [Table(columns, rows)], options.out)
    (options.work / "verdicts.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
