"""The synthetic teacher: paints answers about its own scenes, with faults by dose, or tells the exact truth.

Everything follows from (scene, seed of the scene, question, seed of the answer): the same question gets the same
bytes in any order and any process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distill.config.synthetic import SyntheticConfig
from distill.errors import DistillError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import DepthKind, Task, unwarp_depth
from distill.teachers.base import ContentRefused, GeneratedImage, PromptSpec
from distill.teachers.prompts.templates import (
    BACKGROUND,
    depth_prompt,
    instance_prompt,
    normals_prompt,
    prompt_hash,
    referring_prompt,
    semantic_prompt,
)
from distill.teachers.synthetic.answer_rendering import render_answer, referring_phrases
from distill.teachers.synthetic.corruptions import encode_file
from distill.teachers.synthetic.raycaster import Truth
from distill.teachers.synthetic.scene import COUNTABLE, SYNTHETIC_CLASSES, World
from distill.teachers.synthetic.views import View, fly_through, render_view, scene, scene_photo, scene_truth

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
"""Name in provenance; to be raised when the same question would be answered differently."""
MIN_AREA_FRACTION = 0.001
"""A class is asked for when one of its instances covers this much of the picture."""


class SyntheticGenerator:
    """Paints answers about scenes, with the faults of a config."""

    model = MODEL

    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """Scene, faults, and how the answer is painted; the sentence does not say all of it."""
        faults = self._config.faults.model_dump(mode="json")
        return {"scene": list(_origin(photo)), "faults": faults, "asked": prompt_hash(prompt_spec)}

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """One question for each task of the config; instance: one for each class that is there to be seen."""
        return [
            prompt_spec
            for task in self._config.tasks
            for prompt_spec in _prompt_specs(task, photo, self._config.faults.resize_mode)
        ]

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The generated image: PNG, or JPEG whatever was asked for; cut off, by dose.

        Raises:
            Refusal: By dose; the same question about the same photo is always refused.
            DistillError: The photo is not one of the synthetic scenes.
        """
        index, scene_seed = _origin(photo)
        faults = self._config.faults
        asked = int(prompt_hash(prompt_spec), 16)
        if np.random.default_rng([scene_seed, index, asked]).random() < faults.refusal_probability:
            raise ContentRefused(
                f"{photo.name}: the synthetic teacher will not answer about {prompt_spec.task}", hint="leave it out"
            )
        mirrored = bool(photo.origin.get("mirrored", 0))
        # Another sample, and the mirrored photo, have faults of their own.
        turn = ([sample] if sample else []) + ([1 << 20] if mirrored else [])
        rng = np.random.default_rng([scene_seed, index, asked, seed, *turn])
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


class SyntheticTruth:
    """Tells the exact truth about scenes, at the size of their photos."""

    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config

    def predict(self, photo: Photo) -> list[Label]:
        """One label for each task of the config; sky has the farthest depth that can be stored, and no normal.

        Raises:
            DistillError: The photo is not one of the synthetic scenes.
        """
        world, truth = _known(photo)
        return [_label(task, world, truth) for task in self._config.tasks]


def _origin(photo: Photo) -> tuple[int, int]:
    """(scene, seed of the scene)."""
    try:
        return int(photo.origin["scene"]), int(photo.origin["seed"])
    except KeyError as error:
        raise DistillError(
            f"{photo.name}: the synthetic teacher knows only the scenes that it rendered itself",
            hint="label photos with another teacher",
        ) from error


def _known(photo: Photo) -> tuple[World, Truth]:
    index, seed = _origin(photo)
    return scene(seed, index)[0], scene_truth(seed, index, photo.size_hw)


def _prompt_specs(task: Task, photo: Photo, resize_mode: str) -> list[PromptSpec]:
    if task is Task.DEPTH:
        return [depth_prompt(resize_mode=resize_mode)]
    if task is Task.NORMALS:
        return [normals_prompt(resize_mode=resize_mode)]
    if task is Task.SEMANTIC:
        return [semantic_prompt(SYNTHETIC_CLASSES, resize_mode=resize_mode)]
    world, truth = _known(photo)
    if task is Task.INSTANCE:
        counts = np.bincount(truth.instance.ravel(), minlength=len(world.instance_classes) + 1)
        seen = {
            name for number, name in world.instance_classes.items() if counts[number] >= MIN_AREA_FRACTION * counts.sum()
        }
        names = [SYNTHETIC_CLASSES[class_id] for class_id in COUNTABLE]
        return [instance_prompt(name, resize_mode=resize_mode) for name in names if name in seen]
    phrases = referring_phrases(truth, world.instance_classes)
    return [referring_prompt(list(phrases), resize_mode=resize_mode)] if phrases else []


def _label(task: Task, world: World, truth: Truth) -> Label:
    valid = np.ones(truth.semantic.shape, bool)
    classes: tuple[str, ...] = ()
    names: dict[int, str] = {}
    if task is Task.DEPTH:
        value = np.minimum(truth.depth_m, np.float32(unwarp_depth(65534 / 65535)))
    elif task is Task.NORMALS:
        value, valid = truth.normals, np.isfinite(truth.depth_m)
    elif task is Task.SEMANTIC:
        value, classes = truth.semantic, SYNTHETIC_CLASSES
    elif task is Task.INSTANCE:
        visible = set(np.unique(truth.instance).tolist())
        names = {number: name for number, name in world.instance_classes.items() if number in visible}
        value, classes = truth.instance, tuple(SYNTHETIC_CLASSES[class_id] for class_id in COUNTABLE)
    else:
        phrases = referring_phrases(truth, world.instance_classes)
        value, classes = np.full(truth.semantic.shape, len(phrases), np.uint8), (*phrases, BACKGROUND)
        for position, number in enumerate(phrases.values()):
            value[truth.instance == number] = position
    depth_kind = DepthKind.METRIC if task is Task.DEPTH else None
    return Label(task, value, valid, valid.astype(np.float32), depth_kind, classes, names)
