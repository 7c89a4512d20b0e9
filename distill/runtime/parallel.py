"""Items made in the background, a few ahead of whoever uses them, in order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")

PREFETCH_DEPTH = 2
"""Items that wait: enough to even out the pace of the two sides, few enough for memory."""
_POLL_S = 0.1


def prefetch(items: Iterable[Item], depth: int = PREFETCH_DEPTH) -> Generator[Item, None, None]:
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


Result = TypeVar("Result")


def map_ordered(items: Iterable[Item], work: Callable[[Item], Result], count: int) -> Iterator[tuple[Item, Result]]:
    """(item, its result), in the order of the items; `count` are worked on at once, and twice as many are in memory.

    Args:
        items: Read one by one, in this thread.
        work: What it raises comes out here, in its turn; what is behind it is not begun.
        count: 1 works in this thread.
    """
    if count <= 1:
        for item in items:
            yield item, work(item)
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(count)
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= 2 * count:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
