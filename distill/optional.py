"""Import optional packages late, and say which extra installs them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from distill.errors import DistillError


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """The imported module; a missing one is a sentence that names the extra.

    Args:
        module: Dotted import name, such as ``onnxruntime``.
        extra: The extra of this project that brings it.
        why: What it is needed for, as the object of "is needed to".
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DistillError(
            f"the package {module!r} is needed to {why}, and could not be imported: {error}",
            hint=f"pip install 'distill[{extra}]'",
        ) from error


def import_named(reference: str) -> Any:
    """What ``package.module:name`` names, for names that the user gave; modules in the working folder are found, too.

    Raises:
        Exception: Whatever the module does when it is imported.
    """
    module, _, name = reference.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
