"""`distill label`: ask a teacher about photos, write label shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.commands.teacher_option import load_teacher, teacher_help
from distill.console import Console
from distill.errors import UsageError
from distill.tasks import Task
from distill.workflows.label.hosted import RunBudget, parse_deadline, stores_answers
from distill.workflows.label.run import format_result, run_label

if TYPE_CHECKING:
    from distill.teachers.quality.filter import QualityFilter

# Panels of --help.
_SPENDING = "What may be spent"
_ASKING = "Several answers to one question"
_TRUST = "Which labels are trusted"
_JOB = "The job"


def label(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, globs, picture files, videos or folders of shards; none for the synthetic teacher."
        ),
    ] = None,
    teacher: Annotated[str, typer.Option(help=teacher_help())] = "",
    out: Annotated[Path, typer.Option(help="Folder for the shards.")] = Path("shards"),
    task: Annotated[list[Task] | None, typer.Option(help="Only this task; can be given several times.")] = None,
    answers: Annotated[Path | None, typer.Option(help="replay: the manifest of answers (YAML, JSON or CSV).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key of the teacher config: key.sub=value.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_SPENDING,
            help="Folder where generated images are kept and looked for first; jobs may share it. Teachers that cost "
            "money use `answers` beside --out unless told otherwise.",
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", rich_help_panel=_SPENDING, help="Ask nothing: read stored answers again, for free."),
    ] = False,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0, rich_help_panel=_SPENDING, help="Stop before this job, earlier runs of it included, could cost more."
        ),
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(min=0, rich_help_panel=_SPENDING, help="Stop after this many calls of this job.")
    ] = None,
    deadline: Annotated[
        str,
        typer.Option(
            rich_help_panel=_SPENDING,
            help="Begin no call later: 90m, 06:30 or 2026-12-01T06:30. Answers in flight are kept.",
        ),
    ] = "",
    frame_stride: Annotated[
        int, typer.Option(min=1, rich_help_panel=_JOB, help="Of a video, label every n-th frame.")
    ] = 1,
    limit: Annotated[int | None, typer.Option(min=1, rich_help_panel=_JOB, help="Stop after this many photos.")] = None,
    shard_size: Annotated[int, typer.Option(min=1, rich_help_panel=_JOB, help="Photos per shard.")] = 64,
    workers: Annotated[int, typer.Option(min=0, rich_help_panel=_JOB, help="Processes; 0: as many as help.")] = 0,
    job_index: Annotated[
        str, typer.Option(rich_help_panel=_JOB, help="Do only this part of the slices, such as 3/10 in a job array.")
    ] = "1/1",
    previews: Annotated[int, typer.Option(min=0, rich_help_panel=_JOB, help="How many photos the report shows.")] = 24,
    check: Annotated[
        bool,
        typer.Option(
            rich_help_panel=_TRUST, help="Hold labels against their photos: mend or reject drift, score every label."
        ),
    ] = True,
    min_quality: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_TRUST,
            help="Reject labels that score lower: 0.5 for all tasks, or depth=0.5; several times.",
        ),
    ] = None,
    full_weight_above: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_TRUST,
            help="Let labels that score lower weigh less, in proportion: 0.8, or depth=0.8; several times.",
        ),
    ] = None,
    num_answers: Annotated[
        int,
        typer.Option(
            min=1, max=64, rich_help_panel=_ASKING, help="Answers per question, fused into one label; each is paid for."
        ),
    ] = 1,
    flip: Annotated[
        bool,
        typer.Option("--flip", rich_help_panel=_ASKING, help="Ask about the mirrored photo, too; fused, and paid for."),
    ] = False,
    permute_legend: Annotated[
        bool,
        typer.Option(
            rich_help_panel=_ASKING, help="With --num-answers: deal a semantic legend's colors anew for each sample."
        ),
    ] = True,
    fuse: Annotated[
        bool,
        typer.Option(
            "--fuse", rich_help_panel=_ASKING, help="replay: several answers to one question become one label."
        ),
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_TRUST,
            help="Learn what quality scores are worth from these shards with truth; no labels are written.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_TRUST,
            help="Where the calibration lies or goes; otherwise beside the config file, where it is found.",
        ),
    ] = None,
    max_failures: Annotated[
        int, typer.Option(min=0, rich_help_panel=_JOB, help="Exit 0 although up to this many photos could not be used.")
    ] = 0,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            rich_help_panel=_JOB,
            help="Throw away the shards in --out and start again; stored answers are kept.",
        ),
    ] = False,
    plan: Annotated[
        bool,
        typer.Option("--plan", rich_help_panel=_JOB, help="Say what would be done and what it would cost, and stop."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=_JOB, help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Ask a teacher about photos and write label shards.

    A photo that cannot be read never stops the run: it is listed, and the exit code is 1 when all others are done. Kill
    it whenever you like: the same command goes on where it was.

    Examples:
        distill label photos/ --teacher replay --answers answers.yaml --out shards

        distill label photos/ --teacher configs/teachers/espnetv2_camvid.yaml --out shards

        distill label --teacher synthetic --set scenes=600 --set faults=moderate --out shards
    """
    console = Console(as_json=as_json)
    config, folder = load_teacher(teacher, answers, settings or [])
    from distill.commands.label import find_calibration, read_quality_filter
    from distill.teachers.labeling.job import Job
    from distill.teachers.prompts.variants import PromptEnsemble

    where = find_calibration(calibration, teacher, learn=calibrate is not None)
    job = Job(
        out=out,
        config=config,
        folder=folder,
        inputs=tuple(photos or ([] if calibrate is None else [str(calibrate)])),
        tasks=tuple(task or ()),
        frame_stride=frame_stride,
        limit=limit,
        shard_size=shard_size,
        previews=previews,
        quality_filter=read_quality_filter(
            check=check or calibrate is not None,
            min_quality=min_quality or [],
            full_weight_above=full_weight_above or [],
            calibration=None if calibrate is not None else where,
            learn=calibrate is not None,
        ),
        prompt_ensemble=PromptEnsemble(num_answers=num_answers, flip=flip, permute_legend=permute_legend, fuse=fuse),
        store=store or (out.parent / "answers" if stores_answers(config) else None),
        offline=offline,
    )
    budget = RunBudget(max_usd, max_requests, parse_deadline(deadline) if deadline else None)
    if calibrate is not None:
        from distill.workflows.label.calibrate import run_calibrate

        values, text = run_calibrate(job, calibrate, where or out / "calibration.json", console)
        console.result(values, text)
        return
    if plan:
        from distill.workflows.label.plan import show_plan

        show_plan(job, console)
        return
    result = run_label(job, console, workers=workers, job_index=job_index, overwrite=overwrite, budget=budget)
    console.result(result, format_result(result))
    failed = len(result["failed"]) > max_failures or (result["complete"] and not result["labeled"])
    if failed or result.get("stopped"):
        raise typer.Exit(1)


def read_quality_filter(
    *,
    check: bool,
    min_quality: Sequence[str],
    full_weight_above: Sequence[str],
    calibration: Path | None,
    learn: bool = False,
) -> QualityFilter | None:
    """The checks that were asked for; None when there are none.

    Specialists' labels are scored where someone makes something of the scores: a threshold, a calibration, or (`learn`)
    the making of one.

    Raises:
        UsageError: A threshold that is none, an unreadable calibration.
    """
    from distill.teachers.quality.calibration import read_calibration
    from distill.teachers.quality.filter import QualityFilter

    min_quality_of = parse_thresholds("--min-quality", min_quality)
    full_weight_of = parse_thresholds("--full-weight-above", full_weight_above)
    if not (check or min_quality_of or full_weight_of):
        return None
    known = read_calibration(calibration).tasks if calibration is not None else {}
    scored = bool(min_quality_of or full_weight_of or known or learn)
    return QualityFilter(
        min_quality=min_quality_of, full_weight_above=full_weight_of, calibrations=known, specialists=scored
    )


def parse_thresholds(option: str, words: Sequence[str]) -> dict[Task, float]:
    """Task to threshold, from words such as ``0.5`` (all tasks) and ``depth=0.5``; later ones win.

    Raises:
        UsageError: No task, or no number from 0 to 1.
    """
    found: dict[Task, float] = {}
    for word in words:
        name, equals, number = word.rpartition("=")
        try:
            value = float(number)
            tasks = [Task(name.strip())] if equals else list(Task)
        except ValueError as error:
            raise UsageError(
                f"{option} {word}: not a threshold", hint=f"give 0.5, or TASK=0.5 with one of {', '.join(Task)}"
            ) from error
        if not 0 <= value <= 1:
            raise UsageError(f"{option} {word}: a threshold lies between 0 and 1")
        found |= dict.fromkeys(tasks, value)
    return found


def find_calibration(given: Path | None, teacher: str, *, learn: bool) -> Path | None:
    """The file with (or for) a teacher's calibration: as given, or beside the config file; None: there is none."""
    from distill.teachers.quality.calibration import calibration_path

    if given is not None:
        return given
    config = Path(teacher)
    if config.suffix not in (".yaml", ".yml"):
        return None
    beside = calibration_path(config)
    return beside if learn or beside.is_file() else None
