"""One student at several working sizes, each picture to the one whose shape is nearest to its own: aspect buckets.

A student stretches every picture to its working size. A portrait that is stretched to a landscape's size loses detail
along one axis; a second file of the same weights that works at a portrait's size does not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.runners.base import Outputs, Runner, TensorOutputs
from distill.images import write_atomic

SUFFIX = ".buckets"
_FORMAT = 1
_MOST_FILES = 16
_MOST_BYTES = 10_000


class BucketsRunner(Runner):
    """A ``.buckets`` file: the names of the files beside it, which are all loaded."""

    def __init__(self, path: Path, **options: Any) -> None:
        """Load the files.

        Args:
            path: Written by ``distill export`` with more than one ``--working``.
            options: Of the files' own runners.

        Raises:
            DistillError: Not such a file, or one of its files is missing, damaged, or another student's.
        """
        from distill.export.runners import open_runner

        self._runners: list[Runner] = []
        try:
            self._runners.extend(open_runner(part, **options) for part in parts_of(path))
            first = self._runners[0]
            for other in self._runners[1:]:
                if other.spec.output_names != first.spec.output_names or other.spec.semantic != first.spec.semantic:
                    raise DistillError(
                        f"{path}: {other.name} answers other questions than {first.name}",
                        hint="export all working sizes again, in one command",
                    )
        except DistillError:
            self.close()
            raise
        super().__init__(path.name, first.engine, first.spec, first.threads, self._runners)

    def nearest(self, size_hw: tuple[int, int]) -> Runner:
        """The runner whose working size has the shape that is nearest to a picture's of this size."""
        return self._runners[nearest_shape([runner.spec.input.size_hw for runner in self._runners], size_hw)]

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        return self.nearest((images.shape[1], images.shape[2]))(images)

    def _run_tensor(self, images: Any) -> TensorOutputs:
        return self.nearest((images.shape[1], images.shape[2]))(images)

    def bare(self, images: UInt8[ndarray, "b h w 3"]) -> Callable[[], object] | None:
        """See `Runner.bare`."""
        return self.nearest((images.shape[1], images.shape[2])).bare(images)

    def close(self) -> None:
        """Free all of them."""
        for runner in self._runners:
            runner.close()
        super().close()


def nearest_shape(sizes_hw: Sequence[tuple[int, int]], size_hw: tuple[int, int]) -> int:
    """Which of the sizes has the ratio of height and width that is nearest to this one's; the first of equals."""
    wanted = math.log(size_hw[0] / size_hw[1])
    apart = [round(abs(math.log(height / width) - wanted), 9) for height, width in sizes_hw]
    return apart.index(min(apart))


def write_buckets(path: Path, files: Sequence[Path]) -> None:
    """Name these files, which lie beside it, in a ``.buckets`` file."""
    values = {"format": _FORMAT, "files": [file.name for file in files]}
    write_atomic(path, json.dumps(values, indent=2).encode())


def parts_of(path: Path) -> list[Path]:
    """The files that a ``.buckets`` file names; none lies outside its folder.

    Raises:
        DistillError: Not such a file, or one of its files is missing.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        values = json.loads(path.read_bytes())
        names = [str(name) for name in values["files"]]
        whole = values["format"] == _FORMAT and 1 <= len(names) <= _MOST_FILES
        if not whole or any(Path(name).name != name or Path(name).suffix == SUFFIX for name in names):
            raise ValueError("not a list of names")
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise DistillError(
            f"{path}: not a list of exported files: {error}", hint="write it with distill export --working"
        ) from error
    for name in names:
        if not (path.parent / name).is_file():
            raise DistillError(
                f"{path}: {name} is not beside it", hint="copy all of its files together, or export again"
            )
    return [path.parent / name for name in names]
