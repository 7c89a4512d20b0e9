"""Configuration of training: network, data, augmentation, losses, optimizer, budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Config
from distill.config.base import Fraction, NonNegative, Positive
from distill.config.loss import LossConfig, Side
from distill.spec import PlainName
from distill.tasks import TASKS, Task

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "nano": {"backbone": "mobilenetv4_conv_small_050", "size_hw": (192, 256), "neck_channels": 48, "head_channels": 32},
    "small": {"backbone": "mobilenetv4_conv_small", "size_hw": (288, 384), "neck_channels": 64, "head_channels": 48},
    "base": {"backbone": "mobilenetv4_conv_medium", "size_hw": (384, 512), "neck_channels": 96, "head_channels": 64},
}
"""Students by name; every key can be overridden."""

DENSE_TASKS = tuple(task for task in Task if TASKS[task].learnable and TASKS[task].is_dense)
"""Tasks that a student learns by default, in the order of its outputs."""
STUDENT_TASKS = (*DENSE_TASKS, *(task for task in Task if task not in DENSE_TASKS))
"""All tasks that a student can learn, those that have to be named last; referring phrases become semantic classes."""

TRUSTED_BACKBONES = "DISTILL_CUSTOM_BACKBONE"
"""Environment variable with the networks, ``package.module:Class``, that may be imported; several with commas."""


class StudentConfig(Config):
    """The network: a timm backbone, a light neck, one head per task."""

    preset: Literal["nano", "small", "base"] | None = "nano"
    """Default values for keys that are not given; null: no defaults."""
    backbone: str
    """Any timm model with feature maps (`timm.list_models()`)."""
    pretrained: bool = False
    """Start from timm's weights, downloaded once from the Hugging Face hub."""
    size_hw: tuple[Side, Side]
    """Working size of the network; inputs of any size are resized to it in the graph."""
    neck_channels: int = Field(ge=8, le=1024)
    head_channels: int = Field(ge=8, le=1024)
    head_stride: Literal[2, 4, 8] = 4
    """Heads work at 1/stride of `size_hw`, or at the finest stride that the backbone has above it."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of the channels of the two coarsest levels that a step leaves out: 0.2 for a few hundred photos."""
    custom_backbone: str | None = None
    """``package.module:Class``, a custom network that replaces backbone and neck (see docs/students.md). It refers to
    code, so it is only accepted from the command line or the environment, never from a file."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        preset = values.get("preset", "nano")
        return {**(PRESETS.get(preset, {}) if isinstance(preset, str) else {}), **values}

    @field_validator("custom_backbone")
    @classmethod
    def _check_reference(cls, custom_backbone: str | None) -> str | None:
        if custom_backbone is not None and not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", custom_backbone):
            raise ValueError(f"{custom_backbone!r} is not of the form package.module:Class")
        return custom_backbone


class DataConfig(Config):
    """Selection, decoding and caching of photos."""

    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Fraction of photos held out for validation, chosen by the hash of their bytes: labeling again moves no photo."""
    group_by: Literal["auto", "photo", "folder", "clip"] = "auto"
    """Photos that are held out together: auto: frames of one video, numbered names of one folder if neighbors look
    alike, and near-duplicates; clip: the same without comparing photos; folder: photos of one folder; photo: none."""
    batch_size: int = Field(16, ge=1)
    workers: int = Field(2, ge=0)
    """Processes that decode photos if the decoded set is not cached."""
    memory_cache_gib: float = Field(2.0, ge=0.0)
    """Decoded photos and labels are cached in memory up to this size."""
    disk_cache_gib: float = Field(100.0, ge=0.0)
    """Larger sets are decoded once into files in the run's folder (removed at the end), up to this size; beyond it, or
    with 0 here and above, photos are decoded again each epoch."""
    cache_dir: Path | None = None
    """Another folder for those files; they are not removed, and later runs on the same photos reuse them."""
    mix: tuple[Positive, ...] = ()
    """How often the photos of each folder of shards are used in an epoch, in the order of the folders; empty: once."""


class AugmentConfig(Config):
    """Random changes of each batch under which labels stay correct."""

    flip: Fraction = 0.5
    """Probability of a left-right flip; it negates the x of normals."""
    zoom: float = Field(1.2, ge=1.0, le=4.0)
    """Largest zoom of a random crop; metric depth is divided by it (a longer focal length), 1 turns zooms off."""
    crop: float = Field(1.0, ge=0.25, le=1.0)
    """Fraction of each side that a step uses, at full resolution: at 0.67 a step costs 0.45, and small objects keep
    their size. The focal length does not change, so metric depth stays as well. For backbones that accept any size."""
    brightness: NonNegative = 0.3
    contrast: NonNegative = 0.3
    saturation: NonNegative = 0.3
    gray: Fraction = 0.05
    """Probability of a grayscale input."""
    tint: NonNegative = 0.0
    """Each color channel is scaled by up to this much, as by another illumination: 0.2 for a few hundred photos."""
    erase: Fraction = 0.0
    """Probability that a rectangle of the input is blanked while its labels stay, so that context has to be used."""
    noise: NonNegative = 0.02
    """Largest standard deviation of added noise, of the full range."""


class OptimConfig(Config):
    """AdamW with warm-up and cosine."""

    lr: Positive = 3e-3
    """Peak learning rate of neck and heads."""
    backbone_lr_ratio: NonNegative = 1.0
    """Of the backbone, relative to `lr`: 1 from scratch, 0.1 on pretrained weights."""
    weight_decay: NonNegative = 0.02
    warmup: Fraction = 0.05
    """Fraction of the run."""
    layer_decay: float = Field(1.0, gt=0.0, le=1.0)
    """Learning rate of each backbone stage relative to the next one: 0.7 to 0.9 on pretrained weights."""
    accumulate: int = Field(1, ge=1)
    """Batches per optimizer step; their gradients are added up."""
    clip_norm: Positive = 1.0
    ema_decay: float = Field(0.998, ge=0.0, lt=1.0)
    """Decay of the averaged weights, which are validated and saved; early steps use (1 + n) / (10 + n). 0: none."""


class TrainerConfig(Config):
    """Length of the run, hardware, validation and logging."""

    epochs: int = Field(60, ge=1)
    minutes: Positive | None = None
    """Time limit; the learning rate schedule ends with it."""
    num_validations: int = Field(12, ge=1)
    """Validations over the run, at most one per epoch."""
    patience: int = Field(0, ge=0)
    """Stop after this many validations without a better score; 0: never."""
    checkpoint_minutes: Positive = 5.0
    """Interval at which the full state is written between validations, so the most that a power cut can lose."""
    sample_images: int = Field(4, ge=0)
    """Validation photos that are drawn with labels and predictions at each validation, into ``samples/``."""
    logger: Literal["tensorboard", "wandb", "mlflow", "none"] = "tensorboard"
    """Destination of curves in addition to history.json and logs/*.csv."""
    compile: bool = False
    """Use torch.compile: slow to start, faster steps on GPUs."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """auto: bf16-mixed on a GPU, 32-true on a CPU (where bf16 made a step of nano 1.2 times slower, with AMX)."""
    fake_quant: bool = False
    """Quantization-aware training: simulate 8-bit rounding, for the last epochs of a student that will be exported to
    int8, with `init` and a tenth of `optim.lr`."""
    seed: int = Field(0, ge=0)
    threads: int = Field(0, ge=0)
    """Of the CPU; 0: all or half of them, whichever is faster in a measurement at the start."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)


class TrainConfig(Config):
    """Configuration of `distill train`."""

    name: PlainName = "student"
    """Of the exported files; not given: the preset's name."""
    shards: tuple[Path, ...] = ()
    """Folders written by `distill label`."""
    tasks: tuple[Task, ...] = ()
    """Any of depth, normals, semantic, edges, instance, or referring alone; empty: those of the first four that every
    folder of shards has."""
    init: Path | None = None
    """Folder of an earlier run; its weights are used where shapes match: other tasks, other classes, another size."""
    student: StudentConfig = Field(default_factory=lambda: StudentConfig.model_validate({}))
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainerConfig = TrainerConfig()

    @model_validator(mode="before")
    @classmethod
    def _name_after_preset(cls, values: Any) -> Any:
        student = values.get("student", {}) if isinstance(values, dict) else None
        preset = student.get("preset", "nano") if isinstance(student, dict) else getattr(student, "preset", None)
        return {"name": preset, **values} if isinstance(preset, str) else values

    @model_validator(mode="after")
    def _check_consistent(self) -> TrainConfig:
        if self.loss.consistency > 0 and self.loss.fov_deg is None:
            raise ValueError("loss.consistency needs the field of view: set loss.fov_deg")
        if self.loss.consistency > 0 and (self.augment.zoom > 1 or self.augment.crop < 1):
            raise ValueError("loss.consistency needs augment.zoom=1 and augment.crop=1")
        if self.data.mix and len(self.data.mix) != len(self.shards):
            raise ValueError(f"data.mix has {len(self.data.mix)} weights for {len(self.shards)} folders of shards")
        return self
