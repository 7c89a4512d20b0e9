"""Result of a benchmark: models, timings and the comparison with an older model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.export.verification.speed_regression import Comparison
    from distill.export.verification.timing import Timing


@dataclass(frozen=True, slots=True)
class BenchedModel:
    """One model of a benchmark.

    Attributes:
        name: Name in the tables.
        path: Run folder or file.
        digest: SHA-256 of its files.
        engine: Inference engine and device.
        threads: Threads of one call.
        tasks: Predicted tasks.
        backbone: Name of the backbone.
        input_size_hw: Size at which the network works.
        size_bytes: Size of its files.
        load_ms: Time to load it.
        first_call_ms: Time of the first call.
        memory_mb: Memory growth through loading and the first call.
        scores: Scores on labeled images by task and metric; None unless measured.
        pareto: Whether no other model is better in speed or a score without being worse in another.
    """

    name: str
    path: str
    digest: str
    engine: str
    threads: int
    tasks: tuple[str, ...]
    backbone: str
    input_size_hw: tuple[int, int]
    size_bytes: int
    load_ms: float
    first_call_ms: float
    memory_mb: float
    scores: Mapping[str, float | None] | None = None
    pareto: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values; scores only where they were measured."""
        values = {**asdict(self), "tasks": list(self.tasks), "input_size_hw": list(self.input_size_hw)}
        return values if self.scores is not None else {k: v for k, v in values.items() if k not in ("scores", "pareto")}


@dataclass(frozen=True, slots=True)
class BenchTiming:
    """One series of timed calls.

    Attributes:
        timing: Model, scope, batch, image size and every call.
        threads: Threads of one call.
        usd_per_million: Cost of a million images at the given price per hour; None without a price.
    """

    timing: Timing
    threads: int
    usd_per_million: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        price = {} if self.usd_per_million is None else {"usd_per_million": self.usd_per_million}
        return {**self.timing.to_dict(), "threads": self.threads, **price}


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Outcome of `distill.bench`.

    Attributes:
        date: Start, in UTC.
        seconds_per_series: Duration of each series.
        machine: Processor, cores, operating system and load before the start.
        versions: Versions of the packages involved.
        models: The models, in the given order, for each number of threads.
        timings: One row per model, scope, size, batch and number of threads.
        comparison: One row per series that was compared with an older model; None without one.
    """

    date: str
    seconds_per_series: float
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    models: tuple[BenchedModel, ...]
    timings: tuple[BenchTiming, ...]
    comparison: tuple[Comparison, ...] | None = None

    @property
    def is_slower(self) -> bool:
        """Whether a model is slower than the older one beyond noise."""
        return any(row.verdict == "slower" for row in self.comparison or ())

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, as in ``bench.json``."""
        from distill.workflows.reports.bench import METHOD

        values = {
            "date": self.date,
            "method": METHOD,
            "seconds_per_series": self.seconds_per_series,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "models": [model.to_dict() for model in self.models],
            "timings": [timing.to_dict() for timing in self.timings],
        }
        if self.comparison is not None:
            values["comparison"] = [{**asdict(row), "verdict": row.verdict} for row in self.comparison]
        return values

    def to_text(self) -> str:
        """Format as tables."""
        from distill.workflows.reports.bench import format_result

        return format_result(self)
