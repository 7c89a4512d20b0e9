"""The unit of work: one slice of the photos becomes one tar and one page of accounts.

    slice k = photos [k * shard_size, (k + 1) * shard_size)  ->  shard-00000k.tar, then .parts/shard-00000k.json

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

from distill.config.adapters import CallableRecipe, OnnxRecipe, ReplayRecipe
from distill.config.ensemble import MixRecipe
from distill.config.local import ModelRecipe
from distill.config.synthetic import SyntheticRecipe
from distill.errors import DistillError, UsageError
from distill.images import Photo, write_atomic
from distill.inputs import Unreadable
from distill.labels import encode
from distill.runtime.parallel import worked
from distill.shards import Sample, ShardEntry, file_sha256, write_shard
from distill.tasks import Gauge, Task
from distill.teachers.adapters.callable import source_digest
from distill.teachers.adapters.onnx import find_model
from distill.teachers.adapters.replay import ReplayGenerator
from distill.teachers.base import Lesson, Teacher
from distill.teachers.factory import TeacherRecipe, build_teacher
from distill.teachers.hosted.generator import Wants
from distill.teachers.labeling.photo_sources import ScenesSource, Source, open_source
from distill.teachers.labeling.previews import WIDTH_PX, write_preview
from distill.teachers.labeling.shard_stats import Accounts, Page
from distill.teachers.local.hub import find_source, fingerprint
from distill.teachers.prompts.variants import ONCE, Asking
from distill.teachers.quality.filter import Checks
from distill.teachers.store.answers import StoreFull

if TYPE_CHECKING:
    from distill.teachers.factory import TeacherRecipe

PARTS = ".parts"
_FORMAT = 1


@dataclass(frozen=True)
class Job:
    """A whole labeling, cut into slices. Crosses process borders."""

    out: Path
    recipe: TeacherRecipe
    folder: Path
    """Where the recipe lies."""
    inputs: tuple[str, ...]
    tasks: tuple[Task, ...] = ()
    every: int = 1
    limit: int | None = None
    shard_size: int = 64
    previews: int = 24
    checks: Checks | None = None
    """How strictly labels are held against their photos; None: not at all."""
    asking: Asking = ONCE
    """How often each question is asked."""
    store: Path | None = None
    """Where painted answers are kept and looked for first; None: nowhere."""
    offline: bool = False
    """Use stored answers only."""

    @cached_property
    def source(self) -> Source:
        """The photos."""
        if isinstance(self.recipe, SyntheticRecipe) and not self.inputs:
            return ScenesSource(self.recipe)
        if not self.inputs:
            raise UsageError("no photos given", hint="name a folder, a glob, a video or a folder of shards")
        return open_source(self.inputs, every=self.every, leave_out=[self.out, *([self.store] if self.store else [])])

    @cached_property
    def num_photos(self) -> int:
        """How many photos will be read."""
        return len(self.source) if self.limit is None else min(self.limit, len(self.source))

    @property
    def num_slices(self) -> int:
        """How many tars there will be, at most."""
        return (self.num_photos + self.shard_size - 1) // self.shard_size

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher, built when it is first needed."""
        return self.build_teacher()

    def build_teacher(self, wants: Wants | None = None) -> Teacher:
        """The teacher; `wants` as in `distill.teachers.build_teacher`."""
        return build_teacher(
            self.recipe,
            folder=self.folder,
            tasks=self.tasks,
            checks=self.checks,
            asking=self.asking,
            store=self.store,
            offline=self.offline,
            wants=wants,
        )

    @cached_property
    def _fingerprint(self) -> str:
        """What decides the labels besides the photos."""
        parts: list[Any] = [_FORMAT, self.recipe.deciding(), list(self.tasks), self.shard_size]
        parts += [self.checks.fingerprint()] if self.checks is not None else []
        parts += [asdict(self.asking)] if self.asking != ONCE else []
        # What is not stored stays unanswered: another set than the same photos, asked.
        parts += ["offline"] if self.offline else []
        parts += evidence(self.recipe, self.folder)
        return json.dumps(parts, sort_keys=True)

    def bounds(self, index: int) -> tuple[int, int]:
        """[start, stop) of a slice."""
        return index * self.shard_size, min((index + 1) * self.shard_size, self.num_photos)

    def identity(self, index: int) -> str:
        """A digest of everything that decides the bytes of a slice."""
        text = f"{self._fingerprint}\n{self.source.identity(*self.bounds(index))}"
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def page_path(self, index: int) -> Path:
        """Where the accounts of a slice lie."""
        return self.out / PARTS / f"shard-{index:06d}.json"

    def read_page(self, index: int) -> Page | None:
        """The accounts of a slice that is done; None when it is still to do, or to do again: its tar is gone or cut.

        Raises:
            UsageError: The folder holds a slice of another job.
        """
        path = self.page_path(index)
        try:
            values = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):  # an --out that is a file is refused when it is made
            return None
        except ValueError:  # cut off, or no text at all
            return None
        try:
            page = Page.model_validate(values)
        except ValueError as error:
            raise UsageError(f"{path}: damaged", hint="delete it and run again") from error
        if page.identity != self.identity(index):
            raise UsageError(
                f"{self.out}: holds shards of another job (the photos, the teacher or the settings have changed since)",
                hint="choose another --out, or --overwrite to start again",
            )
        return page if page.shard is None or _is_whole(self.out / page.shard.name, page.shard) else None


def _is_whole(path: Path, shard: ShardEntry) -> bool:
    """Whether a tar is there at its full length; `distill.shards.verify` reads all of it."""
    try:
        return path.stat().st_size == shard.bytes
    except OSError:
        return False


def label_slice(job: Job, index: int, advance: Callable[[int], None] = lambda count: None) -> Page:
    """Label one slice and publish it; gives its accounts.

    Raises:
        DistillError: The disk is full, the teacher cannot be opened; nothing half-made stays under a final name.
    """
    accounts = Accounts()
    path = job.out / f"shard-{index:06d}.tar"
    try:
        (job.out / PARTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistillError(
            f"{job.out / PARTS}: cannot be made: {error.strerror}", hint="move it away, or choose another --out"
        ) from error
    entry: ShardEntry | None = write_shard(path, _samples(job, index, accounts, advance))
    if accounts.labeled == 0:
        path.unlink()
        entry = None
    page = accounts.page(job.identity(index), entry)
    write_atomic(job.page_path(index), page.model_dump_json(indent=1).encode())
    return page


def _samples(job: Job, index: int, accounts: Accounts, advance: Callable[[int], None]) -> Iterator[Sample]:
    """The samples of a slice; a few photos in memory at a time."""
    start, stop = job.bounds(index)
    photos = job.source.read(start, stop, _enough_hw(job.teacher))
    learned = worked(photos, lambda photo: _learn(job, photo), getattr(job.teacher, "side_by_side", 1))
    for position, (photo, outcome) in enumerate(learned, start):
        advance(1)
        accounts.photos += 1
        if isinstance(photo, Unreadable) or isinstance(outcome, str):
            accounts.failures.append({"name": photo.name, "reason": str(outcome)})
            continue
        accounts.labeled += any(lesson.labels for lesson, _ in outcome)
        for number, (lesson, sample) in enumerate(outcome, 1):
            accounts.add(photo, lesson)
            if position < job.previews:
                write_preview(job.out, position, number, photo, lesson)
            if sample is not None:
                yield sample


def _enough_hw(teacher: Teacher) -> tuple[int, int] | None:
    """How large photos have to be read for this teacher and for previews, (height, width); None: as they are."""
    wanted: tuple[int, int] | None = getattr(teacher, "enough_hw", None)
    return None if wanted is None else (max(wanted[0], WIDTH_PX), max(wanted[1], WIDTH_PX))


def _learn(job: Job, photo: Photo | Unreadable) -> list[tuple[Lesson, Sample | None]] | str:
    """Each lesson about a photo with its sample, if it has labels; or why the photo cannot be used.

    Raises:
        UsageError: The job is wrong, not the photo.
        StoreFull: What was asked cannot be kept.
    """
    if isinstance(photo, Unreadable):
        return photo.reason
    try:
        lessons = job.teacher.teach(photo)
    except (UsageError, StoreFull):
        raise
    except DistillError as error:
        return str(error).removeprefix(f"{photo.name}: ")
    return [
        (lesson, make_sample(photo, lesson, number) if lesson.labels else None)
        for number, lesson in enumerate(lessons, 1)
    ]


def make_sample(photo: Photo, lesson: Lesson, number: int = 1) -> Sample:
    """The shard sample of one lesson; a second lesson about the same photo gets a key of its own."""
    meta: dict[str, Any] = {
        "name": photo.name,
        "photo_sha256": photo.sha256,
        "size_hw": list(photo.size_hw),
        # Paths belong to this machine and stay out of what is handed on.
        "origin": {key: value for key, value in photo.origin.items() if key != "path"},
        "records": lesson.records,
    }
    files = {photo.suffix: photo.data}
    for task, label in lesson.labels.items():
        files |= encode(label)
        if task is Task.DEPTH:
            meta["gauge"] = str(label.gauge or Gauge.METRIC)
        if task is Task.INSTANCE:
            meta["instances"] = {str(i): name for i, name in label.instance_classes.items()}
        if task is Task.REFERRING:
            meta["referring"] = list(label.classes)
    if lesson.failures:
        meta["failures"] = lesson.failures
    files["json"] = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
    return Sample(photo.key if number == 1 else f"{photo.key}--{number}", files)


def evidence(recipe: TeacherRecipe, folder: Path) -> list[str]:
    """Digests of a manifest and its answers, of a model, of a function's source; empty where nothing is read."""
    if isinstance(recipe, ReplayRecipe):
        return [file_sha256(recipe.answers), ReplayGenerator(recipe).answers_digest()]
    if isinstance(recipe, OnnxRecipe):
        return [file_sha256(find_model(recipe.model, folder))]
    if isinstance(recipe, CallableRecipe):
        return [source_digest(recipe.function)]
    if isinstance(recipe, ModelRecipe):
        return [fingerprint(find_source(recipe.model, folder), recipe.revision)]
    if isinstance(recipe, MixRecipe):
        from distill.teachers.ensemble import member_recipe

        return [
            digest for member in recipe.members() for digest in evidence(member_recipe(member), Path(member.folder))
        ]
    return []
