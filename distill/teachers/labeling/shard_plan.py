"""Plan of a set: which photos each shard has, and the options with which all of them are labeled.

The plan is written when the first run starts and only grows: photos that are added later go into new shards, so that
finished shards stay as they are, also while several processes of a job array work on the set.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from distill.errors import DistillError, UsageError
from distill.files import MAX_FILE_BYTES, read_json, write_atomic, write_hint

STATS_DIR = ".stats"
PLAN_FORMAT: Final = 1
_PLAN = "plan.json"
START_AGAIN = "choose another --out, or --overwrite to label all photos again; stored answers are used again"
_GONE_LIMIT = 0.5
"""Largest fraction of the planned photos that may be gone; with more, another folder was probably given."""


class ShardPlan(BaseModel):
    """The plan of one set.

    Attributes:
        recipe: All options that decide the labels, as JSON values.
        classes: Class list of the semantic labels; it may grow at its end.
        shards: Names of the photos of each shard.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = PLAN_FORMAT
    recipe: dict[str, Any]
    classes: tuple[str, ...] = ()
    shards: tuple[tuple[str, ...], ...] = ()

    def start(self, index: int) -> int:
        """Number of photos in the shards before this one."""
        return sum(len(names) for names in self.shards[:index])

    def extended(self, names: Iterable[str], classes: Sequence[str], shard_size: int) -> ShardPlan:
        """The plan with new shards for those of the photos that it does not have."""
        known = {name for shard in self.shards for name in shard}
        new = [name for name in names if name not in known]
        shards = tuple(tuple(new[first : first + shard_size]) for first in range(0, len(new), shard_size))
        return self.model_copy(update={"shards": self.shards + shards, "classes": tuple(classes)})

    def check(self, out: Path, recipe: Mapping[str, Any], classes: Sequence[str], names: Sequence[str]) -> None:
        """Check that a job can continue this set.

        Raises:
            UsageError: An option differs, or most photos of the set are not among those of the job.
        """
        before, now = _flatten(self.recipe), _flatten(recipe)
        # The model or the source code last: its digest says less than an option.
        keys = sorted(before.keys() | now.keys(), key=lambda key: (key.startswith("files"), key))
        changed = next((key for key in keys if before.get(key) != now.get(key)), None)
        if changed is not None:
            if changed.startswith("files"):
                what = "a file of the teacher (its model or source code) has changed"
            else:
                what = f"{changed} was {_shown(before.get(changed))}, is {_shown(now.get(changed))}"
            raise UsageError(f"{out}: has shards of another job: {what}", hint=START_AGAIN)
        if tuple(classes[: len(self.classes)]) != self.classes:
            raise UsageError(
                f"{out}: has shards of another job: its class ids mean {', '.join(self.classes)}, those of this job "
                f"{', '.join(classes) or 'nothing'}",
                hint=START_AGAIN,
            )
        present = set(names)
        planned = [name for shard in self.shards for name in shard]
        gone = [name for name in planned if name not in present]
        if planned and len(gone) > _GONE_LIMIT * len(planned):
            raise UsageError(
                f"{out}: has shards of another job: {len(gone)} of its {len(planned)} photos are not among the photos "
                f"of this one, such as {gone[0]}",
                hint="give the earlier photos as well (a set grows by photos that are added to them), or choose another"
                " --out",
            )


def read_plan(out: Path) -> ShardPlan | None:
    """The plan of the set in a folder; None if there is none.

    Raises:
        UsageError: It is damaged, or of another version of distill.
    """
    path = out / STATS_DIR / _PLAN
    try:
        values = read_json(path, MAX_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: damaged", hint=START_AGAIN) from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != PLAN_FORMAT:
        raise UsageError(
            f"{path}: has format {found}, and this version of distill continues jobs of format {PLAN_FORMAT}",
            hint=START_AGAIN,
        )
    try:
        return ShardPlan.model_validate(values)
    except ValueError as error:
        raise UsageError(f"{path}: damaged", hint=START_AGAIN) from error


def write_plan(out: Path, plan: ShardPlan) -> None:
    """Write the plan of a set."""
    text = json.dumps(plan.model_dump(mode="json"), ensure_ascii=False)
    write_atomic(out / STATS_DIR / _PLAN, text.encode(errors="replace"))


@contextmanager
def plan_lock(out: Path) -> Iterator[None]:
    """Keep other processes from changing the plan.

    Raises:
        DistillError: The folder cannot be written.
    """
    try:
        (out / STATS_DIR).mkdir(parents=True, exist_ok=True)
        lock = (out / STATS_DIR / "lock").open("w")
    except OSError as error:
        raise DistillError(f"{out / STATS_DIR}: cannot be created: {error.strerror}", hint=write_hint(error)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """Digest of the options, for the statistics of each shard."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Values by dotted key."""
    if not isinstance(value, Mapping) or not value:
        return {prefix.removesuffix("."): value}
    flat: dict[str, Any] = {}
    for key, part in value.items():
        flat |= _flatten(part, f"{prefix}{key}.")
    return flat


def _shown(value: Any) -> str:
    text = "not set" if value in (None, [], {}, "") else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
