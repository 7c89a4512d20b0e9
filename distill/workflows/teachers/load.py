"""Teachers by name: built-in kinds, packaged configs, config files, functions and plug-ins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.config import load_config, read_yaml
from distill.config.teacher_base import TeacherConfig
from distill.errors import UsageError
from distill.tasks import Task
from distill.workflows.packaged import packaged_configs
from distill.workflows.teachers.classes import with_classes

_NOT_IN_FILES = {
    "function": ("a config file cannot name code to run", "--set function=package.module:name"),
    "images_root": ("a config file cannot name a folder of private images", "--set images_root=FOLDER"),
}
"""Keys that only the command line may set: (reason, option)."""
_CODE_IN_CONFIG = _NOT_IN_FILES["function"][0]
_FILE_KEYS = ("answers", "prices")
"""Keys with a path that is relative to the config file where such a file exists."""

_Values = tuple[dict[str, Any], Path, str]
"""Config values before overrides, folder of relative paths, and name in error messages."""


def teacher_help() -> str:
    """Describe the values of ``--teacher``, installed plug-ins included; imports no teacher."""
    from distill.teachers.kinds import KINDS
    from distill.teachers.plugins import plugins

    offers = []
    for name, entries in plugins().items():
        owners = [entry.package for entry in entries] + (["distill"] if name in KINDS else [])
        offers.append(f"{name} (claimed by {' and by '.join(owners)})" if owners[1:] else f"{name} (from {owners[0]})")
    installed = f" Installed packages offer: {', '.join(offers)}." if offers else ""
    return (
        f"A name that distill teachers lists, a kind ({', '.join(KINDS)}), the path of a teacher config (YAML), or a "
        f"function (package.module:function).{installed}"
    )


def load_teacher(
    teacher: str | Path | Mapping[str, Any] | TeacherConfig,
    *,
    answers: Path | None = None,
    overrides: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> tuple[TeacherConfig, Path]:
    """Load the config of a teacher; return (config, folder of its relative paths).

    Args:
        teacher: A name, the path of a config file, a function, or config values.
        answers: Manifest of the replay teacher.
        overrides: ``key.sub=value``.
        classes: Semantic classes to prompt for; none: those of the config.

    Raises:
        UsageError: The teacher is unknown, its config cannot be read or is wrong, or two packages claim the name.
    """
    from distill.teachers.plugins import find_kind, known_names

    if not teacher:
        raise UsageError("no teacher given", hint=f"--teacher takes a kind ({', '.join(known_names())}) or a config")
    values, folder, name = _find_values(teacher)
    kind = find_kind(str(values.get("kind", "")))
    if kind is None:
        raise UsageError(f"{name}: unknown kind of teacher {values.get('kind')!r}", hint=_known())
    if answers is not None:
        if kind.name != "replay":
            raise UsageError(f"--answers is an option of the replay teacher, not of {kind.name}")
        values["answers"] = str(answers)
    key, option = kind.required_key
    if key and key not in values and not any(override.startswith(f"{key}=") for override in overrides):
        raise UsageError(f"{name}: the key {key} is missing", hint=f"give it with {option}")
    config: TeacherConfig = load_config(kind.config, values, overrides, name=name)
    return with_classes(config, tuple(classes), folder, name) if classes else config, folder


def _find_values(teacher: str | Path | Mapping[str, Any] | TeacherConfig) -> _Values:
    from distill.teachers.kinds import KINDS
    from distill.teachers.plugins import find_plugin, function_values, plugin_values

    if isinstance(teacher, TeacherConfig):
        return teacher.model_dump(mode="json"), Path(), f"teacher {teacher.kind}"
    if isinstance(teacher, Mapping):
        return dict(teacher), Path(), "teacher"
    word, packaged = str(teacher), packaged_configs("teachers")
    plugin = find_plugin(word)
    if plugin is not None:
        return plugin_values(plugin), Path(), f"teacher {word}"
    if word in KINDS:
        return {"kind": word}, Path(), f"teacher {word}"
    path = packaged.get(word, Path(word))
    if path.suffix in (".yaml", ".yml"):
        return _read_file(path)
    if ":" in word:
        return function_values(word), Path(), f"teacher {word}"
    raise UsageError(f"{word}: no such teacher", hint=_known())


def _known() -> str:
    from distill.teachers.plugins import known_names

    return f"use {', '.join(known_names())}, a name that distill teachers lists, or the path of a YAML config"


def _read_file(path: Path) -> _Values:
    """Read a config file; values of a plug-in fill its gaps."""
    from distill.teachers.kinds import KINDS
    from distill.teachers.plugins import find_plugin, plugin_values

    values, folder = read_yaml(path), path.parent
    kind = values.get("kind", "")
    if not isinstance(kind, str):
        raise UsageError(f"{path}: kind is not the name of a kind of teacher", hint=_known())
    _refuse_keys(values, path)
    plugin = find_plugin(kind)
    if plugin is not None:
        return {**plugin_values(plugin), **values}, folder, str(path)
    if kind not in KINDS:
        raise UsageError(f"{path}: unknown kind of teacher {kind!r}", hint=_known())
    for key in _FILE_KEYS:
        file = values.get(key)
        if isinstance(file, str) and (folder / file).is_file():
            values[key] = str(folder / file)
    if kind == "ensemble":
        _read_members(values, folder)
    return values, folder, str(path)


def _refuse_keys(values: Mapping[str, Any], path: Path) -> None:
    for key, (reason, option) in _NOT_IN_FILES.items():
        if key in values:
            raise UsageError(
                f"{path}: {reason}", hint=f"remove {key} from it, and give it on the command line: {option}"
            )


def _read_members(values: dict[str, Any], folder: Path) -> None:
    """Replace the names and files of an ensemble's members by their configs."""
    for task in Task:
        blend = values.get(str(task))
        members = blend.get("teachers") if isinstance(blend, dict) else None
        if not isinstance(members, list):
            continue
        for number, member in enumerate(members):
            entry = member if isinstance(member, dict) and "teacher" in member else {"teacher": member}
            teacher = entry["teacher"]
            if isinstance(teacher, str):
                if ":" in teacher:
                    raise UsageError(f"{folder}: {_CODE_IN_CONFIG}", hint=f"remove {teacher} from the ensemble")
                path = folder / teacher if teacher.endswith((".yaml", ".yml")) else teacher
                config, inner, _ = _find_values(path)
                entry = {**entry, "teacher": config, "folder": str(inner)}
            elif isinstance(teacher, dict):
                _refuse_keys(teacher, folder)
            members[number] = entry if "folder" in entry else {**entry, "folder": str(folder)}
