"""Number of modules that one photo, sample or frame passes through: `distill` modules with an executed function.

    python benchmarks/modules_per_run.py label PHOTO --teacher tcmonodepth --set model=... --out /tmp/shards
    python benchmarks/modules_per_run.py train --shards SHARDS --out /tmp/run train.epochs=1
    python benchmarks/modules_per_run.py predict RUN clip.mp4 --out /tmp/overlay.mp4

Runs one command in this process, all threads included, and prints the modules. Import-time code, class bodies and
expressions do not count. The same rule holds for any commit: run it with that commit's package on the path.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_FUNCTION = 0x1  # CO_OPTIMIZED: set for functions, not for modules and class bodies


def main() -> None:
    import distill

    root = str(Path(distill.__file__).resolve().parent)
    codes: set[CodeType] = set()

    def record(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            codes.add(frame.f_code)

    from distill.cli import app

    sys.argv = ["distill", *sys.argv[1:]]
    threading.setprofile(record)
    sys.setprofile(record)
    try:
        app(standalone_mode=False)
    except SystemExit:
        pass
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    modules = sorted(
        {
            Path(code.co_filename).relative_to(root).as_posix()
            for code in codes
            if code.co_filename.startswith(root) and code.co_flags & _FUNCTION and not code.co_name.startswith("<")
        }
    )
    print("\n".join(modules), f"{len(modules)} modules", sep="\n")


if __name__ == "__main__":
    main()
