"""Parts that semantic and referring segmentation share: color legends, votes, class errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from numpy import ndarray
from numpy.random import Generator

from distill.config.class_ids import ClassIds
from distill.labels import Label
from distill.labels.conversions import remap_classes
from distill.tasks import IGNORE_SEMANTIC, Task
from distill.teachers.base import RGB, PromptSpec
from distill.teachers.codecs.flat_colors import BLACK
from distill.teachers.codecs.palette import BACKGROUND, decode_palette_rgb, encode_palette_rgb
from distill.teachers.codecs.unnamed_colors import Completion, complete_legend
from distill.teachers.tasks.base import LabelError, TeacherTask
from distill.teachers.tasks.comparison_size import local_range
from distill.teachers.tasks.map_files import whole_numbers

_MISSING_WEIGHT = 0.5
"""A pixel of the truth without a label counts as this many wrong pixels."""


class ClassesTask(TeacherTask):
    """Ids that index a list of names."""

    can_miss_objects = True

    def legend(self, prompt_spec: PromptSpec) -> dict[str, RGB]:
        """Names and colors of an answer, in the order of the ids."""
        return dict(prompt_spec.legend)

    def complete(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Completion:
        """See `complete_legend`."""
        return complete_legend(generated, prompt_spec)

    def shown(self, label: Label) -> float:
        """See `TeacherTask.shown`."""
        background = label.classes.index(BACKGROUND) if BACKGROUND in label.classes else IGNORE_SEMANTIC
        return float((label.valid & (label.value != background)).mean())

    def decode(self, generated: UInt8[ndarray, "h w 3"], prompt_spec: PromptSpec) -> Label:
        """See `decode_palette_rgb`."""
        return decode_palette_rgb(generated, self.legend(prompt_spec), task=self.task)

    def encode(self, label: Label, prompt_spec: PromptSpec) -> UInt8[ndarray, "h w 3"]:
        """See `encode_palette_rgb`; pixels without a color in the legend become background."""
        legend = self.legend(prompt_spec)
        value = np.where(label.valid, remap_classes(label, tuple(legend)).value, IGNORE_SEMANTIC)
        return encode_palette_rgb(value, legend, ignore_color=prompt_spec.background or BLACK)

    def off_code(
        self, areas: Bool[ndarray, "h w"], value: Shaped[ndarray, "h w"], colors: UInt8[ndarray, "h w 3"]
    ) -> float:
        """Fraction of everything but the most frequent class: half of two small objects is as much as of large ones."""
        most = int(np.bincount(value[~areas].astype(np.int64), minlength=1).max())
        return float(np.count_nonzero(areas) / max(1, areas.size - most))

    def fuse(self, labels: Sequence[Label]) -> Label:
        """Vote per pixel, weighted by confidence; legends may differ in order.

        Class by class, so that 150 classes take no more memory than two.
        """
        classes = tuple(dict.fromkeys(name for label in labels for name in label.classes))
        values = [remap_classes(label, classes).value for label in labels]
        best = np.zeros(labels[0].size_hw, np.float32)
        total = np.zeros_like(best)
        count = np.zeros_like(best)
        winner = np.full(labels[0].size_hw, IGNORE_SEMANTIC, np.uint8)
        for number in range(len(classes)):
            weight, votes = np.zeros_like(best), np.zeros_like(best)
            for label, value in zip(labels, values, strict=True):
                mine = label.valid & (value == number)
                weight += label.confidence * mine
                votes += mine
            wins = weight > best
            winner[wins] = number
            count[wins] = votes[wins]
            best = np.maximum(best, weight)
            total += weight
        # At least half of all answers must agree; a single vote among invalid pixels is no agreement.
        valid = (best > 0.5 * total) & (2 * count >= len(labels))
        confidence = best / np.maximum(total, 1e-6) * (best / np.maximum(count, 1)) * (count / len(labels))
        return Label(
            self.task,
            np.where(valid, winner, IGNORE_SEMANTIC).astype(np.uint8),
            valid,
            (confidence * valid).astype(np.float32),
            classes=classes,
        )

    def error_on_grid(self, label: Label, truth: Label, known: Bool[ndarray, "h w"]) -> LabelError:
        """Fraction of wrong pixels, plus half of the fraction that has no label."""
        right = remap_classes(label, truth.classes).value == truth.value
        missing = 1 - known.sum() / truth.valid.sum()
        return LabelError(float((~right)[known].mean() + _MISSING_WEIGHT * missing), right, known)

    def borders(self, value: Shaped[ndarray, "h w"], label: Label) -> Bool[ndarray, "h w"]:
        """Changes of the class."""
        return local_range(value.astype(np.float32)) > 0


def label_of_ids(
    stored: Shaped[ndarray, "h w"], class_ids: ClassIds, where: str, invalid: Sequence[float] = ()
) -> Label:
    """Semantic label of stored ids, certain where valid.

    Args:
        stored: Ids of any number type.
        class_ids: Their meaning.
        where: File or function, for errors.
        invalid: Stored values without a class.

    Raises:
        DistillError: A value is not a whole number, or an id has no meaning.
    """
    ids, known = whole_numbers(stored, invalid, where)
    value = class_ids.convert(ids, known, where)
    valid = value != IGNORE_SEMANTIC
    return Label(Task.SEMANTIC, value, valid, valid.astype(np.float32), classes=class_ids.classes)


def swap_legend(
    legend: Mapping[str, RGB], present: Sequence[str], probability: float, rng: Generator
) -> dict[str, RGB]:
    """The legend, by chance with the color of one present name replaced by that of another name."""
    swapped = dict(legend)
    # Drawn whether used or not, so that one probability does not change other faults.
    swaps, roll = rng.random() < probability, rng.random(2)
    named = [name for name in present if name in legend]
    if swaps and named and len(legend) > 1:
        victim = named[int(roll[0] * len(named))]
        others = [name for name in legend if name != victim]
        swapped[victim] = legend[others[int(roll[1] * len(others))]]
    return swapped
