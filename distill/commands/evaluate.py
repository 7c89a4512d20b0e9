"""``distill evaluate``: predictors against truth."""

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
from distill.evaluation.scorers import EvalProtocol
from distill.metrics import Alignment
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.evaluation.ground_truth import GroundTruth
    from distill.evaluation.near_duplicates import NearDuplicateIndex

DATASET_NAMES = ("nyuv2", "kitti", "diode", "scannet", "cityscapes", "camvid", "ade20k")
"""Those of `distill.evaluation.datasets`, which a test compares: --help must not read them in."""


def evaluate(
    predictors: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, exported files, folders of shards (a teacher's labels), or configs of other models."
        ),
    ],
    truth: Annotated[Path, typer.Option(help="Folder of shards that hold the truth, or of the data set.")],
    dataset: Annotated[
        str | None, typer.Option(help=f"Read --truth in the official layout of {', '.join(DATASET_NAMES)}.")
    ] = None,
    task: Annotated[list[Task] | None, typer.Option(help="Only this task; can be given several times.")] = None,
    alignment: Annotated[
        Alignment | None,
        typer.Option(help="Of depth. Default: none for meters, else what the depth kind needs, for all predictors."),
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
        Path | None, typer.Option(help="YAML of 'predictor class: truth class' pairs, for names that differ.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Training shards; adds the mean baseline.")] = None,
    train_shards: Annotated[
        list[Path] | None,
        typer.Option(help="Training shards whose photos must not be in the truth. Default: those of --baseline."),
    ] = None,
    temporal: Annotated[
        list[Path] | None,
        typer.Option(help="A video, or shards of consecutive frames, over which students' flicker is measured."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many photos.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst images the page shows, per task.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluate.html, evaluate.md and evaluate.json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Scores of every predictor over the same truth, side by side.

    The first predictor is compared with the others: give the student first, then its teacher's labels. Depth counts where
    the truth is valid and no sky. A predictor's invalid pixels are left out of its scores, and their share is reported.
    Scores carry 95 % intervals over photos; pairs of predictors, the chance that they only differ by luck. --dataset
    brings the crop and the depth range of the data set's papers.

    Examples:
        distill evaluate runs/nano teacher-shards/ --truth truth-shards/ --baseline train-shards/ --out evaluation

        distill evaluate student.onnx --truth nyu-shards/ --task depth --crop eigen --max-depth 10

        distill evaluate student.onnx other-model.yaml --dataset cityscapes --truth cityscapes/
    """
    settings = EvalOptions(
        predictors=predictors,
        truth=truth,
        tasks=task or (),
        protocol=choose_protocol(dataset, alignment, crop, min_depth, max_depth, _read_class_map(map_classes)),
        dataset=dataset,
        baseline=baseline,
        train_shards=train_shards or (),
        temporal=temporal or (),
        limit=limit,
        worst=worst,
        out=out,
    )
    console = Console(as_json=as_json)
    values, text = run_evaluate(settings, console)
    console.result(values, text)


@dataclass(frozen=True)
class EvalOptions:
    """What to evaluate, and how."""

    predictors: Sequence[Path]
    truth: Path
    tasks: Sequence[Task] = ()
    protocol: EvalProtocol = field(default_factory=EvalProtocol)
    dataset: str | None = None
    baseline: Path | None = None
    train_shards: Sequence[Path] = ()
    temporal: Sequence[Path] = ()
    limit: int | None = None
    worst: int = 8
    out: Path | None = None


def choose_protocol(
    dataset: str | None,
    alignment: Alignment | None,
    crop: Crop | None,
    min_depth_m: float | None,
    max_depth_m: float | None,
    class_map: Mapping[str, str | None],
) -> EvalProtocol:
    """What was asked for, else the data set's own terms, else the defaults.

    Raises:
        UsageError: No such data set.
    """
    if dataset is None:
        usual = EvalProtocol()
    else:
        from distill.evaluation.datasets import DATASETS

        if dataset not in DATASETS:
            raise UsageError(f"--dataset {dataset}: not known", hint=f"choose {', '.join(DATASETS)}")
        preset = DATASETS[dataset]
        usual = EvalProtocol(crop=preset.crop, min_depth_m=preset.min_depth_m, max_depth_m=preset.max_depth_m)
    return EvalProtocol(
        alignment,
        usual.crop if crop is None else crop,
        usual.min_depth_m if min_depth_m is None else min_depth_m,
        usual.max_depth_m if max_depth_m is None else max_depth_m,
        class_map,
    )


def run_evaluate(settings: EvalOptions, console: Console) -> tuple[dict[str, Any], str]:
    """(values of ``evaluate.json``, the tables as Markdown); writes the files when `settings.out` says where.

    Raises:
        DistillError: The predictors and the truth cannot be compared.
    """
    from distill.evaluation.evaluator import choose_tasks, evaluate_predictors
    from distill.evaluation.predictors import fit_baseline
    from distill.images import write_atomic
    from distill.report import to_markdown, write_report
    from distill.report.markdown import to_json_values
    from distill.run_dir import open_run_dir
    from distill.workflows.evaluate import open_predictors

    truth = _open_truth(settings)
    predictors = open_predictors(settings.predictors)
    tasks = choose_tasks(settings.tasks, predictors, truth)
    if settings.baseline is not None:
        predictors.append(fit_baseline(settings.baseline, tasks))
    if settings.out is not None:
        open_run_dir(settings.out, verb="evaluate", facts=_provenance(settings))
    found = evaluate_predictors(
        predictors,
        truth,
        tasks,
        settings.protocol,
        console,
        limit=settings.limit,
        num_worst=settings.worst,
        training_index=_index_training_photos(settings, console),
    )
    values, report = to_json_values(found.values), found.report
    if settings.temporal:
        from distill.workflows.evaluate_temporal import evaluate_temporal

        values["temporal"], section = evaluate_temporal(settings.predictors, settings.temporal, console)
        report = replace(report, sections=[*report.sections, section])
    if settings.out is not None:
        write_atomic(settings.out / "evaluate.json", json.dumps(values, indent=2, ensure_ascii=False).encode())
        paths = write_report(report, settings.out, "evaluate", formats=("html", "md"))
        console.info(f"wrote {paths['html']}")
    return values, to_markdown(report)


def _open_truth(settings: EvalOptions) -> GroundTruth:
    from distill.evaluation.ground_truth import ShardGroundTruth

    if settings.dataset is None:
        return ShardGroundTruth(settings.truth)
    from distill.evaluation.datasets import open_dataset

    return open_dataset(settings.dataset, settings.truth)


def _index_training_photos(settings: EvalOptions, console: Console) -> NearDuplicateIndex | None:
    """The photos of the training set, if it is known."""
    from distill.evaluation.near_duplicates import NearDuplicateIndex
    from distill.shards import Sample, read_manifest, read_samples

    folders = settings.train_shards or ([settings.baseline] if settings.baseline else [])
    if not folders:
        return None

    def samples() -> Iterator[Sample]:
        for folder in folders:
            yield from console.track(read_samples(folder), "training photos", read_manifest(folder).samples)

    return NearDuplicateIndex(samples())


def _provenance(settings: EvalOptions) -> dict[str, Any]:
    """The call, for the provenance file."""
    protocol = settings.protocol
    return {
        "predictors": [str(path) for path in settings.predictors],
        "truth": str(settings.truth),
        "dataset": settings.dataset,
        "train_shards": [str(path) for path in settings.train_shards],
        "temporal": [str(path) for path in settings.temporal],
        "tasks": [str(task) for task in settings.tasks],
        "alignment": protocol.alignment,
        "crop": protocol.crop,
        "min_depth_m": protocol.min_depth_m,
        "max_depth_m": protocol.max_depth_m,
        "class_map": dict(protocol.class_map),
        "baseline": settings.baseline,
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
            f"{path}: cannot be read as YAML", hint="write one 'predictor class: truth class' a line"
        ) from error
    if not isinstance(pairs, dict) or not all(
        isinstance(old, str) and (new is None or isinstance(new, str)) for old, new in pairs.items()
    ):
        raise UsageError(
            f"{path}: not a mapping of names to names", hint="write one 'predictor class: truth class' a line"
        )
    return pairs
