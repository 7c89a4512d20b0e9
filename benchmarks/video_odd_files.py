"""A folder of odd files: results and memory of 10 good files alone, and of the same 10 with 63 odd ones.

    python benchmarks/video_odd_files.py WORK [--rounds 3] [--out results.md]

The files are those of the tests (``tests/builders/odd_files.py``): cut off, overwritten, joined, empty, under wrong
names, with codecs that nothing decodes. Each run is one ``distill predict`` in its own process, in turns. Memory is
the largest resident set. "Named" files are listed with a reason; files of other kinds are counted in one sentence.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path

from machine import results_page
from random_students import random_student
from video_paired import measured

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from distill.report.blocks import Table
from distill.tasks import Task
from tests.builders.odd_files import write_good_files, write_odd_files


def predict(model: Path, folder: Path, work: Path) -> tuple[float, int, dict, str]:
    """(largest resident MB, exit code, result, messages) of one command."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    code, _, peak_mb = measured(["predict", str(model), str(folder), "--out", str(out), "--json"], work)
    said = (work / "messages.txt").read_text(errors="replace")
    return peak_mb, code, json.loads((work / "result.json").read_text()), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    work: Path = options.work.resolve()
    good, everything, scratch = (work / name for name in ("good", "all", "scratch"))
    for folder in (good, everything, scratch):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    write_good_files(good)
    write_good_files(everything)
    write_odd_files(everything, scratch)
    model = random_student("nano", (Task.DEPTH, Task.SEMANTIC), work)
    peaks: dict[str, list[float]] = {"good": [], "all": []}
    rows: list[list[str | float]] = []
    for _ in range(options.rounds):
        for folder in (good, everything):
            peak, code, result, said = predict(model, folder, work)
            peaks[folder.name].append(peak)
            done, failed = ({row["name"] for row in result[key]} for key in ("results", "failed"))
            row: list[str | float] = [len(list(folder.iterdir())), code, len(done - failed), len(done & failed)]
            row += [len(failed - done), said.count("Traceback") + said.count("unexpected")]
            if len(peaks[folder.name]) == 1:
                rows.append([f"10 good{' and the odd' if folder == everything else ''} files", *row])
    for row, values in zip(rows, peaks.values(), strict=True):
        row += [round(statistics.median(values), 1)]
    columns = ["folder", "files", "exit code", "done", "done in part and named", "named", "tracebacks", "largest MB"]
    ratio = statistics.median(many / few for few, many in zip(peaks["good"], peaks["all"], strict=True))
    table = Table(columns, rows, note=f"memory with the odd files over that without, median of the rounds: {ratio:.3f}")
    results_page("Odd files", __doc__ or "", [table], options.out)


if __name__ == "__main__":
    main()
