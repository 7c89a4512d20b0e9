"""``distill evaluate``: subjects against truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from distill.commands.console import Console
from distill.commands.scoring.boards import Rules
from distill.commands.scoring.fitting import Crop
from distill.errors import UsageError
from distill.metrics import Alignment
from distill.tasks import FAR_DEPTH_M, Task


def evaluate(
    subjects: Annotated[
        list[Path], typer.Argument(help="Run folders, exported files, or folders of shards (a teacher's labels).")
    ],
    truth: Annotated[Path, typer.Option(help="Folder of shards that hold the truth and its photos.")],
    task: Annotated[list[Task] | None, typer.Option(help="Only this task; can be given several times.")] = None,
    alignment: Annotated[
        Alignment | None,
        typer.Option(help="Of depth. Default: none for metres, else what the gauge needs, for all subjects."),
    ] = None,
    crop: Annotated[Crop, typer.Option(help="Part of the picture that counts: eigen (NYU), garg (KITTI).")] = Crop.NONE,
    min_depth: Annotated[float, typer.Option(help="Truth nearer than this, in metres, is left out.")] = 1e-3,
    max_depth: Annotated[float, typer.Option(help="Truth farther than this, in metres, is left out.")] = round(
        FAR_DEPTH_M, 3
    ),
    map_classes: Annotated[
        Path | None, typer.Option(help="YAML of 'subject class: truth class' pairs, for names that differ.")
    ] = None,
    trivial: Annotated[
        Path | None, typer.Option(help="Training shards; adds the predictor that never looks at the picture.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many photos.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst images the page shows, per task.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluate.html, evaluate.md and evaluate.json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Scores of every subject over the same truth, side by side.

    The first subject is compared with the others: give the student first, then its teacher's labels. Depth counts where
    the truth is valid and no sky. A subject's invalid pixels are left out of its scores, and their share is reported.

    Examples:
        distill evaluate runs/nano teacher-shards/ --truth truth-shards/ --trivial train-shards/ --out evaluation

        distill evaluate student.onnx --truth nyu-shards/ --task depth --crop eigen --max-depth 10
    """
    settings = Settings(
        subjects=subjects,
        truth=truth,
        tasks=task or (),
        rules=Rules(alignment, crop, min_depth, max_depth, _read_class_map(map_classes)),
        trivial=trivial,
        limit=limit,
        worst=worst,
        out=out,
    )
    console = Console(as_json=as_json)
    values, text = run_evaluate(settings, console)
    console.result(values, text)


@dataclass(frozen=True)
class Settings:
    """What to evaluate, and how."""

    subjects: Sequence[Path]
    truth: Path
    tasks: Sequence[Task] = ()
    rules: Rules = field(default_factory=Rules)
    trivial: Path | None = None
    limit: int | None = None
    worst: int = 8
    out: Path | None = None


def run_evaluate(settings: Settings, console: Console) -> tuple[dict[str, Any], str]:
    """(values of ``evaluate.json``, the tables as Markdown); writes the files when `settings.out` says where.

    Raises:
        DistillError: The subjects and the truth cannot be compared.
    """
    from distill.commands.scoring.contestants import fit_trivial, open_contestants
    from distill.commands.scoring.match import choose_tasks, evaluate_contestants
    from distill.images import write_atomic
    from distill.report import to_markdown, write_report
    from distill.report.plain import finite
    from distill.rundir import open_rundir
    from distill.shards import read_manifest

    manifest = read_manifest(settings.truth)
    contestants = open_contestants(settings.subjects)
    tasks = choose_tasks(settings.tasks, contestants, settings.truth, manifest)
    if settings.trivial is not None:
        contestants.append(fit_trivial(settings.trivial, tasks))
    if settings.out is not None:
        open_rundir(settings.out, verb="evaluate", facts=_facts(settings))
    found = evaluate_contestants(
        contestants, settings.truth, tasks, settings.rules, console, limit=settings.limit, num_worst=settings.worst
    )
    values = finite(found.values)
    if settings.out is not None:
        write_atomic(settings.out / "evaluate.json", json.dumps(values, indent=2, ensure_ascii=False).encode())
        paths = write_report(found.report, settings.out, "evaluate", formats=("html", "md"))
        console.say(f"wrote {paths['html']}")
    return values, to_markdown(found.report)


def _facts(settings: Settings) -> dict[str, Any]:
    """The call, for the provenance file."""
    rules = settings.rules
    return {
        "subjects": [str(path) for path in settings.subjects],
        "truth": str(settings.truth),
        "tasks": [str(task) for task in settings.tasks],
        "alignment": rules.alignment,
        "crop": rules.crop,
        "min_depth_m": rules.min_depth_m,
        "max_depth_m": rules.max_depth_m,
        "class_map": dict(rules.renamed),
        "trivial": settings.trivial,
        "limit": settings.limit,
    }


def _read_class_map(path: Path | None) -> Mapping[str, str | None]:
    if path is None:
        return {}
    import yaml

    try:
        pairs = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path}: cannot be read as YAML", hint="write one 'subject class: truth class' a line"
        ) from error
    if not isinstance(pairs, dict) or not all(
        isinstance(old, str) and (new is None or isinstance(new, str)) for old, new in pairs.items()
    ):
        raise UsageError(
            f"{path}: not a mapping of names to names", hint="write one 'subject class: truth class' a line"
        )
    return pairs
