"""Opens pipelines of the diffusers library: weights, LoRAs, scheduler, device, offloading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.config.local import LoraConfig, ModelConfig, Offload
from distill.errors import UsageError
from distill.optional import require
from distill.teachers.local.devices import (
    DevicePlacement,
    choose_device,
    choose_dtype,
    choose_placement,
    count_parameters,
    free_bytes,
    torch_dtype,
)
from distill.teachers.local.hub import find_source, load_model, model_folders, read_config

_WHY = "run image generators on this machine"


@dataclass(frozen=True)
class Pipeline:
    """An opened pipeline.

    Attributes:
        pipe: The library's object.
        placement: Device, precision and offloading.
    """

    pipe: Any
    placement: DevicePlacement


def pipeline_class(source: str, revision: str = "") -> str:
    """The class that a saved pipeline names, such as ``Flux2KleinPipeline``.

    Raises:
        ModelUnavailable: It is on the hub and cannot be downloaded.
        UsageError: There is no pipeline.
    """
    return str(read_config(source, "model_index.json", revision).get("_class_name", ""))


@dataclass(frozen=True)
class PipelineChanges:
    """Changes to a saved pipeline; the fields are those of `DiffusersConfig`."""

    transformer: str = ""
    loras: Sequence[LoraConfig] = ()
    scheduler: Mapping[str, Any] = field(default_factory=dict[str, Any])
    offload: Offload = "auto"
    compile: bool = False


def open_pipeline(config: ModelConfig, source: str, folder: Path, changes: PipelineChanges | None = None) -> Pipeline:
    """The pipeline of a config on its device, with changes.

    Raises:
        ModelUnavailable: The weights cannot be downloaded.
        UsageError: The files are not such a pipeline, or the config does not match it.
    """
    changes = changes or PipelineChanges()
    library = require("diffusers", extra="local", why=_WHY)
    library.utils.logging.disable_progress_bar()
    # Text encoders are models of this library, which has its own progress bars.
    require("transformers", extra="local", why=_WHY).utils.logging.disable_progress_bar()
    device = choose_device(config.device)
    dtype = choose_dtype(device, config.dtype)
    source = _download(library, source, config.revision)
    parts: dict[str, Any] = {}
    if changes.transformer:
        kind, path = _component_class(library, source, "transformer"), find_source(changes.transformer, folder)
        parts["transformer"] = load_model(kind, path, dtype=torch_dtype(dtype), use_safetensors=True)
    pipe = load_model(library.DiffusionPipeline, source, dtype=torch_dtype(dtype), use_safetensors=True, **parts)
    pipe.set_progress_bar_config(disable=True)
    names = [f"lora{number}" for number in range(len(changes.loras))]
    for name, lora in zip(names, changes.loras, strict=True):
        _add_lora(pipe, lora, name, folder)
    if names:
        pipe.set_adapters(names, [lora.scale for lora in changes.loras])
    if changes.scheduler:
        pipe.scheduler = _replace_scheduler(pipe.scheduler, changes.scheduler)
    parameters = count_parameters(Path(source))
    placement = choose_placement(device, dtype, parameters, free_bytes(device), changes.offload)
    _move_to_device(pipe, placement)
    if changes.compile:
        pipe.transformer.compile()
    return Pipeline(pipe, placement)


def _download(library: Any, source: str, revision: str) -> str:
    """The local folder with the whole pipeline."""
    if Path(source).is_dir():
        return source
    from distill.teachers.local.hub import unavailable

    try:
        return str(library.DiffusionPipeline.download(source, revision=revision or None, use_safetensors=True))
    except Exception as error:  # exception types differ between versions
        raise unavailable(source, error) from error


def _component_class(library: Any, source: str, part: str) -> Any:
    """The class of one component of a saved pipeline."""
    entry = json.loads((Path(source) / "model_index.json").read_text()).get(part)
    if not (isinstance(entry, list) and len(entry) == 2 and hasattr(library, str(entry[1]))):
        raise UsageError(f"{source}: the pipeline has no {part} of the diffusers library", hint=f"leave {part} out")
    return getattr(library, entry[1])


def _add_lora(pipe: Any, lora: LoraConfig, name: str, folder: Path) -> None:
    place = next((base / lora.model for base in model_folders(folder) if (base / lora.model).exists()), None)
    if not hasattr(pipe, "load_lora_weights"):
        raise UsageError(f"{type(pipe).__name__} does not support LoRAs", hint="leave loras out")
    require("peft", extra="local", why="add low-rank weights to a pipeline")
    file = lora.file
    if place is not None and place.is_file():
        place, file = place.parent, place.name
    if file and not file.endswith(".safetensors"):
        raise UsageError(f"{lora.model}: LoRAs are read from safetensors files only", hint="convert it first")
    arguments = {"weight_name": file} if file else {}
    try:
        pipe.load_lora_weights(str(place or lora.model), adapter_name=name, use_safetensors=True, **arguments)
    except Exception as error:  # keys that do not match, missing files, the hub
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise UsageError(f"{lora.model}: cannot be added to {type(pipe).__name__}: {reason}") from error


def _replace_scheduler(scheduler: Any, changes: Mapping[str, Any]) -> Any:
    """A scheduler of the same type with other settings."""
    if unknown := [name for name in changes if name not in scheduler.config]:
        raise UsageError(
            f"{type(scheduler).__name__} has no {', '.join(unknown)}", hint=f"it has {', '.join(scheduler.config)}"
        )
    return type(scheduler).from_config(scheduler.config, **changes)


def _move_to_device(pipe: Any, placement: DevicePlacement) -> None:
    if placement.offload == "none":
        pipe.to(placement.device)
        return
    require("accelerate", extra="local", why="keep a pipeline in main memory")
    if placement.offload == "model":
        pipe.enable_model_cpu_offload(device=placement.device)
    else:
        pipe.enable_sequential_cpu_offload(device=placement.device)
