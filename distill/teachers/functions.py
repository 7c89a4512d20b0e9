"""Functions as teachers: description by a decorator, import by reference, digest of the source."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from distill.errors import UsageError
from distill.optional import import_named
from distill.shards import file_sha256

Function = TypeVar("Function", bound=Callable[..., Any])
_DESCRIPTION = "__distill_teacher__"


def describe_as(kind: str, description: dict[str, Any]) -> Callable[[Function], Function]:
    """A decorator that attaches default config values to a function.

    Args:
        kind: The built-in kind that runs the function.
        description: Keys of the config of this kind.
    """

    def describe(function: Function) -> Function:
        setattr(function, _DESCRIPTION, {**description, "kind": kind})
        return function

    return describe


def described(function: Any) -> dict[str, Any]:
    """The values that a decorator attached to a function, with their ``kind``; empty if there are none."""
    return dict(getattr(function, _DESCRIPTION, {}))


def find_function(reference: str) -> Callable[..., Any]:
    """Function of a reference ``package.module:function``; modules in the working folder are found, too.

    Raises:
        UsageError: It cannot be imported, or is not callable.
    """
    try:
        found: object = import_named(reference)
    except Exception as error:  # any error of the module's code
        raise UsageError(
            f"{reference}: cannot be imported: {type(error).__name__}: {error}",
            hint="install its package, or run in the folder of the module",
        ) from error
    if not callable(found):
        raise UsageError(f"{reference}: is a {type(found).__name__}, which is not callable", hint="name a function")
    return found


def source_digest(reference: str) -> str:
    """SHA-256 of a function's source file; empty for functions without source."""
    try:
        source = inspect.getsourcefile(inspect.unwrap(find_function(reference)))
    except TypeError:  # instances and built-in functions
        module = importlib.import_module(reference.partition(":")[0])
        source = getattr(module, "__file__", None)
    return file_sha256(Path(source)) if source and Path(source).is_file() else ""
