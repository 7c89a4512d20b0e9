"""Late imports of optional packages and of functions that the user names."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from distill.errors import DistillError

_OPT_OUT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OTEL_SDK_DISABLED": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""Environment variables, read on import, that keep packages from reporting their use over the network."""


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import a module of an extra, with its telemetry off.

    Args:
        module: Dotted import name, such as ``onnxruntime``.
        extra: Extra of this project that installs it.
        why: Its purpose, to complete "is needed to".

    Raises:
        DistillError: It cannot be imported; the hint names the extra.
    """
    switch_off_telemetry()
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise DistillError(
            f"the package {module!r} is needed to {why}, and could not be imported: {error}",
            hint=f"pip install 'distill[{extra}]'",
        ) from error
    if hasattr(found, "disable_telemetry_events"):  # ONNX Runtime, if it was imported before
        found.disable_telemetry_events()
    return found


def switch_off_telemetry() -> None:
    """Keep packages that are imported later from reporting their use and from storing an id for that.

    A variable that the user has set is kept.
    """
    for name, value in _OPT_OUT.items():
        os.environ.setdefault(name, value)
    # OpenVINO has no option; without this package, its converter calls a stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def import_named(reference: str) -> Any:
    """Object named by ``package.module:name``; modules in the working folder are found, too.

    Raises:
        Exception: Any exception that the module raises on import.
    """
    module, _, name = reference.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
