"""`distill`, killed with all its processes at a chosen shard: `python -m tests.fakes.killed_cli before 2 label ...`.

The kill comes when one process is about to publish its n-th tar (the temporary file is left), or has just done so.
It is the same at any speed of the machine. Worker processes import this module as well, so it holds in each of them.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_MOMENT, _NUMBER = sys.argv[1], int(sys.argv[2])
_published = 0
_replace = Path.replace


def _replace_or_die(self: Path, target: Path) -> Path:
    global _published  # noqa: PLW0603
    is_shard = Path(target).suffix == ".tar"
    _published += is_shard
    if is_shard and ("before", _published) == (_MOMENT, _NUMBER):
        os.killpg(0, signal.SIGKILL)
    result = _replace(self, target)
    if is_shard and ("after", _published) == (_MOMENT, _NUMBER):
        os.killpg(0, signal.SIGKILL)
    return result


Path.replace = _replace_or_die  # type: ignore[method-assign]

if __name__ == "__main__":
    from distill.cli import main

    sys.argv[1:3] = []
    main()
