"""Waiting for a condition instead of a time, so that a busy machine changes how long a test takes and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, until: str, limit_s: float = 200.0) -> None:
    """Poll until the condition is true.

    Args:
        condition: Tried 50 times a second.
        until: The condition in words, for the error.
        limit_s: Generous: only a test that hangs reaches it.
    """
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"waited {limit_s:.0f} s for: {until}"
        time.sleep(0.02)
