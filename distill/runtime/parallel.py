"""Iterate in a background thread, and map in a thread pool; both keep the order of the items."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PREFETCH_DEPTH = 2
"""Number of waiting items: evens out the pace of both sides at a small cost in memory."""
_POLL_S = 0.1


def prefetch(items: Iterable[Item], depth: int = PREFETCH_DEPTH) -> Generator[Item, None, None]:
    """The same items, iterated in a background thread that is at most `depth` items ahead.

    Closing the generator stops the thread and closes the source.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    worker = threading.Thread(target=_iterate, args=(items, ready, stop), daemon=True)
    worker.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "item":
                yield value
                del value  # an image and its maps have megabytes: release them before waiting for the next item
            elif kind == "error":
                raise value
            else:
                return
    finally:
        stop.set()
        worker.join()


def _iterate(items: Iterable[Any], ready: queue.Queue[tuple[str, Any]], stop: threading.Event) -> None:
    source = iter(items)
    try:
        for item in source:
            if not _put(("item", item), ready, stop):
                return
            del item
        _put(("end", None), ready, stop)
    except BaseException as error:  # raised in the consumer's thread
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


def map_ordered(
    items: Iterable[Item], work: Callable[[Item], Result], workers: int, *, max_pending: int = 0
) -> Generator[tuple[Item, Result], None, None]:
    """(item, result) in the order of the items, with `workers` threads.

    Args:
        items: Iterated in the calling thread. If the iterator fails, the results of earlier items come first.
        work: Its exception is raised in the position of its item; work on later items is cancelled.
        workers: 1: no threads.
        max_pending: Number of items in memory; 0: twice the number of workers.
    """
    source = iter(items)
    if workers <= 1:
        try:
            for item in source:
                yield item, work(item)
                del item
        finally:
            if isinstance(source, Generator):
                source.close()
        return
    pending: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers)
    failure: Exception | None = None
    try:
        while failure is None:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            pending.append((item, pool.submit(work, item)))
            del item
            if len(pending) >= (max_pending or 2 * workers):
                yield _pop_first(pending)
        while pending:
            yield _pop_first(pending)
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(source, Generator):
            source.close()


def _pop_first(pending: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = pending.popleft()
    return item, future.result()
