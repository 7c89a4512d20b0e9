"""`distill train`: train a student on label shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.errors import UsageError
from distill.workflows.train.config import list_keys, read_train_config
from distill.workflows.train.run import is_rank_zero, plan_train, run_train

_INTERRUPTED = 130
_INPUT, _RUN = "Data and config", "The run"


def train(
    config: Annotated[
        list[str] | None, typer.Argument(help="A config (YAML), and overrides such as student.preset=small.")
    ] = None,
    out: Annotated[Path, typer.Option(rich_help_panel=_RUN, help="Folder of the run.")] = Path("run"),
    shards: Annotated[
        list[Path] | None,
        typer.Option(rich_help_panel=_INPUT, help="Folder that distill label wrote; can be given several times."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", rich_help_panel=_INPUT, help="Override a key of the config: key.sub=value."),
    ] = None,
    keys: Annotated[
        bool,
        typer.Option("--keys", rich_help_panel=_INPUT, help="List all config keys with type, default and meaning."),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", rich_help_panel=_RUN, help="Continue from the last checkpoint although the config has changed."
        ),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", rich_help_panel=_INPUT, help="Compare every shard with its checksum first.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", rich_help_panel=_RUN, help="Estimate size and duration, and stop.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=_RUN, help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Train a small student on label shards.

    Writes spec.json, weights.safetensors (the best averaged weights), curves and checkpoints into --out. A run can be
    stopped at any time: the same command continues it.

    Examples:
        distill train --shards shards --out run student.preset=nano

        distill train configs/runs/synthetic_multitask.yaml --shards shards --out run train.minutes=5
    """
    console = Console(as_json=as_json)
    if keys:
        console.result(list_keys())
        return
    path, settings = split_words(config or [])
    settings += overrides or []
    if plan:
        console.result(plan_train(path, shards=shards or (), overrides=settings))
        return
    result = run_train(read_train_config(path, shards or (), settings), out, console, resume=resume, verify=verify)
    if result.interrupted:
        console.info(result.to_text())
        raise typer.Exit(_INTERRUPTED)
    if is_rank_zero():
        console.result(result)
    if result.failure:
        raise typer.Exit(1)


def split_words(words: list[str]) -> tuple[Path | None, list[str]]:
    """Split the arguments into the path of the config and overrides (words with ``=``)."""
    paths = [Path(word) for word in words if "=" not in word]
    if len(paths) > 1:
        raise UsageError(
            f"{paths[1]}: a second config; one run has one config", hint="overrides look like key.sub=value"
        )
    return next(iter(paths), None), [word for word in words if "=" in word]
