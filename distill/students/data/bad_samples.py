"""Samples and shards that cannot be used: left out, counted and named, as long as they are few."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from distill.errors import DistillError
from distill.images import write_atomic

LEFT_OUT = "left_out.json"
"""In a run's folder, where anything was left out."""
_MOST = 0.5
"""Share of the samples that may be broken: with more, something is wrong with the set and not with some of it."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that is left out.

    Attributes:
        shard: Path of its tar.
        key: Of the sample; empty where it is (the rest of) a shard.
        reason: What is wrong with it.
        samples: How many samples are lost with it.
    """

    shard: str
    key: str
    reason: str
    samples: int = 1

    def __str__(self) -> str:
        return ": ".join(part for part in (self.shard, self.key, self.reason) if part)


def explain(shard: Path, key: str, error: Exception) -> Broken:
    """The sample that this error is about; its message may name both already."""
    text = error.message if isinstance(error, DistillError) else str(error).partition("\n")[0] or type(error).__name__
    text = text.removeprefix(f"{shard}: ").removeprefix(f"sample {key}: ").removeprefix(key).removeprefix(": ")
    return Broken(str(shard), key, text.removeprefix("."))


def count(broken: Sequence[Broken]) -> int:
    """Samples that are lost."""
    return sum(part.samples for part in broken)


def check_enough(broken: Sequence[Broken], whole: int) -> None:
    """Nothing, if there are few beside so many whole samples.

    Raises:
        DistillError: More than half of all are broken; names the first.
    """
    total = count(broken) + whole
    if count(broken) > _MOST * total:
        raise DistillError(
            f"{count(broken)} of {total} samples are broken, more than half; the first is {broken[0]}",
            hint="copy the shards again, or label these photos again",
        )


def describe(broken: Sequence[Broken], whole: int, run_dir: Path) -> str:
    """The first few for people."""
    lines = [f"left out: {count(broken)} of {count(broken) + whole} samples, which cannot be used"]
    lines += [f"  {part}" for part in broken[:_SHOWN]]
    if len(broken) > _SHOWN:
        lines.append(f"  and others: see {run_dir / LEFT_OUT}")
    return "\n".join(lines)


def write_broken(path: Path, broken: Sequence[Broken]) -> None:
    """Write them as JSON; no file where there are none."""
    if broken:
        write_atomic(path, json.dumps([asdict(part) for part in broken], indent=1).encode())
    else:
        path.unlink(missing_ok=True)


def read_broken(path: Path) -> list[Broken]:
    """What `write_broken` wrote; none where there is no file.

    Raises:
        ValueError, TypeError: It is damaged.
    """
    return [Broken(**values) for values in json.loads(path.read_text())] if path.is_file() else []
