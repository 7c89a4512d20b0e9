"""The teacher behind ``--teacher``: a built-in kind, a recipe file, a function, or what an installed package offers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError

if TYPE_CHECKING:
    from distill.teachers.factory import TeacherRecipe


def teacher_help() -> str:
    """What ``--teacher`` takes, with what is installed; imports no teacher."""
    from distill.teachers.factory import RECIPES
    from distill.teachers.plugins import plugins

    offers = []
    for name, entries in plugins().items():
        claims = [entry.package for entry in entries] + (["distill"] if name in RECIPES else [])
        offers.append(f"{name} (claimed by {' and by '.join(claims)})" if claims[1:] else f"{name} (from {claims[0]})")
    installed = f" Installed packages offer: {', '.join(offers)}." if offers else ""
    return (
        f"A kind ({', '.join(RECIPES)}), the path of a teacher recipe (YAML), or a function "
        f"(package.module:function).{installed}"
    )


def load_teacher(teacher: str, answers: Path | None, overrides: list[str]) -> tuple[TeacherRecipe, Path]:
    """(recipe, the folder that its relative paths start from) of a kind, a recipe file or a function.

    Raises:
        UsageError: Unknown kind, unreadable recipe, wrong keys, two packages that claim the name.
    """
    from distill.config import load_recipe

    if not teacher:
        raise UsageError("no teacher given", hint=f"--teacher takes a kind ({_kinds()}) or a recipe file")
    values, folder, name = _values(teacher)
    kind = str(values["kind"])
    if answers is not None:
        if kind != "replay":
            raise UsageError(f"--answers belongs to the replay teacher, not to {kind}")
        values["answers"] = str(answers)
    elif kind == "replay" and "answers" not in values:
        raise UsageError("the replay teacher needs its manifest", hint="give --answers FILE")
    _say_what_lacks(kind, values, overrides, name)
    from distill.teachers.factory import recipe_type

    return load_recipe(recipe_type(kind), values, overrides, name=name), folder


def _say_what_lacks(kind: str, values: dict[str, Any], overrides: list[str], name: str) -> None:
    """Refuse a recipe without the one key that everything else hangs on, and say how it is given."""
    ways = {
        "callable": ("function", "--set function=package.module:function"),
        **dict.fromkeys(("transformers", "diffusers", "marigold"), ("model", "--set model=FOLDER, or a hub id")),
        "onnx": ("model", "--set model=FILE, and outputs in a recipe file (docs/teachers.md)"),
    }
    key, way = ways.get(kind, ("", ""))
    if key and key not in values and not any(override.startswith(f"{key}=") for override in overrides):
        raise UsageError(f"{name}: which {key}?", hint=f"say it with {way}")


def _values(teacher: str) -> tuple[dict[str, Any], Path, str]:
    """(values of the recipe, its folder, how errors name it) before overrides."""
    from distill.teachers.factory import RECIPES
    from distill.teachers.plugins import find_plugin, plugin_values

    path = Path(teacher)
    if path.suffix in (".yaml", ".yml"):
        return _read(path)
    name = f"teacher {teacher}"
    plugin = find_plugin(teacher, RECIPES)
    if plugin is not None:
        return plugin_values(plugin), Path(), name
    if teacher in RECIPES:
        return {"kind": teacher}, Path(), name
    if ":" in teacher:
        from distill.teachers.adapters.callable import described, find_function

        return {**described(find_function(teacher)), "kind": "callable", "function": teacher}, Path(), name
    raise UsageError(f"{teacher}: no such kind of teacher", hint=f"use {_kinds()}, or the path of a YAML recipe")


def _read(path: Path) -> tuple[dict[str, Any], Path, str]:
    """A recipe file; what a package says about its teacher stands where the file says nothing."""
    from distill.config import read_yaml
    from distill.teachers.factory import RECIPES
    from distill.teachers.plugins import find_plugin, plugin_values

    values, folder = read_yaml(path), path.parent
    kind = str(values.get("kind", ""))
    if "function" in values:
        raise UsageError(
            f"{path}: a recipe file cannot name code to run",
            hint=f"remove function from it, and give --set function={values['function']} on the command line",
        )
    plugin = find_plugin(kind, RECIPES)
    if plugin is not None:
        return {**plugin_values(plugin), **values}, folder, str(path)
    if kind not in RECIPES:
        raise UsageError(f"{path}: unknown kind of teacher {kind!r}", hint=f"use {_kinds()}")
    for key in ("answers", "prices"):
        file = values.get(key)
        if isinstance(file, str) and (folder / file).is_file():
            values[key] = str(folder / file)
    if kind == "ensemble":
        _read_members(values, folder)
    return values, folder, str(path)


def _read_members(values: dict[str, Any], folder: Path) -> None:
    """Put the recipes of a mix's teachers where only their names or files stand."""
    from distill.tasks import Task

    for task in Task:
        blend = values.get(str(task))
        members = blend.get("teachers") if isinstance(blend, dict) else None
        for number, member in enumerate(members if isinstance(members, list) else []):
            entry = member if isinstance(member, dict) and "teacher" in member else {"teacher": member}
            said = entry["teacher"]
            if isinstance(said, str) and ":" in said:
                raise UsageError(f"{folder}: a recipe file cannot name code to run", hint=f"take {said} out of the mix")
            if isinstance(said, str):
                inside = folder / said if said.endswith((".yaml", ".yml")) else said
                recipe, place, _ = _values(str(inside))
                entry = {**entry, "teacher": recipe, "folder": str(place)}
            elif isinstance(said, dict) and "function" in said:
                raise UsageError(f"{folder}: a recipe file cannot name code to run", hint="remove function from it")
            assert isinstance(members, list)
            members[number] = entry if "folder" in entry else {**entry, "folder": str(folder)}


def _kinds() -> str:
    from distill.teachers.factory import RECIPES
    from distill.teachers.plugins import plugins

    return ", ".join(sorted({*RECIPES, *plugins()}))
