"""Import optional packages late, and say which extra installs them."""

from __future__ import annotations

import importlib
from types import ModuleType

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
