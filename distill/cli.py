"""Words in, exit code out. A verb's module is imported only when the verb is called, so `distill --help` is instant."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from distill import __version__
from distill.errors import UsageError

VERBS = {
    "label": "Ask a teacher about photos and write label shards. Resumes by itself; --plan shows what it would do.",
    "train": "Train a small student on label shards; leaves weights and their spec in a run folder.",
    "evaluate": "Score a student, an exported file or a teacher's labels against truth, with the alignment named.",
    "export": "Turn a trained student into a file for an engine, and prove that it gives the same answers.",
    "bench": "Time a student or an exported file on this machine: p50, p95, p99, images/s.",
    "predict": "Run a student over photos, folders and videos: maps, overlays, overlay videos.",
    "answers": "Look into a store of generated images: what it holds and cost; check, export, clear up.",
    "license": "List the licenses of labels and students; --require commercial refuses, and names the sample.",
    "report": "Gather the results in run folders into one self-contained HTML file.",
    "doctor": "Say what this machine can do, and what is missing for the rest.",
    "demo": "The whole story, offline, on the synthetic teacher, with a report to look at.",
}
"""Every verb and its one line of help; the module of the same name under `distill.commands` holds the function."""


class _LazyCommands(TyperGroup):
    """A click group that knows its verbs by name and imports one when it is called."""

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
        app = typer.Typer(add_completion=False)
        app.command(name=cmd_name, help=VERBS[cmd_name] + _details(getattr(module, cmd_name)))(
            getattr(module, cmd_name)
        )
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command


def _details(function: Any) -> str:
    """The function's docstring without its first line, which the table above already says for users."""
    _, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
    # Typer keeps the line breaks of the source; a terminal has a width of its own. Examples stay as they are.
    paragraphs = [part if "    " in part else " ".join(part.split()) for part in rest.split("\n\n")]
    return "\n\n" + "\n\n".join(paragraphs) if rest.strip() else ""


def _is_requested(verb: str) -> bool:
    """Whether this verb is about to run; `distill --help` only lists names and must import nothing."""
    return verb in sys.argv[1:] or "DISTILL_IMPORT_ALL" in os.environ


def _stub_command(verb: str) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name=verb, help=VERBS[verb])(lambda: None)
    return typer.main.get_command(app)


app = typer.Typer(
    cls=_LazyCommands,
    name="distill",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turn a generalist image generator into fast specialists that you own: label, train, export, prove, run.",
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; the exit code is 0 done, 1 failed a run or a gate, 2 wrong use, 130 interrupted."""
    from distill.console import run_cli

    sys.exit(run_cli(app))
