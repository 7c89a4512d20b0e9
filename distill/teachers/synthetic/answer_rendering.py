"""The picture that a generalist would paint as its answer to a question about a scene, faults included.

Nothing is resampled: the truth is traced anew through every pixel of the answer, wherever canvas, shift and zoom put
it. So borders are as sharp as painted ones, and where an answer shows more than the photo, there is something to see.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from numpy.random import Generator

from distill.config.synthetic import FaultsConfig
from distill.errors import UsageError
from distill.tasks import DepthKind, Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.decoders.depth import encode_depth_rgb
from distill.teachers.decoders.normals import encode_normals_rgb
from distill.teachers.prompts.colors import palette
from distill.teachers.synthetic.camera import Camera, pixel_grid
from distill.teachers.synthetic.corruptions import draw_canvas_transform, corrupt
from distill.teachers.synthetic.raycaster import Truth, trace_truth
from distill.teachers.synthetic.scene import SYNTHETIC_CLASSES, SceneObject, World

SKY_NORMAL_COLOR = (255, 0, 255)
"""What published answers paint where there is no surface: a "vector" of length 1.7."""


def render_answer(
    world: World,
    camera: Camera,
    photo_hw: tuple[int, int],
    prompt_spec: PromptSpec,
    faults: FaultsConfig,
    rng: Generator,
    *,
    mirrored: bool = False,
) -> UInt8[ndarray, "h w 3"]:
    """The generated image, at its own size; of the left-right mirrored photo if asked.

    Raises:
        UsageError: The question asks for a relative depth; this painter knows meters.
    """
    transform = draw_canvas_transform(faults, photo_hw, prompt_spec.resize_mode, rng)
    positions = transform.photo_positions(photo_hw)
    if mirrored:
        positions[0] = photo_hw[1] - positions[0]
    objects = world.objects
    if prompt_spec.task in (Task.SEMANTIC, Task.INSTANCE, Task.REFERRING):
        objects = _drop_objects(objects, faults.missing_instance_probability, rng)
    truth = trace_truth(objects, camera, positions, photo_hw, transform.size_hw)
    if prompt_spec.task is Task.DEPTH:
        generated = _render_depth(truth, prompt_spec)
    elif prompt_spec.task is Task.NORMALS:
        normals = truth.normals * np.array([-1, 1, 1], np.float32) if mirrored else truth.normals
        generated = encode_normals_rgb(normals, prompt_spec.frame)
        generated[np.isinf(truth.depth_m)] = SKY_NORMAL_COLOR
    elif prompt_spec.task is Task.SEMANTIC:
        present = [SYNTHETIC_CLASSES[class_id] for class_id in np.unique(truth.semantic)]
        legend = _swap_legend(prompt_spec.legend, present, faults.wrong_legend_probability, rng)
        colors = [legend.get(name, prompt_spec.background) for name in SYNTHETIC_CLASSES]
        generated = np.array(colors, np.uint8)[truth.semantic]
    else:
        names = world.instance_classes
        if prompt_spec.task is Task.REFERRING:
            names = {number: phrase for phrase, number in referring_phrases(_seen(world, camera, photo_hw), names).items()}
        generated = _render_instances(truth, names, prompt_spec, faults.wrong_legend_probability, rng)
    if prompt_spec.resize_mode == "contain":
        generated = _letterboxed(generated, positions, photo_hw)
    return corrupt(generated, faults, rng)


def referring_phrases(truth: Truth, instance_classes: dict[int, str]) -> dict[str, int]:
    """A phrase for the nearest visible thing of each class, and its instance id; at most two, the nearest first."""
    nearest: dict[str, tuple[float, int]] = {}
    for number, name in instance_classes.items():
        depths = truth.depth_m[truth.instance == number]
        # 0.2 % of the picture: what is smaller cannot be pointed at.
        if depths.size >= 0.002 * truth.depth_m.size:
            nearest[name] = min(nearest.get(name, (np.inf, 0)), (float(depths.min()), number))
    ranked = sorted(nearest.items(), key=lambda item: item[1])[:2]
    return {f"nearest {name}": number for name, (_, number) in ranked}


def _drop_objects(objects: tuple[SceneObject, ...], share: float, rng: Generator) -> tuple[SceneObject, ...]:
    """The things without those that the painter forgets; what is behind them shows."""
    keep = rng.random(len(objects)) >= share
    return tuple(obj for obj, kept in zip(objects, keep, strict=True) if kept or not obj.instance_id)


def _render_depth(truth: Truth, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
    if prompt_spec.depth_kind is not DepthKind.METRIC:
        raise UsageError(
            f"the synthetic teacher paints metric depth, not {prompt_spec.depth_kind}", hint="ask for metric depth"
        )
    return encode_depth_rgb(
        truth.depth_m, prompt_spec.colormap, prompt_spec.near_is_low, lam=prompt_spec.lam, c=prompt_spec.c
    )


def _render_instances(
    truth: Truth, names: dict[int, str], prompt_spec: PromptSpec, wrong_legend_probability: float, rng: Generator
) -> UInt8[ndarray, "h w 3"]:
    """Instances in colors: those of one class in any that differ, those of a legend in the legend's.

    Args:
        truth: What is where.
        names: Instance id to the words that a question would use for it.
        question: Instance or referring.
        wrong_legend_probability: Probability that two names of a legend are painted alike.
        rng: Decides what chance decides.
    """
    colors = np.empty((max((0, *names, int(truth.instance.max()))) + 1, 3), np.uint8)
    colors[:] = prompt_spec.background
    if prompt_spec.task is Task.INSTANCE:
        chosen = palette(len(colors), background=prompt_spec.background, seed=int(rng.integers(16)))
        legend_of = {number: chosen[number] for number, name in names.items() if name == prompt_spec.class_name}
    else:
        legend = _swap_legend(prompt_spec.legend, list(names.values()), wrong_legend_probability, rng)
        legend_of = {number: legend.get(name, prompt_spec.background) for number, name in names.items()}
    for number, color in legend_of.items():
        colors[number] = color
    return colors[truth.instance]


def _seen(world: World, camera: Camera, photo_hw: tuple[int, int]) -> Truth:
    return trace_truth(world.objects, camera, pixel_grid(photo_hw), photo_hw, photo_hw)


def _swap_legend(legend: Mapping[str, RGB], present: list[str], share: float, rng: Generator) -> dict[str, RGB]:
    """The legend with, by chance, the color of something present replaced by another one of the legend."""
    swapped = dict(legend)
    swaps, roll = rng.random() < share, rng.random(2)
    named = [name for name in present if name in legend]
    if swaps and named and len(legend) > 1:
        victim = named[int(roll[0] * len(named))]
        others = [name for name in legend if name != victim]
        swapped[victim] = legend[others[int(roll[1] * len(others))]]
    return swapped


def _letterboxed(
    generated: UInt8[ndarray, "h w 3"], positions: Float[ndarray, "2 n"], photo_hw: tuple[int, int]
) -> UInt8[ndarray, "h w 3"]:
    """The answer with black bars where the photo does not reach."""
    x, y = positions
    inside = (x >= 0) & (x <= photo_hw[1]) & (y >= 0) & (y <= photo_hw[0])
    return generated * inside.reshape(*generated.shape[:2], 1)
