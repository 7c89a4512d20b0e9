"""Does `distill bench --compare` catch a planted slowdown, and is it quiet without one?

    python benchmarks/slowdown.py exported/nano.onnx --work WORK [--repeats 20] [--minutes 7] [--out page.md]

Every measurement is a process of its own, as on the command line; one is the base, then come those with and without the
slowdown, in turns. The slowdown is planted in the engine: after each call it idles busily for 5 % of the call's time.
Runs out of minutes, goes on from --work the next time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import results_page

from distill.commands.bench import read_baseline
from distill.console import Console
from distill.export.runners import OrtRunner, Outputs
from distill.export.verification.regression import compare_results
from distill.report.blocks import Table
from distill.workflows.bench import run_bench

BATCHES = (1, 8)


def plant(share: float) -> None:
    """Make ONNX Runtime's runner slower by this share."""
    run = OrtRunner._run

    def slowed(self: OrtRunner, images: Any) -> Outputs:
        start = time.perf_counter()
        outputs = run(self, images)
        end = time.perf_counter()
        while time.perf_counter() < end + share * (end - start):
            pass
        return outputs

    OrtRunner._run = slowed  # type: ignore[method-assign]


def measure(options: argparse.Namespace, name: str, slower: float) -> dict[str, Any]:
    """The result of this name, from a fresh process unless it is there already."""
    folder = options.work / name
    if not (folder / "bench.json").is_file():
        words = [sys.executable, __file__, str(options.file), "--work", str(folder), "--one", str(slower)]
        subprocess.run([*words, "--seconds", str(options.seconds)], check=True, capture_output=True)
    return read_baseline(folder / "bench.json")


WAYS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "bare engine": lambda stick: True,
    "fixed network": lambda stick: not stick.get("beside"),
    "times as they are": lambda stick: False,
}
"""How results are compared, to the yardsticks that are left in them for it."""


def keep_yardsticks(result: dict[str, Any], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The result with these yardsticks alone."""
    return {**result, "yardstick": [stick for stick in result["yardstick"] if wanted(stick)]}


def tally(base: dict[str, Any], found: list[dict[str, Any]], kind: str) -> list[list[Any]]:
    """Rows: how often each verdict was given, by each way to compare; first for whole runs, as the exit code has it."""
    rows: list[list[Any]] = []
    for how, wanted in WAYS.items():
        by_series: dict[str, list[Any]] = {}
        slower = 0
        for result in found:
            compared = compare_results(keep_yardsticks(base, wanted), keep_yardsticks(result, wanted))
            slower += any(row.verdict == "slower" for row in compared)
            for row in compared:
                by_series.setdefault(row.series, []).append(row)
        rows.append([kind, how, "the run: exit code", slower, len(found) - slower, None, None, None, None])
        for series, compared in by_series.items():
            verdicts = Counter(row.verdict for row in compared)
            ratios = [row.ratio for row in compared]
            counts = [verdicts[word] for word in ("slower", "same", "faster")]
            rows.append([kind, how, series.split(", ", 1)[1], *counts, *np.percentile(ratios, [0, 50, 100]).tolist()])
    return rows


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
        plant(options.one)
        run_bench(
            [options.file], Console(), batches=BATCHES, seconds=options.seconds, out=options.work, scope=("engine",)
        )
        return
    end = time.monotonic() + 60 * options.minutes
    base = measure(options, "base", 0.0)
    plain, slowed = [], []
    for index in range(options.repeats):
        if time.monotonic() > end:
            raise SystemExit(f"{index} of {options.repeats} done; the same command goes on")
        plain.append(measure(options, f"plain{index}", 0.0))
        slowed.append(measure(options, f"slower{index}", options.slower))
    rows = [*tally(base, plain, "no change"), *tally(base, slowed, f"{options.slower:.0%} slower")]
    columns = ["planted", "compared by", "series", "slower", "same", "faster", "least ratio", "median", "largest"]
    notes = (
        f"{options.repeats} runs of each kind against one base; every run is a process of its own of"
        f" {options.seconds:g} s a series, engine only."
    )
    results_page("A slowdown of five percent", notes, [Table(columns, rows)], options.out)
    (options.work / "verdicts.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
