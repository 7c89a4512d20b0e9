"""Generated images of a generalist about a synthetic scene, with faults.

The scene is traced again through every pixel of the generated image, so that borders are sharp, and the image shows
the scene where it extends beyond the photo.
"""

from __future__ import annotations

from jaxtyping import UInt8
from numpy import ndarray
from numpy.random import Generator

from distill.config.synthetic import FaultsConfig
from distill.teachers.base import PromptSpec
from distill.teachers.synthetic.camera import Camera
from distill.teachers.synthetic.corruptions import corrupt, draw_canvas_transform
from distill.teachers.synthetic.scene import SceneObject, World
from distill.teachers.synthetic.traced_scene import TracedScene
from distill.teachers.tasks import teacher_task


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
    """Generated image at its own size; of the left-right mirrored photo if ``mirrored``.

    Raises:
        UsageError: The prompt is for relative depth; only metric depth is rendered.
    """
    task = teacher_task(prompt_spec.task)
    transform = draw_canvas_transform(faults, photo_hw, prompt_spec.resize_mode, rng)
    objects = world.objects
    if task.can_miss_objects:
        objects = _drop_objects(objects, faults.missing_instance_probability, rng)
    view = TracedScene(world, camera, photo_hw, transform, mirrored=mirrored, objects=objects)
    generated = task.render(view, prompt_spec, faults, rng)
    if prompt_spec.resize_mode == "contain":
        # Black letterbox bars outside the photo.
        generated = generated * view.inside_photo()[..., None]
    return corrupt(generated, faults, rng)


def _drop_objects(objects: tuple[SceneObject, ...], probability: float, rng: Generator) -> tuple[SceneObject, ...]:
    """The objects without those that the generated image misses."""
    keep = rng.random(len(objects)) >= probability
    return tuple(obj for obj, kept in zip(objects, keep, strict=True) if kept or not obj.instance_id)
