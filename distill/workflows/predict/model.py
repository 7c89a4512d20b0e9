"""A loaded student and its predictions: arrays by task, class names, drawings and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.tasks import Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from distill.export.inference.stream import FramePrediction
    from distill.export.runners import Runner
    from distill.spec import StudentSpec
    from distill.video import FrameSource

_BATCH = 8
_ACCEPTED = (
    "an RGB uint8 array (height, width, 3) or (batch, height, width, 3), a PIL image, a path, or a list of these"
)


@dataclass(frozen=True, eq=False)
class Prediction(Mapping[str, ndarray]):
    """Predicted maps of one image, by name, at the size of the image.

    ``prediction.depth``, ``.normals``, ``.semantic`` and ``.instance`` are the maps of the tasks that the student has,
    ``.depth_confidence`` and so on their confidence in [0, 1]; ``prediction["depth"]`` is the same.

    Attributes:
        rgb: The image, uint8 (height, width, 3).
        maps: Maps by name: depth float32 (h, w), normals float32 (h, w, 3), semantic and instance uint8 (h, w).
        spec: Spec of the student: units, axes, classes.
        name: File name of the image; ``image`` for arrays.
    """

    rgb: UInt8[ndarray, "h w 3"] = field(repr=False)
    maps: Mapping[str, ndarray] = field(repr=False)
    spec: StudentSpec = field(repr=False)
    name: str = "image"

    def __getitem__(self, name: str) -> ndarray:
        return self.maps[str(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    def __getattr__(self, name: str) -> ndarray:
        if name.startswith("_") or name == "maps" or name not in self.maps:
            known = "" if name.startswith("_") or name == "maps" else f"; this student predicts {', '.join(self.maps)}"
            raise AttributeError(f"a prediction has no {name!r}{known}")
        return self.maps[name]

    def __repr__(self) -> str:
        height, width = self.rgb.shape[:2]
        return f"Prediction({self.name!r}, {height}x{width}, {', '.join(map(str, self.tasks))})"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The predicted tasks."""
        return self.spec.tasks

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by the ids in ``semantic``."""
        return self.spec.semantic.classes if self.spec.semantic else ()

    def class_fractions(self) -> dict[str, float]:
        """Fraction of the pixels of each class, largest first; classes without pixels are left out."""
        if not self.classes:
            return {}
        counts = np.bincount(self.maps[Task.SEMANTIC].ravel(), minlength=len(self.classes))
        fractions = {
            name: float(counts[index]) / self.maps[Task.SEMANTIC].size for index, name in enumerate(self.classes)
        }
        return dict(sorted(((k, v) for k, v in fractions.items() if v), key=lambda item: -item[1]))

    def instance_classes(self) -> dict[int, str]:
        """Class name by instance id: the class of most of its pixels."""
        if Task.INSTANCE not in self.tasks:
            return {}
        ids, classes_at = self.maps[Task.INSTANCE], self.maps[Task.SEMANTIC]
        return {int(n): self.classes[int(np.bincount(classes_at[ids == n]).argmax())] for n in np.unique(ids) if n}

    def to_numpy(self) -> dict[str, ndarray]:
        """Copy the maps into a dictionary."""
        return {name: value.copy() for name, value in self.maps.items()}

    def plot(self, task: Task | str | None = None) -> Image:
        """Draw the image with one panel per task, or a single task over the image.

        Raises:
            UsageError: The student does not predict this task.
        """
        from PIL import Image as PillowImage

        from distill.export.inference.panels import Panels

        if task is not None and str(task) not in map(str, self.spec.dense_tasks):
            raise UsageError(f"this student draws {', '.join(self.spec.dense_tasks)}, not {task}")
        height, width = self.rgb.shape[:2]
        panels = Panels(self.spec, (height, width), None if task is None else Task(task))
        return PillowImage.fromarray(panels.draw(self.rgb, dict(self.maps)))

    def save(self, folder: str | PathLike[str], *, confidence: bool = False) -> dict[str, Path]:
        """Write ``NAME.<task>.png`` and ``NAME.overlay.jpg``, as `distill.predict` does; return the paths.

        Raises:
            DistillError: The folder cannot be written.
        """
        from distill.export.inference.map_encoding import encode_outputs
        from distill.export.sinks import make_folder, write_file
        from distill.images import encode_jpeg

        files = encode_outputs(dict(self.maps), self.spec, confidence=confidence)
        files["overlay.jpg"] = encode_jpeg(np.asarray(self.plot()), quality=92)
        make_folder(Path(folder))
        paths = {extension: Path(folder) / f"{Path(self.name).stem}.{extension}" for extension in files}
        for extension, data in files.items():
            write_file(paths[extension], data)
        return paths


class Model:
    """A student that is ready to run; a context manager.

    Attributes:
        spec: Its spec: tasks, units, axes, classes.
        runner: The engine below, for raw batches: uint8 (batch, height, width, 3) to maps by name.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.spec: StudentSpec = runner.spec

    @overload
    def __call__(self, images: str | PathLike[str] | Image) -> Prediction: ...
    @overload
    def __call__(self, images: ndarray) -> Any: ...
    @overload
    def __call__(self, images: Sequence[Any]) -> list[Prediction]: ...
    def __call__(self, images: Any) -> Any:
        """Predict one image or several.

        Args:
            images: An RGB uint8 array (height, width, 3), a PIL image or a path gives one `Prediction`; an array
                (batch, height, width, 3) or a list of any of these gives a list.

        Raises:
            UsageError: The argument is none of these.
            DistillError: A file cannot be read, or the engine failed.
        """
        if isinstance(images, ndarray) and images.ndim == 4:
            return self._predict([(rgb, "image") for rgb in _checked(images)])
        if isinstance(images, list | tuple):
            return self._predict([_read(image) for image in images])
        return self._predict([_read(images)])[0]

    def stream(
        self,
        video: str | Path | FrameSource,
        *,
        batch: int | None = None,
        size_hw: tuple[int, int] | None = None,
        temporal_smoothing: float = 0.0,
    ) -> Iterator[FramePrediction]:
        """Yield every frame of a video with its maps, in order; decoding and inference run ahead in the background.

        Memory is bounded: while the caller processes a frame, a few more wait. Leaving the loop stops the threads.

        Args:
            video: A file, a pattern of numbered images, the address of a camera, or a `FrameSource`.
            batch: Frames per call; chosen by their size unless given.
            size_hw: Shrink frames to this size first; the maps have it too.
            temporal_smoothing: 0 gives the maps of each frame alone, up to 1 smooths them over time.

        Raises:
            DistillError: The video cannot be read, or is damaged: raised after the last frame that could be read.
        """
        from distill.export.inference.stream import stream_frames

        return stream_frames(self.runner, video, batch=batch, size_hw=size_hw, temporal_smoothing=temporal_smoothing)

    def close(self) -> None:
        """Release the engine."""
        self.runner.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self.spec.name!r}, {', '.join(self.spec.tasks)}, {self.runner.engine})"

    def _predict(self, images: Sequence[tuple[ndarray, str]]) -> list[Prediction]:
        """Run neighbors of equal size in batches."""
        limit = min(_BATCH, self.spec.input.max_batch or _BATCH)
        found: list[Prediction] = []
        for _, group in groupby(images, key=lambda image: image[0].shape):
            while batch := list(islice(group, limit)):
                outputs = self.runner(np.stack([rgb for rgb, _ in batch]))
                for index, (rgb, name) in enumerate(batch):
                    maps = {task: values[index] for task, values in outputs.items()}
                    found.append(Prediction(rgb, maps, self.spec, name))
        return found


def _read(image: Any) -> tuple[UInt8[ndarray, "h w 3"], str]:
    """One image as (array, name)."""
    from PIL import Image as PillowImage

    from distill.files import read_file
    from distill.images import convert_to_srgb, decode_rgb

    if isinstance(image, str | PathLike):
        path = Path(image)
        if not path.is_file():
            reason = "is a folder; distill.predict takes folders" if path.is_dir() else "there is no such file"
            raise UsageError(f"{path}: {reason}")
        try:
            return decode_rgb(read_file(path), str(path))[0], path.name
        except OSError as error:
            raise DistillError(f"{path}: cannot be read: {error.strerror or error}", hint="copy it again") from error
    if isinstance(image, PillowImage.Image):
        name = Path(str(getattr(image, "filename", "") or "image")).name
        return convert_to_srgb(image, name), name
    if not isinstance(image, ndarray):
        raise UsageError(f"an image cannot be a {type(image).__name__}", hint=f"give {_ACCEPTED}")
    if image.ndim != 3:
        raise UsageError(f"an image cannot be an array of shape {image.shape}", hint=f"give {_ACCEPTED}")
    return _checked(image), "image"


def _checked(images: ndarray) -> UInt8[ndarray, "*b h w 3"]:
    """The array, if it is RGB uint8 with at least one pixel."""
    if images.dtype != np.uint8:
        hint = "convert floats in [0, 1] with (255 * image).round().astype('uint8')"
        raise UsageError(f"images are uint8 arrays, this one is {images.dtype}", hint=hint)
    if images.shape[-1] != 3 or 0 in images.shape:
        raise UsageError(f"images have 3 channels, RGB, last; this array has the shape {images.shape}")
    return images
