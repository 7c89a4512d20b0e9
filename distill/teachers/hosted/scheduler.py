"""Scheduler: sends all requests of a job ahead of labeling, many at once, in the order of the shards.

    thread "reader"      reads photos shard by shard, collects the teacher's requests, submits those without an answer
    thread "requests"    one event loop, in which every request waits until it may be sent
    the caller           gets each shard when all its requests are settled, and labels it from the store

The requests are collected by running the teacher with a generator that only records them, so that samples, mirrored
photos and other variants need no code here. For an ensemble this is repeated in rounds, since the requests to an
expensive teacher may depend on the answers of a cheap one.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType

from distill.config.hosted import HostedConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.teachers.base import Teacher
from distill.teachers.hosted.request_collector import OnMissing, RequestCollector
from distill.teachers.hosted.run_limits import RequestPolicy, RunStopped
from distill.teachers.hosted.service_client import ServiceClient, to_run_stopped
from distill.teachers.hosted.services.base import Request
from distill.teachers.hosted.storing import recover
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.spending import Spend

ReadShard = Callable[[int], Iterator[Photo]]
BuildTeacher = Callable[[OnMissing], Teacher]
_Item = tuple[int, list[Future[None]]] | BaseException
_HEARTBEAT_S = 0.5
_MAX_WAITING_IN_BATCHES = 100_000
_MAX_ROUNDS = 8


class RequestScheduler:
    """Sends all requests of a job; leaving the context waits for the requests in flight."""

    def __init__(
        self, configs: Sequence[HostedConfig], store: AnswerStore, *, policy: RequestPolicy, mixed: bool = False
    ) -> None:
        self._policy, self._mixed = policy, mixed
        self._ledger = Ledger(store.folder)
        recover(self._ledger, store)
        self._clients = {_name(config): ServiceClient(config, store, self._ledger, policy) for config in configs}
        # Enough waiting requests to use the whole concurrency while some sleep before a retry; each holds an image.
        # Those of batch jobs hold none, since their images are in files.
        any_batches = any(client.uses_batches for client in self._clients.values())
        waiting = 4 * sum(config.limits.concurrency for config in configs) + 16
        self._window = threading.Semaphore(_MAX_WAITING_IN_BATCHES if any_batches else waiting)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="requests", daemon=True)
        self._reader: threading.Thread | None = None
        self._stopped: DistillError | None = None
        self._futures: set[Future[None]] = set()
        self._spent: Spend | None = None

    def __enter__(self) -> RequestScheduler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(DistillError("the run ended"))
        try:
            if self._reader is not None:
                self._reader.join()
            for future in list(self._futures):
                with suppress(DistillError):
                    future.result()
        finally:  # also after a second Ctrl-C, which abandons the requests in flight
            asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            with suppress(DistillError):
                self._spent = self._ledger.spend(self._policy.job)
            self._ledger.close()

    async def _shut_down(self) -> None:
        """Cancel all tasks of the loop and close connections."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    @property
    def spend(self) -> Spend:
        """Requests and money of the job so far."""
        return self._spent or self._ledger.spend(self._policy.job)

    @property
    def spent_usd(self) -> float:
        """Cost of its answers so far."""
        return self.spend.cost_usd

    @property
    def in_flight(self) -> int:
        """Number of requests at the services."""
        return sum(client.in_flight for client in self._clients.values())

    @property
    def shutdown_message(self) -> str:
        """State of the requests in flight after Ctrl-C, as a sentence."""
        if any(client.uses_batches for client in self._clients.values()):
            return f"{self.in_flight} requests are at the service; run the same command again to fetch the answers"
        return f"waiting for {self.in_flight} answers in flight; press Ctrl-C again to abandon them"

    def stop(self, error: DistillError) -> None:
        """Send no more requests; the answers to those in flight are stored."""
        self._stopped = self._stopped or error
        for client in self._clients.values():
            self._loop.call_soon_threadsafe(client.stop, error)

    def shards(self, todo: Sequence[int], read: ReadShard, build: BuildTeacher) -> Iterator[int | None]:
        """Each shard, in order, when its requests are settled; None every half second while no shard is ready.

        Args:
            todo: Numbers of the shards.
            read: Yields the photos of a shard.
            build: Builds the teacher with an `OnMissing`.

        Raises:
            RunStopped: Budget, deadline, disk or service stopped the run; the shards not yielded are still to do.
            UsageError: There is no API key.
        """
        ready: queue.Queue[_Item] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(todo, read, build, ready), name="reader", daemon=True)
        self._reader.start()
        for _ in todo:
            while (item := _next(ready)) is None:
                yield None
            if isinstance(item, BaseException):
                raise item
            index, futures = item
            for future in futures:
                while not self._is_done(future):
                    yield None
            yield index

    def _is_done(self, future: Future[None]) -> bool:
        """Wait briefly for a request; a request that failed for good is done, and its label will have the reason.

        Raises:
            RunStopped: The run sends no more requests.
            UsageError: There is no API key.
        """
        try:
            future.result(timeout=_HEARTBEAT_S)
        except TimeoutError:
            return False
        except (RunStopped, UsageError):
            raise
        except DistillError:
            stopped = next((client.stopped for client in self._clients.values() if client.stopped is not None), None)
            if stopped is not None:
                raise to_run_stopped(stopped) from None
        return True

    def _read(self, todo: Sequence[int], read: ReadShard, build: BuildTeacher, ready: queue.Queue[_Item]) -> None:
        """Body of the reader thread; its exceptions are raised in the caller's thread."""
        try:
            collector = RequestCollector(use_cached=self._mixed)
            teacher = build(collector)
            for index in todo:
                futures = self._submit_missing(index, read, teacher, collector)
                for _ in range(_MAX_ROUNDS if self._mixed else 0):
                    if not futures:
                        break
                    for future in futures:
                        while not self._is_done(future):
                            self._check_stopped()
                    futures = self._submit_missing(index, read, teacher, collector)
                ready.put((index, futures))
        except BaseException as error:
            ready.put(error)

    def _submit_missing(
        self, index: int, read: ReadShard, teacher: Teacher, collector: RequestCollector
    ) -> list[Future[None]]:
        """Submit all requests of a shard that have no stored answer."""
        futures: list[Future[None]] = []
        for photo in read(index):
            with suppress(DistillError):  # reported when the photo is labeled
                teacher.label(photo)
            futures += [self._submit(config, request) for config, request in collector.take()]
            self._check_stopped()
        return futures

    def _check_stopped(self) -> None:
        if self._stopped is not None:
            raise to_run_stopped(self._stopped)

    def _submit(self, config: HostedConfig, request: Request) -> Future[None]:
        """Submit a request; blocks while too many are waiting."""
        while not self._window.acquire(timeout=0.2):
            self._check_stopped()
        future = asyncio.run_coroutine_threadsafe(self._clients[_name(config)].answer(request), self._loop)
        self._futures.add(future)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[None]) -> None:
        self._futures.discard(future)
        self._window.release()


def _name(config: HostedConfig) -> str:
    """Dictionary key of a config; configs contain mappings and are not hashable."""
    return config.model_dump_json()


def _next(ready: queue.Queue[_Item]) -> _Item | None:
    """The next item, or None after half a second without one."""
    with suppress(queue.Empty):
        return ready.get(timeout=_HEARTBEAT_S)
    return None
