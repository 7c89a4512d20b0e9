"""Folder of a run: resolved config, provenance, package versions, machine and seeds."""

from __future__ import annotations

import json
import platform
import random
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from distill import __version__
from distill.errors import UsageError
from distill.escaping import hide_secrets
from distill.files import write_atomic
from distill.runtime.cpu import usable_cores

_PACKAGES = (
    "torch",
    "timm",
    "lightning",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "webdataset",
    "av",
    "opencv-python-headless",
)


def open_run_dir(path: Path, *, config_yaml: str = "", verb: str = "", facts: dict[str, Any] | None = None) -> Path:
    """Create the folder if needed, and write ``<verb>.config.yaml`` and ``<verb>.provenance.json``.

    Raises:
        UsageError: The path is a file, or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be created as a folder: {error.strerror}", hint="choose another --out"
        ) from error
    if config_yaml:
        write_atomic(path / f"{verb}.config.yaml", config_yaml.encode())
    if verb:
        provenance = {
            "distill": __version__,
            "verb": verb,
            **({"command": command} if (command := command_line(sys.argv)) else {}),
            "versions": versions(),
            "machine": machine(),
            **(facts or {}),
        }
        write_atomic(path / f"{verb}.provenance.json", json.dumps(provenance, indent=2, default=str).encode())
    return path


_SECRET_ARGUMENT = re.compile(r"(?i)([^=]*(?:token|key|secret|passw)[^=]*)=.+", re.DOTALL)


def command_line(argv: list[str]) -> str:
    """The command as it was typed, without values that may be secrets; empty when distill runs inside a program."""
    program, *arguments = argv or [""]
    if not (Path(program).name == "distill" or Path(program).parts[-2:] == ("distill", "__main__.py")):
        return ""
    return hide_secrets(shlex.join(["distill", *(_SECRET_ARGUMENT.sub(r"\1=...", text) for text in arguments)]))


def versions() -> dict[str, str]:
    """Installed versions of the packages that affect results."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """Processor, cores that this process may use, and operating system; no host or user name."""
    return {
        "processor": _processor_name(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, numpy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
