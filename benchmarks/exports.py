"""Accuracy, speed and size of one student in every engine, from `distill export`.

    python benchmarks/exports.py runs/nano runs/small --images held_out --work exported [--out page.md]

Each run is exported to WORK/NAME with one command; an existing export.json is read instead. The last table compares
the speed of int8 and float32 in one engine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from machine import results_page

from distill.console import Console
from distill.report.blocks import Table
from distill.workflows.export.run import export

TARGETS = "onnx,onnx-int8,openvino,openvino-int8,aoti,tensorrt"


def exported(run: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Export a run and return its result."""
    folder = options.work / run.name
    if not (folder / "export.json").is_file():
        export(run, to=options.targets, out=folder, images=options.images, seconds=options.seconds, reporter=Console())
    return json.loads((folder / "export.json").read_text())


def artifacts(name: str, result: dict[str, Any]) -> Table:
    """Scores, times and sizes of one student."""
    torch = result["torch"]
    measures = list(torch["scores"])
    rows: list[list[Any]] = [
        ["torch", "", *torch["scores"].values(), None, torch["p50_ms"], torch["images_per_s"], None],
    ]
    for row in result["targets"]:
        scores = [row["scores"].get(measure) for measure in measures]
        spent = [task["change"] / task["tolerance"] for task in (row["parity"] or {"tasks": ()})["tasks"]]
        speed = (row["p50_ms"], row["images_per_s"], row["size_bytes"] / 1e6 if row["size_bytes"] else None)
        rows.append([row["target"], row["status"], *scores, max(spent, default=None), *speed])
    columns = ["target", "verdict", *measures, "of the tolerance", "p50 ms", "images/s", "MB"]
    said = [f"{row['target']}: {text}" for row in result["targets"] for text in (row["reason"], *row["notes"]) if text]
    return Table(columns, rows, f"{name}: {result['num_images']} held-out pictures", ". ".join(said))


def eight_bits(results: dict[str, dict[str, Any]]) -> Table:
    """Images/s of int8 and float32 in the same engine, and the largest change as a fraction of its tolerance."""
    rows: list[list[Any]] = []
    for name, result in results.items():
        by_target = {row["target"]: row for row in result["targets"]}
        for engine in ("onnx", "openvino"):
            plain, int8 = by_target.get(engine), by_target.get(f"{engine}-int8")
            if not plain or not int8 or not plain["images_per_s"] or not int8["images_per_s"]:
                continue
            ratios = (int8["images_per_s"] / plain["images_per_s"], plain["p50_ms"] / int8["p50_ms"])
            rows.append([name, engine, plain["images_per_s"], int8["images_per_s"], *ratios, int8["status"]])
    columns = ["student", "engine", "float32 images/s", "int8 images/s", "times, batch 8", "times, batch 1", "verdict"]
    return Table(columns, rows, "Eight bits against float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--images", type=Path, required=True, help="held-out shards with labels")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--targets", default=TARGETS)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {run.name: exported(run, options) for run in options.runs}
    method = next(iter(results.values()))["method"]
    tables = [artifacts(name, result) for name, result in results.items()]
    results_page("One student, every engine", f"{method}. {options.note}", [*tables, eight_bits(results)], options.out)


if __name__ == "__main__":
    main()
