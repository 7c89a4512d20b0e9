"""``distill evaluate``: subjects against truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.console import Console
from distill.errors import UsageError
from distill.evaluation.protocol import Crop
from distill.evaluation.scorers import Rules
from distill.metrics import Alignment
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.evaluation.ground_truth import Truth
    from distill.evaluation.near_duplicates import TwinFinder

DATASET_NAMES = ("nyuv2", "kitti", "diode", "scannet", "cityscapes", "camvid", "ade20k")
"""Those of `distill.evaluation.datasets`, which a test compares: --help must not read them in."""


def evaluate(
    subjects: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, exported files, folders of shards (a teacher's labels), or recipes of other models."
        ),
    ],
    truth: Annotated[Path, typer.Option(help="Folder of shards that hold the truth, or of the data set.")],
    dataset: Annotated[
        str | None, typer.Option(help=f"Read --truth in the official layout of {', '.join(DATASET_NAMES)}.")
    ] = None,
    task: Annotated[list[Task] | None, typer.Option(help="Only this task; can be given several times.")] = None,
    alignment: Annotated[
        Alignment | None,
        typer.Option(help="Of depth. Default: none for meters, else what the depth kind needs, for all subjects."),
    ] = None,
    crop: Annotated[
        Crop | None,
        typer.Option(
            help="Part of the picture that counts: eigen (NYU), garg, eigen-kitti, kb (KITTI). Default: none."
        ),
    ] = None,
    min_depth: Annotated[
        float | None, typer.Option(help="Truth nearer than this, in meters, is left out. Default: 0.001.")
    ] = None,
    max_depth: Annotated[
        float | None, typer.Option(help="Truth farther than this, in meters, is left out. Default: 90.")
    ] = None,
    map_classes: Annotated[
        Path | None, typer.Option(help="YAML of 'subject class: truth class' pairs, for names that differ.")
    ] = None,
    trivial: Annotated[
        Path | None, typer.Option(help="Training shards; adds the predictor that never looks at the picture.")
    ] = None,
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(help="Training shards whose photos must not be in the truth. Default: those of --trivial."),
    ] = None,
    flicker: Annotated[
        list[Path] | None,
        typer.Option(help="A video, or shards of consecutive frames, over which students' flicker is measured."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many photos.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst images the page shows, per task.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluate.html, evaluate.md and evaluate.json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Scores of every subject over the same truth, side by side.

    The first subject is compared with the others: give the student first, then its teacher's labels. Depth counts where
    the truth is valid and no sky. A subject's invalid pixels are left out of its scores, and their share is reported.
    Scores carry 95 % intervals over photos; pairs of subjects, the chance that they only differ by luck. --dataset
    brings the crop and the depth range of the data set's papers.

    Examples:
        distill evaluate runs/nano teacher-shards/ --truth truth-shards/ --trivial train-shards/ --out evaluation

        distill evaluate student.onnx --truth nyu-shards/ --task depth --crop eigen --max-depth 10

        distill evaluate student.onnx other-model.yaml --dataset cityscapes --truth cityscapes/
    """
    settings = Settings(
        subjects=subjects,
        truth=truth,
        tasks=task or (),
        rules=choose_rules(dataset, alignment, crop, min_depth, max_depth, _read_class_map(map_classes)),
        dataset=dataset,
        trivial=trivial,
        trained_on=trained_on or (),
        flicker=flicker or (),
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
    dataset: str | None = None
    trivial: Path | None = None
    trained_on: Sequence[Path] = ()
    flicker: Sequence[Path] = ()
    limit: int | None = None
    worst: int = 8
    out: Path | None = None


def choose_rules(
    dataset: str | None,
    alignment: Alignment | None,
    crop: Crop | None,
    min_depth_m: float | None,
    max_depth_m: float | None,
    renamed: Mapping[str, str | None],
) -> Rules:
    """What was asked for, else the data set's own terms, else the defaults.

    Raises:
        UsageError: No such data set.
    """
    if dataset is None:
        usual = Rules()
    else:
        from distill.evaluation.datasets import DATASETS

        if dataset not in DATASETS:
            raise UsageError(f"--dataset {dataset}: not known", hint=f"choose {', '.join(DATASETS)}")
        preset = DATASETS[dataset]
        usual = Rules(crop=preset.crop, min_depth_m=preset.min_depth_m, max_depth_m=preset.max_depth_m)
    return Rules(
        alignment,
        usual.crop if crop is None else crop,
        usual.min_depth_m if min_depth_m is None else min_depth_m,
        usual.max_depth_m if max_depth_m is None else max_depth_m,
        renamed,
    )


def run_evaluate(settings: Settings, console: Console) -> tuple[dict[str, Any], str]:
    """(values of ``evaluate.json``, the tables as Markdown); writes the files when `settings.out` says where.

    Raises:
        DistillError: The subjects and the truth cannot be compared.
    """
    from distill.evaluation.evaluator import choose_tasks, evaluate_contestants
    from distill.evaluation.predictors import fit_trivial
    from distill.images import write_atomic
    from distill.report import to_markdown, write_report
    from distill.report.markdown import finite
    from distill.run_dir import open_rundir
    from distill.workflows.evaluate import open_contestants

    truth = _open_truth(settings)
    contestants = open_contestants(settings.subjects)
    tasks = choose_tasks(settings.tasks, contestants, truth)
    if settings.trivial is not None:
        contestants.append(fit_trivial(settings.trivial, tasks))
    if settings.out is not None:
        open_rundir(settings.out, verb="evaluate", facts=_facts(settings))
    found = evaluate_contestants(
        contestants,
        truth,
        tasks,
        settings.rules,
        console,
        limit=settings.limit,
        num_worst=settings.worst,
        twins=_open_twins(settings, console),
    )
    values, report = finite(found.values), found.report
    if settings.flicker:
        from distill.workflows.evaluate_temporal import measure_flicker

        values["flicker"], section = measure_flicker(settings.subjects, settings.flicker, console)
        report = replace(report, sections=[*report.sections, section])
    if settings.out is not None:
        write_atomic(settings.out / "evaluate.json", json.dumps(values, indent=2, ensure_ascii=False).encode())
        paths = write_report(report, settings.out, "evaluate", formats=("html", "md"))
        console.say(f"wrote {paths['html']}")
    return values, to_markdown(report)


def _open_truth(settings: Settings) -> Truth:
    from distill.evaluation.ground_truth import ShardTruth

    if settings.dataset is None:
        return ShardTruth(settings.truth)
    from distill.evaluation.datasets import open_dataset

    return open_dataset(settings.dataset, settings.truth)


def _open_twins(settings: Settings, console: Console) -> TwinFinder | None:
    """The photos of the training set, if it is known."""
    from distill.evaluation.near_duplicates import TwinFinder
    from distill.shards import Sample, read_manifest, read_samples

    folders = settings.trained_on or ([settings.trivial] if settings.trivial else [])
    if not folders:
        return None

    def samples() -> Iterator[Sample]:
        for folder in folders:
            yield from console.track(read_samples(folder), "training photos", read_manifest(folder).samples)

    return TwinFinder(samples())


def _facts(settings: Settings) -> dict[str, Any]:
    """The call, for the provenance file."""
    rules = settings.rules
    return {
        "subjects": [str(path) for path in settings.subjects],
        "truth": str(settings.truth),
        "dataset": settings.dataset,
        "trained_on": [str(path) for path in settings.trained_on],
        "flicker": [str(path) for path in settings.flicker],
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
