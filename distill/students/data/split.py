"""Split samples into training and validation so that frames of one clip, or copies of one photo, stay on one side.

Frames of one clip hardly differ: a student that has seen the frame before and the one after scores on it as on a
training photo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from distill.datasets.operations.groups import GroupBy, find_groups, is_photo, name_order
from distill.errors import UsageError
from distill.students.data.shard_index import SampleRef


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
    return int(group[:8] if is_photo(group) else hashlib.sha256(group.encode(errors="replace")).hexdigest()[:8], 16)


def _last_in_time(entries: Sequence[SampleRef], val_fraction: float) -> set[int]:
    """The last photos by the numbers in their names; samples of one photo stay together."""
    order = sorted({entry.photo_sha256: name_order(entry) for entry in entries}.items(), key=lambda item: item[1])
    count = min(max(1, round(val_fraction * len(order))), len(order) - 1)
    last = {photo for photo, _ in order[len(order) - count :]}
    return {row for row, entry in enumerate(entries) if entry.photo_sha256 in last}
