"""Files in photo folders that are no photos: results of earlier runs, and folders of storage systems and recycle bins.

A folder of photos may contain the results of `distill` (``label . --out shards``): their previews, sample images and
maps must not be labeled, which would cost money. They are recognized by the files that every run writes, never by the
name of a folder alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.files import read_json

_SYSTEM_FOLDERS = frozenset(
    {
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "__macosx",
    }
)
"""Thumbnails, deleted files and snapshots of network storage and operating systems, in lower case."""
_PREVIEW = re.compile(r"\d{5,}\.\d+\.[\w-]+\.[a-z0-9_]+\.jpg")
_SAMPLE_IMAGE = re.compile(r"step-\d{7,}\.png")
_PREDICTED = re.compile(r"(?P<key>[^.]+)\.(overlay\.jpg|[a-z]+(\.confidence)?\.png)")
_MAX_INDEX_BYTES = 256 * 1024 * 1024


def is_system_folder(name: str) -> bool:
    """Whether a folder holds thumbnails or deleted files of a storage system; hidden folders count."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS


def own_folders(folder: Path, names: Sequence[str]) -> frozenset[str]:
    """Those of the subfolders that hold results of an earlier run in `folder`, and no photos."""
    found = set()
    if "previews" in names and _is_output(folder, "label"):
        found.add("previews")
    if names and _is_output(folder, "train"):
        found |= {"samples", "cache", "checkpoints", "logs"} & set(names)
    if names and (folder / "predictions.json").is_file():
        found |= _predicted(folder / "predictions.json") & set(names)
    if names and (folder / "ledger.sqlite").is_file():  # a store of answers
        found |= {name for name in names if re.fullmatch("[0-9a-f]{2}", name)}
    return frozenset(found)


def own_files(folder: Path, names: Sequence[str]) -> frozenset[str]:
    """Those of the files in `folder` that an earlier run wrote there."""
    found = {name for name in names if folder.name == "previews" and _PREVIEW.fullmatch(name)}
    found |= {name for name in names if folder.name == "samples" and _SAMPLE_IMAGE.fullmatch(name)}
    tars = {name for name in names if re.fullmatch(r"shard-\d+\.tar", name)}
    found |= tars if tars and _is_output(folder, "label") else set()
    if "predictions.json" in names:
        found |= _predicted(folder / "predictions.json") & set(names)
    # Of an interrupted prediction: maps next to an overlay of the same key.
    keys = {name.removesuffix(".overlay.jpg") for name in names if name.endswith(".overlay.jpg")}
    if keys:
        maps = {name: match["key"] for name in names if (match := _PREDICTED.fullmatch(name))}
        own = {key for name, key in maps.items() if key in keys and name.endswith(".png")}
        found |= {name for name, key in maps.items() if key in own}
    return frozenset(found)


class OwnFileFinder:
    """Checks files that are named one by one, such as matches of a glob; reads each folder once."""

    def __init__(self) -> None:
        self._files: dict[Path, frozenset[str]] = {}
        self._folders: dict[Path, frozenset[str]] = {}

    def __call__(self, path: Path) -> bool:
        """Whether an earlier run wrote this file."""
        folder = path.parent
        if folder not in self._files:
            self._files[folder] = own_files(folder, _names(folder))
        return path.name in self._files[folder] or any(map(self._is_own_folder, list(path.parents)[:2]))

    def _is_own_folder(self, folder: Path) -> bool:
        if folder not in self._folders:
            self._folders[folder] = own_folders(folder.parent, [folder.name]) if folder.name else frozenset()
        return folder.name in self._folders[folder]


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _is_output(folder: Path, verb: str) -> bool:
    """Whether a command wrote its provenance, its result or a manifest of shards into the folder."""
    provenance = _read(folder / f"{verb}.provenance.json")
    if isinstance(provenance, dict) and provenance.get("verb") == verb and "distill" in provenance:
        return True
    # The same names are in use elsewhere: only files with the keys of this program count.
    result = _read(folder / f"{verb}.json")
    if isinstance(result, dict) and ({"labeled", "answers", "shards"} <= result.keys() or "steps" in result):
        return True
    manifest = _read(folder / "dataset.json") if verb == "label" else None
    return isinstance(manifest, dict) and {"format", "tasks", "shards"} <= manifest.keys()


def _predicted(path: Path) -> frozenset[str]:
    """Names of the files and folders that an index of predictions lists."""
    index = _read(path)
    if not isinstance(index, dict) or "maps" not in index or not isinstance(index.get("results"), list):
        return frozenset()
    rows = [row for row in index["results"] if isinstance(row, dict)]
    listed = [name for row in rows if isinstance(row.get("files"), dict) for name in row["files"].values()]
    listed += [row[kind] for row in rows for kind in ("video", "maps") if kind in row]
    return frozenset(Path(str(name)).name for name in listed)


def _read(path: Path) -> Any:
    try:
        return read_json(path, _MAX_INDEX_BYTES)
    except (OSError, ValueError):
        return None
