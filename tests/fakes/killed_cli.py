"""`distill`, killed with all its processes at a chosen file: `-m tests.fakes.killed_cli before 2 .tar label ...`.

The kill comes when one process is about to publish its n-th file of that suffix (the temporary file is left), or has
just done so. It is the same at any speed of the machine. Worker processes import this module too and count by
themselves.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_KILL_AT = "DISTILL_TEST_KILL_AT"
if __name__ == "__main__":  # worker processes inherit the variable; their arguments are those of the command
    os.environ[_KILL_AT] = " ".join(sys.argv[1:4])
_MOMENT, _number, _SUFFIX = os.environ[_KILL_AT].split()
_NUMBER = int(_number)
_replace = Path.replace
_published = 0


def _replace_or_die(self: Path, target: Path) -> Path:
    global _published  # noqa: PLW0603
    counts = Path(target).suffix == _SUFFIX
    _published += counts
    if counts and ("before", _published) == (_MOMENT, _NUMBER):
        os.killpg(0, signal.SIGKILL)
    result = _replace(self, target)
    if counts and ("after", _published) == (_MOMENT, _NUMBER):
        os.killpg(0, signal.SIGKILL)
    return result


Path.replace = _replace_or_die  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    from distill.cli import main

    sys.argv[1:4] = []
    main()
