"""A set of shards as a map-style dataset of torch: decoded photos and label maps, each at its own size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset

from distill.images import decode_rgb
from distill.shards import Manifest, Sample
from distill.tasks import Task


class TorchSet(Dataset[dict[str, Any]]):
    """Samples by index, as dictionaries.

    ``key`` str; ``image`` uint8 (3, h, w), sRGB, upright; for each task that the sample has, ``<task>`` as in
    `distill.labels.Label.value` (ids as int64, channels first), ``<task>_valid`` bool and ``<task>_confidence``
    float32. Maps may be coarser than their photo. Samples differ in size and tasks, so a batch needs a ``collate_fn``.
    """

    def __init__(self, samples: Sequence[Sample], manifest: Manifest, tasks: tuple[Task, ...]) -> None:
        self.samples, self.manifest, self.tasks = samples, manifest, tasks

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A decoded sample.

        Raises:
            IndexError: There is no such sample.
            DistillError: It is damaged; names it.
        """
        sample = self.samples[index]
        values: dict[str, Any] = {"key": sample.key, "image": _tensor(decode_rgb(sample.photo, sample.key)[0])}
        for task in (task for task in self.tasks if task in sample.tasks):
            label = sample.label(task, self.manifest)
            values[str(task)] = _tensor(label.value)
            values[f"{task}_valid"] = torch.from_numpy(np.ascontiguousarray(label.valid))
            values[f"{task}_confidence"] = torch.from_numpy(np.ascontiguousarray(label.confidence))
        return values


def _tensor(values: ndarray) -> Tensor:
    """Photo or map with its channels first; uint16, which torch hardly supports, and ids as int64."""
    if values.ndim == 3:
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    is_ids = np.issubdtype(values.dtype, np.integer)
    return torch.from_numpy(np.ascontiguousarray(values.astype(np.int64 if is_ids else values.dtype)))
