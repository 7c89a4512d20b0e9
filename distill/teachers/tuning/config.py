"""Config of the tuning of an image generator."""

from __future__ import annotations

from pydantic import Field

from distill.config import Config
from distill.tasks import Task


class TuningConfig(Config):
    """Low-rank weights for an image editor, trained on labels encoded as images.

    Attributes:
        teacher: The generator: name or path of a ``diffusers`` teacher config; its sizes, steps and call arguments are
            those of the tuning.
        tasks: Tasks to learn; empty: all of the data.
        rank: Of the low-rank weights.
        modules: Names of the layers that get them, by the end of their path; empty: those of attention.
        learning_rate: Of AdamW, after the warm-up.
        warmup_steps: Steps until the learning rate is reached, linearly.
        steps: Of the whole training.
        batch_size: Images of one step, one after the other: photos differ in size.
        max_grad_norm: Gradients are scaled down to this norm.
        seed: Of order, prompts, colors and noise.
        validation_photos: Photos that are held out and answered.
        validate_every: Steps between two validations.
        checkpoint_every: Steps between two checkpoints; a killed run repeats at most as many.
    """

    teacher: str = Field(min_length=1)
    tasks: tuple[Task, ...] = ()
    rank: int = Field(default=16, ge=1, le=1024)
    modules: tuple[str, ...] = ()
    learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    warmup_steps: int = Field(default=20, ge=0)
    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=4, ge=1)
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0)
    validation_photos: int = Field(default=8, ge=1)
    validate_every: int = Field(default=250, ge=1)
    checkpoint_every: int = Field(default=50, ge=1)
