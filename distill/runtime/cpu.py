"""Usable CPU cores and memory, and the number of threads in numpy's linear algebra."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
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
    for group, version in _groups("cpu", root, own):
        words = (
            [_read_text(group / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
            if version == 1
            else _read_text(group / "cpu.max").split()
        )
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min((quota for quota in quotas if quota > 0), default=None)


def usable_memory(root: Path | None = None, own: Path | None = None) -> int:
    """Bytes of memory that this process may use: those of the machine or its container; 0 where unknown.

    Args:
        root: Where control groups are mounted.
        own: List of the control groups of this process.
    """
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 0
    names = {1: "memory.limit_in_bytes", 2: "memory.max"}
    groups = _groups("memory", root or _CGROUPS, own or _OWN_CGROUPS)
    limits = [_read_text(group / names[version]).strip() for group, version in groups]
    return min([total, *(int(limit) for limit in limits if limit.isdigit() and int(limit) > 0)])


def _groups(controller: str, root: Path, own: Path) -> Iterator[tuple[Path, int]]:
    """(folder, version) of the control groups of this process, and of all groups above them.

    In a container, its own group is the mount itself.
    """
    for line in _read_text(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        group = PurePosixPath(path.lstrip("/"))
        mounts, version = [root], 2
        if controllers:
            if controller not in controllers.split(","):
                continue
            mounts, version = [root / controllers, root / controller], 1
        for mount in mounts:
            for parent in (group, *group.parents):
                yield mount / parent, version


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
