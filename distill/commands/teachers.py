"""`distill teachers`: list the teachers that --teacher takes by name."""

from __future__ import annotations

from typing import Annotated

import typer

from distill.console import Console


def teachers(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as one JSON object.")] = False,
) -> None:
    """List teachers by name, with kind, tasks, license and requirements.

    Names stand for the configs that come with distill (configs/teachers) and for installed plug-ins. Any other teacher
    is a kind with --set, a YAML config, or a function.

    Examples:
        distill teachers

        distill label photos/ --teacher tcmonodepth
    """
    from distill.workflows.teachers.list import list_teachers

    Console(as_json=as_json).result(list_teachers())
