"""Training as a function: read the config, refuse or resume an earlier run of the folder, train, write the result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import dump_config, load_config
from distill.config.train import TrainConfig
from distill.errors import UsageError
from distill.files import read_json, remove_if_possible, remove_stale_parts, write_atomic
from distill.run_dir import open_run_dir
from distill.runtime.folder_lock import hold_output
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import MANIFEST, check_digests, file_sha256
from distill.workflows.arguments import Overrides, Paths, StrPath, to_path
from distill.workflows.train.config import read_train_config
from distill.workflows.train.result import RESULT_FILE, TrainResult, read_result

if TYPE_CHECKING:
    from distill.students.training.estimate import TrainPlan
    from distill.students.training.fit import TrainingData

_CONFIG, _PROVENANCE = "train.config.yaml", "train.provenance.json"
_CHECKPOINT = Path("checkpoints", "last.ckpt")
TRAIN_PAGE = "train.html"


def train(
    config: StrPath | Mapping[str, Any] | TrainConfig | None = None,
    *,
    shards: Paths = (),
    out: StrPath = "run",
    overrides: Overrides = (),
    resume: bool = False,
    verify: bool = False,
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
        verify: Compare every shard with its checksum before it is used.
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
    resolved = read_train_config(config, shards, overrides)
    return run_train(resolved, to_path(out), reporter, resume=resume, verify=verify)


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


def run_train(
    config: TrainConfig, out: Path, reporter: Reporter | None = None, *, resume: bool = False, verify: bool = False
) -> TrainResult:
    """Train, or continue an earlier run of the same config.

    Raises:
        UsageError: The folder holds the run of another config, or the shards cannot be used.
        DistillError: Another process works in the folder, or as `train`.
    """
    first = is_rank_zero()
    reporter = reporter if reporter is not None and first else SilentReporter()
    # The first of several processes of one run holds the folder for all of them.
    with hold_output(out, "train") if first else nullcontext():
        for folder in config.shards if verify and first else ():
            check_digests(folder)
        return _run_in_folder(config, out, reporter, resume=resume, first=first)


def _run_in_folder(config: TrainConfig, out: Path, reporter: Reporter, *, resume: bool, first: bool) -> TrainResult:
    for folder in (out, out / "checkpoints", out / "logs", out / "samples") if first else ():
        remove_stale_parts(folder)
    resumes = has_checkpoint(out, config, resume=resume)
    from distill.students.training.fit import fit, load_training_data

    data = load_training_data(config)
    provenance = _provenance(config, data)
    reporter.info(data.split)
    if not resume:
        check_same_shards(out, provenance)
        finished = read_result(out)
        if finished is not None:
            if first and not (out / TRAIN_PAGE).is_file():  # killed before it was written
                _write_page(out, reporter)
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
            remove_if_possible(out / RESULT_FILE)

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
        _write_page(out, reporter)
    return result


def _write_page(out: Path, reporter: Reporter) -> None:
    from distill.workflows.reports.stages import write_train_page

    reporter.info(f"curves and samples: {write_train_page(out)}")


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
        before = read_json(out / _PROVENANCE).get("manifests")
    except (OSError, ValueError, AttributeError):
        return
    has_run = (out / _CHECKPOINT).is_file() or (out / RESULT_FILE).is_file()
    if has_run and before is not None and before != provenance["manifests"]:
        raise UsageError(
            f"{out}: the shards have changed since this run began",
            hint="choose another --out, or give --resume to continue with the changed shards",
        )


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
