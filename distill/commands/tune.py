"""`distill tune`: low-rank weights that make an image editor a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console


def tune(
    config: Annotated[Path, typer.Argument(help="YAML config; docs/tuning.md lists its keys.", metavar="CONFIG")],
    data: Annotated[list[Path], typer.Option(help="Folder of shards with labels that are right; repeatable.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")] = Path("tuned"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a key: --set steps=500; repeatable.", metavar="KEY=VALUE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Tune an image editor on labels encoded as images, and write it as a teacher.

    An interrupted run continues when it is started again with the same options.

    Examples:
        distill tune tuning.yaml --data truth --out tuned

        distill label photos --teacher tuned/teacher.yaml --out shards
    """
    from distill.workflows.tune.run import tune as run_tune

    console = Console(as_json=as_json)
    console.result(run_tune(config, data=data, out=out, overrides=overrides or (), reporter=console))
