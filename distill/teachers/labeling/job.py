"""Labeling job: the unit of work is a shard, a range of photos that becomes one tar and one statistics file.

    shard k = photos [k * shard_size, (k + 1) * shard_size)  ->  shard-00000k.tar, then .stats/shard-00000k.json

The statistics are written after the tar, so they imply a complete tar. A shard with statistics is done and never
labeled again. A kill loses at most the shards in progress, and running the job again gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distill.config.teacher_base import TeacherConfig
from distill.errors import UsageError
from distill.shards import ShardEntry
from distill.tasks import Task
from distill.teachers.base import Teacher
from distill.teachers.factory import build_teacher
from distill.teachers.hosted.request_collector import OnMissing
from distill.teachers.kinds import kind_of, load_object
from distill.teachers.labeling.photo_sources import Source, open_source
from distill.teachers.labeling.shard_stats import FORMAT, ShardStats
from distill.teachers.prompts.prompt_ensemble import SINGLE, PromptEnsemble
from distill.teachers.quality.filter import QualityFilter

STATS_DIR = ".stats"


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
        """Number of photos to read."""
        return len(self.source) if self.limit is None else min(self.limit, len(self.source))

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return (self.num_photos + self.shard_size - 1) // self.shard_size

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
    def _fingerprint(self) -> str:
        """Everything that determines the labels besides the photos."""
        parts: list[Any] = [FORMAT, self.config.fingerprint_fields(), list(self.tasks), self.shard_size]
        parts += [self.quality_filter.fingerprint()] if self.quality_filter is not None else []
        parts += [asdict(self.prompt_ensemble)] if self.prompt_ensemble != SINGLE else []
        # Offline, prompts without a stored answer stay unanswered.
        parts += ["offline"] if self.offline else []
        parts += self.teacher.fingerprint()
        return json.dumps(parts, sort_keys=True)

    def photo_range(self, index: int) -> tuple[int, int]:
        """[start, stop) of a shard."""
        return index * self.shard_size, min((index + 1) * self.shard_size, self.num_photos)

    def identity(self, index: int) -> str:
        """Digest of everything that determines the bytes of a shard."""
        text = f"{self._fingerprint}\n{self.source.identity(*self.photo_range(index))}"
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def stats_path(self, index: int) -> Path:
        """The statistics file of a shard."""
        return self.out / STATS_DIR / f"shard-{index:06d}.json"

    def read_stats(self, index: int) -> ShardStats | None:
        """The statistics of a shard; None if it is still to do, also if its tar is missing or truncated.

        Raises:
            UsageError: The folder has a shard of another job or of another version of distill.
        """
        path = self.stats_path(index)
        try:
            values = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):  # an --out that is a file is refused later
            return None
        except ValueError:  # truncated, or not text
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
        if stats.identity != self.identity(index):
            raise UsageError(
                f"{self.out}: has shards of another job (the photos, the teacher or the settings have changed since)",
                hint="choose another --out, or --overwrite to start again",
            )
        return stats if stats.shard is None or _is_whole(self.out / stats.shard.name, stats.shard) else None


def _is_whole(path: Path, shard: ShardEntry) -> bool:
    """Whether a tar has its full length; `distill.shards.verify` reads all of it."""
    try:
        return path.stat().st_size == shard.bytes
    except OSError:
        return False
