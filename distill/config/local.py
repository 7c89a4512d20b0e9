"""Configs of models that run on this machine: transformers, image editors of diffusers, and Marigold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Config
from distill.config.class_ids import ClassNames, Remap, check_targets
from distill.config.prompt import PromptConfig
from distill.config.teacher_base import TeacherConfig
from distill.tasks import DepthKind, Task

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class ModelConfig(TeacherConfig):
    """A model by hub id or folder, with device and precision."""

    name: str = ""
    """Teacher name in the records; empty: the model's name."""
    model: str = Field(min_length=1)
    """A folder (absolute, or relative to the config or to ``$DISTILL_MODELS``), or a hub id such as ``owner/name``."""
    revision: str = ""
    """Branch, tag or commit of a hub id; empty: the newest."""
    device: str = "auto"
    """``auto`` (the GPU if there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""
    dtype: Precision = "auto"
    """``auto``: bfloat16 on a GPU, float32 on a CPU."""


class TransformersConfig(ModelConfig):
    """A specialist of the transformers library; depth kind and class names default to the model's own."""

    kind: Literal["transformers"] = "transformers"
    tasks: tuple[Task, ...] = ()
    """Tasks to use; empty: all that the model can do."""
    depth_kind: DepthKind | None = None
    """depth: kind of the model's output; required if the model does not declare it."""
    frame: str = ""
    """normals: axes of the model's output, such as ``opencv``; required if the model does not declare them."""
    classes: ClassNames = ()
    """semantic: class list of the labels; empty: the model's own."""
    remap: Remap = Field(default_factory=dict)
    """semantic: model class to a name in `classes`, or to ``ignore``."""
    things: ClassNames = ()
    """instance: classes to use; for a text-prompted model (SAM 3) the text prompts, one call each."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """instance: minimum score of a mask."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """semantic: pixels below are invalid."""

    @model_validator(mode="after")
    def _check_remap(self) -> TransformersConfig:
        if self.classes:
            check_targets(self.classes, self.remap)
        return self


class LoraConfig(Config):
    """LoRA weights for a pipeline."""

    model: str
    """A folder, a safetensors file, or a hub id."""
    file: str = ""
    """Name of the file, if the folder has several."""
    scale: float = 1.0


CallArgument = bool | int | float | str | tuple[int, ...] | tuple[float, ...]
Offload = Literal["auto", "none", "model", "layers"]


class DiffusersConfig(ModelConfig):
    """An image-edit pipeline of the diffusers library as generator."""

    kind: Literal["diffusers"] = "diffusers"
    prompts: PromptConfig = PromptConfig()
    """Tasks and prompts."""
    seed: int = Field(default=0, ge=0)
    """Another seed gives other images."""
    steps: int | None = Field(default=None, ge=1)
    """Denoising steps; empty: the pipeline's default."""
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    """A pipeline has one of the two guidance scales; see its model card. Few-step variants need 1.0."""
    pipeline_kwargs: dict[str, CallArgument] = Field(default_factory=dict)
    """Further keyword arguments of the pipeline call."""
    loras: tuple[LoraConfig, ...] = ()
    transformer: str = ""
    """Folder or hub id of a transformer that replaces the pipeline's own, such as a fine-tuned one."""
    scheduler: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    """Keys of the scheduler's config to change, as few-step adapters require."""
    multiple: int = Field(default=32, ge=8, le=256)
    """The photo is resized to sides that are multiples of this, and never cropped."""
    max_pixels: int = Field(default=1024 * 1024, ge=64 * 64)
    min_pixels: int = Field(default=512 * 512, ge=0)
    """Smaller photos are enlarged: generators are poor at small images."""
    offload: Offload = "auto"
    """Offloading from the GPU: ``none``, ``model`` (one component at a time), ``layers`` (slow), ``auto``."""
    compile: bool = False
    """Compile the transformer with torch.compile: minutes at the start, then faster."""

    @field_validator("pipeline_kwargs")
    @classmethod
    def _reject_reserved(cls, pipeline_kwargs: dict[str, CallArgument]) -> dict[str, CallArgument]:
        reserved = {"image", "prompt", "height", "width", "generator", "num_inference_steps", "output_type"}
        if taken := reserved & set(pipeline_kwargs):
            raise ValueError(f"{', '.join(sorted(taken))}: set by other keys of the config")
        return pipeline_kwargs


class MarigoldConfig(ModelConfig):
    """Marigold: a diffusion model that predicts depth or normals directly."""

    kind: Literal["marigold"] = "marigold"
    seed: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1)
    """Denoising steps; empty: the checkpoint's default."""
    ensemble: int = Field(default=1, ge=1, le=64)
    """Number of predictions to fuse; from three on, their spread gives the confidence."""
    resolution: int | None = Field(default=None, ge=0)
    """Longer side of the input in pixels; 0: the photo's; empty: the checkpoint's default."""
