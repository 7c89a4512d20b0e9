"""Marigold (diffusers): affine-invariant depth, or normals, predicted by a diffusion model; raw values."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distill.config.local import MarigoldConfig
from distill.config.teacher_base import OutputConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.tasks import DepthKind, Task
from distill.teachers.base import Specialist
from distill.teachers.local.hub import fingerprint
from distill.teachers.local.pipelines import open_pipeline, pipeline_class
from distill.teachers.tasks import teacher_task

_OUTPUTS = {
    # 0 is the nearest pixel, 1 the farthest: depth up to scale and shift, not disparity.
    "MarigoldDepthPipeline": OutputConfig(task=Task.DEPTH, depth_kind=DepthKind.AFFINE_INVARIANT_DEPTH),
    "MarigoldNormalsPipeline": OutputConfig(task=Task.NORMALS, frame="marigold"),
}
_MIN_ENSEMBLE_FOR_SPREAD = 3
"""The library gives no uncertainty for fewer predictions."""


def marigold_output(source: str, revision: str) -> OutputConfig:
    """Meaning of a Marigold checkpoint's output.

    Raises:
        ModelUnavailable: It is on the hub and cannot be downloaded.
        UsageError: It is not a Marigold pipeline.
    """
    name = pipeline_class(source, revision)
    if name not in _OUTPUTS:
        raise UsageError(f"{source}: is a {name or 'model without a class'}, not {' or '.join(_OUTPUTS)}")
    return _OUTPUTS[name]


class MarigoldSpecialist(Specialist):
    """One pipeline, opened with the first photo."""

    def __init__(self, config: MarigoldConfig, source: str, folder: Path, output: OutputConfig) -> None:
        self._config, self._source, self._folder, self._output = config, source, folder, output

    def fingerprint(self) -> list[str]:
        """State of the model's files."""
        return [fingerprint(self._source, self._config.revision)]

    def predict(self, photo: Photo) -> list[Label]:
        """One label at the working size of the model.

        Raises:
            ModelUnavailable: The weights cannot be had.
            DistillError: The model failed on this photo.
        """
        import torch
        from PIL import Image

        uncertain = self._config.ensemble >= _MIN_ENSEMBLE_FOR_SPREAD
        given: dict[str, Any] = {
            "num_inference_steps": self._config.steps,
            "processing_resolution": self._config.resolution,
            "ensemble_size": self._config.ensemble,
            "output_uncertainty": uncertain,
            "match_input_resolution": False,
            "generator": torch.Generator("cpu").manual_seed(self._config.seed),
        }
        try:
            with torch.inference_mode():
                found = self._pipe(Image.fromarray(photo.rgb), **given)
        except (RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DistillError(f"{photo.name}: {type(self._pipe).__name__} failed: {reason}") from error
        planes = np.asarray(found.prediction, np.float32)[0].transpose(2, 0, 1)
        task = teacher_task(Task(self._output.task))
        label = task.label_from_planes(planes, self._output, self._config.name or self._config.model)
        if not uncertain:
            return [label]
        spread = np.asarray(found.uncertainty, np.float32)[0].reshape(label.size_hw)
        trust = np.exp(-0.5 * (spread / np.float32(task.uncertainty_sigma)) ** 2) * label.valid
        return [Label(label.task, label.value, label.valid, trust, label.depth_kind)]

    @cached_property
    def _pipe(self) -> Any:
        return open_pipeline(self._config, self._source, self._folder).pipe
