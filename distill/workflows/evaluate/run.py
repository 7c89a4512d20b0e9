"""Evaluation as a function: score predictors against ground truth and write the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.evaluation.protocol import Crop
from distill.evaluation.scorers import EvalProtocol
from distill.metrics import Alignment
from distill.runtime.progress import Reporter, SilentReporter
from distill.tasks import TASKS, Task
from distill.workflows.arguments import Paths, StrPath, Tasks, to_path, to_paths, to_tasks
from distill.workflows.evaluate.inputs import index_training_photos, open_predictors, open_truth, read_class_map

if TYPE_CHECKING:
    from distill.report import Report

ClassMap = Mapping[str, str | None]


@dataclass(frozen=True)
class EvaluationResult:
    """Outcome of `distill.evaluate`.

    Attributes:
        images: Number of scored images.
        predictors: Names of the predictors, in the given order.
        scores: Scores by task, predictor and metric, such as ``scores[Task.DEPTH]["student"]["abs_rel"]``.
        warnings: Circumstances that make scores hard to compare, such as images shared with the training set.
        values: All measurements, as in ``evaluate.json``: scores, intervals, differences, slices, worst images.
        report: The same as a report; `distill.report` converts it to HTML or Markdown.
        page: The HTML file; None without `out`.
    """

    images: int
    predictors: tuple[str, ...]
    scores: Mapping[Task, Mapping[str, Mapping[str, Any]]]
    warnings: tuple[str, ...]
    values: Mapping[str, Any] = field(repr=False)
    report: Report = field(repr=False)
    page: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, as in ``evaluate.json``."""
        return dict(self.values)

    def to_text(self) -> str:
        """Format for a terminal: the main score of each task, warnings and the path of the page."""
        from distill.metrics.base import HIGHER, LOWER, task_metric
        from distill.report import format_cell

        lines = [f"{self.images:,} images of {self.values['truth']}"]
        for task, scores in self.scores.items():
            headline = TASKS[task].headline
            arrow = {HIGHER: "higher is better", LOWER: "lower is better"}[task_metric(task).columns[headline][1]]
            row = ", ".join(f"{name} {format_cell(values.get(headline))}" for name, values in scores.items())
            lines.append(f"{TASKS[task].headline_title}: {row} ({arrow})")
        lines += [f"warning: {text}" for text in self.warnings[:3]]
        if len(self.warnings) > 3:
            lines.append(f"... and {len(self.warnings) - 3} more warnings")
        lines.append(f"all scores: {self.page}" if self.page else "all scores, pictures and plots: --out FOLDER")
        return "\n".join(lines)


@dataclass(frozen=True)
class EvalOptions:
    """Inputs and protocol of an evaluation; `evaluate` describes them."""

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
    allow_native: bool = False
    verify: bool = False


def evaluate(
    predictors: Paths,
    truth: StrPath,
    *,
    dataset: str | None = None,
    task: Tasks = (),
    alignment: Alignment | str | None = None,
    crop: Crop | str | None = None,
    min_depth: float | None = None,
    max_depth: float | None = None,
    map_classes: StrPath | ClassMap | None = None,
    baseline: StrPath | None = None,
    train_shards: Paths = (),
    temporal: Paths = (),
    limit: int | None = None,
    worst: int = 8,
    out: StrPath | None = None,
    allow_native: bool = False,
    verify: bool = False,
    reporter: Reporter | None = None,
) -> EvaluationResult:
    """Score predictors against the same ground truth, side by side.

    The first predictor is compared with the others: give the student first, then the labels of its teacher. Depth is
    scored where the truth is valid and not sky. Invalid pixels of a predictor do not enter its scores; their fraction
    is reported as coverage. Scores have 95 % bootstrap intervals over images, pairs of predictors a permutation test.

    Args:
        predictors: Run folders, exported files, folders of shards (labels of a teacher), or YAML configs of ONNX
            models.
        truth: Folder of shards with ground truth, or of the data set that `dataset` names.
        dataset: Official layout of `truth`: ``nyuv2``, ``kitti``, ``diode``, ``scannet``, ``cityscapes``, ``camvid``
            or ``ade20k``; also sets the crop and the depth range of its papers.
        task: Score these tasks only.
        alignment: Scale and shift alignment of depth before scoring; None: none for metric depth, otherwise as the
            depth kind requires, the same for all predictors.
        crop: Part of the image that is scored: ``eigen`` (NYU), ``garg``, ``eigen-kitti`` or ``kb`` (KITTI).
        min_depth: Ignore truth nearer than this, in meters; 0.001 unless given.
        max_depth: Ignore truth farther than this, in meters; 90 unless given.
        map_classes: Predictor class to truth class (None: ignored) where names differ, or a YAML file with these pairs.
        baseline: Training shards; adds their mean (or majority class) as a predictor.
        train_shards: Training shards to search for near-duplicates of the test images; `baseline` unless given.
        temporal: Videos, or shards of consecutive frames, on which the temporal consistency of students is measured.
        limit: Score this many images only.
        worst: Number of worst images in the report, per task.
        out: Folder for ``evaluate.json``, ``evaluate.html`` and ``evaluate.md``; not written unless given.
        allow_native: Open model files with machine code (``.pt2``, ``.engine``), which runs with all of your rights.
        verify: Compare every shard of truth and predictors with its checksum before it is used.
        reporter: Receives messages and progress; silent unless given.

    Raises:
        UsageError: A path is not a predictor, or predictors and truth share no task, class or image.
        DistillError: No image could be scored.

    Example:
        >>> result = distill.evaluate(["runs/nano", "teacher-shards"], "truth-shards")
        >>> result.scores["depth"]["nano"]["abs_rel"]
    """
    class_map = read_class_map(map_classes)
    return run_evaluate(
        EvalOptions(
            predictors=to_paths(predictors),
            truth=to_path(truth),
            tasks=to_tasks(task),
            protocol=choose_protocol(dataset, _alignment(alignment), _crop(crop), min_depth, max_depth, class_map),
            dataset=dataset,
            baseline=to_path(baseline),
            train_shards=to_paths(train_shards),
            temporal=to_paths(temporal),
            limit=limit,
            worst=worst,
            out=to_path(out),
            allow_native=allow_native,
            verify=verify,
        ),
        reporter,
    )


def choose_protocol(
    dataset: str | None,
    alignment: Alignment | None,
    crop: Crop | None,
    min_depth_m: float | None,
    max_depth_m: float | None,
    class_map: ClassMap,
) -> EvalProtocol:
    """Protocol of the given values, then of the data set, then the defaults.

    Raises:
        UsageError: There is no such data set.
    """
    if dataset is None:
        usual = EvalProtocol()
    else:
        from distill.evaluation.datasets import DATASETS

        if dataset not in DATASETS:
            raise UsageError(f"--dataset {dataset} is unknown", hint=f"choose {', '.join(DATASETS)}")
        preset = DATASETS[dataset]
        usual = EvalProtocol(crop=preset.crop, min_depth_m=preset.min_depth_m, max_depth_m=preset.max_depth_m)
    return EvalProtocol(
        alignment,
        usual.crop if crop is None else crop,
        usual.min_depth_m if min_depth_m is None else min_depth_m,
        usual.max_depth_m if max_depth_m is None else max_depth_m,
        class_map,
    )


def run_evaluate(options: EvalOptions, reporter: Reporter | None = None) -> EvaluationResult:
    """Evaluate; writes the report where `options.out` is set.

    Raises:
        DistillError: The predictors and the truth cannot be compared.
    """
    from distill.evaluation.evaluator import choose_tasks, evaluate_predictors
    from distill.evaluation.predictors import fit_baseline
    from distill.evaluation.worst_cases import write_worst_pictures
    from distill.files import write_atomic
    from distill.report import write_report
    from distill.report.markdown import to_json_values
    from distill.run_dir import open_run_dir
    from distill.shards import MANIFEST, check_digests

    reporter = reporter or SilentReporter()
    for folder in (*options.predictors, options.truth) if options.verify else ():
        if (folder / MANIFEST).is_file():
            check_digests(folder)
    truth = open_truth(options.dataset, options.truth)
    predictors = open_predictors(options.predictors, allow_native=options.allow_native)
    tasks = choose_tasks(options.tasks, predictors, truth)
    if options.baseline is not None:
        predictors.append(fit_baseline(options.baseline, tasks))
    if options.out is not None:
        open_run_dir(options.out, verb="evaluate", facts=_provenance(options))
    found = evaluate_predictors(
        predictors,
        truth,
        tasks,
        options.protocol,
        reporter,
        limit=options.limit,
        num_worst=options.worst,
        training_index=index_training_photos(
            options.train_shards or ([options.baseline] if options.baseline else []), reporter
        ),
    )
    values, report = to_json_values(found.values), found.report
    if options.temporal:
        from distill.workflows.evaluate.temporal import evaluate_temporal

        values["temporal"], section = evaluate_temporal(
            options.predictors, options.temporal, reporter, allow_native=options.allow_native
        )
        report = replace(report, sections=[*report.sections, section])
    page = None
    if options.out is not None:
        write_worst_pictures(options.out, values, found.galleries)
        write_atomic(options.out / "evaluate.json", json.dumps(values, indent=2, ensure_ascii=False).encode())
        paths = write_report(report, options.out, "evaluate", formats=("html", "md"))
        page = paths["html"]
    return EvaluationResult(
        images=values["images"],
        predictors=tuple(values["predictors"]),
        scores={Task(name): task["scores"] for name, task in values["tasks"].items()},
        warnings=tuple(values["warnings"]),
        values=values,
        report=report,
        page=page,
    )


def _alignment(name: Alignment | str | None) -> Alignment | None:
    try:
        return None if name is None else Alignment(name)
    except ValueError:
        raise UsageError(f"alignment {name!r} is unknown", hint=f"choose from {', '.join(Alignment)}") from None


def _crop(name: Crop | str | None) -> Crop | None:
    try:
        return None if name is None else Crop(name)
    except ValueError:
        raise UsageError(f"crop {name!r} is unknown", hint=f"choose from {', '.join(Crop)}") from None


def _provenance(options: EvalOptions) -> dict[str, Any]:
    """The arguments, for the provenance file."""
    protocol = asdict(options.protocol)
    del protocol["class_map"]
    return {
        "predictors": [str(path) for path in options.predictors],
        "truth": str(options.truth),
        "dataset": options.dataset,
        "train_shards": [str(path) for path in options.train_shards],
        "temporal": [str(path) for path in options.temporal],
        "tasks": [str(task) for task in options.tasks],
        **protocol,
        "class_map": dict(options.protocol.class_map),
        "baseline": options.baseline,
        "limit": options.limit,
    }
