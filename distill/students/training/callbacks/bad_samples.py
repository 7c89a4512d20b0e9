"""Samples that turn out to be broken while a run goes on, where the decoded set is not kept."""

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
    """Names what is left out: what was broken from the beginning, and what comes to light in the batches.

    Each rank sees its own batches; at the end the first one knows all.

    Attributes:
        bad_samples: So far.
    """

    def __init__(self, run_dir: Path, photos: ShardDataset, held_out: ShardDataset, known: Sequence[BadSample]) -> None:
        self.bad_samples = list(known)
        self._known, self._path = list(known), run_dir / BAD_SAMPLES
        self._photos, self._held_out = photos, held_out
        self._total = len(photos) + len(held_out) + count_bad_samples(known)
        self._seen = set[tuple[bool, int]]()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know: it does not see every batch again."""
        return {"bad_samples": [asdict(part) for part in self.bad_samples if part not in self._known]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with those that were found before."""
        self._add([BadSample(**values) for values in state_dict["bad_samples"]])

    def begin(self) -> None:
        """Write the list into the run's folder, or take an old one away."""
        write_bad_samples(self._path, self.bad_samples)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look for rows with nothing to learn from."""
        self._collect_bad_rows(self._photos, batch)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """The same."""
        self._collect_bad_rows(self._held_out, batch)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather what the ranks found."""
        if trainer.world_size > 1:
            gathered: list[list[BadSample]] = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(gathered, self.bad_samples)
            self._add([part for found in gathered for part in found])
        if trainer.is_global_zero and self.bad_samples:
            self.begin()

    def _collect_bad_rows(self, photos: ShardDataset, batch: dict[str, Any]) -> None:
        if photos.is_cached:
            return  # what was broken has been left out, and a GPU need not be waited for
        for row in batch["row"].tolist():
            place = (photos is self._photos, ~row)
            if row < 0 and place not in self._seen:
                self._seen.add(place)
                error = photos.error(~row)  # once more, here: a rank without a photo holds a whole one in such a row
                self._add([error] if error else [])

    def _add(self, found: Sequence[BadSample]) -> None:
        self.bad_samples += [part for part in dict.fromkeys(found) if part not in self.bad_samples]
        check_bad_fraction(self.bad_samples, self._total - count_bad_samples(self.bad_samples))
