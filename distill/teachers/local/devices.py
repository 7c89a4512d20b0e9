"""Device, precision and offloading of a model, chosen by free memory; each choice has a reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.errors import UsageError

_WIDTH_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_ACTIVATIONS = 1.25
"""Memory relative to the weights; a quarter for activations is a rule of thumb for images of a megapixel."""


@dataclass(frozen=True, slots=True)
class DevicePlacement:
    """Device, precision and offloading of a model.

    Attributes:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        offload: ``none``; ``model``: one component at a time on the GPU; ``layers``: one layer at a time (slow).
        reason: Reason of the choice, as a sentence.
    """

    device: str
    dtype: str
    offload: str
    reason: str


def choose_device(wanted: str) -> str:
    """The device; ``auto`` is the GPU if there is one.

    Raises:
        UsageError: This machine does not have it.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = wanted.partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, False):
        raise UsageError(f"device {wanted}: not on this machine", hint="use --set device=auto, or cpu")
    return wanted


def choose_dtype(device: str, wanted: str) -> str:
    """The precision; ``auto`` is bfloat16 on a GPU and float32 on a CPU."""
    if wanted != "auto":
        return wanted
    return "float32" if device in ("cpu", "mps") else "bfloat16"


def count_gpus() -> int:
    """Number of NVIDIA GPUs that torch can use."""
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def free_bytes(device: str) -> int:
    """Free memory of a GPU in bytes; 0 for a CPU, which can swap."""
    import torch

    return int(torch.cuda.mem_get_info(torch.device(device))[0]) if device.startswith("cuda") else 0


def choose_placement(
    device: str, dtype: str, components: dict[str, int], free: int, wanted: str = "auto"
) -> DevicePlacement:
    """The whole model on the device if it fits, one component at a time if the largest fits, else layer by layer.

    Args:
        device: Device of the model.
        dtype: Precision of the weights.
        components: Number of parameters by component.
        free: Free bytes on the device.
        wanted: ``auto``, or a kind of offloading.
    """
    if not device.startswith("cuda"):
        return DevicePlacement(device, dtype, "none", f"{device}: no offloading")
    if wanted != "auto":
        return DevicePlacement(device, dtype, wanted, "set in the config")
    width = _WIDTH_BYTES[dtype] * _ACTIVATIONS
    whole = sum(components.values()) * width
    largest = max(components.values(), default=0) * width
    has = f"{free / 1e9:.0f} GB are free"
    if whole <= free:
        return DevicePlacement(device, dtype, "none", f"needs {whole / 1e9:.0f} GB in {dtype}, {has}")
    if largest <= free:
        reason = f"needs {whole / 1e9:.0f} GB in {dtype}, its largest part {largest / 1e9:.0f} GB; {has}"
        return DevicePlacement(device, dtype, "model", reason)
    return DevicePlacement(device, dtype, "layers", f"its largest part needs {largest / 1e9:.0f} GB in {dtype}; {has}")


def count_parameters(folder: Path) -> dict[str, int]:
    """Number of parameters of each component (subfolder) of a saved pipeline, from the headers of its safetensors."""
    from safetensors import safe_open

    counts: dict[str, int] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        part = path.parent.relative_to(folder).as_posix()
        with safe_open(str(path), "numpy") as file:
            shapes = (file.get_slice(name).get_shape() for name in file.keys())  # noqa: SIM118 - not a mapping
            counts[part] = counts.get(part, 0) + sum(_product(shape) for shape in shapes)
    return counts


def _product(shape: list[int]) -> int:
    number = 1
    for side in shape:
        number *= side
    return number


def torch_dtype(name: str) -> Any:
    """The torch dtype of this name."""
    import torch

    return getattr(torch, name)
