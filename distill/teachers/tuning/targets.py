"""Prompts drawn for a label, and the images that a tuned generator should answer with.

The images come from the encoders that the decoders of generated images invert. Prompts vary, so that a generator reads
colormap, colors and names from the prompt and does not learn them by heart: with one fixed legend, a re-implementation
of "Image Generators are Generalist Vision Learners" (arXiv 2604.20329) fell from 54 to 7 mIoU when the colors changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from numpy.random import Generator

from distill.errors import UsageError
from distill.labels import Label
from distill.tasks import DepthKind, Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.palette import BACKGROUND
from distill.teachers.prompts.colors import palette
from distill.teachers.prompts.templates import STYLES
from distill.teachers.tasks import teacher_task
from distill.teachers.tasks.depth import depth_prompt
from distill.teachers.tasks.edges import edges_prompt
from distill.teachers.tasks.instance import instance_prompt
from distill.teachers.tasks.normals import normals_prompt
from distill.teachers.tasks.referring import referring_prompt
from distill.teachers.tasks.semantic import semantic_prompt

OTHER_COLORMAPS = ("viridis", "plasma", "inferno", "magma", "turbo", "gray")
"""The source names Plasma, Inferno, Viridis and grayscale; magma and turbo are as common."""
OTHER_COLORMAP_PROBABILITY = 0.4
"""The source does not state it; most images stay on the cube path, which has three times the levels of any other."""
ABSENT_CLASS_PROBABILITY = 0.25
"""Of each class of the set that a label does not show: a generator must learn to leave a class out."""
MIN_VALID_FRACTION = 0.8
"""A label with fewer valid pixels is no target: what is shown there would be learned."""
_FILL = "fill"
_BLACK: RGB = (0, 0, 0)


def draw_prompts(label: Label, rng: Generator, *, classes: Sequence[str] = ()) -> list[PromptSpec]:
    """Prompts for one label: one, or for instances one per class.

    Args:
        label: The label.
        rng: Draws colormap, palette, order and wording.
        classes: Semantic and instance classes of the set, from which absent ones are drawn.

    Raises:
        UsageError: The depth of the label has no prompt: only metric depth and relative disparity do.
    """
    return _PROMPTS[label.task](label, rng, classes)


def target_image(label: Label, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
    """The image that answers a prompt without a fault, at the size of the label."""
    return teacher_task(label.task).encode(label, prompt_spec)


def draw_rng(seed: int, epoch: int, key: str, task: Task) -> Generator:
    """Random numbers of one label in one epoch: the same in every order and process."""
    digest = hashlib.sha256(f"{seed}\0{epoch}\0{task}\0{key}".encode(errors="surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def _depth(label: Label, rng: Generator, classes: Sequence[str]) -> list[PromptSpec]:
    if label.depth_kind is DepthKind.AFFINE_INVARIANT_DISPARITY:
        return [depth_prompt("open_vision_banana", resize_mode=_FILL)]
    if label.depth_kind not in (None, DepthKind.METRIC):
        raise UsageError(
            f"there is no prompt for depth of the kind {label.depth_kind}",
            hint="tune on metric depth, or on affine_invariant_disparity",
        )
    mapped = rng.random() < OTHER_COLORMAP_PROBABILITY
    colormap = str(rng.choice(OTHER_COLORMAPS)) if mapped else "cube"
    return [depth_prompt(colormap=colormap, resize_mode=_FILL)]


def _normals(label: Label, rng: Generator, classes: Sequence[str]) -> list[PromptSpec]:
    return [normals_prompt(resize_mode=_FILL)]


def _edges(label: Label, rng: Generator, classes: Sequence[str]) -> list[PromptSpec]:
    return [edges_prompt(resize_mode=_FILL)]


def _semantic(label: Label, rng: Generator, classes: Sequence[str]) -> list[PromptSpec]:
    shown = {label.classes[int(i)] for i in np.unique(label.value[label.valid]) if int(i) < len(label.classes)}
    known = dict.fromkeys([*label.classes, *classes])
    names = [name for name in known if name in shown or rng.random() < ABSENT_CLASS_PROBABILITY]
    if not names:
        return []
    # What has no color in the legend becomes background, so the legend always names one.
    if BACKGROUND not in names and not label.valid.all():
        names.append(BACKGROUND)
    legend = dict(zip(names, palette(len(names), background=_color(rng), seed=_seed(rng)), strict=True))
    # The seed shuffles colors, order and wording.
    prompt_spec = semantic_prompt(legend, style=str(rng.choice(STYLES)), seed=_seed(rng), resize_mode=_FILL)
    return [replace(prompt_spec, background=prompt_spec.legend.get(BACKGROUND))]


def _instance(label: Label, rng: Generator, classes: Sequence[str]) -> list[PromptSpec]:
    shown = dict.fromkeys(label.instance_classes[number] for number in sorted(label.instance_classes))
    return [instance_prompt(name, background=_color(rng), resize_mode=_FILL) for name in shown]


def _referring(label: Label, rng: Generator, classes: Sequence[str]) -> list[PromptSpec]:
    phrases = [name for name in label.classes if name != BACKGROUND]
    if not phrases:
        return []
    background = _color(rng)
    colors = palette(len(phrases), background=background, seed=_seed(rng))
    order = [int(i) for i in rng.permutation(len(phrases))]
    legend = {phrases[i]: colors[i] for i in order}
    style = str(rng.choice(("prose_rgb", "prose_hex")))
    return [referring_prompt(legend, background=background, style=style, resize_mode=_FILL)]


def _color(rng: Generator) -> RGB:
    """A background: black in half of the prompts, as in most published ones, else any of 27 colors."""
    if rng.random() < 0.5:
        return _BLACK
    red, green, blue = (int(value) for value in rng.choice((0, 128, 255), 3))
    return red, green, blue


def _seed(rng: Generator) -> int:
    return int(rng.integers(1, 1 << 31))


_PROMPTS: Mapping[Task, Callable[[Label, Generator, Sequence[str]], list[PromptSpec]]] = {
    Task.DEPTH: _depth,
    Task.NORMALS: _normals,
    Task.SEMANTIC: _semantic,
    Task.INSTANCE: _instance,
    Task.REFERRING: _referring,
    Task.EDGES: _edges,
}
