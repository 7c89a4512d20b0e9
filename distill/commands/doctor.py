"""`distill doctor`: check this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from distill.console import Console


def doctor(
    network: Annotated[
        bool, typer.Option("--network", help="Also try to reach the hub of pretrained weights.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
) -> None:
    """Check this machine: what works, what is missing, and the line that installs it.

    The exit code is 1 if a part that every verb needs does not work; missing extras are no failure.
    """
    from distill.workflows.doctor import DoctorReport, examine

    result = DoctorReport(examine(network=network))
    Console(as_json=as_json).result(result)
    if result.bad:
        raise typer.Exit(1)
