"""Record bad samples that are found during a run, if the decoded set is not cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch

from distill.students.data.bad_samples import (
    BAD_SAMPLES,
    BadSample,
    check_bad_fraction,
    count_bad_samples,
    write_bad_samples,
)
from distill.students.data.dataset import ShardDataset


class BadSampleCallback(L.Callback):
    """Writes the list of bad samples, known at the start or found in batches.

    Each process checks its own batches; at the end the first process collects all.

    Attributes:
        bad_samples: Found so far.
    """

    def __init__(self, run_dir: Path, photos: ShardDataset, held_out: ShardDataset, known: Sequence[BadSample]) -> None:
        self.bad_samples = list(known)
        self._known, self._path = list(known), run_dir / BAD_SAMPLES
        self._photos, self._held_out = photos, held_out
        self._total = len(photos) + len(held_out) + count_bad_samples(known)
        self._seen = set[tuple[bool, int]]()

    def state_dict(self) -> dict[str, Any]:
        """Bad samples found so far: a resumed run does not read every batch again."""
        return {"bad_samples": [asdict(part) for part in self.bad_samples if part not in self._known]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the bad samples found before."""
        self._add([BadSample(**values) for values in state_dict["bad_samples"]])

    def begin(self) -> None:
        """Write the list into the run's folder, or remove an old one."""
        write_bad_samples(self._path, self.bad_samples)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check the batch for replaced rows."""
        self._collect_bad_rows(self._photos, batch)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Check the batch for replaced rows."""
        self._collect_bad_rows(self._held_out, batch)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Collect the lists of all processes, also if a resumed run had no step left."""
        if trainer.world_size > 1:
            gathered: list[list[BadSample]] = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(gathered, self.bad_samples)
            self._add([part for found in gathered for part in found])
        if trainer.is_global_zero and self.bad_samples:
            self.begin()

    def _collect_bad_rows(self, photos: ShardDataset, batch: dict[str, Any]) -> None:
        if photos.is_cached:
            return  # bad samples were skipped already, and reading rows would wait for the GPU
        for row in batch["row"].tolist():
            place = (photos is self._photos, ~row)
            if row < 0 and place not in self._seen:
                self._seen.add(place)
                error = photos.error(~row)  # decode again: an empty batch has such a row for a good sample
                self._add([error] if error else [])

    def _add(self, found: Sequence[BadSample]) -> None:
        self.bad_samples += [part for part in dict.fromkeys(found) if part not in self.bad_samples]
        check_bad_fraction(self.bad_samples, self._total - count_bad_samples(self.bad_samples))
