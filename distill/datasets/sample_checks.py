"""Checks of one sample: every file decodes, and photo, maps and json agree."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.images import decode_image, decode_map
from distill.labels import read_meta
from distill.labels.conversions import has_aspect_of
from distill.labels.instance_layers import present_ids
from distill.shards import Manifest, Sample
from distill.tasks import TASKS, Task, TaskInfo

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SQUARED_QUARTERS = np.array([((2 * level - 255) ** 2) // 4 for level in range(256)], np.uint16)
"""Square of a stored component, times 255^2 / 4: three of them fit into 16 bit."""
_UNIT_QUARTERS = round((0.95 * 255) ** 2 / 4), round((1.05 * 255) ** 2 / 4)
"""Limits of the squared length of a stored normal; rounding to 8 bit alone changes the length by 0.7 %."""


class SampleFault(NamedTuple):
    """A fault of a sample.

    Attributes:
        file: Extension of the file that is wrong; empty: the sample as a whole.
        reason: What is wrong.
        span: First and last byte of the fault in the file, if it is known.
    """

    file: str
    reason: str
    span: tuple[int, int] | None = None


def check_content(sample: Sample, manifest: Manifest, *, trusted: bool = True) -> list[SampleFault]:
    """Faults of a sample's content; empty if its photo and all maps decode and agree with its json and the manifest.

    Args:
        sample: The sample.
        manifest: Of its set.
        trusted: Whether the manifest is as it was written: a sample need not agree with one that has changed.
    """
    try:
        meta = sample.meta
    except DistillError as error:
        return [SampleFault("json", error.message.removeprefix(f"sample {sample.key}: "))]
    faults = [*_check_records(sample), *(_check_manifest(sample, manifest) if trusted else ())]
    photo_hw = None
    try:
        suffix = sample.photo_suffix
    except DistillError:
        return [*faults, SampleFault("", "it has no photo")]
    try:
        photo_hw = decode_image(sample.photo, suffix, (1, 1)).full_hw
    except DistillError as error:
        faults.append(SampleFault(suffix, f"the photo does not decode: {error.message.removeprefix(f'{suffix}: ')}"))
    stated = meta.get("photo_sha256")
    if stated and hashlib.sha256(sample.photo).hexdigest() != stated:
        faults.append(SampleFault(suffix, "the photo is not the one that was labeled (photo_sha256)"))
    if photo_hw and meta.get("size_hw") not in (None, list(photo_hw)):
        faults.append(SampleFault("json", f"size_hw is {meta['size_hw']}, the photo has {list(photo_hw)}"))
    for task in sample.tasks:
        faults += _check_map(sample, task, manifest, photo_hw)
    return faults


def _check_records(sample: Sample) -> Iterator[SampleFault]:
    """Records without their map."""
    for record in sample.meta.get("records") or []:
        task = str(record.get("task"))
        if task in list(Task) and f"{task}.png" not in sample.files:
            yield SampleFault(f"{task}.png", "missing: the json has a record of this label")


def _check_manifest(sample: Sample, manifest: Manifest) -> Iterator[SampleFault]:
    """Facts that contradict the manifest."""
    for license in {record.get("license") for record in sample.meta.get("records") or []}:
        if license and manifest.licenses and license not in manifest.licenses:
            yield SampleFault("json", f"the license {license} is not in dataset.json")
    for task in sample.tasks:
        if manifest.tasks and task not in manifest.tasks:
            yield SampleFault(f"{task}.png", f"dataset.json states no {task} labels")
        kind = sample.meta.get("depth_kind")
        if TASKS[task].has_depth_kind and kind not in (None, str(manifest.depth_kind)):
            yield SampleFault("json", f"depth_kind is {kind}, dataset.json states {manifest.depth_kind}")


def _check_map(
    sample: Sample, task: Task, manifest: Manifest, photo_hw: tuple[int, int] | None
) -> Iterator[SampleFault]:
    """Faults of one label map and its confidence."""
    info, name = TASKS[task], f"{task}.png"
    try:
        stored = decode_map(sample.files[name], name)
    except DistillError as error:
        yield SampleFault(name, f"does not decode: {error.message.removeprefix(f'{name}: ')}")
        return
    if stored.dtype != np.dtype(info.dtype) or stored.shape[2:] != info.channels:
        yield SampleFault(name, f"{stored.dtype} of shape {stored.shape} is no {task} map")
        return
    if photo_hw and not has_aspect_of(stored.shape[:2], photo_hw):
        yield SampleFault(
            name, f"is {stored.shape[0]}x{stored.shape[1]}, its photo {photo_hw[0]}x{photo_hw[1]}: another shape"
        )
    yield from _check_confidence(sample, task, stored.shape[:2])
    if reason := _check_values(sample, task, info, stored, manifest):
        yield SampleFault(name, reason)


def _check_confidence(sample: Sample, task: Task, size_hw: tuple[int, ...]) -> Iterator[SampleFault]:
    name = f"{task}.confidence.png"
    if name not in sample.files:
        return
    try:
        confidence = decode_map(sample.files[name], name)
    except DistillError as error:
        yield SampleFault(name, f"does not decode: {error.message.removeprefix(f'{name}: ')}")
        return
    if confidence.dtype != np.uint8 or confidence.shape != size_hw:
        yield SampleFault(name, f"{confidence.dtype} of shape {confidence.shape}, the map has {size_hw}")


def _check_values(sample: Sample, task: Task, info: TaskInfo, stored: ndarray, manifest: Manifest) -> str:
    """What is wrong with the stored values; empty if nothing is."""
    if info.storage == "normals":
        wrong = _count_wrong_vectors(stored)
        return f"{wrong} of {stored.shape[0] * stored.shape[1]} normals are no unit vectors" if wrong else ""
    if info.storage != "ids":
        return ""
    try:
        context = read_meta(task, sample.meta, manifest.classes)
        if info.class_list == "instance_classes":
            sample.label(task, manifest)  # decodes covered parts as well
            absent = set(context.instance_classes) - set(present_ids([stored])) - set(context.covered)
            return f"the json lists instance {min(absent)}, which the map does not show" if absent else ""
    except DistillError as error:
        return error.message.removeprefix(f"sample {sample.key}: ")
    counts = cv2.calcHist([stored], [0], None, [256], [0, 256]).ravel()
    counts[info.ignore] = 0
    largest = int(np.flatnonzero(counts).max(initial=0))
    if context.classes and largest >= len(context.classes):
        return f"has id {largest}, and the list has {len(context.classes)} names (ids 0 to {len(context.classes) - 1})"
    return ""


def _count_wrong_vectors(stored: UInt8[ndarray, "h w 3"]) -> int:
    """Number of stored normals that are no unit vectors; 0,0,0 is no normal."""
    quarters = cv2.LUT(stored, _SQUARED_QUARTERS)
    length = quarters[..., 0] + quarters[..., 1] + quarters[..., 2]
    wrong = (length < _UNIT_QUARTERS[0]) | (length > _UNIT_QUARTERS[1])
    return int(np.count_nonzero(stored[wrong].any(axis=-1))) if wrong.any() else 0


def locate_damage(sample: Sample) -> list[SampleFault]:
    """Files of a sample in which a byte has changed since it was written; the sample's digest is known to be wrong.

    Photo and maps have checksums of their own (``photo_sha256``, CRC of PNG chunks); if they are right, the change is
    in the json.
    """
    faults = [fault for name, data in sample.files.items() if (fault := png_damage(name, data))]
    try:
        meta = sample.meta
    except DistillError as error:
        return [*faults, SampleFault("json", error.message.removeprefix(f"sample {sample.key}: "))]
    if "json" not in sample.files:
        faults.append(SampleFault("json", "missing"))
    photo = next((name for name in sample.files if name != "json" and "." not in name), None)
    if photo is None:
        faults.append(SampleFault("", "it has no photo"))
    elif meta.get("photo_sha256") and hashlib.sha256(sample.photo).hexdigest() != meta["photo_sha256"]:
        faults.append(SampleFault(photo, "its bytes are not those of the photo that was labeled (photo_sha256)"))
    for record in meta.get("records") or []:
        for name in (f"{record.get('task')}.png", f"{record.get('task')}.confidence.png"):
            if str(record.get("task")) in list(Task) and name not in sample.files:
                faults.append(SampleFault(name, "missing"))
    return faults or [
        SampleFault("json", "a byte of it, or of a name in this sample, has changed since it was written")
    ]


def png_damage(name: str, data: bytes) -> SampleFault | None:
    """The first chunk of a PNG whose checksum is wrong; None for intact ones and other files."""
    if not name.endswith(".png"):
        return None
    if not data.startswith(_PNG_SIGNATURE):
        return SampleFault(name, "not a PNG", (0, 7))
    at = len(_PNG_SIGNATURE)
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        stop = at + 12 + length
        if stop > len(data) or zlib.crc32(data[at + 4 : stop - 4]) != int.from_bytes(data[stop - 4 : stop], "big"):
            # A wrong length leads anywhere: the damage is between here and the end.
            span = (at, min(stop, len(data)) - 1 if stop <= len(data) else len(data) - 1)
            return SampleFault(name, "the checksum of a PNG chunk is wrong", span)
        if kind == b"IEND":
            return (
                SampleFault(name, "bytes after the end of the PNG", (stop, len(data) - 1)) if stop < len(data) else None
            )
        at = stop
    return SampleFault(name, "the PNG has no end", (at, at))
