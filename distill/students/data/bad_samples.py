"""Samples and shards that cannot be used: left out, counted and named, as long as they are few."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from distill.errors import DistillError
from distill.images import write_atomic

BAD_SAMPLES = "bad_samples.json"
"""In a run's folder, where anything was left out."""
_MOST = 0.5
"""Share of the samples that may be broken: with more, something is wrong with the set and not with some of it."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class BadSample:
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


def to_bad_sample(shard: Path, key: str, error: Exception) -> BadSample:
    """The sample that this error is about; its message may name both already."""
    text = error.message if isinstance(error, DistillError) else str(error).partition("\n")[0] or type(error).__name__
    text = text.removeprefix(f"{shard}: ").removeprefix(f"sample {key}: ").removeprefix(key).removeprefix(": ")
    return BadSample(str(shard), key, text.removeprefix("."))


def count_bad_samples(bad_samples: Sequence[BadSample]) -> int:
    """Samples that are lost."""
    return sum(part.samples for part in bad_samples)


def check_bad_fraction(bad_samples: Sequence[BadSample], whole: int) -> None:
    """Nothing, if there are few beside so many whole samples.

    Raises:
        DistillError: More than half of all are broken; names the first.
    """
    total = count_bad_samples(bad_samples) + whole
    if count_bad_samples(bad_samples) > _MOST * total:
        raise DistillError(
            f"{count_bad_samples(bad_samples)} of {total} samples are broken, more than half; the first is {bad_samples[0]}",
            hint="copy the shards again, or label these photos again",
        )


def describe_bad_samples(bad_samples: Sequence[BadSample], whole: int, run_dir: Path) -> str:
    """The first few for people."""
    lines = [
        f"left out: {count_bad_samples(bad_samples)} of {count_bad_samples(bad_samples) + whole} samples, which cannot be used"
    ]
    lines += [f"  {part}" for part in bad_samples[:_SHOWN]]
    if len(bad_samples) > _SHOWN:
        lines.append(f"  and others: see {run_dir / BAD_SAMPLES}")
    return "\n".join(lines)


def write_bad_samples(path: Path, bad_samples: Sequence[BadSample]) -> None:
    """Write them as JSON; no file where there are none."""
    if bad_samples:
        write_atomic(path, json.dumps([asdict(part) for part in bad_samples], indent=1).encode())
    else:
        path.unlink(missing_ok=True)


def read_bad_samples(path: Path) -> list[BadSample]:
    """What `write_bad_samples` wrote; none where there is no file.

    Raises:
        ValueError, TypeError: It is damaged.
    """
    return [BadSample(**values) for values in json.loads(path.read_text())] if path.is_file() else []
