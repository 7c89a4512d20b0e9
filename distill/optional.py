"""Late imports of optional packages and of functions that the user names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from distill.errors import DistillError


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import a module of an extra.

    Args:
        module: Dotted import name, such as ``onnxruntime``.
        extra: Extra of this project that installs it.
        why: Its purpose, to complete "is needed to".

    Raises:
        DistillError: It cannot be imported; the hint names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DistillError(
            f"the package {module!r} is needed to {why}, and could not be imported: {error}",
            hint=f"pip install 'distill[{extra}]'",
        ) from error


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
