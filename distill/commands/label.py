"""`distill label`: label photos with a teacher, and write label shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.errors import UsageError
from distill.tasks import Task
from distill.workflows.label.hosted import parse_deadline
from distill.workflows.label.options import LabelOptions, read_classes
from distill.workflows.teachers.load import teacher_help

_BUDGET, _ANSWERS, _QUALITY, _JOB = "Stored answers and budget", "Several answers per prompt", "Quality", "The job"


def label(
    photos: Annotated[
        list[str] | None,
        typer.Argument(help="Folders, globs, images, videos or folders of shards; none for the synthetic teacher."),
    ] = None,
    teacher: Annotated[str, typer.Option(help=teacher_help())] = "",
    out: Annotated[Path, typer.Option(help="Folder for the shards.")] = Path("shards"),
    task: Annotated[list[Task] | None, typer.Option(help="Only this task; can be given several times.")] = None,
    classes: Annotated[
        str,
        typer.Option(help="Semantic classes to prompt for: road,car,sky, or a file with one name per line."),
    ] = "",
    answers: Annotated[Path | None, typer.Option(help="replay: the manifest of answers (YAML, JSON or CSV).")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key of the teacher config: key.sub=value.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_BUDGET,
            help="Folder of stored answers, looked up before each request; jobs may share it. Teachers that cost money "
            "use `answers` next to --out unless given.",
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", rich_help_panel=_BUDGET, help="Use stored answers only; costs no money.")
    ] = False,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0, rich_help_panel=_BUDGET, help="Stop before this job, earlier runs included, could cost more."
        ),
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(min=0, rich_help_panel=_BUDGET, help="Stop after this many requests of this job.")
    ] = None,
    deadline: Annotated[
        str,
        typer.Option(
            rich_help_panel=_BUDGET,
            help="Send no request later: 90m, 06:30 or 2026-12-01T06:30. Answers in flight are stored.",
        ),
    ] = "",
    trust_service: Annotated[
        bool,
        typer.Option(
            "--trust-service",
            rich_help_panel=_BUDGET,
            help="Send the API key although the config names another address or variable than the service's own.",
        ),
    ] = False,
    num_answers: Annotated[
        int,
        typer.Option(
            min=1, max=64, rich_help_panel=_ANSWERS, help="Answers per prompt, fused into one label; each is paid for."
        ),
    ] = 1,
    flip: Annotated[
        bool,
        typer.Option("--flip", rich_help_panel=_ANSWERS, help="Also prompt with the mirrored photo; fused, paid for."),
    ] = False,
    permute_legend: Annotated[
        bool,
        typer.Option(rich_help_panel=_ANSWERS, help="With --num-answers: new legend colors for each semantic answer."),
    ] = True,
    fuse: Annotated[
        bool,
        typer.Option("--fuse", rich_help_panel=_ANSWERS, help="replay: fuse several answers to one prompt."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            rich_help_panel=_QUALITY,
            help="Realign or reject generated images that do not fit their photos; reject wrong images and low scores.",
        ),
    ] = True,
    min_quality: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_QUALITY,
            help="Reject labels that score lower: 0.5, or depth=0.5; repeatable. Default: 0.05 for generated images.",
        ),
    ] = None,
    full_weight_above: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_QUALITY,
            help="Reduce the weight of labels that score lower, in proportion: 0.8, or depth=0.8; several times.",
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_QUALITY,
            help="Fit the scores to shards with ground truth, or to the verdicts.json of a review, and stop.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_QUALITY, help="Calibration file; next to the config file unless given."),
    ] = None,
    frame_stride: Annotated[
        int, typer.Option(min=1, rich_help_panel=_JOB, help="Label every n-th frame of a video.")
    ] = 1,
    dedupe: Annotated[
        bool,
        typer.Option("--dedupe", rich_help_panel=_JOB, help="Leave out photos that look like an earlier one."),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, rich_help_panel=_JOB, help="Stop after this many photos.")] = None,
    shard_size: Annotated[int, typer.Option(min=1, rich_help_panel=_JOB, help="Photos per shard.")] = 64,
    workers: Annotated[
        int, typer.Option(min=0, rich_help_panel=_JOB, help="Processes; 0: chosen by the kind of teacher.")
    ] = 0,
    job_index: Annotated[
        str, typer.Option(rich_help_panel=_JOB, help="Do only this part of the shards, such as 3/10 in a job array.")
    ] = "1/1",
    previews: Annotated[int, typer.Option(min=0, rich_help_panel=_JOB, help="Number of photos in the report.")] = 24,
    max_failures: Annotated[
        int, typer.Option(min=0, rich_help_panel=_JOB, help="Exit 0 if at most this many photos could not be used.")
    ] = 0,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", rich_help_panel=_JOB, help="Delete the shards in --out first; stored answers are kept."
        ),
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", rich_help_panel=_JOB, help="Estimate duration, size and cost, and stop.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=_JOB, help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Label photos with a teacher, and write label shards.

    A photo that cannot be read does not stop the job: it is listed, and the exit code is 1 when all others are done. A
    job can be interrupted at any time: the same command continues it.

    Examples:
        distill label photos/ --teacher tcmonodepth --out shards

        distill label photos/ --teacher nano_banana --task semantic --classes road,car,sky --max-usd 5

        distill label photos/ --teacher replay --answers answers.yaml --out shards

        distill label --teacher synthetic --set scenes=600 --set faults=moderate --out shards
    """
    console = Console(as_json=as_json)
    deadline_s = parse_deadline(deadline) if deadline else None
    options = LabelOptions(
        teacher=teacher,
        photos=photos or ([] if calibrate is None or calibrate.is_file() else [str(calibrate)]),
        out=out,
        tasks=tuple(task or ()),
        classes=read_classes(classes),
        answers=answers,
        overrides=overrides or (),
        store=store,
        offline=offline,
        frame_stride=frame_stride,
        dedupe=dedupe,
        limit=limit,
        shard_size=shard_size,
        previews=previews,
        check=check,
        min_quality=read_thresholds("--min-quality", min_quality or []),
        full_weight_above=read_thresholds("--full-weight-above", full_weight_above or []),
        calibration=calibration,
        num_answers=num_answers,
        flip=flip,
        permute_legend=permute_legend,
        fuse=fuse,
    )
    if calibrate is not None:
        from distill.workflows.label.calibrate import run_calibrate

        path = options.find_calibration(write=True) or out / "calibration.json"
        if calibrate.is_file():
            from distill.workflows.label.calibrate_verdicts import calibrate_from_verdicts

            console.result(calibrate_from_verdicts(calibrate, path, console))
        else:
            console.result(run_calibrate(options.job(calibrate=True), calibrate, path, console))
    elif plan:
        from distill.workflows.label.estimate import plan_label

        console.result(plan_label(options.job(console)))
    else:
        from distill.teachers.store.spending import Budget
        from distill.workflows.label.run import run_label

        job, budget = options.job(console), Budget(max_usd, max_requests, deadline_s)
        result = run_label(
            job,
            console,
            workers=workers,
            job_index=job_index,
            overwrite=overwrite,
            budget=budget,
            trust_service=trust_service,
        )
        console.result(result)
        failed = len(result.failed) > max_failures or (result.complete and not result.labeled)
        if failed or (result.hosted and result.hosted.stopped):
            raise typer.Exit(1)


def read_thresholds(option: str, words: Sequence[str]) -> dict[Task, float]:
    """Read thresholds by task from words such as ``0.5`` (all tasks) and ``depth=0.5``; later ones take precedence.

    Raises:
        UsageError: A word names no task, or no number from 0 to 1.
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
            raise UsageError(f"{option} {word}: a threshold is between 0 and 1")
        found |= dict.fromkeys(tasks, value)
    return found
