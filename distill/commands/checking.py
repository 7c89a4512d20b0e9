"""The words of `distill label` that say how strictly labels are checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UsageError
from distill.tasks import Task

if TYPE_CHECKING:
    from distill.teachers.quality.filter import Checks


def read_checks(
    *,
    check: bool,
    min_quality: Sequence[str],
    full_quality: Sequence[str],
    calibration: Path | None,
    learn: bool = False,
) -> Checks | None:
    """The checks that were asked for; None when there are none.

    Specialists' labels are scored where someone makes something of the scores: a threshold, a calibration, or (`learn`)
    the making of one.

    Raises:
        UsageError: A threshold that is none, an unreadable calibration.
    """
    from distill.teachers.quality.calibration import read_calibration
    from distill.teachers.quality.filter import Checks

    least = read_thresholds("--min-quality", min_quality)
    full = read_thresholds("--full-quality", full_quality)
    if not (check or least or full):
        return None
    known = read_calibration(calibration).tasks if calibration is not None else {}
    scored = bool(least or full or known or learn)
    return Checks(min_quality=least, full_quality=full, calibrations=known, specialists=scored)


def read_thresholds(option: str, words: Sequence[str]) -> dict[Task, float]:
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


def wanted_calibration(given: Path | None, teacher: str, *, learn: bool) -> Path | None:
    """The file with (or for) a teacher's calibration: as given, or beside the recipe file; None: there is none."""
    from distill.teachers.quality.calibration import calibration_path

    if given is not None:
        return given
    recipe = Path(teacher)
    if recipe.suffix not in (".yaml", ".yml"):
        return None
    beside = calibration_path(recipe)
    return beside if learn or beside.is_file() else None
