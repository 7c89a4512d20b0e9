"""Pairs of a tuning in their order: sets of shards, held-out photos, one pair by its number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.shards import Sample
from distill.tasks import Task
from distill.teachers.registration.canvas import Grid
from distill.teachers.tuning.edit_pairs import EditPair, edit_pairs


@dataclass(frozen=True, slots=True)
class _Place:
    """One label: number of its set, position of its sample, and its task."""

    number: int
    position: int
    task: Task


@dataclass(frozen=True)
class TuningData:
    """Labels to train on and photos to validate with.

    Attributes:
        sets: The sets of shards.
        places: Labels to train on.
        held_out: (number of the set, position) of the photos that are answered in validations.
        grid: Sizes of the generator.
        seed: Of order and prompts.
    """

    sets: tuple[ShardSet, ...]
    places: tuple[_Place, ...]
    held_out: tuple[tuple[int, int], ...]
    grid: Grid
    seed: int

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks that are trained."""
        return tuple(task for task in Task if any(place.task is task for place in self.places))

    def pair(self, number: int) -> EditPair:
        """The pair with this number, from 0 on without an end: each epoch has another order and other prompts.

        Raises:
            DistillError: A sample is damaged, or no label near this place can be encoded.
        """
        for attempt in range(len(self.places)):
            epoch, index = divmod(number, len(self.places))
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.places))
            # A label that cannot be encoded, such as a sparse one, is replaced by the next one.
            place = self.places[int(order[(index + attempt) % len(self.places)])]
            shards = self.sets[place.number]
            sample = _only(shards[place.position], place.task)
            found = list(edit_pairs(sample, shards, {}, seed=self.seed, epoch=epoch, grid=self.grid))
            if found:
                return found[number % len(found)]
        raise DistillError("no label can be encoded: all have too many invalid pixels", hint="use denser labels")


def gather(
    sets: Sequence[ShardSet], tasks: Sequence[Task], *, validation_photos: int, grid: Grid, seed: int
) -> TuningData:
    """Divide sets into labels to train on and photos to validate with; reads headers and json only.

    Raises:
        UsageError: There is no set, no label of a task, or too few photos.
    """
    if not sets:
        raise UsageError("no data given", hint="--data names folders of shards")
    for task in tasks:
        if not any(task in shards.manifest.tasks for shards in sets):
            raise UsageError(f"{', '.join(str(one.folder) for one in sets)}: has no {task} labels")
    wanted = tuple(tasks) or tuple(Task)
    found: dict[tuple[int, int], tuple[Task, ...]] = {}
    ranks: dict[tuple[int, int], str] = {}
    for number, shards in enumerate(sets):
        for position, info in enumerate(shards.infos()):
            if kept := tuple(task for task in info.tasks if task in wanted):
                found[number, position] = kept
                # By the photo, so that a photo in two sets is on one side.
                photo = str(info.meta.get("photo_sha256") or info.key)
                ranks[number, position] = hashlib.sha256(f"{seed}\0{photo}".encode()).hexdigest()
    ordered = sorted(set(ranks.values()))
    if len(ordered) <= validation_photos:
        raise UsageError(
            f"{len(ordered)} labeled photos are too few for {validation_photos} held-out ones",
            hint="give more data, or lower validation_photos",
        )
    held_back = set(ordered[:validation_photos])
    held_out = tuple(place for place in found if ranks[place] in held_back)
    places = tuple(
        _Place(number, position, task)
        for (number, position), kept in found.items()
        if ranks[number, position] not in held_back
        for task in kept
    )
    return TuningData(tuple(sets), places, held_out, grid, seed)


def _only(sample: Sample, task: Task) -> Sample:
    """The sample with the label of one task."""
    others = {f"{other}.{end}" for other in sample.tasks if other is not task for end in ("png", "confidence.png")}
    return Sample(sample.key, {name: data for name, data in sample.files.items() if name not in others})
