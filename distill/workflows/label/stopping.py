"""A labeling job that stops early, for whatever reason, leaves a set that can be trained on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from distill.errors import DistillError
from distill.runtime.progress import Reporter


@contextmanager
def sealed_on_stop(out: Path, reporter: Reporter) -> Iterator[None]:
    """Write ``dataset.json`` over the finished shards if the block ends with an exception, a Ctrl-C or a SIGTERM.

    A SIGTERM becomes a KeyboardInterrupt in the block.
    """
    with _sigterm_as_interrupt():
        try:
            yield
        except BaseException:
            seal_if_possible(out, reporter)
            raise


def seal_if_possible(out: Path, reporter: Reporter) -> None:
    """Write ``dataset.json`` over the finished shards, and report it; a failure is a warning."""
    from distill.teachers.labeling.dataset_manifest import seal_shards

    try:
        sealed = seal_shards(out)
    except DistillError as error:
        reporter.warn(f"the finished shards have no dataset.json: {error.message}")
        return
    if sealed.manifest is not None and not sealed.is_complete:
        reporter.info(
            f"{sealed.done} of {sealed.planned} shards are finished: {out} is a set of {sealed.manifest.samples} "
            "samples that can be trained on"
        )


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at a SIGTERM, unless the program handles it already; only the main thread can."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
