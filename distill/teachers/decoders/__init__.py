"""Painted answers to label maps, and back; each answer is read at its own size, before anything is resized."""

from __future__ import annotations

from jaxtyping import UInt8
from numpy import ndarray

from distill.labels import Label
from distill.tasks import Task
from distill.teachers.base import Question
from distill.teachers.decoders.depth import decode_depth_rgb
from distill.teachers.decoders.instance import decode_instances_rgb
from distill.teachers.decoders.instance_hue import decode_hues_rgb
from distill.teachers.decoders.normals import decode_normals_rgb
from distill.teachers.decoders.semantic import BACKGROUND, decode_palette_rgb


def decode_answer(painted: UInt8[ndarray, "h w 3"], question: Question) -> Label:
    """The label that a painted answer says, at the answer's own size.

    Referring answers get the background as one more class, named ``background``, unless the legend names it.

    Raises:
        UsageError: The question cannot be read back: unknown colormap or frame, or a legend with equal colors.
    """
    if question.task is Task.DEPTH:
        return decode_depth_rgb(
            painted, question.colormap, question.near_is_low, question.gauge, lam=question.lam, c=question.c
        )
    if question.task is Task.NORMALS:
        return decode_normals_rgb(painted, question.frame)
    if question.task is Task.INSTANCE and question.reader == "hues":
        return decode_hues_rgb(painted, question.class_name, background=question.background)
    if question.task is Task.INSTANCE:
        return decode_instances_rgb(painted, question.class_name, background=question.background)
    legend = dict(question.legend)
    if question.task is Task.REFERRING:
        legend.setdefault(BACKGROUND, question.background)
    return decode_palette_rgb(painted, legend, task=question.task)
