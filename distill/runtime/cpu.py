"""Usable CPU cores, and the number of threads in numpy's linear algebra."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[Any]:
    """Limit BLAS to one thread: as a context around thousands of small products, or called alone for the whole process.

    OpenBLAS divides even small products between all cores and waits for all of them. If another process keeps a core
    busy, each product waits for that core: 1000 ms instead of 14 ms for the distortion test of one generated image.
    The setting belongs to the process: of overlapping threads, the first one decides.
    """
    limit: AbstractContextManager[Any] = _pools().limit(limits=1)
    return limit


@lru_cache(maxsize=1)
def _pools() -> Any:
    import scipy.linalg  # noqa: F401 - the libraries of scipy and numpy must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
