"""Options of a labeling job, and the job that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.runtime.progress import Reporter, SilentReporter
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.config.teacher_base import TeacherConfig
    from distill.teachers.labeling.job import Job
    from distill.teachers.quality.filter import QualityFilter

Thresholds = Mapping[Task, float]


@dataclass(frozen=True)
class LabelOptions:
    """Options that describe a labeling job; `distill.label` describes them."""

    teacher: str | Path | Mapping[str, Any] | TeacherConfig
    photos: Sequence[str] = ()
    out: Path = Path("shards")
    tasks: tuple[Task, ...] = ()
    classes: tuple[str, ...] = ()
    answers: Path | None = None
    overrides: Sequence[str] = ()
    store: Path | None = None
    offline: bool = False
    frame_stride: int = 1
    dedupe: bool = False
    limit: int | None = None
    shard_size: int = 64
    previews: int = 24
    check: bool = True
    min_quality: Thresholds = field(default_factory=dict)
    full_weight_above: Thresholds = field(default_factory=dict)
    calibration: Path | None = None
    num_answers: int = 1
    flip: bool = False
    permute_legend: bool = True
    fuse: bool = False

    def job(self, reporter: Reporter | None = None, *, calibrate: bool = False) -> Job:
        """Build the job; `calibrate` scores all labels, and uses no earlier calibration.

        Near-duplicates are looked for here if the options say so; the reporter shows the progress.

        Raises:
            UsageError: The teacher is unknown, its config is wrong, or the calibration cannot be read.
        """
        from distill.teachers.labeling.job import Job
        from distill.teachers.prompts.prompt_ensemble import PromptEnsemble
        from distill.workflows.label.hosted import stores_answers
        from distill.workflows.teachers.load import load_teacher

        config, folder = load_teacher(
            self.teacher, answers=self.answers, overrides=self.overrides, classes=self.classes
        )
        job = Job(
            out=self.out,
            config=config,
            folder=folder,
            inputs=tuple(self.photos),
            tasks=self.tasks,
            frame_stride=self.frame_stride,
            limit=self.limit,
            shard_size=self.shard_size,
            previews=self.previews,
            quality_filter=read_quality_filter(
                check=self.check or calibrate,
                min_quality=self.min_quality,
                full_weight_above=self.full_weight_above,
                calibration=None if calibrate else self.find_calibration(),
                learn=calibrate,
            ),
            prompt_ensemble=PromptEnsemble(
                num_answers=self.num_answers, flip=self.flip, permute_legend=self.permute_legend, fuse=self.fuse
            ),
            store=self.store or (self.out.parent / "answers" if stores_answers(config) else None),
            offline=self.offline,
        )
        return _leave_out_copies(job, reporter or SilentReporter()) if self.dedupe else job

    def find_calibration(self, *, write: bool = False) -> Path | None:
        """Calibration file of the teacher: the given one, or next to its config file; None: there is none.

        Args:
            write: Return the path next to the config file also where there is no file yet.
        """
        from distill.teachers.quality.calibration import calibration_path

        if self.calibration is not None:
            return self.calibration
        if not isinstance(self.teacher, str | Path) or Path(self.teacher).suffix not in (".yaml", ".yml"):
            return None
        path = calibration_path(Path(self.teacher))
        return path if write or path.is_file() else None


def _leave_out_copies(job: Job, reporter: Reporter) -> Job:
    """The job without near-duplicates, which the reporter counts and names."""
    from distill.teachers.labeling.near_copies import without_copies

    with reporter.progress("compare photos", len(job.source)) as progress:
        job, copies = without_copies(job, progress.advance)
    if copies:
        shown = ", ".join(f"{name} (like {kept})" for name, kept in list(copies.items())[:3])
        more = f" and {len(copies) - 3} more" if len(copies) > 3 else ""
        reporter.info(f"leaving out {len(copies)} near-duplicates: {shown}{more}")
    return job


def read_quality_filter(
    *,
    check: bool,
    min_quality: Thresholds,
    full_weight_above: Thresholds,
    calibration: Path | None,
    learn: bool = False,
) -> QualityFilter:
    """Build the quality filter: labels are always scored, and without `check` none is rejected or realigned.

    With `learn`, for a calibration, labels with low scores are kept.

    Raises:
        UsageError: The calibration cannot be read.
    """
    from distill.teachers.quality.calibration import read_calibration
    from distill.teachers.quality.filter import QualityFilter

    known = read_calibration(calibration).tasks if calibration is not None else {}
    return QualityFilter(
        register=check or bool(min_quality or full_weight_above),
        min_quality=dict.fromkeys(Task, 0.0) if learn else dict(min_quality),
        full_weight_above=dict(full_weight_above),
        calibrations=known,
    )


def to_thresholds(option: str, values: float | Mapping[Task | str, float] | None) -> Thresholds:
    """Convert one threshold for all tasks, or thresholds by task.

    Raises:
        UsageError: A task is unknown, or a threshold is not between 0 and 1.
    """
    if values is None:
        return {}
    by_name = values if isinstance(values, Mapping) else dict.fromkeys(Task, values)
    unknown = [name for name in by_name if str(name) not in list(Task)]
    if unknown:
        raise UsageError(f"{option}: {unknown[0]} is not a task", hint=f"choose from {', '.join(Task)}")
    for value in by_name.values():
        if not 0 <= value <= 1:
            raise UsageError(f"{option} {value:g}: a threshold is between 0 and 1")
    return {Task(name): float(value) for name, value in by_name.items()}


def read_classes(classes: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Read class names from a list, from a string with commas, or from a file with one name per line.

    Raises:
        UsageError: The file cannot be read, or a name is given twice.
    """
    if not isinstance(classes, str | Path):
        names = [str(name).strip() for name in classes]
    elif isinstance(classes, Path) or Path(classes).is_file():
        try:
            names = [line.strip() for line in Path(classes).read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"--classes {classes}: cannot be read as text", hint="write one class name per line"
            ) from error
    else:
        names = [name.strip() for name in classes.split(",")]
    found = tuple(name for name in names if name)
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--classes: {twice} is given twice", hint="give each class once")
    return found
