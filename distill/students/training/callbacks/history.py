"""Curves of a run on disk: one row per validation and one per batch, in full precision."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from distill.errors import DistillError
from distill.files import make_folder, write_atomic, write_hint

HISTORY = "history.json"
BATCHES = "batches.csv"
_HELD = 50
"""Rows that are buffered: reading a loss waits for the GPU."""
_LAST_COLUMN, _END = ",whole", ",1"
"""The last column marks a complete row; a power cut can leave an incomplete one."""


class BatchLossLog:
    """``logs/batches.csv``: the losses of every batch; a resumed run continues after its last saved batch."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "logs" / BATCHES
        self._held: list[tuple[int, dict[str, Tensor]]] = []

    def truncate(self, batches_seen: int) -> None:
        """Remove the rows after this batch, which a killed run has written and will repeat."""
        self._held = []
        try:
            lines = self._path.read_text(errors="replace").splitlines() if self._path.is_file() else []
            if batches_seen == 0 or not lines or not lines[0].endswith(_LAST_COLUMN):
                self._path.unlink(missing_ok=True)
                return
        except OSError as error:
            raise _unwritable(self._path, error) from error
        kept = [line for line in lines[1:] if line.endswith(_END) and 0 < _batch(line) <= batches_seen]
        write_atomic(self._path, "\n".join([lines[0], *kept, ""]).encode())

    def add(self, batch: int, losses: Mapping[str, Tensor]) -> None:
        """Add one row."""
        self._held.append((batch, dict(losses)))
        if len(self._held) >= _HELD:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows to the disk.

        Raises:
            DistillError: The disk is full or the folder cannot be written.
        """
        held, self._held = self._held, []
        if not held:
            return
        rows = [[str(batch), *(repr(float(loss)) for loss in losses.values())] for batch, losses in held]
        text = "".join(",".join(row) + _END + "\n" for row in rows)
        make_folder(self._path.parent)
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(self._path, flags, 0o666), "a") as file:
                if file.tell() == 0:
                    text = ",".join(["batch", *held[0][1]]) + _LAST_COLUMN + "\n" + text
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self._path, error) from error


def _batch(line: str) -> int:
    """Number of the batch of a row; 0 if it cannot be read."""
    number = line.partition(",")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 16 else 0


def _unwritable(path: Path, error: OSError) -> DistillError:
    return DistillError(f"{path}: cannot be written: {error.strerror or error}", hint=write_hint(error))


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
    make_folder(run_dir / "logs")
    write_atomic(run_dir / "logs" / "metrics.csv", text.getvalue().encode())
