"""Configs of the teachers that run here: networks of transformers, image editors and Marigold of diffusers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Config
from distill.config.prompt import PromptConfig
from distill.config.teacher import TeacherConfig, check_remap
from distill.tasks import DepthKind, Task

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class ModelConfig(TeacherConfig):
    """A model by hub id or folder, and how it is put onto this machine."""

    name: str = ""
    """How provenance names it; empty: the model's."""
    model: str = Field(min_length=1)
    """A folder (absolute, or relative to the config or to ``$DISTILL_MODELS``), or a hub id such as ``owner/name``."""
    revision: str = ""
    """Of a hub id: branch, tag or commit; empty: the newest."""
    device: str = "auto"
    """``auto`` takes the GPU where there is one; ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    dtype: Precision = "auto"
    """``auto``: bfloat16 on a GPU, float32 on a CPU."""


class TransformersConfig(ModelConfig):
    """A specialist of the transformers library; depth kind and class names are the model's own unless they are given."""

    kind: Literal["transformers"] = "transformers"
    tasks: tuple[Task, ...] = ()
    """What is taken from it; empty: all it can do."""
    depth_kind: DepthKind | None = None
    """depth: of the model's output, where the model does not say."""
    frame: str = ""
    """normals: axes of the model's output, such as ``opencv``; needed where the model does not say."""
    classes: tuple[str, ...] = ()
    """semantic: the class list of the labels; empty: the model's own."""
    remap: dict[int | str, str] = Field(default_factory=dict)
    """semantic: model class to a name in `classes`, or to ``ignore``."""
    things: tuple[str, ...] = ()
    """instance: classes to keep; for a model that is asked by text (SAM 3), what it is asked for, one call each."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """instance: masks that score lower are left out."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """semantic: pixels below are invalid."""

    @model_validator(mode="after")
    def _check_remap(self) -> TransformersConfig:
        if self.classes:
            check_remap(self.remap, self.classes)
        return self


class LoraConfig(Config):
    """Low-rank weights that are added to a pipeline."""

    model: str
    """A folder, a safetensors file, or a hub id."""
    file: str = ""
    """Name of the file inside, where there are several."""
    scale: float = 1.0


CallArgument = bool | int | float | str | tuple[int, ...] | tuple[float, ...]
Offload = Literal["auto", "none", "model", "layers"]


class DiffusersConfig(ModelConfig):
    """An image-edit pipeline of the diffusers library that paints answers on this machine."""

    kind: Literal["diffusers"] = "diffusers"
    prompts: PromptConfig = PromptConfig()
    """What is asked, in whose words."""
    seed: int = Field(default=0, ge=0)
    """Another seed, other answers."""
    steps: int | None = Field(default=None, ge=1)
    """Denoising steps; empty: the pipeline's own number."""
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    """Which of the two a pipeline knows, and what they do, its card says; few-step variants want 1.0."""
    pipeline_kwargs: dict[str, CallArgument] = Field(default_factory=dict)
    """Further keyword arguments of the pipeline's call."""
    loras: tuple[LoraConfig, ...] = ()
    transformer: str = ""
    """Folder or hub id of a transformer that replaces the pipeline's own, such as a fine-tune."""
    scheduler: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    """Keys of the scheduler's config to change; few-step adapters want some."""
    multiple: int = Field(default=32, ge=8, le=256)
    """The photo is resized to sides that divide by this, and never cropped."""
    max_pixels: int = Field(default=1024 * 1024, ge=64 * 64)
    min_pixels: int = Field(default=512 * 512, ge=0)
    """Smaller photos are enlarged: generators paint small pictures badly."""
    offload: Offload = "auto"
    """Of a GPU: ``none``, ``model`` (one component at a time), ``layers`` (slow); ``auto`` by free memory."""
    compile: bool = False
    """Compile the transformer with torch.compile: minutes at the start, faster answers."""

    @field_validator("pipeline_kwargs")
    @classmethod
    def _reject_reserved(cls, pipeline_kwargs: dict[str, CallArgument]) -> dict[str, CallArgument]:
        ours = {"image", "prompt", "height", "width", "generator", "num_inference_steps", "output_type"}
        if taken := ours & set(pipeline_kwargs):
            raise ValueError(f"{', '.join(sorted(taken))}: set by other keys of the config")
        return pipeline_kwargs


class MarigoldConfig(ModelConfig):
    """Marigold: a diffusion model that predicts depth or normals directly."""

    kind: Literal["marigold"] = "marigold"
    seed: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1)
    """Denoising steps; empty: the checkpoint's own number."""
    ensemble: int = Field(default=1, ge=1, le=64)
    """Predictions that are fused; from three on their spread becomes the confidence."""
    resolution: int | None = Field(default=None, ge=0)
    """Longer side at which it works; 0: the photo's; empty: the checkpoint's own."""
