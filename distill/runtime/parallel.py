"""Items made in the background, a few ahead of whoever uses them, in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")

QUEUE = 2
"""Items that wait: enough to even out the pace of the two sides, few enough for memory."""
_POLL_S = 0.1


def ahead(items: Iterable[Item], depth: int = QUEUE) -> Generator[Item, None, None]:
    """The items again, made in a background thread that is at most `depth` items ahead.

    Closing the generator stops the thread and closes the source.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    worker = threading.Thread(target=_work, args=(items, ready, stop), daemon=True)
    worker.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "item":
                yield value
                del value  # a picture and its maps are megabytes: do not hold them while waiting for the next
            elif kind == "error":
                raise value
            else:
                return
    finally:
        stop.set()
        worker.join()


def _work(items: Iterable[Any], ready: queue.Queue[tuple[str, Any]], stop: threading.Event) -> None:
    source = iter(items)
    try:
        for item in source:
            if not _put(("item", item), ready, stop):
                return
            del item
        _put(("end", None), ready, stop)
    except BaseException as error:  # carried to whoever waits for the items
        _put(("error", error), ready, stop)
    finally:
        if isinstance(source, Generator):
            source.close()


def _put(message: tuple[str, Any], ready: queue.Queue[tuple[str, Any]], stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ready.put(message, timeout=_POLL_S)
        except queue.Full:
            continue
        return True
    return False
