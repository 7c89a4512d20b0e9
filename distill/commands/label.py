"""`distill label`: ask a teacher about photos, write label shards."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.asking import FREELY, Spending, asked_slices, keeps_answers, parse_deadline
from distill.commands.console import Console
from distill.commands.teachers import load_teacher, teacher_help
from distill.commands.workers import num_workers, run_slices
from distill.errors import UsageError
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.teachers.accounts import Page
    from distill.teachers.labelling import Job

# Panels of --help.
_SPENDING = "What may be spent"
_ASKING = "Several answers to one question"
_TRUST = "Which labels are trusted"
_JOB = "The job"
_SHOWN = 20
"""Failures named on the screen; label.json and the report name all."""


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
        list[str] | None, typer.Option("--set", help="Override a key of the teacher recipe: key.sub=value.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_SPENDING,
            help="Folder where painted answers are kept and looked for first; jobs may share it. Teachers that cost "
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
    every: Annotated[int, typer.Option(min=1, rich_help_panel=_JOB, help="Of a video, label every n-th frame.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, rich_help_panel=_JOB, help="Stop after this many photos.")] = None,
    shard_size: Annotated[int, typer.Option(min=1, rich_help_panel=_JOB, help="Photos per shard.")] = 64,
    workers: Annotated[int, typer.Option(min=0, rich_help_panel=_JOB, help="Processes; 0: as many as help.")] = 0,
    part: Annotated[
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
    full_quality: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_TRUST,
            help="Let labels that score lower weigh less, in proportion: 0.8, or depth=0.8; several times.",
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            min=1, max=64, rich_help_panel=_ASKING, help="Answers per question, fused into one label; each is paid for."
        ),
    ] = 1,
    flip: Annotated[
        bool,
        typer.Option("--flip", rich_help_panel=_ASKING, help="Ask about the mirrored photo, too; fused, and paid for."),
    ] = False,
    permute: Annotated[
        bool,
        typer.Option(
            rich_help_panel=_ASKING, help="With --samples: deal a semantic legend's colours anew for each sample."
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
            help="Where the calibration lies or goes; otherwise beside the recipe file, where it is found.",
        ),
    ] = None,
    tolerate: Annotated[
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
    recipe, folder = load_teacher(teacher, answers, settings or [])
    from distill.commands.checking import read_checks, wanted_calibration
    from distill.teachers.asking import Asking
    from distill.teachers.labelling import Job

    where = wanted_calibration(calibration, teacher, learn=calibrate is not None)
    job = Job(
        out=out,
        recipe=recipe,
        folder=folder,
        inputs=tuple(photos or ([] if calibrate is None else [str(calibrate)])),
        tasks=tuple(task or ()),
        every=every,
        limit=limit,
        shard_size=shard_size,
        previews=previews,
        checks=read_checks(
            check=check or calibrate is not None,
            min_quality=min_quality or [],
            full_quality=full_quality or [],
            calibration=None if calibrate is not None else where,
            learn=calibrate is not None,
        ),
        asking=Asking(samples=samples, flip=flip, permute=permute, fuse=fuse),
        store=store or (out.parent / "answers" if keeps_answers(recipe) else None),
        offline=offline,
    )
    if calibrate is not None:
        from distill.commands.calibrating import run_calibrate

        values, text = run_calibrate(job, calibrate, where or out / "calibration.json", console)
        console.result(values, text)
        return
    if plan:
        from distill.commands.planning import show_plan

        show_plan(job, console)
        return
    spending = Spending(max_usd, max_requests, parse_deadline(deadline) if deadline else None)
    result = run_label(job, console, workers=workers, part=part, overwrite=overwrite, spending=spending)
    console.result(result, _summary(result))
    failed = len(result["failed"]) > tolerate or (result["complete"] and not result["labelled"])
    if failed or result.get("stopped"):
        raise typer.Exit(1)


def run_label(
    job: Job,
    console: Console,
    *,
    workers: int = 0,
    part: str = "1/1",
    overwrite: bool = False,
    spending: Spending = FREELY,
) -> dict[str, Any]:
    """Label every slice that is not done yet; gives the result as `--json` prints it.

    Raises:
        DistillError: Nothing can be written, or the teacher cannot be opened.
    """
    from distill.images import write_atomic
    from distill.recipe import dump_recipe
    from distill.rundir import open_rundir
    from distill.teachers.labelling import publish

    started = time.monotonic()
    if any(Path(word).is_dir() and Path(word).resolve() == job.out.resolve() for word in job.inputs):
        raise UsageError(f"{job.out}: is both an input and --out", hint="choose another --out")
    mine = _part(part, job.num_slices)
    job.teacher  # noqa: B018 - a teacher that cannot be built stops the job before anything is written
    if overwrite:
        _clear(job.out)
    # Refused before anything is written: the folder may hold another job.
    todo = [index for index in mine if job.read_page(index) is None]
    open_rundir(job.out, recipe_yaml=dump_recipe(job.recipe), verb="label")
    resumed = len(mine) - len(todo)
    if resumed:
        console.say(f"resuming: {resumed} of {len(mine)} shards are done")
    if job.source.ignored:
        console.say(f"passing over {len(job.source.ignored)} files that are no pictures")
    with console.progress("label", sum(stop - start for start, stop in map(job.bounds, todo))) as progress:
        with asked_slices(job, todo, spending, console) as slices:
            for count in run_slices(job, slices, num_workers(job, workers, len(todo))):
                progress.advance(count, slices.note)
        asked = slices.result
    published = publish(job)
    pages = published[1] if published else [page for page in map(job.read_page, range(job.num_slices)) if page]
    result = _result(job, pages, complete=published is not None, seconds=time.monotonic() - started)
    result |= asked
    write_atomic(job.out / "label.json", json.dumps(result, indent=2, default=str).encode())
    if published is not None:
        from distill.commands.label_report import write_label_report

        result["report"] = str(write_label_report(job, pages, result))
    return result


def _part(part: str, num_slices: int) -> list[int]:
    """The slices of ``k/n``: every n-th, from the k-th on."""
    number, _, count = part.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--part {part}: give it as k/n with 1 <= k <= n, such as 3/10")
    return list(range(int(number) - 1, num_slices, int(count)))


def _clear(out: Path) -> None:
    """Remove what an earlier job left, and nothing else."""
    from distill.shards import MANIFEST
    from distill.teachers.labelling import PARTS
    from distill.teachers.previews import PREVIEWS

    for path in (*out.glob("shard-*.tar"), *out.glob(".shard-*.part"), out / MANIFEST, out / "label.json"):
        path.unlink(missing_ok=True)
    for folder in (PARTS, PREVIEWS):
        shutil.rmtree(out / folder, ignore_errors=True)


def _result(job: Job, pages: list[Page], *, complete: bool, seconds: float) -> dict[str, Any]:
    from distill.teachers.accounts import worst_first

    tasks = [str(task) for task in job.teacher.tasks]
    counts = {task: sum(page.counts.get(task, 0) for page in pages) for task in tasks}
    answered = {task: sum(page.answered.get(task, 0) for page in pages) for task in tasks}
    unanswered = [failure for page in pages for failure in page.unanswered]
    return {
        "out": str(job.out),
        "complete": complete,
        "photos": sum(page.photos for page in pages),
        "labelled": sum(page.labelled for page in pages),
        "answers": sum(answered.values()) + sum(row["kind"] == "rejected" for row in unanswered),
        "labels": counts,
        "quality": {
            task: round(sum(page.quality.get(task, 0.0) for page in pages) / answered[task], 4)
            for task in tasks
            if answered[task]
        },
        "instances": [row for page in pages for row in page.instances],
        "failed": [failure for page in pages for failure in page.failures],
        "unanswered": unanswered,
        "notes": [note for page in pages for note in page.notes],
        "mended": sum(page.mended for page in pages),
        "doubtful": worst_first(row for page in pages for row in page.doubtful),
        "ignored": list(job.source.ignored),
        "shards": sum(page.shard is not None for page in pages),
        "cost_usd": round(sum(page.cost_usd for page in pages), 4),
        "spared": {
            name: sum(page.spared.get(name, 0) for page in pages)
            for name in dict.fromkeys(name for page in pages for name in page.spared)
        },
        "spared_usd": round(sum(page.spared_usd for page in pages), 4),
        "seconds": round(seconds, 2),
    }


def _summary(result: dict[str, Any]) -> str:
    """The result for a person."""
    per_task = ", ".join(f"{count} {task}" for task, count in result["labels"].items())
    lines = [
        f"{result['labelled']} of {result['photos']} photos labelled with {result['answers']} answers in "
        f"{result['seconds']:.1f} s for {result['cost_usd']:.2f} USD; maps: {per_task}; {result['shards']} shards in "
        f"{result['out']}"
    ]
    if result["mended"]:
        lines.append(f"{result['mended']} answers had drifted against their photos and were put back")
    if result.get("stopped"):
        lines += [f"stopped: {result['stopped']}", f"  {result['hint'] or 'run the same command again to go on'}"]
    elif not result["complete"]:
        lines.append("other parts are still to do; the last one writes dataset.json")
    if result["spared"]:
        spared = ", ".join(f"{count} answers of {name}" for name, count in result["spared"].items())
        lines.append(f"the cascade did without {spared}, which would have cost {result['spared_usd']:.2f} USD")
    failures = (
        ("photos could not be used", "failed"),
        ("questions gave no label", "unanswered"),
        ("labels were read in another way than asked", "notes"),
    )
    for title, rows in ((title, result[name]) for title, name in failures):
        if rows:
            lines.append(f"{len(rows)} {title}:")
            for row in rows[:_SHOWN]:
                what = f" ({row['task']})" if "task" in row else ""
                lines.append(f"  {row['name']}{what}: {row['reason']}")
            if len(rows) > _SHOWN:
                lines.append(f"  ... and {len(rows) - _SHOWN} more in {result['out']}/label.json")
    if "report" in result:
        lines.append(f"look at it: {result['report']}")
    return "\n".join(lines)
