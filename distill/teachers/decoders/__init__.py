"""Generated images to label maps, and back; each answer is read at its own size, before anything is resized."""

from __future__ import annotations

from jaxtyping import UInt8
from numpy import ndarray

from distill.labels import Label
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.depth import decode_depth_rgb
from distill.teachers.codecs.instance import decode_instances_rgb
from distill.teachers.codecs.instance_hue import decode_hues_rgb
from distill.teachers.codecs.normals import decode_normals_rgb
from distill.teachers.codecs.palette import BACKGROUND, decode_palette_rgb


def decode_answer(generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
    """The label that a generated image says, at the answer's own size.

    Referring answers get the background as one more class, named ``background``, unless the legend names it.

    Raises:
        UsageError: The question cannot be read back: unknown colormap or frame, or a legend with equal colors.
    """
    if prompt_spec.task is Task.DEPTH:
        return decode_depth_rgb(
            generated,
            prompt_spec.colormap,
            prompt_spec.near_is_low,
            prompt_spec.depth_kind,
            lam=prompt_spec.lam,
            c=prompt_spec.c,
        )
    if prompt_spec.task is Task.NORMALS:
        return decode_normals_rgb(generated, prompt_spec.frame)
    if prompt_spec.task is Task.INSTANCE and prompt_spec.reader == "hues":
        return decode_hues_rgb(generated, prompt_spec.class_name, background=prompt_spec.background)
    if prompt_spec.task is Task.INSTANCE:
        return decode_instances_rgb(generated, prompt_spec.class_name, background=prompt_spec.background)
    legend = dict(prompt_spec.legend)
    if prompt_spec.task is Task.REFERRING:
        legend.setdefault(BACKGROUND, prompt_spec.background)
    return decode_palette_rgb(generated, legend, task=prompt_spec.task)
