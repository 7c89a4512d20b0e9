"""Any Python function that edits images as a generative teacher.

The function takes uint8 RGB (h, w, 3) and a prompt and returns a uint8 RGB image of any size that shows the same view:

    generate(rgb, prompt, *, seed, **settings) -> image
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distill.config.adapters import GeneratorConfig
from distill.errors import DistillError
from distill.images import Photo, encode_map
from distill.teachers.base import CacheableGenerator, GeneratedImage, PromptSpec, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.functions import Function, describe_as, find_function, source_digest
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.prompts.build import build_prompt_specs, prompted_classes
from distill.teachers.registration.canvas import Grid, fit_canvas, to_canvas

_RESIZE_MODE = "fill"


def generator(**description: Any) -> Callable[[Function], Function]:
    """Describe a function, so that it is a generative teacher without a config file.

    Args:
        description: Keys of `distill.config.adapters.GeneratorConfig`: model, license, terms, prompts, settings, ...
    """
    return describe_as("generator", description)


class FunctionGenerator(CacheableGenerator):
    """A function as generator; the photo is resized to sides that divide by ``multiple``, and never cropped."""

    def __init__(self, config: GeneratorConfig) -> None:
        self._config, self.model = config, config.model or config.function
        self._function = find_function(config.function)
        self._prompt_specs = build_prompt_specs(config.prompts, resize_mode=_RESIZE_MODE)
        self._grid = Grid(config.multiple, config.max_pixels, min(config.min_pixels, config.max_pixels))

    def fingerprint(self) -> list[str]:
        """Digest of the function's source file."""
        return [source_digest(self._config.function)]

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """The same for every photo."""
        return self._prompt_specs

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """Function, settings and image size. The source code is left out: raise ``model`` if the images change."""
        return {
            "function": self._config.function,
            "settings": dict(self._config.settings),
            "canvas_hw": list(fit_canvas(photo.size_hw, self._grid)),
        }

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The generated image as PNG; each sample has a seed of its own.

        Raises:
            ContentRefused: The function raised it.
            DistillError: The function failed on this photo, or returned something else than an image.
        """
        reference = self._config.function
        rgb = to_canvas(photo.rgb, fit_canvas(photo.size_hw, self._grid), _RESIZE_MODE)
        try:
            image = self._function(rgb.copy(), prompt_spec.prompt, seed=seed + 7919 * sample, **self._config.settings)
        except DistillError:
            raise
        except Exception as error:  # foreign code: its failure costs this photo, not the run
            raise DistillError(f"{photo.name}: {reference} failed: {type(error).__name__}: {error}") from error
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DistillError(
                f"{reference} returned {image.dtype} of shape {image.shape}", hint="return uint8 RGB of shape (h, w, 3)"
            )
        name = f"{photo.key}.{'-'.join(filter(None, (str(prompt_spec.task), prompt_spec.class_name)))}.png"
        data = encode_map(np.ascontiguousarray(image))
        return GeneratedImage(prompt_spec, data, name, self.model, self._config.price_per_image_usd, seed=seed)


def build_generator(config: GeneratorConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a generator function.

    Raises:
        UsageError: The function cannot be imported.
    """
    return GenerativeTeacher(
        context.with_cache(FunctionGenerator(config), config.license),
        name=config.name or config.function.rpartition(":")[2],
        license=config.license,
        terms=config.terms,
        tasks=config.prompts.tasks,
        classes=prompted_classes(config.prompts),
        seed=config.seed,
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
        answer_usd=config.price_per_image_usd,
    )
