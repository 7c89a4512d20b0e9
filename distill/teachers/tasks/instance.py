"""Instances in the teachers: one prompt per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8, UInt16
from numpy import ndarray
from numpy.random import Generator

from distill.config.adapters import MapConfig
from distill.config.prompt import PromptConfig
from distill.config.synthetic import FaultsConfig
from distill.errors import DistillError
from distill.labels import Label
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.instance import decode_instances_rgb, encode_instances_rgb
from distill.teachers.codecs.instance_hue import decode_hues_rgb
from distill.teachers.prompts.colors import hex_of, palette
from distill.teachers.prompts.templates import EDITOR_TAIL, check_family
from distill.teachers.tasks.base import Comparison, LabelError, SceneView, TeacherTask
from distill.teachers.tasks.comparison_size import LEAST_PX, comparison_size, local_range, pick_label
from distill.teachers.tasks.map_files import single_channel

MATCH_IOU = 0.5
"""Masks of two answers that overlap this much are the same instance."""
MIN_SHARE = 0.001
"""Synthetic scenes: classes with an instance of at least this fraction of the image get a prompt."""


def instance_prompt(
    class_name: str, family: str = "vision_banana", *, background: RGB = (0, 0, 0), resize_mode: str = "cover"
) -> PromptSpec:
    """Prompt for every instance of one class in a color of its own."""
    check_family(family)
    prompt = (
        f"This image shows segmentation masks for every {class_name} in the input image. "
        f"The background is set to {hex_of(background)}. "
        f"Each {class_name} instance is represented by a unique, solid color."
    )
    if family == "editor":
        prompt += EDITOR_TAIL
    return PromptSpec(Task.INSTANCE, prompt, class_name=class_name, background=background, resize_mode=resize_mode)


def _compare_with_semantic(
    instances: Label, semantic: Label, borders: Callable[[Label], Bool[ndarray, "h w"]]
) -> tuple[float, Float[ndarray, "h w"]] | None:
    """Intersection over union of the classes that both labels were prompted for; None where neither has any."""
    size_hw = comparison_size(semantic.size_hw)
    (ids, known), (numbers, valid) = pick_label(semantic, size_hw), pick_label(instances, size_hw)
    shared = [name for name in semantic.classes if name in instances.classes]
    # 0 is every other class, and everything without an instance.
    class_of_id, class_of_number = np.zeros(256, np.uint8), np.zeros(65536, np.uint8)
    for place, name in enumerate(shared, start=1):
        class_of_id[semantic.classes.index(name)] = place
        class_of_number[[number for number, held in instances.instance_classes.items() if held == name]] = place
    by_class, by_instance = class_of_id[ids], class_of_number[numbers]
    claimed = known & valid & ((by_class > 0) | (by_instance > 0))
    if claimed.sum() < LEAST_PX:
        return None
    differ = claimed & (by_class != by_instance)
    return 1 - float(differ.sum() / claimed.sum()), np.where(differ, np.float32(0.5), np.float32(1))


class InstanceTask(TeacherTask):
    """Instance ids, 0 = background; labels of several classes are joined into one map."""

    task = Task.INSTANCE
    comparisons: ClassVar[Mapping[Task, Comparison]] = {Task.SEMANTIC: _compare_with_semantic}
    can_miss_objects = True

    def prompts(self, config: PromptConfig, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt per class."""
        return [
            instance_prompt(name, config.family, background=config.background, resize_mode=resize_mode)
            for name in config.instances
        ]

    def things(self, prompt_spec: PromptSpec) -> list[str]:
        """The class."""
        return [prompt_spec.class_name]

    def decode(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
        """By hue or by flood fill, by the prompt's reader."""
        read = decode_hues_rgb if prompt_spec.reader == "hues" else decode_instances_rgb
        return read(generated, prompt_spec.class_name, background=prompt_spec.background)

    def encode(self, label: Label, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
        """Each instance of the prompt's class in a color of its own; everything else becomes background."""
        names = label.instance_classes
        shown = [number for number, name in names.items() if name == prompt_spec.class_name]
        ids = np.where(label.valid & np.isin(label.value, shown), label.value, IGNORE_INSTANCE).astype(np.uint16)
        colors = palette(max((1, *names)), background=prompt_spec.background)
        return encode_instances_rgb(ids, colors, background=prompt_spec.background)

    def fuse(self, labels: Sequence[Label]) -> Label:
        """Masks matched to the first answer that has them; pixels by majority.

        An instance in less than half of the answers is ignored.
        """
        size_hw = labels[0].size_hw
        groups: list[list[tuple[int, int]]] = []
        for number, label in enumerate(labels):
            for instance in label.instance_classes:
                group = _best_match(label.value == instance, number, labels, groups)
                if group is None:
                    groups.append([(number, instance)])
                else:
                    group.append((number, instance))
        value = np.full(size_hw, IGNORE_INSTANCE, np.uint16)
        share = np.zeros(size_hw, np.float32)
        background = np.mean([label.valid & (label.value == BACKGROUND_INSTANCE) for label in labels], axis=0)
        value[background > 0.5] = BACKGROUND_INSTANCE
        share[background > 0.5] = background[background > 0.5]
        names: dict[int, str] = {}
        for group in groups:
            if 2 * len(group) < len(labels):
                continue
            votes = np.mean([labels[number].value == instance for number, instance in group], axis=0)
            votes *= len(group) / len(labels)
            wins = (votes >= 0.5) & (votes > share)
            if wins.any():
                names[len(names) + 1] = labels[group[0][0]].instance_classes[group[0][1]]
                value[wins] = len(names)
                share[wins] = votes[wins]
        valid = value != IGNORE_INSTANCE
        confidence = (np.mean([label.confidence for label in labels], axis=0) * share * valid).astype(np.float32)
        classes = tuple(dict.fromkeys(name for label in labels for name in label.classes))
        return Label(Task.INSTANCE, value, valid, confidence, classes=classes, instance_classes=names)

    def joins(self, known: Label, label: Label) -> bool:
        """Labels of different classes are joined."""
        return not set(label.classes) & set(known.classes)

    def error_on_grid(self, label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> LabelError:
        """Masks matched one to one by overlap; 1 - 2 * (sum of IoUs) / (predicted masks + true masks)."""
        from scipy.optimize import linear_sum_assignment

        ours, theirs = sorted(label.instance_classes), sorted(truth.instance_classes)
        place_ours, place_theirs = np.zeros(65536, np.int64), np.zeros(65536, np.int64)
        place_ours[ours], place_theirs[theirs] = np.arange(1, len(ours) + 1), np.arange(1, len(theirs) + 1)
        a, b = place_ours[label.value], place_theirs[truth.value]
        shape = len(ours) + 1, len(theirs) + 1
        overlap = np.bincount((a * shape[1] + b)[known], minlength=shape[0] * shape[1]).reshape(shape)
        union = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
        iou = (overlap / np.maximum(union, 1))[1:, 1:]
        rows, columns = linear_sum_assignment(iou, maximize=True)
        total = len(ours) + len(theirs)
        error = 1 - 2 * float(iou[rows, columns].sum()) / total if total else 0.0
        matched = np.full(shape[0], -1)
        matched[BACKGROUND_INSTANCE] = 0
        matched[rows + 1] = np.where(iou[rows, columns] > 0, columns + 1, -1)
        return LabelError(error, matched[a] == b, known)

    def restrict(self, truth: Label, label: Label) -> Label:
        """The truth without instances of classes that were not in the prompts; they become background."""
        kept = {number: name for number, name in truth.instance_classes.items() if name in label.classes}
        value = np.where(np.isin(truth.value, list(kept)) | ~truth.valid, truth.value, BACKGROUND_INSTANCE)
        return replace(truth, value=value.astype(truth.value.dtype), instance_classes=kept)

    def borders(self, value: Shaped[ndarray, "h w"], label: Label) -> Bool[ndarray, "h w"]:
        """Changes of the instance."""
        return local_range(value.astype(np.float32)) > 0

    def content(self, label: Label) -> float:
        """0.3 for background alone, or a single instance that fills the image."""
        counts = np.bincount(label.value[label.valid].astype(np.int64), minlength=len(label.classes))
        return 1.0 if np.count_nonzero(counts > 1e-4 * label.valid.size) > 1 else 0.3

    def label_from_file(self, stored: Shaped[ndarray, "h w *c"], config: MapConfig, path: Path) -> Label:
        """Ids, 0 = background; all instances are of the config's class."""
        ids = single_channel(stored, path).astype(np.int64)
        valid = np.ones(ids.shape, bool)
        for bad in config.invalid:
            valid &= ids != bad
        if ids[valid].min(initial=0) < 0 or ids[valid].max(initial=0) >= IGNORE_INSTANCE:
            raise DistillError(
                f"{path}: instance ids must be from 0 to {IGNORE_INSTANCE - 1}", hint="list other values as invalid"
            )
        value = np.where(valid, ids, IGNORE_INSTANCE).astype(np.uint16)
        names = {int(number): config.class_name for number in np.unique(value[valid]) if number}
        confidence = valid.astype(np.float32)
        return Label(Task.INSTANCE, value, valid, confidence, classes=(config.class_name,), instance_classes=names)

    def synthetic_prompts(self, view: SceneView, *, resize_mode: str) -> list[PromptSpec]:
        """One prompt per visible class."""
        counts = np.bincount(view.photo_truth().instance.ravel(), minlength=len(view.instance_classes) + 1)
        seen = {name for number, name in view.instance_classes.items() if counts[number] >= MIN_SHARE * counts.sum()}
        return [instance_prompt(name, resize_mode=resize_mode) for name in view.countable if name in seen]

    def true_label(self, view: SceneView) -> Label:
        """Exact instance ids."""
        value = view.trace().instance
        visible = set(np.unique(value).tolist())
        names = {number: name for number, name in view.instance_classes.items() if number in visible}
        valid = np.ones(value.shape, bool)
        confidence = valid.astype(np.float32)
        return Label(Task.INSTANCE, value, valid, confidence, classes=view.countable, instance_classes=names)

    def render(
        self, view: SceneView, prompt_spec: PromptSpec, faults: FaultsConfig, rng: Generator
    ) -> UInt8[ndarray, "h w 3"]:
        """Instances of the prompt's class in different colors."""
        instance = view.trace().instance
        num_colors = max((0, *view.instance_classes, int(instance.max()))) + 1
        chosen = palette(num_colors, background=prompt_spec.background, seed=int(rng.integers(16)))
        names = view.instance_classes
        colors = {number: chosen[number] for number, name in names.items() if name == prompt_spec.class_name}
        return render_instances(instance, colors, prompt_spec.background)


def render_instances(
    instance: UInt16[ndarray, "h w"], color_of: Mapping[int, RGB], background: RGB
) -> UInt8[ndarray, "h w 3"]:
    """Instances in their colors; all others in the background color."""
    colors = np.empty((max((0, *color_of, int(instance.max()))) + 1, 3), np.uint8)
    colors[:] = background
    for number, color in color_of.items():
        colors[number] = color
    rendered: ndarray = colors[instance]
    return rendered


def _best_match(
    mask: Bool[ndarray, "h w"], number: int, labels: Sequence[Label], groups: list[list[tuple[int, int]]]
) -> list[tuple[int, int]] | None:
    """Group whose first mask overlaps most, without a mask of this answer; None below `MATCH_IOU`."""
    best, found = MATCH_IOU, None
    for group in groups:
        if any(other == number for other, _ in group):
            continue
        theirs = labels[group[0][0]].value == group[0][1]
        union = np.count_nonzero(mask | theirs)
        iou = np.count_nonzero(mask & theirs) / union if union else 0.0
        if iou >= best:
            best, found = iou, group
    return found


TASK = InstanceTask()
