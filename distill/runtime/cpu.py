"""Usable CPU cores, and the number of threads in numpy's linear algebra."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Number of cores that this process may use: its affinity, and the CPU quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root: Path | None = None, own: Path | None = None) -> float | None:
    """Cores by the CPU quotas of the control groups of this process (``docker run --cpus``); None: no quota.

    Args:
        root: Where control groups are mounted.
        own: List of the control groups of this process.
    """
    root, own = root or _CGROUPS, own or _OWN_CGROUPS
    quotas = []
    for line in _read_text(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:  # version 2
            quotas += _quotas(root, path, lambda group: _read_text(group / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for mount in (root / controllers, root / "cpu"):
                quotas += _quotas(mount, path, _quota_of_version_1)
    return min(quotas, default=None)


def _quotas(mount: Path, path: str, read: Callable[[Path], list[str]]) -> list[float]:
    """Quotas of a group and all groups above it; in a container, its own group is the mount itself."""
    group = PurePosixPath(path.lstrip("/"))
    quotas = []
    for parent in (group, *group.parents):
        numbers = read(mount / parent)
        if len(numbers) == 2 and all(number.isdigit() for number in numbers) and int(numbers[1]) > 0:
            quotas.append(int(numbers[0]) / int(numbers[1]))
    return [quota for quota in quotas if quota > 0]


def _quota_of_version_1(group: Path) -> list[str]:
    return [_read_text(group / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


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
