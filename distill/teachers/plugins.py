"""Teachers that other packages bring: entry points of the group ``distill.teachers``.

An entry point names a function that `distill.teachers.adapters.callable.specialist` has described. Nothing of a
package is imported before its teacher is asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from distill.errors import UsageError

GROUP = "distill.teachers"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A teacher that a package offers, not imported yet.

    Attributes:
        name: What ``--teacher`` calls it.
        package: The distribution that brings it, with its version.
        reference: ``package.module:function``.
    """

    name: str
    package: str
    reference: str


def plugins() -> dict[str, list[Plugin]]:
    """What is installed, by name; a name that several packages claim has several entries."""
    found: dict[str, dict[Plugin, None]] = {}
    for entry in metadata.entry_points(group=GROUP):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
        # A distribution may be seen twice, through two folders on the path.
        found.setdefault(entry.name, {})[Plugin(entry.name, package, entry.value)] = None
    return {name: list(entries) for name, entries in sorted(found.items())}


def find_plugin(name: str, built_in: Collection[str]) -> Plugin | None:
    """The one package's teacher of this name; None where no package offers it.

    Raises:
        UsageError: Two packages (or a package and this one) claim the name.
    """
    entries = plugins().get(name, [])
    claims = [entry.package for entry in entries] + (["distill"] if name in built_in else [])
    if entries and len(claims) > 1:
        raise UsageError(
            f"the teacher {name!r} is offered by {' and by '.join(claims)}",
            hint="uninstall one of them, or ask for its function: --teacher package.module:function",
        )
    return entries[0] if entries else None


def plugin_values(plugin: Plugin) -> dict[str, Any]:
    """The config that a package gives its teacher.

    Raises:
        UsageError: It cannot be imported, or is not described.
    """
    from distill.teachers.adapters.callable import described, find_function

    values = described(find_function(plugin.reference))
    if not values:
        raise UsageError(
            f"the teacher {plugin.name!r} of {plugin.package} says nothing about its answers",
            hint="its author decorates the function with distill.teachers.adapters.callable.specialist",
        )
    return {"name": plugin.name, **values, "kind": plugin.name, "function": plugin.reference}
