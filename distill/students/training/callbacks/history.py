"""Curves of a run on disk: one row per validation and one per batch, in full precision."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from distill.files import write_atomic

HISTORY = "history.json"
BATCHES = "batches.csv"
_HELD = 50
"""Rows that are buffered: reading a loss waits for the GPU."""
_END = ",1"
"""The last column marks a complete row; a power cut can leave an incomplete one."""


class BatchLossLog:
    """``logs/batches.csv``: the losses of every batch; a resumed run continues after its last saved batch."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "logs" / BATCHES
        self._held: list[tuple[int, dict[str, Tensor]]] = []

    def truncate(self, batches_seen: int) -> None:
        """Remove the rows after this batch, which a killed run has written and will repeat."""
        self._held = []
        if batches_seen == 0:
            self._path.unlink(missing_ok=True)
        elif self._path.is_file():
            lines = self._path.read_text().splitlines()
            kept = [line for line in lines[1:] if line.endswith(_END) and int(line.partition(",")[0]) <= batches_seen]
            write_atomic(self._path, "\n".join([lines[0], *kept, ""]).encode())

    def add(self, batch: int, losses: Mapping[str, Tensor]) -> None:
        """Add one row."""
        self._held.append((batch, dict(losses)))
        if len(self._held) >= _HELD:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows."""
        if not self._held:
            return
        self._path.parent.mkdir(exist_ok=True)
        is_new = not self._path.is_file()
        with self._path.open("a") as file:
            if is_new:
                file.write(",".join(["batch", *self._held[0][1], "whole"]) + "\n")
            file.writelines(
                ",".join([str(batch), *(repr(float(loss)) for loss in losses.values())]) + _END + "\n"
                for batch, losses in self._held
            )
        self._held = []


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with null for numbers that are not finite, since JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def write_history(run_dir: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one row per validation to ``history.json`` and ``logs/metrics.csv``."""
    write_atomic(run_dir / HISTORY, json.dumps([_finite(row) for row in history], indent=1).encode())
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(history)
    (run_dir / "logs").mkdir(exist_ok=True)
    write_atomic(run_dir / "logs" / "metrics.csv", text.getvalue().encode())
