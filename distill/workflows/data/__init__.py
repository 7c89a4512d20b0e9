"""Functions of `distill data`: ``distill.data.verify("shards")`` is ``distill data verify shards``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.datasets.shard_set import open
    from distill.datasets.show import show
    from distill.datasets.statistics import ls, stats
    from distill.datasets.verification import verify
    from distill.workflows.data.seal import seal

_MODULES = {
    "open": "distill.datasets.shard_set",
    "ls": "distill.datasets.statistics",
    "stats": "distill.datasets.statistics",
    "show": "distill.datasets.show",
    "verify": "distill.datasets.verification",
    "seal": "distill.workflows.data.seal",
}
__all__ = ["ls", "open", "seal", "show", "stats", "verify"]


def __getattr__(name: str) -> Any:
    """Import a function on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'distill.data' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
