"""Raw output maps of any network as labels: depth in its depth kind, unit normals in our frame, merged classes.

Planes stay channel-first, as most models lay them out, so numpy reads in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray

from distill.config.teacher import OutputConfig, id_table
from distill.errors import DistillError
from distill.label_ops import stretch_to_unit
from distill.labels import Label
from distill.tasks import IGNORE_SEMANTIC, DepthKind, Task
from distill.teachers.codecs.normals import frame_matrix


def decode_output(planes: Shaped[ndarray, "c h w"], output: OutputConfig, name: str) -> Label:
    """The label that a network's planes say, at their own size; confidence is the class probability, else 1.

    Args:
        planes: depth (1, h, w), normals (3, h, w), semantic (classes, h, w), or (1, h, w) ids.
        output: What they mean.
        name: Of the model, for errors.

    Raises:
        DistillError: The number of channels is not what the output says.
    """
    return _READERS[Task(output.task)](planes, output, name)


def _read_depth(planes: ndarray, output: OutputConfig, name: str) -> Label:
    _check_channels(planes.shape[0], 1, name)
    value = planes[0].astype(np.float32)
    valid = np.isfinite(value)
    if output.depth_kind is DepthKind.METRIC:
        valid &= value > 0
    else:
        value = stretch_to_unit(np.where(valid, value, 0), valid)
    return Label(Task.DEPTH, value, valid, valid.astype(np.float32), output.depth_kind)


def _read_normals(planes: ndarray, output: OutputConfig, name: str) -> Label:
    _check_channels(planes.shape[0], 3, name)
    vector = planes.transpose(1, 2, 0).astype(np.float32)
    length = np.linalg.norm(vector, axis=-1)
    valid = np.isfinite(length) & (length > 1e-3)
    unit = np.where(valid[..., None], vector / np.maximum(length, 1e-3)[..., None], 0).astype(np.float32)
    return Label(Task.NORMALS, unit @ frame_matrix(output.frame), valid, valid.astype(np.float32))


def _read_semantic(planes: ndarray, output: OutputConfig, name: str) -> Label:
    names = output.model_classes or output.classes
    if output.values == "ids":
        _check_channels(planes.shape[0], 1, name)
        table = np.array(id_table(names, output.classes, output.remap, 256), np.uint8)
        value = table[np.clip(planes[0], 0, 255).astype(np.uint8)]
        confidence = np.ones(value.shape, np.float32)
    else:
        num_channels = 2 if planes.shape[0] == 1 else planes.shape[0]
        _check_channels(num_channels, len(names), name)
        table_ids = id_table(names, output.classes, output.remap, len(names))
        value, confidence = np.empty(planes.shape[1:], np.uint8), np.empty(planes.shape[1:], np.float32)
        # Strips of a megabyte stay in the second-level cache: half the time of whole planes.
        rows = max(1, (1 << 18) // (num_channels * planes.shape[2]))
        for top in range(0, planes.shape[1], rows):
            strip = slice(top, top + rows)
            probability = _probabilities(planes[:, strip], output.values)
            value[strip], confidence[strip] = _merge(probability, table_ids, len(output.classes))
    valid = (value != IGNORE_SEMANTIC) & (confidence >= output.min_confidence)
    return Label(Task.SEMANTIC, value, valid, np.where(valid, confidence, np.float32(0)), classes=output.classes)


def _probabilities(planes: ndarray, kind: str) -> Float[ndarray, "c h w"]:
    """Class probabilities; one channel is foreground against background."""
    planes = planes.astype(np.float32)
    if planes.shape[0] == 1:
        foreground = 1 / (1 + np.exp(-planes)) if kind == "logits" else planes
        return np.concatenate([1 - foreground, foreground])
    if kind == "probabilities":
        return planes
    planes -= planes.max(axis=0)
    np.exp(planes, out=planes)
    planes /= planes.sum(axis=0)
    return planes


def _merge(
    probability: Float[ndarray, "c h w"], table: Sequence[int], num_classes: int
) -> tuple[UInt8[ndarray, "h w"], Float[ndarray, "h w"]]:
    """(ids, probability) after the channels of each target class are added; what is ignored becomes 255."""
    merged = np.zeros((num_classes + 1, *probability.shape[1:]), np.float32)
    for plane, target in zip(probability, table, strict=True):
        merged[num_classes if target == IGNORE_SEMANTIC else target] += plane
    # Plane by plane: five times faster than argmax over the first axis, with the same answer.
    best, most = np.zeros(merged.shape[1:], np.uint8), merged[0].copy()
    for target, plane in enumerate(merged[1:], 1):
        ahead = plane > most
        np.maximum(best, ahead.view(np.uint8) * np.uint8(target), out=best)
        np.maximum(most, plane, out=most)
    best[best == num_classes] = IGNORE_SEMANTIC
    return best, most


def _check_channels(num_channels: int, wanted: int, name: str) -> None:
    if num_channels != wanted:
        raise DistillError(
            f"{name}: the output has {num_channels} channels where {wanted} are described",
            hint="check layout, model_classes and the output's name in the config",
        )


_READERS = {Task.DEPTH: _read_depth, Task.NORMALS: _read_normals, Task.SEMANTIC: _read_semantic}
