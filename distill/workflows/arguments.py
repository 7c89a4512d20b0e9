"""Argument types of the Python API, and their conversion to the types used inside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import overload

from distill.errors import UsageError
from distill.escaping import is_address, safe_address
from distill.tasks import Task

StrPath = str | os.PathLike[str]
Paths = StrPath | Iterable[StrPath]
Tasks = Task | str | Iterable[Task | str]
Overrides = Mapping[str, object] | Iterable[str]
"""Config values by dotted key, as a mapping or as ``key.sub=value`` strings."""


def to_paths(paths: Paths) -> list[Path]:
    """Convert one path or several; raises as `to_path`."""
    return [to_path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]


@overload
def to_path(path: StrPath) -> Path: ...
@overload
def to_path(path: StrPath | None) -> Path | None: ...
def to_path(path: StrPath | None) -> Path | None:
    """Convert an optional path.

    Raises:
        UsageError: It is the address of another machine, from which a folder with a password in its name would be made.
    """
    if path is None:
        return None
    text = os.fspath(path)
    if is_address(text) and not Path(text.partition("/")[0]).exists():
        raise UsageError(
            f"{safe_address(text)}: is an address, and files are read and written on this machine only",
            hint="give a path; copy files from other machines first",
        )
    return Path(path)


def to_strings(values: Paths) -> list[str]:
    """Convert one path or several to strings; globs and addresses stay as they are."""
    return [os.fspath(values)] if isinstance(values, str | os.PathLike) else [os.fspath(value) for value in values]


def to_tasks(tasks: Tasks) -> tuple[Task, ...]:
    """Convert one task name or several.

    Raises:
        UsageError: There is no task of this name.
    """
    found = []
    for name in [tasks] if isinstance(tasks, str) else tasks:
        try:
            found.append(Task(name))
        except ValueError:
            raise UsageError(f"task {name!r} is unknown", hint=f"choose from {', '.join(Task)}") from None
    return tuple(found)


def to_override_words(overrides: Overrides) -> list[str]:
    """Convert overrides to ``key.sub=value`` strings."""
    if isinstance(overrides, str):
        return [overrides]
    if isinstance(overrides, Mapping):
        return [f"{key}={json.dumps(value, default=_plain)}" for key, value in overrides.items()]
    return list(overrides)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, Sequence) else str(value)
