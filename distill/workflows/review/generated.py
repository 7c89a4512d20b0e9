"""Generated images of a set of labels: those in a folder that the user names, or the previews of the job."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from distill.datasets.review.items import ReviewItem, task_record
from distill.errors import DistillError
from distill.files import read_file
from distill.images import decode_rgb
from distill.shards import Sample


class GeneratedImages:
    """Finds the image that a label was decoded from.

    Args:
        shards: Folder of the set, whose previews are small copies of the first images.
        answers: Folder that the names of answers are relative to, such as that of a replay manifest; None: previews
            only.
    """

    def __init__(self, shards: Path, answers: Path | None) -> None:
        from distill.teachers.labeling.previews import read_previews

        self._answers = answers.resolve() if answers is not None else None
        self._previews = {
            (preview.key, preview.what.split(" ")[0]): preview.path
            for preview in read_previews(shards)
            if preview.what.endswith("generated")
        }

    def find(self, item: ReviewItem, sample: Sample) -> UInt8[ndarray, "h w 3"] | None:
        """The image; None where there is none, or it cannot be read."""
        name = str(task_record(sample.meta, item.task).get("answer") or "")
        for path in (self._below(name), self._previews.get((item.key, str(item.task)))):
            if path is not None and path.is_file():
                try:
                    return decode_rgb(read_file(path), path.name)[0]
                except (DistillError, OSError):
                    continue
        return None

    def _below(self, name: str) -> Path | None:
        """Path of an answer; None if its name leads out of the folder."""
        if self._answers is None or not name or "\0" in name:
            return None
        path = (self._answers / name).resolve()
        return path if path.is_relative_to(self._answers) else None
