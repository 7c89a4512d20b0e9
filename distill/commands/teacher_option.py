"""The teacher behind ``--teacher``: a built-in kind, a config file, a function, or what an installed package offers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError

if TYPE_CHECKING:
    from distill.teachers.factory import AnyTeacherConfig


def teacher_help() -> str:
    """What ``--teacher`` takes, with what is installed; imports no teacher."""
    from distill.teachers.factory import CONFIGS
    from distill.teachers.plugins import plugins

    offers = []
    for name, entries in plugins().items():
        claims = [entry.package for entry in entries] + (["distill"] if name in CONFIGS else [])
        offers.append(f"{name} (claimed by {' and by '.join(claims)})" if claims[1:] else f"{name} (from {claims[0]})")
    installed = f" Installed packages offer: {', '.join(offers)}." if offers else ""
    return (
        f"A kind ({', '.join(CONFIGS)}), the path of a teacher config (YAML), or a function "
        f"(package.module:function).{installed}"
    )


def load_teacher(teacher: str, answers: Path | None, overrides: list[str]) -> tuple[AnyTeacherConfig, Path]:
    """(config, the folder that its relative paths start from) of a kind, a config file or a function.

    Raises:
        UsageError: Unknown kind, unreadable config, wrong keys, two packages that claim the name.
    """
    from distill.config import load_config

    if not teacher:
        raise UsageError("no teacher given", hint=f"--teacher takes a kind ({_kinds()}) or a config file")
    values, folder, name = _values(teacher)
    kind = str(values["kind"])
    if answers is not None:
        if kind != "replay":
            raise UsageError(f"--answers belongs to the replay teacher, not to {kind}")
        values["answers"] = str(answers)
    elif kind == "replay" and "answers" not in values:
        raise UsageError("the replay teacher needs its manifest", hint="give --answers FILE")
    _check_required_key(kind, values, overrides, name)
    from distill.teachers.factory import config_type

    return load_config(config_type(kind), values, overrides, name=name), folder


def _check_required_key(kind: str, values: dict[str, Any], overrides: list[str], name: str) -> None:
    """Refuse a config without the one key that everything else hangs on, and say how it is given."""
    ways = {
        "callable": ("function", "--set function=package.module:function"),
        **dict.fromkeys(("transformers", "diffusers", "marigold"), ("model", "--set model=FOLDER, or a hub id")),
        "onnx": ("model", "--set model=FILE, and outputs in a config file (docs/teachers.md)"),
    }
    key, way = ways.get(kind, ("", ""))
    if key and key not in values and not any(override.startswith(f"{key}=") for override in overrides):
        raise UsageError(f"{name}: which {key}?", hint=f"say it with {way}")


def _values(teacher: str) -> tuple[dict[str, Any], Path, str]:
    """(values of the config, its folder, how errors name it) before overrides."""
    from distill.teachers.factory import CONFIGS
    from distill.teachers.plugins import find_plugin, plugin_values

    path = Path(teacher)
    if path.suffix in (".yaml", ".yml"):
        return _read(path)
    name = f"teacher {teacher}"
    plugin = find_plugin(teacher, CONFIGS)
    if plugin is not None:
        return plugin_values(plugin), Path(), name
    if teacher in CONFIGS:
        return {"kind": teacher}, Path(), name
    if ":" in teacher:
        from distill.teachers.adapters.callable import described, find_function

        return {**described(find_function(teacher)), "kind": "callable", "function": teacher}, Path(), name
    raise UsageError(f"{teacher}: no such kind of teacher", hint=f"use {_kinds()}, or the path of a YAML config")


def _read(path: Path) -> tuple[dict[str, Any], Path, str]:
    """A config file; what a package says about its teacher stands where the file says nothing."""
    from distill.config import read_yaml
    from distill.teachers.factory import CONFIGS
    from distill.teachers.plugins import find_plugin, plugin_values

    values, folder = read_yaml(path), path.parent
    kind = str(values.get("kind", ""))
    if "function" in values:
        raise UsageError(
            f"{path}: a config file cannot name code to run",
            hint=f"remove function from it, and give --set function={values['function']} on the command line",
        )
    plugin = find_plugin(kind, CONFIGS)
    if plugin is not None:
        return {**plugin_values(plugin), **values}, folder, str(path)
    if kind not in CONFIGS:
        raise UsageError(f"{path}: unknown kind of teacher {kind!r}", hint=f"use {_kinds()}")
    for key in ("answers", "prices"):
        file = values.get(key)
        if isinstance(file, str) and (folder / file).is_file():
            values[key] = str(folder / file)
    if kind == "ensemble":
        _read_members(values, folder)
    return values, folder, str(path)


def _read_members(values: dict[str, Any], folder: Path) -> None:
    """Put the configs of a mix's teachers where only their names or files stand."""
    from distill.tasks import Task

    for task in Task:
        blend = values.get(str(task))
        members = blend.get("teachers") if isinstance(blend, dict) else None
        for number, member in enumerate(members if isinstance(members, list) else []):
            entry = member if isinstance(member, dict) and "teacher" in member else {"teacher": member}
            said = entry["teacher"]
            if isinstance(said, str) and ":" in said:
                raise UsageError(f"{folder}: a config file cannot name code to run", hint=f"take {said} out of the mix")
            if isinstance(said, str):
                inside = folder / said if said.endswith((".yaml", ".yml")) else said
                config, place, _ = _values(str(inside))
                entry = {**entry, "teacher": config, "folder": str(place)}
            elif isinstance(said, dict) and "function" in said:
                raise UsageError(f"{folder}: a config file cannot name code to run", hint="remove function from it")
            assert isinstance(members, list)
            members[number] = entry if "folder" in entry else {**entry, "folder": str(folder)}


def _kinds() -> str:
    from distill.teachers.factory import CONFIGS
    from distill.teachers.plugins import plugins

    return ", ".join(sorted({*CONFIGS, *plugins()}))
