"""Results of run folders: JSON files that label, train, evaluate, export, bench and predict wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.files import read_json

MAX_BYTES = 4 * 1024 * 1024
_FOREIGN_CONTENT = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, StopIteration)
FOREIGN_CONTENT = (*_FOREIGN_CONTENT, RecursionError)
"""Raised at a file that has the name of a result, and another content."""
_ORDER = ("label", "dataset", "spec", "history", "train", "evaluate", "export", "parity", "bench", "predictions")


def read_results(run: Path) -> dict[str, Any]:
    """Read the JSON results of a folder and of its subfolders, by name without suffix, in the order of the steps.

    Raises:
        UsageError: The folder does not exist, contains no result, or a result is damaged.
    """
    if not run.is_dir():
        raise UsageError(f"{run}: no such folder", hint="name folders that distill wrote")
    paths = _json_paths(run, provenance=False)
    if not paths:
        raise UsageError(f"{run}: no results in it (no .json of label, train, evaluate, export or bench)")
    found = {}
    for path in sorted(paths, key=lambda path: (_reading_order(path.stem), path)):
        try:
            found[str(path.relative_to(run).with_suffix(""))] = read_json(path, MAX_BYTES)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path}: not readable as JSON: {getattr(error, 'strerror', None) or error}",
                hint="remove it, or run the verb again",
            ) from error
    return found


def read_commands(run: Path) -> list[str]:
    """Commands that wrote the folder and its subfolders, oldest first, where their provenance files name them."""
    found = []
    for path in sorted(_json_paths(run, provenance=True), key=lambda path: path.stat().st_mtime):
        try:
            command = read_json(path, MAX_BYTES)["command"]
        except (OSError, *_FOREIGN_CONTENT):
            continue
        if isinstance(command, str):
            found.append(command)
    return found


def _json_paths(run: Path, *, provenance: bool) -> list[Path]:
    return [
        path
        for pattern in ("*.json", "*/*.json")
        for path in run.glob(pattern)
        if path.stem.endswith(".provenance") == provenance and _is_result(path, run)
    ]


def _is_result(path: Path, run: Path) -> bool:
    if any(part.startswith(".") for part in path.relative_to(run).parts):
        return False
    if not path.resolve().is_relative_to(run.resolve()):
        # The page is handed on, and must not show files that the folder does not hold.
        raise UsageError(f"{path}: a link to a file outside of the folder", hint="copy the file, or remove the link")
    return path.is_file() and path.stat().st_size <= MAX_BYTES


def _reading_order(stem: str) -> int:
    return _ORDER.index(stem) if stem in _ORDER else len(_ORDER)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e100
