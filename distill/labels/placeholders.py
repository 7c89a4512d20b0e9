"""Maps of one pixel without a value: they stand for the label of a task that a sample lacks.

Loaders such as that of the `datasets` library take the columns of a set from its first samples, so that all samples
have the same files.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from distill.errors import DistillError
from distill.images import decode_map, encode_map
from distill.tasks import TASKS, Task

_MOST_BYTES = 200
"""A PNG of one pixel is smaller."""
_CONFIDENCE = ".confidence.png"


@cache
def placeholders(task: Task) -> dict[str, bytes]:
    """The files of a label without a value, by extension."""
    info = TASKS[task]
    empty = np.full((1, 1, *info.channels), info.ignore, info.dtype)
    return {f"{task}.png": encode_map(empty), f"{task}{_CONFIDENCE}": encode_map(np.zeros((1, 1), np.uint8))}


def may_be_placeholder(extension: str, size: int) -> bool:
    """Whether a file of a sample has the name and size of a placeholder; its bytes decide."""
    return size <= _MOST_BYTES and extension in _IGNORED


def is_placeholder(extension: str, data: bytes) -> bool:
    """Whether a file of a sample stands for a label that the sample lacks."""
    if not may_be_placeholder(extension, len(data)):
        return False
    try:
        stored = decode_map(data, extension)
    except DistillError:
        return False
    return stored.shape[:2] == (1, 1) and bool((stored == _IGNORED[extension]).all())


_IGNORED = {f"{task}.png": TASKS[task].ignore for task in Task} | {f"{task}{_CONFIDENCE}": 0 for task in Task}
"""Value without a meaning, by extension."""
