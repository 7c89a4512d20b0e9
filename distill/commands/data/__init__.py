"""`distill data`: sub-commands over sets of shards.

Each sub-command parses its options, calls the function of the same name in `distill.workflows.data` and prints its
result. The modules import nothing heavy: `distill data --help` imports all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from distill.commands.data import content, conversion, integrity, operations

_HELP = {"help_option_names": ["-h", "--help"]}

data = typer.Typer(add_completion=False, no_args_is_help=True, context_settings=_HELP)


def _add(name: str, function: Callable[..., None]) -> None:
    """Add a sub-command; its help is the function's docstring, whose paragraphs fit any width."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    text = "\n\n".join(part if "    " in part else " ".join(part.split()) for part in paragraphs)
    data.command(name, help=text, context_settings=_HELP)(function)


COMMANDS: dict[str, Callable[..., Any]] = {
    "ls": content.ls,
    "stats": content.stats,
    "show": content.show,
    "verify": integrity.verify,
    "seal": integrity.seal,
    "merge": operations.merge,
    "split": operations.split,
    "filter": operations.filter,
    "sample": operations.sample,
    "dedupe": operations.dedupe,
    "relabel-classes": operations.relabel_classes,
    "apply": operations.apply,
    "import": conversion.import_,
    "export": conversion.export,
}
for _name, _function in COMMANDS.items():
    _add(_name, _function)
