"""Result of a training run, and its file in the run's folder."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from distill.files import read_json

if TYPE_CHECKING:
    from distill.students.data.bad_samples import BadSample

RESULT_FILE = "train.json"
"""Result of a finished run, in its folder."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Outcome of `distill.train`.

    Attributes:
        run: Folder with the weights, the spec and the curves; `distill.load`, `evaluate` and `export` take it.
        epochs: Epochs begun.
        steps: Optimizer steps.
        elapsed_s: Training time in seconds, earlier parts of a resumed run included.
        best: Scores of the best validation by name, such as ``val_score``; empty without a validation split.
        history: One row of scores for each validation.
        bad_samples: Samples and shards that could not be used.
        interrupted: Whether a signal ended the run; the same call continues it.
        failure: Why nothing was learned; empty if something was, or if the run is too short to tell.
        weak: Tasks in which the student is no better than a constant prediction, with their scores.
        split: How the validation photos were chosen.
    """

    run: Path
    epochs: int
    steps: int
    elapsed_s: float
    best: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...] = ()
    bad_samples: tuple[BadSample, ...] = ()
    interrupted: bool = False
    failure: str = ""
    weak: str = ""
    split: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, as in ``train.json``."""
        return {
            "run": str(self.run),
            "epochs": self.epochs,
            "steps": self.steps,
            "elapsed_s": round(self.elapsed_s, 2),
            "best": dict(self.best),
            "split": self.split,
            "failure": self.failure,
            "weak": self.weak,
            "bad_samples": [asdict(sample) for sample in self.bad_samples],
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        if self.interrupted:
            return f"{self.run}: interrupted at step {self.steps}; run the same command again to continue"
        best = ", ".join(f"{name.removeprefix('val_')} {self.best[name]:.3f}" for name in self.best if "val_" in name)
        lost = sum(sample.samples for sample in self.bad_samples)
        if self.failure:
            end = f"the run has learned nothing: {self.failure}"
        else:
            weak = f"no better than a constant prediction after {self.steps} steps: {self.weak}\n" if self.weak else ""
            end = f"{weak}next: distill export {shlex.quote(str(self.run))} --to onnx"
        return (
            f"{self.run}: {self.epochs} epochs, {self.steps} steps in {self.elapsed_s:.0f} s"
            f"{f'; bad samples skipped: {lost}' if lost else ''}\n"
            f"best on the validation images (against labels, not ground truth): {best or 'there are none'}\n"
            f"{self._curves()}{end}"
        )

    def _curves(self) -> str:
        """Command that shows the curves, if TensorBoard has logged them."""
        folder = self.run / "logs"
        found = any(folder.glob("events.out.tfevents.*"))
        return f"curves and sample images: tensorboard --logdir {shlex.quote(str(folder))}\n" if found else ""


class _Row(BaseModel):
    """One row of ``history.json``, or the best one in ``train.json``."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, float | int | None]


class _Finished(BaseModel):
    """``train.json`` and the files that belong to it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    epochs: int = Field(ge=0)
    steps: int = Field(ge=0)
    elapsed_s: float = Field(ge=0, allow_inf_nan=False)
    best: _Row
    history: list[_Row] = Field(default_factory=list)
    failure: str = ""
    weak: str = ""
    split: str = ""


def read_result(out: Path) -> TrainResult | None:
    """Read the result of a finished run; None where there is none, or a damaged one."""
    from distill.students.data.bad_samples import BAD_SAMPLES, read_bad_samples
    from distill.students.training.callbacks.history import HISTORY

    try:
        rows = read_json(out / HISTORY) if (out / HISTORY).is_file() else []
        found = _Finished.model_validate(read_json(out / RESULT_FILE) | {"history": rows})
        best, *history = (row.model_dump() for row in (found.best, *found.history))
        if None in best.values():
            return None
        return TrainResult(
            out,
            found.epochs,
            found.steps,
            found.elapsed_s,
            best,
            tuple(row for row in history if row["val_score"] is not None),
            tuple(read_bad_samples(out / BAD_SAMPLES)),
            failure=found.failure,
            weak=found.weak,
            split=found.split,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
