"""Work on several items side by side, results in order: threads, for work that leaves the interpreter's lock alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def worked(items: Iterable[Item], work: Callable[[Item], Result], count: int) -> Iterator[tuple[Item, Result]]:
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
