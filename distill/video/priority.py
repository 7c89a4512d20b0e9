"""What encoders do to the scheduling of the process that opens them, undone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextlib.contextmanager
def kept_priority() -> Iterator[None]:
    """Whatever is opened inside, this thread and the new ones are scheduled afterwards as this thread was before.

    SVT-AV1 4.1, opened by root (as in most containers), puts the thread that opens it and all of its own before
    everything else on the machine (SCHED_FIFO, 99), and leaves them there when it is closed. Threads and processes that
    are started later inherit that: two of them that compute hold two cores, and nothing else runs for as long.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameter, others = os.sched_getscheduler(0), os.sched_getparam(0), set(_threads())
    try:
        yield
    finally:
        for thread in (0, *(set(_threads()) - others)):
            # A thread may have ended meanwhile.
            with contextlib.suppress(OSError):
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameter)


def _threads() -> list[int]:
    """All of this process, by number; none where the system does not say."""
    with contextlib.suppress(OSError):
        return [int(entry.name) for entry in _THREADS.iterdir()]
    return []
