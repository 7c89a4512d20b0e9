"""The synthetic teacher: generated images of rendered scenes, with simulated faults, or the exact ground truth.

An image is determined by (scene, seed of the scene, prompt, seed of the job): the same prompt gives the same bytes in
any order and any process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distill.config.synthetic import SyntheticConfig
from distill.errors import DistillError
from distill.images import Photo
from distill.labels import Label
from distill.teachers.base import CacheableGenerator, ContentRefused, GeneratedImage, PromptSpec, Specialist, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.generative import GenerativeTeacher
from distill.teachers.predictive import PredictiveTeacher
from distill.teachers.prompts.templates import prompt_hash
from distill.teachers.synthetic.answer_rendering import render_answer
from distill.teachers.synthetic.corruptions import encode_file
from distill.teachers.synthetic.rendering import View, fly_through, render_view, scene, scene_photo
from distill.teachers.synthetic.scene import SYNTHETIC_CLASSES
from distill.teachers.synthetic.traced_scene import PhotoView, photo_view
from distill.teachers.tasks import teacher_task

__all__ = [
    "SYNTHETIC_CLASSES",
    "SyntheticGenerator",
    "SyntheticTruth",
    "View",
    "fly_through",
    "render_view",
    "scene_photo",
]

MODEL = "synthetic-1"
"""Model name in the records; raise the number when the same prompt would give another image."""


class SyntheticGenerator(CacheableGenerator):
    """Generates images of scenes, with the faults of a config."""

    model = MODEL

    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """Scene, faults and the whole prompt spec, of which the prompt text is only a part."""
        faults = self._config.faults.model_dump(mode="json")
        return {"scene": list(_origin(photo)), "faults": faults, "prompt_hash": prompt_hash(prompt_spec)}

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """One prompt per task of the config; instance: one per visible class."""
        view, resize_mode = _photo_view(photo), self._config.faults.resize_mode
        return [
            prompt_spec
            for task in self._config.tasks
            for prompt_spec in teacher_task(task).synthetic_prompts(view, resize_mode=resize_mode)
        ]

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The generated image: PNG or JPEG, complete or truncated, by the probabilities of the config.

        Raises:
            ContentRefused: By its probability; the same prompt and photo are always refused.
            DistillError: The photo is not one of the synthetic scenes.
        """
        index, scene_seed = _origin(photo)
        faults = self._config.faults
        number = int(prompt_hash(prompt_spec), 16)
        if np.random.default_rng([scene_seed, index, number]).random() < faults.refusal_probability:
            raise ContentRefused(
                f"{photo.name}: the synthetic teacher refused the prompt for {prompt_spec.task}", hint="leave it out"
            )
        mirrored = bool(photo.origin.get("mirrored", 0))
        # Another sample and the mirrored photo have different faults.
        turn = ([sample] if sample else []) + ([1 << 20] if mirrored else [])
        rng = np.random.default_rng([scene_seed, index, number, seed, *turn])
        world, camera = scene(scene_seed, index)
        generated = render_answer(world, camera, photo.size_hw, prompt_spec, faults, rng, mirrored=mirrored)
        subject = f"{prompt_spec.task}-{prompt_spec.class_name}" if prompt_spec.class_name else str(prompt_spec.task)
        return GeneratedImage(
            prompt_spec=prompt_spec,
            data=encode_file(generated, faults, rng),
            name=f"{photo.key}.{subject}",
            model=MODEL,
            cost_usd=self._config.price_per_image_usd,
            seed=seed,
        )


class SyntheticTruth(Specialist):
    """The exact ground truth of scenes, at the size of their photos."""

    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config

    def predict(self, photo: Photo) -> list[Label]:
        """One label per task of the config; sky has the largest storable depth and no normal.

        Raises:
            DistillError: The photo is not one of the synthetic scenes.
        """
        view = _photo_view(photo)
        return [teacher_task(task).true_label(view) for task in self._config.tasks]


def build_synthetic(config: SyntheticConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of a synthetic config: generated images with faults, or the exact labels."""
    if config.truth:
        return PredictiveTeacher(
            SyntheticTruth(config),
            name="truth",
            license=config.license,
            terms=config.terms,
            tasks=config.tasks,
            classes=SYNTHETIC_CLASSES,
        )
    return GenerativeTeacher(
        context.with_cache(SyntheticGenerator(config), config.license),
        name="synthetic",
        license=config.license,
        terms=config.terms,
        tasks=config.tasks,
        classes=SYNTHETIC_CLASSES,
        seed=config.seed,
        quality_filter=context.quality_filter,
        prompt_ensemble=context.prompt_ensemble,
        answer_usd=config.price_per_image_usd,
    )


def _origin(photo: Photo) -> tuple[int, int]:
    """(scene, seed of the scene)."""
    try:
        return int(photo.origin["scene"]), int(photo.origin["seed"])
    except KeyError as error:
        raise DistillError(
            f"{photo.name}: the synthetic teacher labels only scenes that it rendered itself",
            hint="label photos with another teacher",
        ) from error


def _photo_view(photo: Photo) -> PhotoView:
    index, seed = _origin(photo)
    return photo_view(seed, index, photo.size_hw)
