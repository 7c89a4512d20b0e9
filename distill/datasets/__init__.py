"""Sets of shards: open, count, verify, combine, convert.

`open` gives a set as a sequence of samples. Nothing here knows teachers or students.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.datasets.shard_set import ShardSet, open

__all__ = ["ShardSet", "open"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import distill.datasets`` stays instant."""
    if name not in __all__:
        raise AttributeError(f"module 'distill.datasets' has no attribute {name!r}")
    from distill.datasets import shard_set

    return getattr(shard_set, name)
