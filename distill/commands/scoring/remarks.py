"""What a reader of scores would want to know before believing them, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distill.commands.scoring.boards import Board
from distill.commands.scoring.contestants import Contestant, LabelsContestant
from distill.commands.scoring.judges import SemanticJudge
from distill.commands.scoring.twins import Twin


def warn_of_twins(twins: Sequence[Twin], images: int) -> str:
    """That photos of the truth were learned from."""
    first = twins[0]
    return (
        f"{len(twins)} of {images} photos look like photos of the training set (such as {first.photo} and "
        f"{first.other}): these scores do not show what the student does on new photos"
    )


def warnings_about(contestants: Sequence[Contestant], boards: Iterable[Board]) -> list[str]:
    """What a reader would want to know before believing the numbers."""
    found = []
    for one in contestants:
        if isinstance(one, LabelsContestant):
            found += [f"{one.name}: {fault}" for fault in one.faults]
            if one.matched_by_key:
                found.append(f"{one.name}: {one.matched_by_key} photos were matched by key alone; their bytes differ")
    for board in boards:
        rows = board.compute()
        if len({row.get("alignment") for row in rows.values()}) > 1:
            found.append("the depth of the subjects is aligned differently, so their scores do not compare")
        for name, row in rows.items():
            if row["missing"]:
                found.append(f"{name}: no {board.task} answer for {row['missing']} of {board.images} photos")
            unsaid = _seen(board, name, row.get("classes_it_cannot_say", ()))
            if unsaid:
                found.append(f"{name}: has no word for {', '.join(unsaid)}; they count with IoU 0")
            if row.get("classes_not_in_truth"):
                names = ", ".join(row["classes_not_in_truth"])
                found.append(f"{name}: {names} are no classes of the truth; such pixels are wrong")
    return found


def _seen(board: Board, name: str, classes: Sequence[str]) -> list[str]:
    """Those of the classes that the truth shows: the others are in no mean."""
    judge = board.judges[name]
    if not isinstance(judge, SemanticJudge):
        return []
    pixels = {one: row["pixels"] for one, row in judge.per_class().items()}
    return [one for one in classes if pixels.get(one, 0) > 0]
