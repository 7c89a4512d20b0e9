"""One student exported at several working sizes, and the file that picks among them by each picture's shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.console import Console
from distill.images import write_atomic
from distill.workflows.export import run_exports
from distill.workflows.export import text_of as text_of_one

if TYPE_CHECKING:
    from distill.config.export import TargetRecipe

_OPENED = (".onnx", ".xml", ".pt2")
"""What a file of buckets can name."""


def run_buckets(
    run: Path,
    targets: Mapping[str, TargetRecipe],
    sizes_hw: Sequence[tuple[int, int]],
    console: Console,
    **options: Any,
) -> dict[str, Any]:
    """The same at several working sizes; and for each target that passed at all of them a file that picks by shape.

    Args:
        run: The student.
        targets: As for `run_exports`.
        sizes_hw: Working sizes.
        console: Where progress goes.
        options: All others of `run_exports`.
    """
    from distill.export.runners.buckets import SUFFIX, write_buckets

    found = [run_exports(run, targets, console, size_hw=size_hw, **options) for size_hw in sizes_hw]
    folder = Path(found[0]["folder"])
    buckets: dict[str, str] = {}
    for rows in zip(*(result["targets"] for result in found), strict=True):
        first = Path(rows[0]["path"] or "")
        if all(row["status"] == "passed" for row in rows) and first.suffix in _OPENED:
            height, width = sizes_hw[0]
            path = folder / f"{first.stem.replace(f'.{height}x{width}', '', 1)}{first.suffix}{SUFFIX}"
            write_buckets(path, [Path(row["path"]) for row in rows])
            buckets[rows[0]["target"]] = str(path)
    values = {
        "folder": str(folder),
        "passed": all(result["passed"] for result in found),
        "sizes": found,
        "buckets": buckets,
    }
    write_atomic(folder / "export.json", json.dumps(values, indent=2, default=str).encode())
    return values


def text_of(result: dict[str, Any]) -> str:
    """The tables for people, one for each working size."""
    texts = []
    for one in result["sizes"]:
        height, width = one["working_size_hw"]
        texts.append(f"working at {height}x{width}: {text_of_one(one)}")
    picks = [f"{target}: {path} picks by each picture's shape" for target, path in result["buckets"].items()]
    without = [row["target"] for row in result["sizes"][0]["targets"] if row["target"] not in result["buckets"]]
    notes = [f"{target}: no file that picks: it did not pass at every size, or is no single file" for target in without]
    return "\n\n".join([*texts, *picks, *notes])
