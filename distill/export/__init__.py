"""Export of a student to inference engines, the comparison with the original, and runners for all engines.

The package can be called: ``distill.export(run, to="onnx")`` is `distill.workflows.export.run.export`.
"""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A package that is also a function, because `distill.export` is the name of both."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _function()(*arguments, **options)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return inspect.getdoc(_function())

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function())


def _function() -> Any:
    # By name and at call time: `workflows` is a layer above this package.
    return import_module("distill.workflows.export.run").export


sys.modules[__name__].__class__ = _CallablePackage
