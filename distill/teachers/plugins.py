"""Teachers of installed packages: entry points of the groups ``distill.teachers`` and ``distill.generators``.

An entry point of ``distill.teachers`` is a function that `distill.teachers.adapters.callable.specialist` describes; one
of ``distill.generators`` is a function that `distill.teachers.adapters.generator.generator` describes. A package is
imported when its teacher is used, not before.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.teachers.functions import described, find_function
from distill.teachers.kinds import KINDS, Kind

GROUPS = {"distill.teachers": "callable", "distill.generators": "generator"}
"""Entry point group to the built-in kind that runs its functions."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A teacher of an installed package, not imported yet.

    Attributes:
        name: Value of ``--teacher``.
        package: The distribution and its version.
        reference: ``package.module:function``.
        kind: The built-in kind that runs the function.
    """

    name: str
    package: str
    reference: str
    kind: str


def plugins() -> dict[str, list[Plugin]]:
    """Installed plug-ins by name; a name that several packages use has several entries."""
    return _find(tuple((place, _changed(place)) for place in sys.path))


def _changed(place: str) -> float:
    try:
        return Path(place or ".").stat().st_mtime
    except OSError:
        return 0.0


@lru_cache(maxsize=4)
def _find(places: tuple[tuple[str, float], ...]) -> dict[str, list[Plugin]]:
    """Plug-ins in these folders, which takes 0.1 s: one command needs them several times."""
    found: dict[str, dict[Plugin, None]] = {}
    for group, kind in GROUPS.items():
        for entry in metadata.entry_points(group=group):
            package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
            # A distribution is found twice if two folders of the path lead to it.
            found.setdefault(entry.name, {})[Plugin(entry.name, package, entry.value, kind)] = None
    return {name: list(entries) for name, entries in sorted(found.items())}


def find_plugin(name: str) -> Plugin | None:
    """The plug-in of this name; None if no package has one.

    Raises:
        UsageError: Two packages, a package and a built-in kind, or both groups of one package use the name.
    """
    entries = plugins().get(name, [])
    owners = [entry.package for entry in entries] + (["distill"] if name in KINDS else [])
    if entries and len(owners) > 1:
        raise UsageError(
            f"the teacher {name!r} is offered by {' and by '.join(owners)}",
            hint="uninstall one of them, or name the function: --teacher package.module:function",
        )
    return entries[0] if entries else None


def find_kind(name: str) -> Kind | None:
    """The kind behind a built-in name or the name of a plug-in; None if there is neither.

    Raises:
        UsageError: As `find_plugin`.
    """
    plugin = find_plugin(name)
    return KINDS[plugin.kind] if plugin is not None else KINDS.get(name)


def known_names() -> list[str]:
    """Names of all built-in kinds and plug-ins, sorted."""
    return sorted({*KINDS, *plugins()})


def plugin_values(plugin: Plugin) -> dict[str, Any]:
    """Default config values of a plug-in, from the description of its function.

    Raises:
        UsageError: It cannot be imported, or its function has no description.
    """
    values = described(find_function(plugin.reference))
    if not values or values.pop("kind") != plugin.kind:
        decorator = {"callable": "callable.specialist", "generator": "generator.generator"}[plugin.kind]
        raise UsageError(
            f"the teacher {plugin.name!r} of {plugin.package} has no description",
            hint=f"its author decorates the function with distill.teachers.adapters.{decorator}",
        )
    return {"name": plugin.name, **values, "kind": plugin.name, "function": plugin.reference}


def function_values(reference: str) -> dict[str, Any]:
    """Default config values of ``package.module:function``; a function without a description is a `callable` teacher.

    Raises:
        UsageError: It cannot be imported.
    """
    return {"kind": "callable", **described(find_function(reference)), "function": reference}
