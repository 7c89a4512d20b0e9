"""Checkpoint of a run: read it, compare it with the run that is to continue, and restore Lightning's state from it.

The file may come from someone else. Whatever is used of it has its type, its range and the shapes of this student; the
counters of Lightning's loops and the hyperparameters of the optimizer are not read from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from pydantic import ValidationError
from torch import Tensor

from distill.errors import DistillError, UsageError, describe_error
from distill.files import parse_json
from distill.students.model.student import Student
from distill.students.tasks.base import ConstantComparison
from distill.students.training.checkpoint_schema import CallbackStates, Checkpoint, OptimizerState
from distill.students.training.module import StudentModule
from distill.students.training.resume import ResumePosition
from distill.tasks import Task

_DAMAGED_HINT = "delete it to start again, or resume from a copy of best.ckpt"


def read_checkpoint(path: Path, student: Student) -> Checkpoint:
    """Read a checkpoint (memory-mapped) and check that it belongs to this student.

    Raises:
        UsageError: There is no checkpoint, or it belongs to another student.
        DistillError: It is damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path.parent.parent}: no checkpoint to resume from", hint="leave --resume out")
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:  # torch's own text recommends to run the code
        raise _damaged(path, "it holds more than tensors and plain values, possibly code") from error
    except Exception as error:  # zip, pickle and system errors alike
        raise _damaged(path, "it is cut off, or not written by distill train") from error
    try:
        found = Checkpoint.model_validate(values)
        theirs = {"student": parse_json(found.distill.student), "spec": parse_json(found.distill.spec)}
        if not all(isinstance(part, dict) for part in theirs.values()):
            raise ValueError("student and spec are no objects")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "its content"
        raise _damaged(path, f"{where}: {first['msg']}") from error
    except ValueError as error:
        raise _damaged(path, describe_error(error)) from error
    ours = {"student": student.config.model_dump_json(), "spec": student.spec.to_json()}
    for part, text in ours.items():
        before, now = (_without_sources(one) for one in (theirs[part], parse_json(text)))
        if before != now:
            raise UsageError(
                f"{path}: the checkpoint belongs to another student ({part}: {_first_difference(before, now)})",
                hint="choose another --out, or use the config of the earlier run",
            )
    return found


def to_lightning_state(
    path: Path, found: Checkpoint, module: StudentModule, position: ResumePosition
) -> dict[str, Any]:
    """The checkpoint as Lightning loads it, with counters of this position.

    Args:
        path: The file.
        found: Its contents.
        module: Module that is to continue.
        position: Where it continues.

    Raises:
        UsageError: The optimizer's parameter groups differ.
        DistillError: Tensors have other names, shapes or types than those of this student.
    """
    optimizer, wanted = module.configure_optimizers(), module.state_dict()
    _check_tensors(path, found.state_dict, wanted)
    if found.distill.label_errors.dtype is not module.noisy_labels.errors.dtype:
        raise _damaged(path, "distill.label_errors is not as in this student")
    state: dict[str, Any] = {
        "epoch": position.epoch,
        "global_step": found.global_step,
        "pytorch-lightning_version": L.__version__,
        "state_dict": found.state_dict,
        "loops": {"fit_loop": position.loop_state(found.global_step, module.config.train.epochs)},
        "optimizer_states": [_optimizer_state(path, found.optimizer_states[0], optimizer)],
        "lr_schedulers": [],
        "callbacks": _callback_states(found.callbacks),
        "distill": dict(found.distill) | {"label_errors": found.distill.label_errors.clone()},
    }
    averaging = found.averaging_state
    if found.current_model_state is not None and averaging is not None:
        _check_tensors(path, found.current_model_state, wanted)
        _check_tensors(path, averaging, {"n_averaged": torch.zeros((), dtype=torch.long)})
        state |= {"current_model_state": found.current_model_state, "averaging_state": averaging}
    if found.scaler is not None:
        state["MixedPrecision"] = found.scaler
    return state


def _callback_states(callbacks: CallbackStates) -> dict[str, Any]:
    validations, bad_samples = callbacks.ValidationCallback, callbacks.BadSampleCallback.bad_samples
    compared = validations.comparisons
    states: dict[str, Any] = {
        "ValidationCallback": dict(validations)
        | {
            "sums": {name: total.clone() for name, total in validations.sums.items()},
            "comparisons": None
            if compared is None
            else {task: ConstantComparison(**dict(one)) for task, one in compared.items() if task in set(Task)},
        },
        "BadSampleCallback": {"bad_samples": [dict(one) for one in bad_samples]},
    }
    if callbacks.EMACallback is not None:
        states["EMACallback"] = dict(callbacks.EMACallback)
    return states


def _optimizer_state(path: Path, found: OptimizerState, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state with the hyperparameters of this run."""
    ours = optimizer.state_dict()["param_groups"]
    if _group_sizes(found.param_groups) != _group_sizes(ours):
        run_dir = path.parent.parent
        raise UsageError(
            f"{run_dir}: optim.backbone_lr_ratio or optim.layer_decay cannot change within a run: other weights "
            "would be trained",
            hint=f"leave them as they were, or start a new run with init={run_dir} and another --out",
        )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = dict[int, dict[str, Tensor]]()
    for index, tensors in found.state.items():
        if not 0 <= index < len(parameters):
            raise _damaged(path, f"optimizer_states: there is no parameter {index}")
        moments = dict.fromkeys(("exp_avg", "exp_avg_sq"), parameters[index])
        _check_tensors(path, tensors, {"step": torch.zeros(()), **moments})
        # Not those of the memory-mapped file, because they are changed in place.
        state[index] = {name: tensor.clone() for name, tensor in tensors.items()}
    return {"state": state, "param_groups": ours}


def _group_sizes(groups: list[dict[str, Any]]) -> list[int]:
    return [len(names) if isinstance(names := group.get("params"), list) else -1 for group in groups]


def _check_tensors(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for name in sorted(found.keys() | wanted.keys()):
        ours, theirs = wanted.get(name), found.get(name)
        if ours is None or theirs is None or (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            raise _damaged(path, f"{name} is not as in this student")


def _damaged(path: Path, reason: str) -> DistillError:
    return DistillError(f"{path}: the checkpoint is damaged: {reason}", hint=_DAMAGED_HINT)


def _without_sources(values: dict[str, Any]) -> dict[str, Any]:
    """The values without those that depend on the shards: a student stays the same on other shards."""
    return {key: value for key, value in values.items() if key not in ("provenance", "licenses", "terms")}


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return next((f"{key} was {old.get(key)}, is {new[key]}" for key in new if old.get(key) != new[key]), "format")
