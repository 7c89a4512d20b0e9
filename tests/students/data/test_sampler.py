"""Several processes: every photo once an epoch, no process waits for another one forever."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.students.data.dataset_index import read_index
from distill.students.data.sampler import EpochBatchSampler

MakeShards = Callable[..., Path]
READER = """
    import json, os, sys
    import torch
    from pathlib import Path
    from distill.students.data.sampler import EpochBatchSampler, build_loader
    from distill.students.data.dataset import ShardDataset
    from distill.students.data.dataset_index import read_index

    torch.set_num_threads(1)
    folder, rank, ranks, batch_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    store = f"file://{sys.argv[5]}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    index = read_index([folder])
    photos = ShardDataset(index.entries, index.tasks, (32, 32))
    batches = EpochBatchSampler(len(photos), batch_size, seed=3, shuffle=True, rank=rank, num_ranks=ranks)
    whole = {}
    for epoch in range(2):
        batches.set_epoch(epoch)
        learned = []
        for rows, batch in zip(list(batches), build_loader(photos, batches, workers=0), strict=True):
            counts = batch["semantic_confidence"].flatten(1).any(dim=1)
            learned += [index.entries[row].key for row, used in zip(rows, counts.tolist()) if used]
            total = counts.sum().float()
            torch.distributed.all_reduce(total)  # as the gradients are; unequal numbers of batches would hang here
        gathered = [None] * ranks
        torch.distributed.all_gather_object(gathered, learned)
        whole[epoch] = [key for part in gathered for key in part]
        batches.set_epoch(epoch)
    if rank == 0:
        print(json.dumps(whole))
    torch.distributed.destroy_process_group()
"""


def read_with(ranks: int, folder: Path, batch_size: int, store: Path) -> dict[str, list[str]]:
    """What each epoch held, over all ranks."""
    code = textwrap.dedent(READER)
    words = [str(folder), *("{rank}", str(ranks), str(batch_size), str(store))]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *(word.format(rank=rank) for word in words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    outputs = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0] * ranks, outputs
    return json.loads(outputs[0][0])


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "batch_size"), [(1, 4), (4, 3)])
def test_gloo_ranks_learn_every_photo_of_uneven_shards_once(
    make_shards: MakeShards, tmp_path: Path, ranks: int, batch_size: int
) -> None:
    folder = make_shards(tmp_path / "shards", num_samples=23, shard_size=9)  # 9, 9 and 5 photos
    assert len(list(folder.glob("*.tar"))) == 3
    wanted = sorted(entry.key for entry in read_index([folder]).entries)
    epochs = read_with(ranks, folder, batch_size, tmp_path / "store")
    assert [sorted(keys) for keys in epochs.values()] == [wanted, wanted]
    assert epochs["0"] != epochs["1"]


@pytest.mark.parametrize(("num_rows", "num_ranks"), [(5, 2), (7, 4), (2, 4), (1, 2)])
def test_ranks_without_a_photo_get_one_without_weight(num_rows: int, num_ranks: int) -> None:
    found = []
    for rank in range(num_ranks):
        batches = EpochBatchSampler(num_rows, 1, seed=0, shuffle=True, rank=rank, num_ranks=num_ranks)
        rows = [row for batch in batches for row in batch]
        assert len(rows) == len(batches) == -(-num_rows // num_ranks)
        found += rows
    assert sorted(row for row in found if row >= 0) == list(range(num_rows))


def test_weighted_sets_come_as_often_as_they_should() -> None:
    batches = EpochBatchSampler(30, 4, seed=0, shuffle=True, mix=[(10, 2.5), (20, 0.25)])
    assert len(batches) == -(-30 // 4) and batches.num_drawn == 30
    total: Counter[int] = Counter()
    for epoch in range(40):
        batches.set_epoch(epoch)
        counts = Counter(row for batch in batches for row in batch)
        assert sum(counts[row] for row in range(10)) == 25 and all(counts[row] in (2, 3) for row in range(10))
        total += counts
    assert all(5 <= total[row] <= 16 for row in range(10, 30))  # 10 of 40 epochs, by chance
