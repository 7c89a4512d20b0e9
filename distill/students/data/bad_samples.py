"""Samples and shards that cannot be used: skipped, counted and listed, up to half of all samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from distill.errors import DistillError
from distill.files import read_json, write_atomic

BAD_SAMPLES = "bad_samples.json"
"""Name of the list in a run's folder; only written if anything was skipped."""
_MOST = 0.5
"""Largest fraction of bad samples; with more, the whole set is probably wrong."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample, or part of a shard, that is skipped.

    Attributes:
        shard: Path of its tar.
        key: Of the sample; empty for (the rest of) a shard.
        reason: Of the fault.
        samples: Number of samples that are lost with it.
    """

    shard: str
    key: str
    reason: str
    samples: int = 1

    def __str__(self) -> str:
        return ": ".join(part for part in (self.shard, self.key, self.reason) if part)


_LIST = TypeAdapter(list[BadSample])


def to_bad_sample(shard: Path, key: str, error: Exception) -> BadSample:
    """The bad sample of an error, whose message may start with shard and key already."""
    text = error.message if isinstance(error, DistillError) else str(error).partition("\n")[0] or type(error).__name__
    text = text.removeprefix(f"{shard}: ").removeprefix(f"sample {key}: ").removeprefix(key).removeprefix(": ")
    return BadSample(str(shard), key, text.removeprefix("."))


def count_bad_samples(bad_samples: Sequence[BadSample]) -> int:
    """Number of lost samples."""
    return sum(part.samples for part in bad_samples)


def check_bad_fraction(bad_samples: Sequence[BadSample], whole: int) -> None:
    """Raise if more than half of the samples are bad.

    Args:
        bad_samples: All that were found.
        whole: Number of good samples.

    Raises:
        DistillError: Names the first one.
    """
    bad = count_bad_samples(bad_samples)
    if bad > _MOST * (bad + whole):
        raise DistillError(
            f"{bad} of {bad + whole} samples are damaged, more than half; the first is {bad_samples[0]}",
            hint="copy the shards again, or label these photos again",
        )


def describe_bad_samples(bad_samples: Sequence[BadSample], whole: int, run_dir: Path) -> str:
    """Text for the terminal: the number of bad samples and the first few."""
    bad = count_bad_samples(bad_samples)
    lines = [f"skipped {bad} of {bad + whole} samples, which cannot be used"]
    lines += [f"  {part}" for part in bad_samples[:_SHOWN]]
    if len(bad_samples) > _SHOWN:
        lines.append(f"  and others; see {run_dir / BAD_SAMPLES}")
    return "\n".join(lines)


def write_bad_samples(path: Path, bad_samples: Sequence[BadSample]) -> None:
    """Write the list as JSON, or remove the file if the list is empty."""
    if bad_samples:
        write_atomic(path, json.dumps([asdict(part) for part in bad_samples], indent=1).encode())
    else:
        path.unlink(missing_ok=True)


def read_bad_samples(path: Path) -> list[BadSample]:
    """Read the list of `write_bad_samples`; empty without a file.

    Raises:
        OSError, ValueError: It cannot be read, or is damaged.
    """
    return _LIST.validate_python(read_json(path)) if path.is_file() else []
