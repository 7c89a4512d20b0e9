"""Instances in the teachers: one prompt per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8, UInt16
from numpy import ndarray
from numpy.random import Generator

from distill.config.class_ids import IGNORE
from distill.config.maps import MapConfig
from distill.config.prompt import PromptConfig
from distill.config.synthetic import FaultsConfig
from distill.errors import DistillError
from distill.labels import Label
from distill.labels.conversions import pick_pixels
from distill.labels.instance_layers import Layers, keep_ids, mask_of, match_pairs, pair_ious, sort_layers
from distill.tasks import BACKGROUND_INSTANCE, IGNORE_INSTANCE, Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.flat_colors import BLACK
from distill.teachers.codecs.instance import (
    decode_instances_rgb,
    encode_instances_rgb,
    lost_instances,
    parts_of_only_instance,
)
from distill.teachers.codecs.instance_hue import decode_hues_rgb
from distill.teachers.codecs.unnamed_colors import Completion, complete_background
from distill.teachers.prompts.colors import hex_of, palette
from distill.teachers.prompts.templates import EDITOR_TAIL, check_family
from distill.teachers.tasks.base import Comparison, LabelError, SceneView, TeacherTask
from distill.teachers.tasks.comparison_size import LEAST_PX, comparison_size, local_range, pick_label
from distill.teachers.tasks.map_files import single_channel, whole_numbers

MATCH_IOU = 0.5
"""Masks of two answers that overlap this much are the same instance."""
_ROUNDING = 1e-6
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
    for layer in instances.layers:
        behind = class_of_number[pick_pixels(layer, size_hw)]
        differ &= (by_class != behind) | (behind == 0)
    return 1 - float(differ.sum() / claimed.sum()), np.where(differ, np.float32(0.5), np.float32(1))


class InstanceTask(TeacherTask):
    """Instance ids, 0 = background; labels of several classes are joined into one, with layers where they overlap."""

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

    def complete(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Completion:
        """See `complete_background`."""
        return complete_background(generated, prompt_spec)

    def remarks(self, label: Label) -> list[str]:
        """Regions without an instance that may be one, and regions of one color that may be several."""
        found = []
        count, fraction = lost_instances(label.value)
        if count:
            regions = "1 region has" if count == 1 else f"{count} regions have"
            found.append(f"{regions} no clear color: instances may be missing (about {fraction:.0%})")
        parts = parts_of_only_instance(label.value)
        if parts > 1:
            found.append(f"its {parts} separate regions have one color, and were taken for 1 instance")
        return found

    def off_code(
        self, areas: Bool[ndarray, "h w"], value: Shaped[ndarray, "h w"], colors: UInt8[ndarray, "h w 3"]
    ) -> float:
        """0: any color may be an instance, and lost regions lower the confidence."""
        return 0.0

    def decode(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
        """By hue or by flood fill, by the prompt's reader."""
        read = decode_hues_rgb if prompt_spec.reader == "hues" else decode_instances_rgb
        return read(generated, prompt_spec.class_name, background=prompt_spec.background or BLACK)

    def encode(self, label: Label, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
        """Each instance of the prompt's class in a color of its own; everything else becomes background."""
        names = label.instance_classes
        shown = [number for number, name in names.items() if name == prompt_spec.class_name]
        ids, *_ = sort_layers(keep_ids(label.instance_layers, shown))
        background = prompt_spec.background or BLACK
        colors = palette(max((1, *names)), background=background)
        return encode_instances_rgb(ids, colors, background=background)

    def fuse(self, labels: Sequence[Label]) -> Label:
        """Masks matched to the first answer that has them; pixels by majority.

        An instance in less than half of the answers is ignored.
        """
        size_hw, layers = labels[0].size_hw, [label.instance_layers for label in labels]
        front = np.zeros(size_hw, np.uint16)
        share = np.zeros(size_hw, np.float32)
        background = np.mean([label.valid & (label.value == BACKGROUND_INSTANCE) for label in labels], axis=0)
        share[background > 0.5] = background[background > 0.5]
        names: dict[int, str] = {}
        behind: list[ndarray] = []
        for group in _matching_instances(labels, layers):
            if 2 * len(group) < len(labels):
                continue
            votes = np.mean([mask_of(layers[number], instance) for number, instance in group], axis=0)
            votes *= len(group) / len(labels)
            # Two majorities at one pixel: the answers themselves have both, one behind the other.
            both = (votes >= 0.5) & (front > 0) & (votes + share > 1 + _ROUNDING)
            wins = (votes >= 0.5) & (votes > share) & ~both
            if not (wins | both).any():
                continue
            names[len(names) + 1] = labels[group[0][0]].instance_classes[group[0][1]]
            front[wins], share[wins] = len(names), votes[wins]
            if both.any():
                behind.append(both * np.uint16(len(names)))
        front, *behind = sort_layers([front, *behind])
        valid = (front > 0) | (background > 0.5)
        value = np.where(valid, front, np.uint16(IGNORE_INSTANCE))
        confidence = (np.mean([label.confidence for label in labels], axis=0) * share * valid).astype(np.float32)
        classes = tuple(dict.fromkeys(name for label in labels for name in label.classes))
        return Label(
            Task.INSTANCE, value, valid, confidence, classes=classes, instance_classes=names, layers=tuple(behind)
        )

    def joins(self, known: Label, label: Label) -> bool:
        """Labels of different classes are joined."""
        return not set(label.classes) & set(known.classes)

    def error_on_grid(self, label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> LabelError:
        """Masks matched one to one by overlap; 1 - 2 * (sum of IoUs) / (predicted masks + true masks)."""
        ours, theirs = sorted(label.instance_classes), sorted(truth.instance_classes)
        layers, true_layers = keep_ids(label.instance_layers, ours), keep_ids(truth.instance_layers, theirs)
        ious = pair_ious([layer[known] for layer in layers], ours, [layer[known] for layer in true_layers], theirs)
        rows, columns = match_pairs(ious)
        total = len(ours) + len(theirs)
        error = 1 - 2 * float(ious[rows, columns].sum()) / total if total else 0.0
        # Ids without a match become one that no truth has.
        matched = np.full(65536, IGNORE_INSTANCE, np.uint16)
        matched[BACKGROUND_INSTANCE] = BACKGROUND_INSTANCE
        for row, column in zip(rows, columns, strict=True):
            if ious[row, column] > 0:
                matched[ours[row]] = theirs[column]
        expected = matched[layers[0]]
        right = expected == true_layers[0]
        for layer in true_layers[1:]:
            right |= (expected == layer) & (layer != BACKGROUND_INSTANCE)
        return LabelError(error, right, known)

    def restrict(self, truth: Label, label: Label) -> Label:
        """The truth without instances of classes that were not in the prompts; they become background."""
        kept = {number: name for number, name in truth.instance_classes.items() if name in label.classes}
        front, *behind = sort_layers(keep_ids(truth.instance_layers, list(kept)))
        value = np.where(truth.valid, front, truth.value)
        return replace(truth, value=value, instance_classes=kept, layers=tuple(behind))

    def borders(self, value: Shaped[ndarray, "h w"], label: Label) -> Bool[ndarray, "h w"]:
        """Changes of the instance."""
        return local_range(value.astype(np.float32)) > 0

    def content(self, label: Label) -> float:
        """0.3 for background alone, or a single instance that fills the image."""
        counts = np.bincount(label.value[label.valid].astype(np.int64), minlength=len(label.classes))
        return 1.0 if np.count_nonzero(counts > 1e-4 * label.valid.size) > 1 else 0.3

    def label_from_file(self, stored: Shaped[ndarray, "h w *c"], config: MapConfig, path: Path) -> Label:
        """Ids, 0 = background; all instances are of the config's class, or the ids tell their classes."""
        plain = single_channel(stored, path)
        ids, valid = whole_numbers(plain, config.invalid, str(path))
        if "invalid" not in config.model_fields_set:
            _check_void(plain, str(path))
        if config.class_divisor is not None:
            return _label_of_classes(ids, valid, config.class_divisor, config.remap, str(path))
        label = label_of_numbers(ids, valid, str(path))
        names = {int(number): config.class_name for number in np.unique(label.value[valid]) if number}
        return replace(label, classes=(config.class_name,), instance_classes=names)

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
        background = prompt_spec.background or BLACK
        chosen = palette(num_colors, background=background, seed=int(rng.integers(16)))
        names = view.instance_classes
        colors = {number: chosen[number] for number, name in names.items() if name == prompt_spec.class_name}
        return render_instances(instance, colors, background)


def label_of_numbers(ids: Int[ndarray, "h w"], valid: Bool[ndarray, "h w"], where: str) -> Label:
    """Instance label of stored numbers, without classes; numbers that do not fit in 16 bits are counted from 1.

    Raises:
        DistillError: Negative numbers, or too many.
    """
    known = np.where(valid, ids, BACKGROUND_INSTANCE)
    if known.min(initial=0) < 0:
        raise DistillError(f"{where}: {known.min()} is no number of an instance", hint="list it as invalid")
    if known.max(initial=0) >= IGNORE_INSTANCE:
        distinct, places = np.unique(np.append(known, BACKGROUND_INSTANCE), return_inverse=True)
        if len(distinct) >= IGNORE_INSTANCE:
            raise DistillError(
                f"{where}: {len(distinct)} instances, more than {IGNORE_INSTANCE - 1}",
                hint="check channels and invalid",
            )
        known = places[:-1].reshape(known.shape)
    value = np.where(valid, known, IGNORE_INSTANCE).astype(np.uint16)
    return Label(Task.INSTANCE, value, valid, valid.astype(np.float32))


def _check_void(stored: Shaped[ndarray, "h w"], where: str) -> None:
    """Raise if the largest number of the file's type, which usually means no label, is next to smaller numbers.

    It is an instance if the number below it is one, or if it is the only one.
    """
    if stored.dtype.kind != "u" or stored.dtype.itemsize > 2:
        return
    largest = np.iinfo(stored.dtype).max
    void = stored == largest
    if void.any() and not (stored == largest - 1).any() and (~void & (stored != BACKGROUND_INSTANCE)).any():
        raise DistillError(
            f"{where}: id {largest} ({void.mean():.1%} of the pixels) is the largest number of the file, which usually "
            "means no label",
            hint=f"add {largest} to invalid; if it is an instance, state invalid: []",
        )


def _label_of_classes(
    ids: Int[ndarray, "h w"], valid: Bool[ndarray, "h w"], divisor: int, remap: Mapping[int | str, str], where: str
) -> Label:
    """Instance label of numbers that name their class; numbers of other classes are background."""
    numbers = [int(number) for number in np.unique(ids[valid])]
    kept = [number for number in numbers if remap.get(number // divisor, IGNORE) != IGNORE]
    renumbered = np.zeros(ids.shape, np.int64)
    for place, number in enumerate(kept, start=1):
        renumbered[ids == number] = place
    names = {place: remap[number // divisor] for place, number in enumerate(kept, start=1)}
    label = label_of_numbers(renumbered, valid, where)
    classes = tuple(dict.fromkeys(name for name in remap.values() if name != IGNORE))
    return replace(label, classes=classes, instance_classes=names)


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


def _matching_instances(labels: Sequence[Label], layers: Sequence[Layers]) -> list[list[tuple[int, int]]]:
    """Groups of (number of the label, instance) that are the same object: each overlaps the first of its group."""
    groups: list[list[tuple[int, int]]] = []
    for number, label in enumerate(labels):
        ids, earlier = list(label.instance_classes), list(groups)
        ious = np.zeros((len(ids), len(earlier)))
        for other in range(number):
            places = [place for place, group in enumerate(earlier) if group[0][0] == other]
            firsts = [earlier[place][0][1] for place in places]
            ious[:, places] = pair_ious(layers[number], ids, layers[other], firsts)
        for instance, row in zip(ids, ious, strict=True):
            best, found = MATCH_IOU, None
            for iou, group in zip(row, earlier, strict=True):
                if iou >= best and group[-1][0] != number:
                    best, found = iou, group
            if found is None:
                groups.append([(number, instance)])
            else:
                found.append((number, instance))
    return groups


TASK = InstanceTask()
