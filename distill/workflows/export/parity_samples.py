"""Images to compare an exported student on: shards with labels, or photos without."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DistillError, UsageError
from distill.runtime.progress import Reporter

if TYPE_CHECKING:
    from distill.export.verification.parity import ParitySample
    from distill.spec import StudentSpec


def training_shards(run: Path) -> Path | None:
    """Folder of the first shards that the run was trained on; None where they no longer exist.

    Raises:
        UsageError: The config of the run is damaged.
    """
    from distill.config import read_yaml
    from distill.shards import MANIFEST

    config = run / "train.config.yaml"
    folders = read_yaml(config).get("shards", []) if config.is_file() else []
    if not isinstance(folders, list) or not all(isinstance(folder, str) and "\0" not in folder for folder in folders):
        raise UsageError(f"{config}: shards is not a list of folders", hint="give --images, or copy the run again")
    return next((Path(folder) for folder in folders if (Path(folder) / MANIFEST).is_file()), None)


def open_parity_samples(
    images: Path | None, spec: StudentSpec, count: int, reporter: Reporter
) -> Iterator[ParitySample] | None:
    """Open the images to compare on; checked here, before an export that takes seconds."""
    from distill.shards import MANIFEST, read_manifest

    if images is None:
        return None
    if (images / MANIFEST).is_file():
        read_manifest(images)
        return islice(_from_shards(images, spec), count)
    return islice(_from_photos(images, reporter), count)


def _from_shards(folder: Path, spec: StudentSpec) -> Iterator[ParitySample]:
    from distill.export.verification.parity import ParitySample
    from distill.images import decode_rgb
    from distill.shards import read_manifest, read_samples

    manifest = read_manifest(folder)
    for sample in read_samples(folder):
        rgb, _ = decode_rgb(sample.photo, f"{folder}: {sample.key}")
        yield ParitySample(
            sample.key, rgb, {task: sample.label(task, manifest) for task in sample.tasks if task in spec.tasks}
        )


def _from_photos(path: Path, reporter: Reporter) -> Iterator[ParitySample]:
    from distill.export.verification.parity import ParitySample
    from distill.files import read_file
    from distill.images import decode_rgb
    from distill.inputs import find_inputs

    photos = [found for found in find_inputs([str(path)]).files if not found.video]
    if not photos:
        raise UsageError(f"{path}: contains no photos", hint="give a folder of photos or shards as --images")

    def read() -> Iterator[ParitySample]:
        for photo in photos:
            try:
                yield ParitySample(photo.name, decode_rgb(read_file(photo.path), photo.name)[0], {})
            except (DistillError, OSError) as error:
                reporter.warn(f"skipped: {error}")

    return read()
