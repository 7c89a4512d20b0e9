"""Command line. The module of a verb is imported only when the verb is called, so that `distill --help` is instant."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from distill import __version__
from distill.errors import UsageError

VERBS = {
    "label": "Label photos with a teacher, and write label shards; continues an interrupted job.",
    "train": "Train a small student on label shards.",
    "evaluate": "Score students and labels against ground truth, side by side.",
    "export": "Export a student for inference engines, and compare each file with the original.",
    "bench": "Time students and exported files on this machine: p50, p95, p99, images/s.",
    "predict": "Run a student over images and videos: maps, overlays, overlay videos.",
    "tune": "Tune an image editor on labels encoded as images, so that it becomes a teacher.",
    "teachers": "List the teachers that --teacher takes by name.",
    "data": "Look into, verify, seal, combine and convert sets of label shards.",
    "review": "Judge labels on a page: worst first, with verdicts to apply or to calibrate with.",
    "answers": "List, verify, export or clean up stored answers of image generators.",
    "license": "List the licenses of labels and students; --require commercial refuses others.",
    "report": "Collect the results of run folders in one self-contained HTML file.",
    "doctor": "Check this machine: packages, GPU, engines, codecs, keys.",
    "demo": "Run all steps offline with the synthetic teacher, and write a report.",
}
"""Verbs with their line of help; the module of the same name in `distill.commands` has the function."""

_CONTEXT = {"help_option_names": ["-h", "--help"]}


class _LazyCommands(TyperGroup):
    """Group of commands that imports a verb when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            near = difflib.get_close_matches(cmd_name, VERBS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the verbs are {', '.join(VERBS)}"
            raise UsageError(f"there is no verb {cmd_name!r}", hint=hint)
        if not _is_requested(cmd_name):
            return _stub_command(cmd_name)
        module = importlib.import_module(f"distill.commands.{cmd_name}")
        function = getattr(module, cmd_name)
        if isinstance(function, typer.Typer):  # a verb with sub-commands
            function.info.help = VERBS[cmd_name]
            for command_info in function.registered_commands:
                if command_info.callback is not None:
                    command_info.callback = _without_addresses(command_info.callback)
            group = typer.main.get_command(function)
            group.name = cmd_name
            return group
        app = typer.Typer(add_completion=False)
        app.command(name=cmd_name, help=VERBS[cmd_name] + _details(function), context_settings=_CONTEXT)(
            _without_addresses(function)
        )
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command


def _without_addresses(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a verb, whose paths are checked first: none is the address of another machine."""

    @functools.wraps(function)
    def run(**options: Any) -> Any:
        from distill.workflows.arguments import to_path

        for value in options.values():
            for path in value if isinstance(value, list | tuple) else [value]:
                if isinstance(path, Path):
                    to_path(path)
        return function(**options)

    return run


def _details(function: Any) -> str:
    """Docstring of the function without its first line, which `VERBS` replaces."""
    _, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
    # Typer keeps the line breaks of the source, but terminals differ in width. Examples stay as they are.
    paragraphs = [part if "    " in part else " ".join(part.split()) for part in rest.split("\n\n")]
    return "\n\n" + "\n\n".join(paragraphs) if rest.strip() else ""


def _is_requested(verb: str) -> bool:
    """Whether this verb is about to run or to be completed; `distill --help` lists names and imports no verb."""
    words = [*sys.argv[1:], *os.environ.get("COMP_WORDS", "").split()]
    return verb in words or "DISTILL_IMPORT_ALL" in os.environ


def _stub_command(verb: str) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name=verb, help=VERBS[verb])(lambda: None)
    return typer.main.get_command(app)


app = typer.Typer(
    cls=_LazyCommands,
    name="distill",
    context_settings=_CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turn a generalist image generator into fast specialists that you own: label, train, export, predict.",
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version, and stop."),
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 a run or a check failed, 2 wrong usage, 130 interrupted."""
    from distill.console import run_cli

    sys.exit(run_cli(app))
