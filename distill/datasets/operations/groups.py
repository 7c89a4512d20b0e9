"""Groups of photos that belong on one side of a split: frames of one clip, folders, copies of one photo.

Frames of one clip hardly differ: a student that has seen the frame before and the one after scores on it as on a
training photo.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal, Protocol

import numpy as np

from distill.images.photo_hash import MAX_COPY_BITS, different_bits, group_copies, read_hash

GroupBy = Literal["auto", "photo", "folder", "clip", "near-duplicates"]
_FRAME = re.compile(r"(?P<video>.+)#\d+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MIN_FRAMES = 3
"""Fewer numbered names in a folder are no clip."""
_ALIKE = 0.6
"""Neighbors of a clip differ in at most this fraction of the bits in which distant frames differ."""


class GroupedPhoto(Protocol):
    """What is known of a photo without reading it."""

    @property
    def name(self) -> str:
        """Path of the photo; a frame of a video is ``video#number``."""
        ...

    @property
    def is_frame(self) -> bool:
        """Whether it is a frame of a video."""
        ...

    @property
    def photo_sha256(self) -> str:
        """Of the photo's bytes."""
        ...

    @property
    def photo_hash(self) -> str:
        """Perceptual hash; may be empty."""
        ...


def find_groups(entries: Sequence[GroupedPhoto], group_by: GroupBy) -> list[str]:
    """The group of each sample; samples of the same photo share it.

    Args:
        entries: The samples.
        group_by: ``photo``: no other groups; ``folder``: the folder of the photo; ``clip``: frames of one video, and
            numbered names of one folder; ``near-duplicates``: frames of one video, and photos that look the same;
            ``auto``: both, numbered names only if neighbors look alike.
    """
    own = [entry.photo_sha256 for entry in entries]
    if group_by == "photo":
        return own
    if group_by == "folder":
        return [f"folder {PurePosixPath(entry.name).parent}" for entry in entries]
    groups = [_clip(entry) or photo for entry, photo in zip(entries, own, strict=True)]
    for key, rows in _numbered(entries).items() if group_by != "near-duplicates" else ():
        if group_by == "clip" or _looks_like_clip([entries[row] for row in rows]):
            for row in rows:
                groups[row] = groups[row] if groups[row] != own[row] else key
    joined = _Joined(groups)
    for photo, group in zip(own, groups, strict=True):
        joined.join(photo, group)
    if group_by != "clip":
        _join_copies(entries, own, joined)
    return [joined.find(group) for group in groups]


def _clip(entry: GroupedPhoto) -> str:
    """The video of a frame; "" for a photo."""
    match = _FRAME.fullmatch(entry.name) if entry.is_frame else None
    return f"video {match['video']}" if match else ""


def _numbered(entries: Sequence[GroupedPhoto]) -> dict[str, list[int]]:
    """Numbered names of one folder that differ in one number only, in its order.

    Of several numbers, the last one that differs counts frames, which is the first one in
    ``bochum_000017_000019_leftImg8bit``. Times in seconds are one number.
    """
    found: dict[str, list[tuple[tuple[int, ...], int]]] = {}
    keys_of = dict[int, list[str]]()
    for row, entry in enumerate(entries):
        path = PurePosixPath(entry.name)
        stem = path.stem.casefold()
        numbers = [] if entry.is_frame else list(_NUMBER.finditer(stem))
        for match in reversed(numbers):
            key = f"clip {path.parent}/{stem[: match.start()]}#{stem[match.end() :]}"
            found.setdefault(key, []).append((tuple(map(int, match[0].split("."))), row))
            keys_of.setdefault(row, []).append(key)
    clip_of = {
        row: next((key for key in keys if len(found[key]) >= _MIN_FRAMES), None) for row, keys in keys_of.items()
    }
    clips = {key: [row for _, row in sorted(rows) if clip_of[row] == key] for key, rows in found.items()}
    return {key: rows for key, rows in clips.items() if len(rows) >= _MIN_FRAMES}


def _looks_like_clip(frames: Sequence[GroupedPhoto]) -> bool:
    """Whether neighbors are more alike than photos that are far apart."""
    hashes = [found for frame in frames if (found := read_hash(frame.photo_hash)) is not None]
    if len(hashes) < _MIN_FRAMES:
        return False
    bits = np.stack(hashes)
    near = float(np.median(different_bits(bits[1:], bits[:-1])))
    half = len(bits) // 2
    far = float(np.median(different_bits(bits[half:], bits[: len(bits) - half])))
    return near <= MAX_COPY_BITS or near <= _ALIKE * far


def _join_copies(entries: Sequence[GroupedPhoto], own: Sequence[str], joined: _Joined) -> None:
    """Join photos that look the same: saved again, resized, or frames with names of their own."""
    known = [
        (photo, found)
        for photo, entry in zip(own, entries, strict=True)
        if (found := read_hash(entry.photo_hash)) is not None
    ]
    if known:
        first: dict[int, str] = {}
        for (photo, _), group in zip(
            known, group_copies(np.stack([found for _, found in known])).tolist(), strict=True
        ):
            joined.join(first.setdefault(group, photo), photo)


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
        low, high = sorted((self.find(one), self.find(other)), key=lambda name: (is_photo(name), name))
        self._parent[high] = low


def is_photo(group: str) -> bool:
    """Whether a group is a single photo, named by its digest."""
    return re.fullmatch("[0-9a-f]{64}", group) is not None


def name_order(entry: GroupedPhoto) -> list[tuple[int, str]]:
    """Sort key of a name in which numbers are compared as numbers."""
    parts = re.split(r"(\d+)", entry.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
