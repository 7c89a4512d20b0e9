"""Outcome of a verification: faults with tar, member and byte range."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.escaping import for_line

MAX_FAULTS = 1000
"""Faults that are listed; all are counted."""
_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a set.

    Attributes:
        file: Tar, or ``dataset.json``.
        reason: What is wrong.
        key: Sample; may be empty.
        member: Name of the member in the tar; may be empty.
        first_byte: Of the faulty range in the tar; None: the whole file.
        last_byte: The same.
    """

    file: str
    reason: str
    key: str = ""
    member: str = ""
    first_byte: int | None = None
    last_byte: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        where = [self.file, self.member or self.key]
        if self.first_byte is not None:
            where.append(f"bytes {self.first_byte} to {self.last_byte}")
        return for_line(", ".join(filter(None, where)) + f": {self.reason}")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Outcome of `verify`.

    Attributes:
        folder: Of the set.
        quick: Whether only lengths and digests of the tars were compared.
        shards: Tars that were read.
        samples: Samples of the set, as the manifest states.
        bytes: Bytes that were read.
        num_faults: Number of faults.
        faults: The first thousand of them.
        damaged: Samples that are not whole.
        salvaged: Folder of the new set; None without one.
        kept: Samples in it.
        planned: Whether nothing was written.
        unsealed: Tars of a labeling job that goes on; they are not in the set yet.
    """

    folder: Path
    quick: bool
    shards: int
    samples: int
    bytes: int
    num_faults: int
    faults: tuple[Fault, ...]
    damaged: int
    salvaged: Path | None = None
    kept: int = 0
    planned: bool = False
    unsealed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "ok": not self.num_faults,
            "folder": str(self.folder),
            "quick": self.quick,
            "shards": self.shards,
            "samples": self.samples,
            "bytes": self.bytes,
            "num_faults": self.num_faults,
            "faults": [fault.to_dict() for fault in self.faults],
            "damaged_samples": self.damaged,
            "salvaged": str(self.salvaged) if self.salvaged else None,
            "kept_samples": self.kept,
            "planned": self.planned,
            "unsealed_shards": self.unsealed,
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        lines = [str(fault) for fault in self.faults[:_SHOWN]]
        if self.num_faults > _SHOWN:
            lines.append(f"... and {self.num_faults - _SHOWN} more; --json lists {len(self.faults)}")
        size = f"{self.samples} samples, {self.bytes / 1e6:.1f} MB in {self.shards} tars"
        how = "digests only" if self.quick else "every member decoded"
        lines.append(
            f"{self.folder}: {self.num_faults} faults ({size}; {how})"
            if self.num_faults
            else f"{self.folder}: intact ({size}; {how})"
        )
        if self.unsealed:
            lines.append(
                f"{self.unsealed} tars of the labeling job are not in the set yet; distill data seal adds them"
            )
        if self.salvaged:
            where = "would be" if self.planned else "are"
            lines.append(f"{self.kept} whole samples {where} in {self.salvaged}")
        elif self.num_faults:
            lines.append("--salvage OUT writes a new set of the whole samples")
        return "\n".join(lines)
