"""Runners for exported students, with one interface for all engines.

Input: uint8 RGB (batch, height, width, 3). Outputs: the named outputs of the spec, as numpy arrays for numpy arrays and
as torch tensors for torch tensors. Depends on ``spec.json`` only, not on configs or training.

`num_cores` counts the cores that an engine may use: affinity and the quota of a container.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from distill.config.export import NATIVE_SUFFIXES, RUNNERS
from distill.errors import UsageError
from distill.export.runners.base import Outputs, Runner, TensorOutputs
from distill.export.runners.onnxruntime import OrtRunner
from distill.export.runners.torch_module import ModuleRunner
from distill.runtime.cpu import usable_cores as num_cores

__all__ = ["ModuleRunner", "OrtRunner", "Outputs", "Runner", "TensorOutputs", "num_cores", "open_runner"]


def open_runner(
    path: Path,
    *,
    threads: int | None = None,
    allow_spinning: bool = True,
    allow_native: bool = False,
    device: str | None = None,
    **options: Any,
) -> Runner:
    """Open an exported student; its suffix determines the engine.

    Args:
        path: Written by ``distill export``.
        threads: Threads per call; None: all cores that this process may use.
        allow_spinning: Whether idle threads of the engine wait busily, if the engine has this option.
        allow_native: Open files with machine code (``.pt2``, ``.engine``), which runs with all rights of the user.
        device: Such as ``cpu`` or ``cuda``; None: the engine's default.
        options: Options of a single engine; see its class.

    Raises:
        UsageError: No such file, an unknown suffix, or machine code that `allow_native` does not permit.
        DistillError: The file is damaged, not a student, or built for another machine.
    """
    if path.is_dir():
        raise UsageError(f"{path}: a folder, not an exported file", hint="open a run folder with distill.load")
    if not path.is_file():
        raise UsageError(f"{path}: no such file", hint="check the path")
    entry = RUNNERS.get(path.suffix.lower())
    if entry is None:
        raise UsageError(
            f"{path}: no engine reads {path.suffix or 'files without a suffix'}; exported students end in"
            f" {', '.join(RUNNERS)}",
            hint="write one with distill export RUN --to onnx",
        )
    if path.suffix.lower() in NATIVE_SUFFIXES and not allow_native:
        raise UsageError(
            f"{path}: contains machine code, which runs with all of your rights when it is opened",
            hint="open it with --allow-native (allow_native=True in Python) if you built it or trust its source",
        )
    module, _, name = entry.partition(":")
    if device is not None:
        options["device"] = device
    runner: Runner = getattr(importlib.import_module(module), name)(
        path, threads=threads, allow_spinning=allow_spinning, **options
    )
    return runner
