"""Specialists of the transformers library: raw predictions, with the depth kind and the class names of the model.

The 8-bit previews of the library's pipelines are not used. The post-processing follows from the model's architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from distill.config.local import TransformersConfig
from distill.config.teacher_base import OutputConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.labels import Label
from distill.optional import require
from distill.tasks import IGNORE_SEMANTIC, MAX_CLASSES, Task
from distill.teachers.base import Specialist
from distill.teachers.local.devices import choose_device, choose_dtype, torch_dtype
from distill.teachers.local.hub import fingerprint, load_model
from distill.teachers.local.instance_masks import ScoredMask, class_scores, masks_to_label, query_masks
from distill.teachers.local.model_info import ModelInfo, infer_depth_kind
from distill.teachers.tasks import teacher_task


class TransformersSpecialist(Specialist):
    """One network, opened with the first photo, so that a plan needs no weights."""

    def __init__(self, config: TransformersConfig, model_info: ModelInfo) -> None:
        self._config, self._model_info = config, model_info
        self._opened: tuple[Any, Any] | None = None
        self._device, self._dtype = "", ""

    def fingerprint(self) -> list[str]:
        """State of the model's files."""
        return [fingerprint(self._model_info.source, self._config.revision)]

    def predict(self, photo: Photo) -> list[Label]:
        """One label per task, at about the working size of the network.

        Raises:
            ModelUnavailable: The weights cannot be downloaded.
            DistillError: The network failed on this photo.
        """
        import torch

        model, processor = self._opened or self._open()
        try:
            with torch.inference_mode():
                found = self._predict_all(model, processor, photo)
        except (RuntimeError, ValueError, IndexError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DistillError(f"{photo.name}: {self._model_info.architecture} failed: {reason}") from error
        return [found[task] for task in self._model_info.tasks]

    def _open(self) -> tuple[Any, Any]:
        library = require("transformers", extra="local", why="run models of the transformers library")
        kind = getattr(library, self._model_info.architecture, None)
        if not (isinstance(kind, type) and issubclass(kind, library.PreTrainedModel)):
            raise UsageError(
                f"{self._model_info.source}: transformers {library.__version__} has no {self._model_info.architecture}",
                hint="pip install --upgrade transformers",
            )
        self._device = choose_device(self._config.device)
        self._dtype = choose_dtype(self._device, self._config.dtype)
        library.utils.logging.disable_progress_bar()
        source, revision = self._model_info.source, {"revision": self._config.revision or None}
        needs_text = self._model_info.is_text_prompted or self._model_info.model_config.get("model_type") == "oneformer"
        reader = library.AutoProcessor if needs_text else library.AutoImageProcessor
        processor = load_model(reader, source, **revision)
        model = load_model(kind, source, dtype=torch_dtype(self._dtype), use_safetensors=True, **revision)
        self._opened = model.eval().to(self._device), processor
        return self._opened

    def _predict_all(self, model: Any, processor: Any, photo: Photo) -> dict[Task, Label]:
        if self._model_info.is_text_prompted:
            return self._predict_by_text(model, processor, photo)
        extra = {"task_inputs": ["semantic"]} if self._model_info.model_config.get("model_type") == "oneformer" else {}
        inputs = processor(images=[photo.rgb], return_tensors="pt", **extra)
        outputs = model(**self._moved(inputs))
        return {
            task: _READERS[task](self, outputs, inputs, processor, photo.size_hw) for task in self._model_info.tasks
        }

    def _moved(self, inputs: Any) -> dict[str, Any]:
        """Tensors on the device and in the network's precision; other values (patch offsets) unchanged."""
        dtype = torch_dtype(self._dtype)
        return {
            name: value.to(self._device, dtype if value.is_floating_point() else value.dtype)
            if hasattr(value, "is_floating_point")
            else value
            for name, value in inputs.items()
        }

    def _depth(self, outputs: Any, inputs: Any, processor: Any, photo_hw: tuple[int, int]) -> Label:
        depth_kind = infer_depth_kind(self._config, self._model_info.model_config)
        assert depth_kind is not None  # `inspect_model` refuses it
        kind = self._model_info.model_config.get("model_type")
        if kind in ("depth_pro", "zoedepth"):
            # Their post-processing applies the focal length (Depth Pro) and removes padding (ZoeDepth).
            size_hw = _label_size(photo_hw, tuple(outputs.predicted_depth.shape[-2:]))
            more = {"source_sizes": [photo_hw]} if kind == "zoedepth" else {}
            depth = processor.post_process_depth_estimation(outputs, target_sizes=[size_hw], **more)[0][
                "predicted_depth"
            ]
        else:
            depth = outputs.predicted_depth[0]
        planes = depth.float().cpu().numpy()
        return self._label(planes.reshape(1, *planes.shape[-2:]), _output(Task.DEPTH, depth_kind=depth_kind))

    def _normals(self, outputs: Any, inputs: Any, processor: Any, photo_hw: tuple[int, int]) -> Label:
        planes = outputs.normals[0].float().cpu().numpy()
        return self._label(planes, _output(Task.NORMALS, frame=self._config.frame))

    def _semantic(self, outputs: Any, inputs: Any, processor: Any, photo_hw: tuple[int, int]) -> Label:
        size_hw = _label_size(photo_hw, tuple(inputs["pixel_values"].shape[-2:]))
        if inputs.get("patch_offsets") or not self._model_info.is_query_based:
            found = processor.post_process_semantic_segmentation(
                outputs, target_sizes=[size_hw], return_segmentation_scores=True
            )
            planes = found[0]["segmentation_scores"].float()
        else:
            planes = class_scores(*query_masks(outputs, inputs, processor, size_hw))
        if self._model_info.is_query_based:
            planes = planes / planes.sum(dim=0, keepdim=True).clamp(min=1e-6)
        output = _output(
            Task.SEMANTIC,
            values="probabilities" if self._model_info.is_query_based else "logits",
            classes=self._model_info.classes,
            model_classes=self._model_info.model_classes,
            remap=self._config.remap,
            min_confidence=self._config.min_confidence,
        )
        return self._label(planes.float().cpu().numpy(), output)

    def _instance(self, outputs: Any, inputs: Any, processor: Any, photo_hw: tuple[int, int]) -> Label:
        if inputs.get("patch_offsets"):
            raise ValueError("it splits photos into tiles, so it predicts classes but no instances")
        size_hw = _label_size(photo_hw, tuple(inputs["pixel_values"].shape[-2:]))
        masks, scores = query_masks(outputs, inputs, processor, size_hw)
        best, which = scores.max(dim=-1)
        found = []
        for number in (best >= self._config.min_score).nonzero().flatten().tolist():
            name = self._model_info.model_classes[int(which[number])]
            if name in self._model_info.things:
                found.append(ScoredMask(masks[number].sigmoid().cpu().numpy(), float(best[number]), name))
        return masks_to_label(found, size_hw, self._model_info.things, self._config.min_score)

    def _predict_by_text(self, model: Any, processor: Any, photo: Photo) -> dict[Task, Label]:
        """One call per class; the image features are computed once."""
        inputs = processor(images=[photo.rgb], return_tensors="pt")
        pixels = self._moved({"pixel_values": inputs["pixel_values"]})["pixel_values"]
        seen = model.get_vision_features(pixel_values=pixels)
        size_hw = _label_size(photo.size_hw, tuple(pixels.shape[-2:]))
        found: list[ScoredMask] = []
        for thing in self._model_info.things:
            words = self._moved(processor(text=thing, return_tensors="pt"))
            outputs = model(vision_embeds=seen, **words)
            kept = processor.post_process_instance_segmentation(
                outputs, threshold=self._config.min_score, mask_threshold=0.5, target_sizes=[size_hw]
            )[0]
            for mask, score in zip(kept["masks"], kept["scores"].tolist(), strict=True):
                found.append(ScoredMask(mask.float().cpu().numpy(), score, thing))
        instances = masks_to_label(found, size_hw, self._model_info.things, 0.0, one_class_per_pixel=False)
        return {Task.INSTANCE: instances, Task.SEMANTIC: self._by_class(instances)}

    def _by_class(self, instances: Label) -> Label:
        """Class of each pixel; pixels without an instance are background."""
        table = np.zeros(65536, np.uint8)
        for number, name in instances.instance_classes.items():
            table[number] = self._model_info.model_classes.index(name)
        ids = table[instances.value]
        output = _output(
            Task.SEMANTIC,
            values="ids",
            classes=self._model_info.classes,
            model_classes=self._model_info.model_classes,
            remap=self._config.remap,
        )
        label = self._label(ids[None], output)
        valid = label.valid & instances.valid
        value = np.where(valid, label.value, np.uint8(IGNORE_SEMANTIC))
        return Label(Task.SEMANTIC, value, valid, instances.confidence * valid, classes=label.classes)

    def _label(self, planes: Shaped[ndarray, "c h w"], output: OutputConfig) -> Label:
        return teacher_task(Task(output.task)).label_from_planes(planes, output, self._name)

    @property
    def _name(self) -> str:
        return self._config.name or self._config.model


_READERS: dict[Task, Callable[..., Label]] = {
    Task.DEPTH: TransformersSpecialist._depth,
    Task.NORMALS: TransformersSpecialist._normals,
    Task.SEMANTIC: TransformersSpecialist._semantic,
    Task.INSTANCE: TransformersSpecialist._instance,
}


def _output(task: Task, **values: Any) -> OutputConfig:
    if len(values.get("classes", ())) > MAX_CLASSES:
        raise UsageError(
            f"the model has {len(values['classes'])} classes, and ids are stored in 8 bits",
            hint="choose some with classes and remap",
        )
    return OutputConfig(task=task, **values)


def _label_size(photo_hw: tuple[int, int], network_hw: tuple[int, ...]) -> tuple[int, int]:
    """Size (height, width) of the labels: the photo's ratio at the network's resolution, at most the photo's size."""
    scale = min(1.0, max(side / photo for side, photo in zip(network_hw, photo_hw, strict=True)))
    return max(1, round(photo_hw[0] * scale)), max(1, round(photo_hw[1] * scale))
