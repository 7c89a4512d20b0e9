"""Image-edit pipelines of the diffusers library as generators.

The photo is resized to a size that the pipeline does not change, so that nothing is cropped and the image covers the
photo exactly. The same photo, prompt, seed and sample give the same image.
"""

from __future__ import annotations

import hashlib
import inspect
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.config.local import DiffusersConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo, encode_map
from distill.teachers.base import CacheableGenerator, ContentRefused, GeneratedImage, PromptSpec
from distill.teachers.local.hub import fingerprint
from distill.teachers.local.pipelines import Pipeline, PipelineChanges, open_pipeline
from distill.teachers.prompts.build import build_prompt_specs
from distill.teachers.registration.canvas import Grid, fit_canvas, to_canvas

RESIZE_MODE = "fill"


class DiffusersGenerator(CacheableGenerator):
    """One pipeline, opened with the first prompt, so that a plan needs no weights.

    Args:
        config: Of the teacher.
        source: Folder or hub id of the pipeline.
        folder: That relative paths of the config are relative to.
        opened: The pipeline, if it is open already.
    """

    def __init__(self, config: DiffusersConfig, source: str, folder: Path, opened: Pipeline | None = None) -> None:
        self._config, self._source, self._folder, self._opened = config, source, folder, opened
        self._prompt_specs = build_prompt_specs(config.prompts, resize_mode=RESIZE_MODE)
        self._grid = Grid(config.multiple, config.max_pixels, min(config.min_pixels, config.max_pixels))
        self.model = f"{config.model}@{config.revision}" if config.revision else config.model

    def fingerprint(self) -> list[str]:
        """State of the model's files."""
        return [fingerprint(self._source, self._config.revision)]

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """The same for every photo."""
        return self._prompt_specs

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """As `CacheableGenerator.parameters`."""
        keys = {
            "steps",
            "guidance_scale",
            "true_cfg_scale",
            "pipeline_kwargs",
            "loras",
            "transformer",
            "scheduler",
            "dtype",
        }
        return {
            **self._config.model_dump(mode="json", include=keys),
            "canvas_hw": list(fit_canvas(photo.size_hw, self._grid)),
            "weights": fingerprint(self._source, self._config.revision),
        }

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The generated image as PNG.

        Raises:
            ModelUnavailable: The weights cannot be had.
            ContentRefused: The pipeline's safety filter blocked the image.
            DistillError: The pipeline failed on this photo.
        """
        import torch
        from PIL import Image

        pipeline = self._pipeline
        size_hw = fit_canvas(photo.size_hw, self._grid)
        given = self._call(pipeline, size_hw)
        given["image"] = Image.fromarray(to_canvas(photo.rgb, size_hw, RESIZE_MODE))
        given["prompt"] = prompt_spec.prompt
        # On the CPU, so that the noise does not depend on the device.
        given["generator"] = torch.Generator("cpu").manual_seed(_noise_seed(seed, sample))
        try:
            with torch.inference_mode():
                generated = pipeline.pipe(**given)
        except (RuntimeError, ValueError, TypeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DistillError(f"{photo.name}: {type(pipeline.pipe).__name__} failed: {reason}") from error
        if any(getattr(generated, "nsfw_content_detected", None) or ()):
            raise ContentRefused(
                f"{photo.name}: the safety filter of the pipeline blocked the image", hint="leave the photo out"
            )
        rgb = _as_bytes(generated.images[0], photo.name)
        subject = f"{prompt_spec.task}-{prompt_spec.class_name}" if prompt_spec.class_name else str(prompt_spec.task)
        return GeneratedImage(prompt_spec, encode_map(rgb), f"{photo.key}.{subject}.png", self.model, seed=seed)

    @cached_property
    def _pipeline(self) -> Pipeline:
        if self._opened is not None:
            return self._opened
        config = self._config
        changes = PipelineChanges(config.transformer, config.loras, config.scheduler, config.offload, config.compile)
        return open_pipeline(config, self._source, self._folder, changes)

    def _call(self, pipeline: Pipeline, size_hw: tuple[int, int]) -> dict[str, Any]:
        """Keyword arguments of the call; those of the config must exist, the sizes are passed if they exist."""
        known = inspect.signature(pipeline.pipe.__call__).parameters
        wanted = {
            "num_inference_steps": self._config.steps,
            "guidance_scale": self._config.guidance_scale,
            "true_cfg_scale": self._config.true_cfg_scale,
            **self._config.pipeline_kwargs,
        }
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if unknown := [name for name in wanted if name not in known]:
            raise UsageError(
                f"{type(pipeline.pipe).__name__} has no {', '.join(unknown)}", hint=f"it has {', '.join(known)}"
            )
        height, width = size_hw
        # Kontext would otherwise change the size.
        offered = {"height": height, "width": width, "_auto_resize": False, "max_area": height * width}
        return {name: value for name, value in offered.items() if name in known} | wanted


def _noise_seed(seed: int, sample: int) -> int:
    """The job's seed for the first sample; another 63-bit number for each further one."""
    if sample == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {sample}".encode()).digest()[:8]) >> 1


def _as_bytes(image: Any, name: str) -> UInt8[ndarray, "h w 3"]:
    rgb = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise DistillError(f"{name}: the pipeline gave {rgb.dtype} of shape {rgb.shape} instead of an image")
    return np.ascontiguousarray(rgb)
