"""Split samples into training and validation so that frames of one clip, or copies of one photo, stay on one side.

Frames of one clip hardly differ: a student that has seen the frame before and the one after scores on it as on a
training photo.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from distill.errors import UsageError
from distill.images.photo_hash import MAX_COPY_BITS, different_bits, read_hash
from distill.students.data.shard_index import SampleRef

GroupBy = Literal["auto", "photo", "folder", "clip"]
_FRAME = re.compile(r"(?P<video>.+)#\d+")
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d+)(?P<after>\D*)")
_MIN_FRAMES = 3
"""Fewer numbered names in a folder are no clip."""
_ALIKE = 0.6
"""Neighbors of a clip differ in at most this fraction of the bits in which distant frames differ."""
_MAX_COMPARED = 20_000
"""Photos among which copies are searched; all pairs are compared."""
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Split:
    """Training and validation samples.

    Attributes:
        train: In the order of the entries.
        val: In the order of the entries; may be empty.
        description: How the validation photos were chosen, for the terminal.
    """

    train: tuple[SampleRef, ...]
    val: tuple[SampleRef, ...]
    description: str


def split(entries: Sequence[SampleRef], val_fraction: float, group_by: GroupBy = "auto") -> Split:
    """Hold out whole groups of photos; a photo that belongs to no group is a group of its own.

    Single photos are chosen by the hash of their bytes: independent of labels, order and other photos. If all photos
    are one group, the last ones in time (by name) are held out.

    Args:
        entries: All samples.
        val_fraction: Fraction of the photos to hold out.
        group_by: ``photo``: no groups; ``folder``: the folder of the photo; ``clip``: frames of one video, and numbered
            names of one folder; ``auto``: as clip if neighbors look alike, and near-duplicates.

    Raises:
        UsageError: One side would be empty.
    """
    group_of = find_groups(entries, group_by)
    groups: dict[str, list[int]] = {}
    for index, group in enumerate(group_of):
        groups.setdefault(group, []).append(index)
    photos = len({entry.photo_sha256 for entry in entries})
    num_shared = sum(len({entries[index].photo_sha256 for index in rows}) > 1 for rows in groups.values())
    if val_fraction > 0 and len(groups) == 1 and photos > 1:
        held_out = _last_in_time(entries, val_fraction)
        how = f"all photos are one {'folder' if group_by == 'folder' else 'clip'}, and the last ones of it are held out"
    else:
        held_out = _choose_groups(groups, len(entries), val_fraction, exact=not num_shared)
        how = "chosen by the hash of each photo"
        if num_shared:
            kind = "folders" if group_by == "folder" else "clips or groups of near-duplicates"
            how = f"{num_shared} {kind} are kept on one side each"
    train = tuple(entry for index, entry in enumerate(entries) if index not in held_out)
    val = tuple(entry for index, entry in enumerate(entries) if index in held_out)
    if not train or (not val and val_fraction > 0):
        side = "validation" if train else "training"
        raise UsageError(
            f"the {side} split is empty: {len(entries)} photos at data.val_fraction={val_fraction}",
            hint="label more photos, or change data.val_fraction (0 trains without validation)",
        )
    return Split(train, val, f"validation on {len(val)} of {len(entries)} photos: {how}" if val else "no validation")


def find_groups(entries: Sequence[SampleRef], group_by: GroupBy) -> list[str]:
    """The group of each sample; samples of the same photo share it."""
    own = [entry.photo_sha256 for entry in entries]
    if group_by == "photo":
        return own
    if group_by == "folder":
        return [f"folder {PurePosixPath(entry.name).parent}" for entry in entries]
    groups = [_clip(entry) or photo for entry, photo in zip(entries, own, strict=True)]
    for key, rows in _numbered(entries).items():
        if group_by == "clip" or _looks_like_clip([entries[row] for row in rows]):
            for row in rows:
                groups[row] = groups[row] if groups[row] != own[row] else key
    joined = _Joined(groups)
    for photo, group in zip(own, groups, strict=True):
        joined.join(photo, group)
    if group_by == "auto" and len(entries) <= _MAX_COMPARED:
        _join_copies(entries, own, joined)
    return [joined.find(group) for group in groups]


def _clip(entry: SampleRef) -> str:
    """The video of a frame; "" for a photo."""
    match = _FRAME.fullmatch(entry.name) if entry.is_frame else None
    return f"video {match['video']}" if match else ""


def _numbered(entries: Sequence[SampleRef]) -> dict[str, list[int]]:
    """Numbered names of one folder that differ in their number only, in its order."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row, entry in enumerate(entries):
        path = PurePosixPath(entry.name)
        match = None if entry.is_frame else _NUMBERED.fullmatch(path.stem[::-1])
        if match:
            # Of several numbers, the last one counts frames: the name is read from its end.
            key = f"clip {path.parent}/{match['after'][::-1]}#{match['before'][::-1]}"
            found.setdefault(key, []).append((int(match["number"][::-1]), row))
    return {key: [row for _, row in sorted(rows)] for key, rows in found.items() if len(rows) >= _MIN_FRAMES}


def _looks_like_clip(frames: Sequence[SampleRef]) -> bool:
    """Whether neighbors are more alike than photos that are far apart."""
    hashes = [found for frame in frames if (found := read_hash(frame.photo_hash)) is not None]
    if len(hashes) < _MIN_FRAMES:
        return False
    bits = np.stack(hashes)
    near = float(np.median(different_bits(bits[1:], bits[:-1])))
    half = len(bits) // 2
    far = float(np.median(different_bits(bits[half:], bits[: len(bits) - half])))
    return near <= MAX_COPY_BITS or near <= _ALIKE * far


def _join_copies(entries: Sequence[SampleRef], own: Sequence[str], joined: _Joined) -> None:
    """Join photos that look the same: saved again, resized, or frames with names of their own."""
    known = [
        (photo, found)
        for photo, entry in zip(own, entries, strict=True)
        if (found := read_hash(entry.photo_hash)) is not None
    ]
    if not known:
        return
    bits = np.stack([found for _, found in known])
    for first in range(0, len(bits), _CHUNK):
        part = different_bits(bits[first : first + _CHUNK, None], bits[None, first:]) <= MAX_COPY_BITS
        for row, other in np.argwhere(part).tolist():
            if other > row:
                joined.join(known[first + row][0], known[first + other][0])


class _Joined:
    """Disjoint sets of names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._parent = {name: name for name in names}

    def find(self, name: str) -> str:
        """The name that stands for the set of this one."""
        root = name
        while self._parent.setdefault(root, root) != root:
            root = self._parent[root]
        while self._parent[name] != root:
            name, self._parent[name] = self._parent[name], root
        return root

    def join(self, one: str, other: str) -> None:
        """Unite the sets of two names; a clip, else the smaller name, stands for both, whatever the order."""
        low, high = sorted((self.find(one), self.find(other)), key=lambda name: (_is_photo(name), name))
        self._parent[high] = low


def _choose_groups(groups: dict[str, list[int]], whole: int, val_fraction: float, *, exact: bool) -> set[int]:
    """Samples of the groups to hold out: those with a small hash.

    Args:
        groups: Rows of each group.
        whole: Number of samples.
        val_fraction: Fraction of the samples to hold out.
        exact: Take what the hashes give; otherwise groups are large, and the fraction is approached.
    """
    hash_of = {group: _hash(group) for group in groups}
    chosen = {group for group in groups if hash_of[group] % 1000 < round(val_fraction * 1000)}
    count = sum(len(groups[group]) for group in chosen)
    wanted = val_fraction * whole
    if not exact and wanted > 0 and not wanted / 2 <= count <= min(2 * wanted, whole - 1):
        chosen, count = set(), 0
        for group in sorted(groups, key=lambda group: (hash_of[group] % 1000, group)):
            more = count + len(groups[group])
            if abs(more - wanted) < abs(count - wanted) and more < whole:
                chosen.add(group)
                count = more
        if not chosen:
            chosen = {min(groups, key=lambda group: (len(groups[group]), hash_of[group]))}
    return {row for group in chosen for row in groups[group]}


def _hash(group: str) -> int:
    """Hash of a group: for a single photo that of its bytes."""
    return int(group[:8] if _is_photo(group) else hashlib.sha256(group.encode(errors="replace")).hexdigest()[:8], 16)


def _is_photo(group: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", group) is not None


def _last_in_time(entries: Sequence[SampleRef], val_fraction: float) -> set[int]:
    """The last photos by the numbers in their names; samples of one photo stay together."""
    order = sorted({entry.photo_sha256: _time(entry) for entry in entries}.items(), key=lambda item: item[1])
    count = min(max(1, round(val_fraction * len(order))), len(order) - 1)
    last = {photo for photo, _ in order[len(order) - count :]}
    return {row for row, entry in enumerate(entries) if entry.photo_sha256 in last}


def _time(entry: SampleRef) -> list[tuple[int, str]]:
    """Sort key of a name in which numbers are compared as numbers."""
    parts = re.split(r"(\d+)", entry.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
