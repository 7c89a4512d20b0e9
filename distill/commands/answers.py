"""`distill answers`: list, verify, export and clean up stored answers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.errors import UsageError


class StoreAction(StrEnum):
    """Action on a store."""

    LS = "ls"
    VERIFY = "verify"
    EXPORT = "export"
    GC = "gc"


class ForgetKind(StrEnum):
    """Kind of answers that can be removed, and so requested again."""

    REFUSED = "refused"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"


def answers(
    action: Annotated[
        StoreAction,
        typer.Argument(
            help="ls: content and cost; verify: read every byte; export: images and a manifest for the replay teacher; "
            "gc: remove files of interrupted runs."
        ),
    ],
    store: Annotated[Path, typer.Argument(help="Folder of `distill label --store`.")] = Path("answers"),
    out: Annotated[Path | None, typer.Option(help="export: folder for images and answers.yaml.")] = None,
    forget: Annotated[
        list[ForgetKind] | None,
        typer.Option(help="gc: also remove answers of this kind, which are then requested and paid for again."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="gc: remove; without it, only count.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Maintain the stored answers of image generators, which were paid for.

    Examples:
        distill answers ls answers

        distill answers verify answers

        distill answers export answers --out handed_on

        distill answers gc answers --forget unreadable --yes
    """
    from distill.workflows.answers import clean_store, export_store, list_store, open_store, verify_store

    console = Console(as_json=as_json)
    opened = open_store(store)
    if out is not None and action is not StoreAction.EXPORT:
        raise UsageError(f"--out is an option of export, not of {action}")
    if (forget or yes) and action is not StoreAction.GC:
        raise UsageError(f"--forget and --yes are options of gc, not of {action}")
    if action is StoreAction.LS:
        console.result(list_store(opened))
    elif action is StoreAction.VERIFY:
        verification = verify_store(opened)
        console.result(verification)
        if not verification.found.intact:
            raise typer.Exit(1)
    elif action is StoreAction.EXPORT:
        if out is None:
            raise UsageError("export needs a folder", hint="give --out FOLDER")
        console.result(export_store(opened, out))
    else:
        console.result(clean_store(opened, [str(kind) for kind in forget or ()], apply=yes))
