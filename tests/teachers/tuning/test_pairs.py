"""Pairs by number: held-out photos, order, prompts of each epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.datasets.shard_set import ShardSet
from distill.errors import UsageError
from distill.tasks import Task
from distill.teachers.registration.canvas import Grid
from distill.teachers.tuning.pairs import gather
from tests.builders.label_sets import photo, sample, write_set

GRID = Grid(16, 64 * 64)


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return write_set(tmp_path / "set", [sample(photo(i), [Task.DEPTH, Task.SEMANTIC], seed=i) for i in range(8)])


def test_held_out_photos_are_not_trained_on_in_any_set(shards: ShardSet, tmp_path: Path) -> None:
    again = write_set(tmp_path / "again", [sample(photo(i), [Task.NORMALS], seed=i) for i in range(8)])
    data = gather([shards, again], (), validation_photos=3, grid=GRID, seed=1)
    keys = {data.sets[number][position].key for number, position in data.held_out}
    assert len(keys) == 3 and len(data.held_out) == 6
    assert not keys & {data.sets[place.number][place.position].key for place in data.places}
    assert data.tasks == (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)


def test_an_epoch_has_every_label_once_and_the_next_one_other_prompts(shards: ShardSet) -> None:
    data = gather([shards], (), validation_photos=2, grid=GRID, seed=1)
    size = len(data.places)
    epochs = [[data.pair(number) for number in range(start, start + size)] for start in (0, size)]
    names = [[pair.name for pair in epoch] for epoch in epochs]
    assert size == 12 and len(set(names[0])) == size and names[0] != names[1] and set(names[0]) == set(names[1])
    prompts = [{pair.prompt_spec.prompt for pair in epoch if pair.task is Task.SEMANTIC} for epoch in epochs]
    assert not prompts[0] & prompts[1]
    again = data.pair(5)
    assert again.name == names[0][5] and np.array_equal(again.target, epochs[0][5].target)


def test_wrong_use(shards: ShardSet) -> None:
    with pytest.raises(UsageError, match="has no normals labels"):
        gather([shards], (Task.NORMALS,), validation_photos=2, grid=GRID, seed=1)
    with pytest.raises(UsageError, match="8 labeled photos are too few"):
        gather([shards], (), validation_photos=8, grid=GRID, seed=1)
    with pytest.raises(UsageError, match="no data"):
        gather([], (), validation_photos=8, grid=GRID, seed=1)
