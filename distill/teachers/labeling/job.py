"""The unit of work: one slice of the photos becomes one tar and one page of accounts.

    slice k = photos [k * shard_size, (k + 1) * shard_size)  ->  shard-00000k.tar, then .stats/shard-00000k.json

The page is written after the tar, so that whoever finds the page finds the tar. A slice with a page is done and never
asked again; killing the job anywhere loses at most the slices in hand, and running it again gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.adapters import CallableConfig, OnnxConfig, ReplayConfig
from distill.config.ensemble import EnsembleConfig
from distill.config.local import ModelConfig
from distill.config.synthetic import SyntheticConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo, write_atomic
from distill.inputs import UnreadablePhoto
from distill.labels import encode, write_meta
from distill.runtime.parallel import map_ordered
from distill.shards import Sample, ShardEntry, file_sha256, write_shard
from distill.tasks import Task
from distill.teachers.adapters.callable import source_digest
from distill.teachers.adapters.onnx import find_model
from distill.teachers.adapters.replay import ReplayGenerator
from distill.teachers.base import Teacher, TeacherResult
from distill.teachers.factory import AnyTeacherConfig, build_teacher
from distill.teachers.hosted.generator import OnMissing
from distill.teachers.labeling.photo_sources import ScenesSource, Source, open_source
from distill.teachers.labeling.previews import WIDTH_PX, write_preview
from distill.teachers.labeling.shard_stats import ShardStats, ShardStatsBuilder
from distill.teachers.local.hub import find_source, fingerprint
from distill.teachers.prompts.variants import SINGLE, PromptEnsemble
from distill.teachers.quality.filter import QualityFilter
from distill.teachers.store.records import StoreFull

if TYPE_CHECKING:
    from distill.teachers.factory import AnyTeacherConfig

STATS_DIR = ".stats"
_FORMAT = 1


@dataclass(frozen=True)
class Job:
    """A whole labeling, cut into slices. Crosses process borders."""

    out: Path
    config: AnyTeacherConfig
    folder: Path
    """Where the config lies."""
    inputs: tuple[str, ...]
    tasks: tuple[Task, ...] = ()
    frame_stride: int = 1
    limit: int | None = None
    shard_size: int = 64
    previews: int = 24
    quality_filter: QualityFilter | None = None
    """How strictly labels are held against their photos; None: not at all."""
    prompt_ensemble: PromptEnsemble = SINGLE
    """How often each question is asked."""
    store: Path | None = None
    """Where generated images are kept and looked for first; None: nowhere."""
    offline: bool = False
    """Use stored answers only."""

    @cached_property
    def source(self) -> Source:
        """The photos."""
        if isinstance(self.config, SyntheticConfig) and not self.inputs:
            return ScenesSource(self.config)
        if not self.inputs:
            raise UsageError("no photos given", hint="name a folder, a glob, a video or a folder of shards")
        return open_source(
            self.inputs, frame_stride=self.frame_stride, leave_out=[self.out, *([self.store] if self.store else [])]
        )

    @cached_property
    def num_photos(self) -> int:
        """How many photos will be read."""
        return len(self.source) if self.limit is None else min(self.limit, len(self.source))

    @property
    def num_shards(self) -> int:
        """How many tars there will be, at most."""
        return (self.num_photos + self.shard_size - 1) // self.shard_size

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher, built when it is first needed."""
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
        """What decides the labels besides the photos."""
        parts: list[Any] = [_FORMAT, self.config.fingerprint_fields(), list(self.tasks), self.shard_size]
        parts += [self.quality_filter.fingerprint()] if self.quality_filter is not None else []
        parts += [asdict(self.prompt_ensemble)] if self.prompt_ensemble != SINGLE else []
        # What is not stored stays unanswered: another set than the same photos, asked.
        parts += ["offline"] if self.offline else []
        parts += fingerprint_inputs(self.config, self.folder)
        return json.dumps(parts, sort_keys=True)

    def photo_range(self, index: int) -> tuple[int, int]:
        """[start, stop) of a slice."""
        return index * self.shard_size, min((index + 1) * self.shard_size, self.num_photos)

    def identity(self, index: int) -> str:
        """A digest of everything that decides the bytes of a slice."""
        text = f"{self._fingerprint}\n{self.source.identity(*self.photo_range(index))}"
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def stats_path(self, index: int) -> Path:
        """Where the accounts of a slice lie."""
        return self.out / STATS_DIR / f"shard-{index:06d}.json"

    def read_stats(self, index: int) -> ShardStats | None:
        """The accounts of a slice that is done; None when it is still to do, or to do again: its tar is gone or cut.

        Raises:
            UsageError: The folder holds a slice of another job.
        """
        path = self.stats_path(index)
        try:
            values = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):  # an --out that is a file is refused when it is made
            return None
        except ValueError:  # cut off, or no text at all
            return None
        try:
            stats = ShardStats.model_validate(values)
        except ValueError as error:
            raise UsageError(f"{path}: damaged", hint="delete it and run again") from error
        if stats.identity != self.identity(index):
            raise UsageError(
                f"{self.out}: holds shards of another job (the photos, the teacher or the settings have changed since)",
                hint="choose another --out, or --overwrite to start again",
            )
        return stats if stats.shard is None or _is_whole(self.out / stats.shard.name, stats.shard) else None


def _is_whole(path: Path, shard: ShardEntry) -> bool:
    """Whether a tar is there at its full length; `distill.shards.verify` reads all of it."""
    try:
        return path.stat().st_size == shard.bytes
    except OSError:
        return False


def label_shard(job: Job, index: int, advance: Callable[[int], None] = lambda count: None) -> ShardStats:
    """Label one slice and publish it; gives its accounts.

    Raises:
        DistillError: The disk is full, the teacher cannot be opened; nothing half-made stays under a final name.
    """
    builder = ShardStatsBuilder()
    path = job.out / f"shard-{index:06d}.tar"
    try:
        (job.out / STATS_DIR).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistillError(
            f"{job.out / STATS_DIR}: cannot be made: {error.strerror}", hint="move it away, or choose another --out"
        ) from error
    entry: ShardEntry | None = write_shard(path, _samples(job, index, builder, advance))
    if builder.labeled == 0:
        path.unlink()
        entry = None
    stats = builder.build(job.identity(index), entry)
    write_atomic(job.stats_path(index), stats.model_dump_json(indent=1).encode())
    return stats


def _samples(job: Job, index: int, builder: ShardStatsBuilder, advance: Callable[[int], None]) -> Iterator[Sample]:
    """The samples of a slice; a few photos in memory at a time."""
    start, stop = job.photo_range(index)
    photos = job.source.read(start, stop, _min_size_hw(job.teacher))
    learned = map_ordered(photos, lambda photo: _learn(job, photo), getattr(job.teacher, "max_parallel", 1))
    for position, (photo, outcome) in enumerate(learned, start):
        advance(1)
        builder.photos += 1
        if isinstance(photo, UnreadablePhoto) or isinstance(outcome, str):
            builder.failures.append({"name": photo.name, "reason": str(outcome)})
            continue
        builder.labeled += any(result.labels for result, _ in outcome)
        for number, (result, sample) in enumerate(outcome, 1):
            builder.add(photo, result)
            if position < job.previews:
                write_preview(job.out, position, number, photo, result)
            if sample is not None:
                yield sample


def _min_size_hw(teacher: Teacher) -> tuple[int, int] | None:
    """How large photos have to be read for this teacher and for previews, (height, width); None: as they are."""
    wanted: tuple[int, int] | None = getattr(teacher, "min_size_hw", None)
    return None if wanted is None else (max(wanted[0], WIDTH_PX), max(wanted[1], WIDTH_PX))


def _learn(job: Job, photo: Photo | UnreadablePhoto) -> list[tuple[TeacherResult, Sample | None]] | str:
    """Each lesson about a photo with its sample, if it has labels; or why the photo cannot be used.

    Raises:
        UsageError: The job is wrong, not the photo.
        StoreFull: What was asked cannot be kept.
    """
    if isinstance(photo, UnreadablePhoto):
        return photo.reason
    try:
        results = job.teacher.label(photo)
    except (UsageError, StoreFull):
        raise
    except DistillError as error:
        return str(error).removeprefix(f"{photo.name}: ")
    return [
        (result, make_sample(photo, result, number) if result.labels else None)
        for number, result in enumerate(results, 1)
    ]


def make_sample(photo: Photo, result: TeacherResult, number: int = 1) -> Sample:
    """The shard sample of one lesson; a second lesson about the same photo gets a key of its own."""
    meta: dict[str, Any] = {
        "name": photo.name,
        "photo_sha256": photo.sha256,
        "size_hw": list(photo.size_hw),
        # Paths belong to this machine and stay out of what is handed on.
        "origin": {key: value for key, value in photo.origin.items() if key != "path"},
        "records": result.records,
    }
    files = {photo.suffix: photo.data}
    for label in result.labels.values():
        files |= encode(label)
        meta |= write_meta(label)
    if result.failures:
        meta["failures"] = result.failures
    files["json"] = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
    return Sample(photo.key if number == 1 else f"{photo.key}--{number}", files)


def fingerprint_inputs(config: AnyTeacherConfig, folder: Path) -> list[str]:
    """Digests of a manifest and its answers, of a model, of a function's source; empty where nothing is read."""
    if isinstance(config, ReplayConfig):
        return [file_sha256(config.answers), ReplayGenerator(config).answers_digest()]
    if isinstance(config, OnnxConfig):
        return [file_sha256(find_model(config.model, folder))]
    if isinstance(config, CallableConfig):
        return [source_digest(config.function)]
    if isinstance(config, ModelConfig):
        return [fingerprint(find_source(config.model, folder), config.revision)]
    if isinstance(config, EnsembleConfig):
        from distill.teachers.ensemble import member_config

        return [
            digest
            for member in config.members()
            for digest in fingerprint_inputs(member_config(member), Path(member.folder))
        ]
    return []
