"""Training as a function: read the config, refuse or resume an earlier run of the folder, train, write the result."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import dump_config, load_config
from distill.config.train import TrainConfig
from distill.errors import UsageError
from distill.files import write_atomic
from distill.run_dir import open_run_dir
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import MANIFEST, file_sha256
from distill.workflows.arguments import Overrides, Paths, StrPath
from distill.workflows.train.config import read_train_config

if TYPE_CHECKING:
    from distill.students.data.bad_samples import BadSample
    from distill.students.training.estimate import TrainPlan
    from distill.students.training.fit import TrainingData

RESULT_FILE = "train.json"
"""Result of a finished run, in its folder."""
_CONFIG, _PROVENANCE = "train.config.yaml", "train.provenance.json"
_CHECKPOINT = Path("checkpoints", "last.ckpt")


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
            f"{end}"
        )


def train(
    config: StrPath | Mapping[str, Any] | TrainConfig | None = None,
    *,
    shards: Paths = (),
    out: StrPath = "run",
    overrides: Overrides = (),
    resume: bool = False,
    reporter: Reporter | None = None,
) -> TrainResult:
    """Train a small student on label shards.

    Writes ``spec.json``, ``weights.safetensors`` (the best averaged weights), curves and checkpoints into `out`. An
    interrupted run continues when it is started again with the same arguments; a finished one returns its result.

    Args:
        config: Path of a YAML config, a mapping of the same form, or a `TrainConfig`; None takes the defaults
            (`distill train --keys` lists all keys).
        shards: Folders that `distill.label` wrote; they replace ``shards`` of the config.
        out: Folder of the run.
        overrides: Config values by dotted key, such as ``{"student.preset": "small", "train.minutes": 5}``.
        resume: Continue from the last checkpoint although the config has changed.
        reporter: Receives messages and progress; silent unless given.

    Returns:
        The run folder, the number of epochs and steps, and the best validation scores.

    Raises:
        UsageError: A wrong key or value, unusable shards, or `out` holds the run of another config.
        DistillError: The training diverged, or more than half of the samples are bad.

    Example:
        >>> import distill
        >>> result = distill.train(shards="shards", out="runs/nano", overrides={"train.minutes": 5})
        >>> result.best["val_score"]
    """
    return run_train(read_train_config(config, shards, overrides), Path(out), reporter, resume=resume)


def plan_train(
    config: StrPath | Mapping[str, Any] | TrainConfig | None = None, *, shards: Paths = (), overrides: Overrides = ()
) -> TrainPlan:
    """Estimate size and duration of a training run by timing a few steps; writes no file.

    Raises:
        UsageError: As `train`.
    """
    from distill.students.training.estimate import plan_training
    from distill.students.training.fit import load_training_data

    resolved = read_train_config(config, shards, overrides)
    return plan_training(resolved, load_training_data(resolved))


def run_train(config: TrainConfig, out: Path, reporter: Reporter | None = None, *, resume: bool = False) -> TrainResult:
    """Train, or continue an earlier run of the same config.

    Raises:
        UsageError: The folder holds the run of another config, or the shards cannot be used.
    """
    resumes = has_checkpoint(out, config, resume=resume)
    from distill.students.training.fit import fit, load_training_data

    first = is_rank_zero()
    reporter = reporter if reporter is not None and first else SilentReporter()
    data = load_training_data(config)
    provenance = _provenance(config, data)
    reporter.info(data.split)
    if not resume:
        check_same_shards(out, provenance)
        finished = read_result(out)
        if finished is not None:
            reporter.info(f"{out}: this run is finished; choose another --out to train again")
            return finished
    open_run_dir(out)
    if resumes:
        reporter.info(f"{out}: continuing from the last checkpoint")
    begun = list[bool]()

    def begin(read: TrainingData) -> None:
        # Not earlier: a start that is refused must leave the folder unchanged.
        begun.append(True)
        if first:
            open_run_dir(out, config_yaml=dump_config(config), verb="train", facts=_provenance(config, read))
            (out / RESULT_FILE).unlink(missing_ok=True)

    fitted = fit(config, data, out, reporter, resume=resumes, begin=begin)
    result = TrainResult(
        out,
        fitted.epochs,
        fitted.steps,
        fitted.elapsed_s,
        fitted.best,
        tuple(fitted.history),
        fitted.bad_samples,
        fitted.interrupted,
        fitted.failure,
        fitted.weak,
        data.split,
    )
    if result.interrupted:
        return result
    if not begun:
        reporter.info(f"{out}: no steps are left; raise train.epochs or train.minutes to continue")
    if first:
        write_atomic(out / RESULT_FILE, json.dumps(result.to_dict(), indent=2).encode())
    return result


def is_rank_zero() -> bool:
    """Whether this process reports; with several devices, Lightning starts this command once for each."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def has_checkpoint(out: Path, config: TrainConfig, *, resume: bool) -> bool:
    """Whether the folder has a checkpoint to continue from.

    Raises:
        UsageError: The folder holds the run of another config, or `resume` is set and there is no checkpoint.
    """
    found = (out / _CHECKPOINT).is_file()
    if resume:
        if not found:
            raise UsageError(f"{out}: there is no checkpoint to continue from", hint="leave --resume out")
        return True
    if not found and not (out / RESULT_FILE).is_file():
        return False
    before = load_config(TrainConfig, out / _CONFIG) if (out / _CONFIG).is_file() else None
    if before != config:
        raise UsageError(
            f"{out}: holds a run of another config ({_first_difference(before, config)})",
            hint="choose another --out, or give --resume to continue with the changed config",
        )
    return found


def check_same_shards(out: Path, provenance: Mapping[str, Any]) -> None:
    """Check that a run in the folder was trained on the same shards.

    Raises:
        UsageError: The shards have changed.
    """
    try:
        before = json.loads((out / _PROVENANCE).read_text()).get("manifests")
    except (OSError, ValueError, AttributeError):
        return
    has_run = (out / _CHECKPOINT).is_file() or (out / RESULT_FILE).is_file()
    if has_run and before is not None and before != provenance["manifests"]:
        raise UsageError(
            f"{out}: the shards have changed since this run began",
            hint="choose another --out, or give --resume to continue with the changed shards",
        )


def read_result(out: Path) -> TrainResult | None:
    """Read the result of a finished run; None where there is none."""
    from distill.students.data.bad_samples import BAD_SAMPLES, read_bad_samples
    from distill.students.training.callbacks.history import HISTORY

    try:
        values = json.loads((out / RESULT_FILE).read_text())
        rows = json.loads((out / HISTORY).read_text()) if (out / HISTORY).is_file() else []
        history = tuple(row for row in rows if row["val_score"] is not None)
        bad_samples = tuple(read_bad_samples(out / BAD_SAMPLES))
        return TrainResult(
            out,
            values["epochs"],
            values["steps"],
            values["elapsed_s"],
            values["best"],
            history,
            bad_samples,
            failure=values.get("failure", ""),
            weak=values.get("weak", ""),
            split=values.get("split", ""),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _first_difference(before: TrainConfig | None, config: TrainConfig) -> str:
    if before is None:
        return f"no {_CONFIG}"
    old, new = _flatten(before.model_dump(mode="json")), _flatten(config.model_dump(mode="json"))
    return next(f"{key} was {old.get(key)}, is {new[key]}" for key in new if old.get(key) != new[key])


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _provenance(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    return {
        "photos": {"train": len(data.train), "val": len(data.val)},
        "split": data.split,
        "teachers": data.index.teachers,
        "licenses": data.index.licenses,
        "manifests": {str(folder): file_sha256(folder / MANIFEST) for folder in sorted(config.shards)},
    }
