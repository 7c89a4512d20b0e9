"""Functions of `distill data`: ``distill.data.verify("shards")`` is ``distill data verify shards``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.datasets.formats.convert import export, import_
    from distill.datasets.listing import ls
    from distill.datasets.operations.classes import relabel_classes
    from distill.datasets.operations.filter import filter
    from distill.datasets.operations.merge import merge
    from distill.datasets.operations.split import split
    from distill.datasets.operations.subset import dedupe, sample
    from distill.datasets.shard_set import open
    from distill.datasets.show import show
    from distill.datasets.statistics import stats
    from distill.datasets.verification import verify
    from distill.workflows.data.reviewing import apply
    from distill.workflows.data.sealing import seal

_MODULES = {
    "apply": "distill.workflows.data.reviewing",
    "open": "distill.datasets.shard_set",
    "ls": "distill.datasets.listing",
    "stats": "distill.datasets.statistics",
    "show": "distill.datasets.show",
    "verify": "distill.datasets.verification",
    "seal": "distill.workflows.data.sealing",
    "merge": "distill.datasets.operations.merge",
    "split": "distill.datasets.operations.split",
    "filter": "distill.datasets.operations.filter",
    "sample": "distill.datasets.operations.subset",
    "dedupe": "distill.datasets.operations.subset",
    "export": "distill.datasets.formats.convert",
    "import_": "distill.datasets.formats.convert",
    "relabel_classes": "distill.datasets.operations.classes",
}
__all__ = [
    "apply",
    "dedupe",
    "export",
    "filter",
    "import_",
    "ls",
    "merge",
    "open",
    "relabel_classes",
    "sample",
    "seal",
    "show",
    "split",
    "stats",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a function on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'distill.data' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
