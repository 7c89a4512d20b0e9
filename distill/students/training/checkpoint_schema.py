"""Schema of a checkpoint: type and range of every value that is used of it."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from distill.students.training.resume import ResumePosition, resume_position

_MAX_COUNT = 10**12
_Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
_Text = Annotated[str, Field(max_length=4 * 1024 * 1024)]


def _check_plain(tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise ValueError("a sparse tensor or one without values")
    return tensor


def _check_scalar(tensor: Tensor) -> Tensor:
    if tensor.ndim or not tensor.is_floating_point():
        raise ValueError("not a single number")
    return tensor


_Tensor = Annotated[Tensor, AfterValidator(_check_plain)]
_Tensors = dict[str, _Tensor]
_Scalar = Annotated[_Tensor, AfterValidator(_check_scalar)]


def _check_row(row: dict[str, int | float]) -> dict[str, int | float]:
    if "val_score" not in row:
        raise ValueError("a validation without a score")
    return row


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, arbitrary_types_allowed=True, frozen=True)


class _Progress(_Part):
    """What `StudentModule.on_save_checkpoint` adds."""

    student: _Text
    spec: _Text
    elapsed_s: float = Field(ge=0, allow_inf_nan=False)
    batches_seen: _Count
    batches_per_epoch: int = Field(ge=1, le=_MAX_COUNT)
    batches_offset: int = Field(ge=-_MAX_COUNT, le=_MAX_COUNT)
    threads: int = Field(ge=1, le=4096)
    label_errors: _Tensor


class _Comparison(_Part):
    name: _Text
    score: float
    constant: float
    is_better: bool
    is_constant: bool = False


class _Validations(_Part):
    """State of `ValidationCallback`."""

    history: list[Annotated[dict[str, int | float], AfterValidator(_check_row)]]
    best_score: float
    worse: _Count
    comparisons: dict[str, _Comparison] | None
    validated: _Count
    sums: dict[str, _Scalar]
    batches: _Count


class _BadSample(_Part):
    shard: _Text
    key: _Text
    reason: _Text
    samples: _Count


class _BadSamples(_Part):
    bad_samples: list[_BadSample]


class _Averaging(_Part):
    latest_update_step: _Count


class CallbackStates(_Part):
    """States of the callbacks, by class."""

    ValidationCallback: _Validations
    BadSampleCallback: _BadSamples
    EMACallback: _Averaging | None = None


class OptimizerState(_Part):
    """Moments by number of the parameter, and parameter groups."""

    state: dict[int, _Tensors]
    param_groups: list[dict[str, Any]]


class Checkpoint(_Part):
    """Contents of a checkpoint, as far as they are used.

    Attributes:
        global_step: Optimizer steps so far.
        distill: Student, spec and progress.
        state_dict: Weights; the averaged ones if there are any.
        current_model_state: Weights that are trained, if `state_dict` holds the averaged ones.
        averaging_state: Of the average.
        scaler: State of the gradient scaler of ``16-mixed``.
    """

    global_step: _Count
    distill: _Progress
    state_dict: _Tensors
    optimizer_states: list[OptimizerState] = Field(min_length=1, max_length=1)
    callbacks: CallbackStates
    current_model_state: _Tensors | None = None
    averaging_state: _Tensors | None = None
    scaler: dict[str, int | float] | None = Field(None, alias="MixedPrecision")

    def position(self, batches_per_epoch: int, accumulate: int) -> ResumePosition:
        """Position of the run in epochs of this size."""
        facts = self.distill
        return resume_position(
            facts.batches_seen,
            facts.batches_per_epoch,
            facts.batches_offset,
            batches_per_epoch=batches_per_epoch,
            accumulate=accumulate,
        )
