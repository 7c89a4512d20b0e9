"""The noisy-label filter finds wrong labels and leaves correct ones alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.labels import encode
from distill.shards import Manifest, Sample, read_manifest, read_samples, write_manifest, write_shard
from distill.students.data.dataset_index import read_index
from distill.students.data.split import split
from distill.students.training.noisy_labels import NoisyLabelFilter
from distill.tasks import Task
from tests.builders.shards import write_tiny_shards
from tests.builders.students import train


def test_labels_with_a_far_larger_error_are_noisy() -> None:
    noisy_labels = NoisyLabelFilter(20, [Task.DEPTH, Task.SEMANTIC], 3.0)
    errors = torch.linspace(0.1, 0.2, 20)
    errors[7] = 0.9
    rows = torch.arange(20)
    assert noisy_labels.weights(Task.DEPTH, rows, errors, active=False).min() == 1  # too early
    weights = noisy_labels.weights(Task.DEPTH, rows, errors, active=True)
    assert torch.nonzero(weights == 0).flatten().tolist() == [7] and noisy_labels.noisy_fraction(
        Task.DEPTH
    ) == pytest.approx(0.05)
    assert noisy_labels.noisy_fraction(Task.SEMANTIC) == 0  # each task has its own memory
    for _ in range(6):
        noisy_labels.weights(Task.DEPTH, rows[7:8], errors[:1], active=True)  # it was the student's fault after all
    assert noisy_labels.weights(Task.DEPTH, rows[7:8], errors[:1], active=True).tolist() == [1.0]


def test_photos_without_a_label_are_not_remembered() -> None:
    noisy_labels = NoisyLabelFilter(3, [Task.DEPTH], 3.0)
    noisy_labels.weights(Task.DEPTH, torch.tensor([0, ~0]), torch.tensor([0.0, 5.0]), active=True)
    assert noisy_labels.errors.isnan().all()


@pytest.mark.slow
def test_swapped_classes_are_left_out_while_a_student_learns(tmp_path: Path) -> None:
    clean = write_tiny_shards(tmp_path / "clean", num_samples=32, size_hw=(32, 32), tasks=(Task.SEMANTIC,))
    manifest, samples, wrong = read_manifest(clean), [], set()
    for number, sample in enumerate(read_samples(clean)):
        label, files = sample.label(Task.SEMANTIC, manifest), dict(sample.files)
        if number % 5 == 0:
            label.value[:] = np.array([1, 2, 0], np.uint8)[label.value]
            files |= encode(label)
            wrong.add(sample.key)
        samples.append(Sample(sample.key, files))
    (tmp_path / "spoiled").mkdir()
    entry = write_shard(tmp_path / "spoiled" / "shard-000000.tar", samples)
    write_manifest(tmp_path / "spoiled", Manifest.model_validate({**manifest.model_dump(), "shards": (entry,)}))
    settings = (
        "loss.noisy_labels.sigma=3",
        "train.threads=1",
        "data.val_fraction=0.2",
        "data.batch_size=4",
        "train.epochs=16",
        "train.num_validations=2",
    )
    result = train(tmp_path / "spoiled", tmp_path / "run", *settings)
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["distill"]
    train_entries = split(read_index([tmp_path / "spoiled"]).entries, 0.2).train
    noisy_labels = NoisyLabelFilter(len(train_entries), [Task.SEMANTIC], 3.0)
    noisy_labels.errors = state["label_errors"]
    found = {
        entry.key
        for entry, error in zip(train_entries, noisy_labels.errors[0], strict=True)
        if error > noisy_labels.threshold(Task.SEMANTIC)
    }
    spoiled = wrong & {entry.key for entry in train_entries}
    assert len(found & spoiled) >= 0.6 * len(spoiled) and len(found - spoiled) <= 2
    assert result.history[-1]["noisy_semantic"] == pytest.approx(len(found) / len(train_entries), abs=1e-4)
