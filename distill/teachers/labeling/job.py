"""Labeling job: the unit of work is a shard, some photos that become one tar and one statistics file.

    shard k = the photos of entry k of the plan  ->  shard-00000k.tar, then .stats/shard-00000k.json

The statistics are written after the tar, so they imply a complete tar. A shard with statistics is done; it is labeled
again only if a photo, or a file that decides its labels, has changed. A kill loses at most the shards in progress, and
running the job again gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from distill.config.teacher_base import TeacherConfig
from distill.errors import UsageError
from distill.files import read_json
from distill.images import Photo
from distill.inputs import UnreadablePhoto
from distill.shards import ShardEntry
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.factory import build_teacher
from distill.teachers.hosted.request_collector import OnMissing
from distill.teachers.kinds import kind_of, load_object
from distill.teachers.labeling.photo_sources import Source, open_source
from distill.teachers.labeling.photo_state import describe_change, find_dependencies
from distill.teachers.labeling.shard_plan import (
    START_AGAIN,
    STATS_DIR,
    ShardPlan,
    plan_lock,
    read_plan,
    recipe_digest,
    write_plan,
)
from distill.teachers.labeling.shard_stats import FORMAT, ShardStats
from distill.teachers.prompts.prompt_ensemble import SINGLE, PromptEnsemble
from distill.teachers.quality.filter import QualityFilter


@dataclass(frozen=True)
class Job:
    """A labeling job; it is sent to worker processes.

    Attributes:
        out: Folder of the shards.
        folder: Folder of the config file.
        inputs: Folders, globs, files, videos and folders of shards; may be empty for teachers with own photos.
        previews: Number of photos with preview images.
        quality_filter: Scores labels against their photos; None: no scores.
        prompt_ensemble: Samples and variants per prompt.
        store: Folder of generated images; None: they are not stored.
        offline: Use stored answers only.
        copies: Names of near-duplicates that are not labeled; `distill.teachers.labeling.near_copies` finds them.
    """

    out: Path
    config: TeacherConfig
    folder: Path
    inputs: tuple[str, ...]
    tasks: tuple[Task, ...] = ()
    frame_stride: int = 1
    limit: int | None = None
    shard_size: int = 64
    previews: int = 24
    quality_filter: QualityFilter | None = None
    prompt_ensemble: PromptEnsemble = SINGLE
    store: Path | None = None
    offline: bool = False
    copies: frozenset[str] = frozenset()

    @cached_property
    def source(self) -> Source:
        """The photos."""
        own_photos = kind_of(self.config).own_photos
        if own_photos and not self.inputs:
            source: Source = load_object(own_photos)(self.config)
            return source
        if not self.inputs:
            raise UsageError("no photos given", hint="name a folder, a glob, a video or a folder of shards")
        return open_source(
            self.inputs, frame_stride=self.frame_stride, leave_out=[self.out, *([self.store] if self.store else [])]
        )

    @cached_property
    def num_photos(self) -> int:
        """Number of photos to label."""
        count = len(self.source) - len(self.copies)
        return count if self.limit is None else min(self.limit, count)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Unique names of all photos of the source, those beyond `limit` included."""
        seen: dict[str, int] = {}
        found = []
        for position in range(len(self.source)):
            name = self.source.photo(position).name
            seen[name] = count = seen.get(name, 0) + 1
            found.append(name if count == 1 else f"{name} #{count}")
        return tuple(found)

    @cached_property
    def _position_of(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def plan(self) -> ShardPlan:
        """The plan of the set in `out`, extended by the photos that it lacks; `write_plan` writes it.

        Raises:
            UsageError: The folder has a set of another job or of another version of distill.
        """
        plan = read_plan(self.out)
        if plan is None or not any((self.out / STATS_DIR).glob("shard-*.json")):
            # No shard is done: a first run may have failed for an option that has been corrected since.
            plan = ShardPlan(recipe=self.recipe)
        plan.check(self.out, self.recipe, self.teacher.classes, self.names)
        wanted = [name for name in self.names if name not in self.copies] if self.copies else self.names
        return plan.extended(wanted[: self.num_photos], self.teacher.classes, self.shard_size)

    def write_plan(self) -> None:
        """Write the plan, extended once more if another process of the job has changed it since.

        Raises:
            DistillError: The folder cannot be written.
        """
        with plan_lock(self.out):
            self.__dict__.pop("plan", None)
            if self.plan != read_plan(self.out):
                write_plan(self.out, self.plan)

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return len(self.plan.shards)

    @property
    def expected_shards(self) -> int:
        """Number of shards of a new set, whatever is in `out`."""
        return -(-self.num_photos // self.shard_size)

    def positions(self, index: int) -> list[int]:
        """Positions in the source of the photos of a shard; photos that are gone are left out."""
        found = map(self._position_of.get, self.plan.shards[index])
        return [position for position in found if position is not None]

    def read_photos(self, index: int, min_size_hw: tuple[int, int] | None = None) -> Iterator[Photo | UnreadablePhoto]:
        """The photos of a shard in order, as `Source.read` decodes them."""
        positions = self.positions(index)
        for _, run in groupby(enumerate(positions), key=lambda item: item[1] - item[0]):
            part = [position for _, position in run]
            yield from self.source.read(part[0], part[-1] + 1, min_size_hw)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher, built on first use."""
        return self.build_teacher()

    def build_teacher(self, on_missing: OnMissing | None = None) -> Teacher:
        """The teacher; `on_missing` as in `distill.teachers.factory.build_teacher`."""
        return build_teacher(
            self.config,
            folder=self.folder,
            tasks=self.tasks,
            quality_filter=self.quality_filter,
            prompt_ensemble=self.prompt_ensemble,
            store=self.store,
            offline=self.offline,
            on_missing=on_missing,
        )

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All options that decide the labels, as JSON values."""
        parts: dict[str, Any] = {"teacher": self.config.fingerprint_fields(), "task": sorted(map(str, self.tasks))}
        if self.quality_filter is not None:
            parts["check"] = self.quality_filter.fingerprint()
        parts |= asdict(self.prompt_ensemble)
        # Offline, prompts without a stored answer stay unanswered.
        parts |= {"offline": self.offline, "files": self.teacher.fingerprint()}
        values: dict[str, Any] = json.loads(json.dumps(parts, sort_keys=True, default=str))
        return values

    def stats_path(self, index: int) -> Path:
        """The statistics file of a shard."""
        return self.out / STATS_DIR / f"shard-{index:06d}.json"

    def read_stats(self, index: int) -> ShardStats | None:
        """The statistics of a shard; None if it is still to do: never done, tar damaged, or photos have changed.

        Raises:
            UsageError: The folder has a shard of another version of distill.
        """
        stats = self._stored_stats(index)
        return None if stats is None or self._change(index, stats) else stats

    def change(self, index: int) -> str:
        """What has changed since a shard was done, such as ``maps/a.png has changed``; empty for any other shard.

        Raises:
            UsageError: As `read_stats`.
        """
        stats = self._stored_stats(index)
        return self._change(index, stats) if stats is not None else ""

    def _stored_stats(self, index: int) -> ShardStats | None:
        path = self.stats_path(index)
        try:
            values = read_json(path)
        except (OSError, ValueError):  # missing, truncated, or not text; an --out that is a file is refused later
            return None
        found = values.get("format", 1) if isinstance(values, dict) else FORMAT
        if found != FORMAT:
            raise UsageError(
                f"{path}: has format {found}, and this version of distill continues jobs of format {FORMAT}",
                hint="choose another --out, or --overwrite to start again",
            )
        try:
            stats = ShardStats.model_validate(values)
        except ValueError as error:
            raise UsageError(f"{path}: damaged", hint="delete it and run again") from error
        if stats.recipe != recipe_digest(self.recipe):
            raise UsageError(
                f"{self.out}: has shards of another job: {path.name} was labeled with other options", hint=START_AGAIN
            )
        return stats if stats.shard is None or is_whole(self.out / stats.shard.name, stats.shard) else None

    def _change(self, index: int, stats: ShardStats) -> str:
        known = {state.name: state for state in stats.inputs}
        positions = self.positions(index)
        for position in positions:
            name = self.names[position]
            if name not in known:
                return f"{name} is new"
            photo, found = find_dependencies(self.source, position, name, self.teacher)
            if change := describe_change(known[name], photo, found):
                return change
        present = {self.names[position] for position in positions}
        return next((f"{name} is gone" for name in known if name not in present), "")


def is_whole(path: Path, shard: ShardEntry) -> bool:
    """Whether a tar has its full length; ``distill data verify`` reads all of it."""
    try:
        return path.stat().st_size == shard.bytes
    except OSError:
        return False
