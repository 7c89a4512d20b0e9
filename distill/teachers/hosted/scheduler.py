"""All questions of a job, asked ahead of the labeling: many in flight, in the order of the slices.

    thread "reader"    reads photos slice by slice, finds out what the teacher would ask, submits what is not stored
    thread "requests"     one event loop; every question waits there for its turn
    the caller         gets each slice when all its questions are settled, and labels it out of the store

What a teacher would ask is found out by letting it ask: a generator that only takes notes stands in for the real one.
So samples, mirrored photos and whatever else a teacher may come to ask need no word here. Of a mix the notes are taken
in rounds: whether the dear teacher is asked may depend on what the cheap one answered.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self

from distill.config.hosted import HostedConfig
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.teachers.base import Teacher
from distill.teachers.hosted.client import ServiceClient, to_run_stopped
from distill.teachers.hosted.generator import HostedGenerator, OnMissing
from distill.teachers.hosted.request_runner import RunStopped, RequestPolicy, recover
from distill.teachers.hosted.services.base import Request
from distill.teachers.store.answers import AnswerStore, AnswerMissing
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.spend import Spend

ReadShard = Callable[[int], Iterator[Photo]]
BuildTeacher = Callable[[OnMissing], Teacher]
_Item = tuple[int, list[Future[None]]] | BaseException
_HEARTBEAT_S = 0.5
_MAX_IN_BATCHES = 100_000
_MAX_ROUNDS = 8


class RequestCollector:
    """What a teacher would ask about one photo; each question once."""

    def __init__(self, *, use_cached: bool) -> None:
        self.use_cached = use_cached
        self.collected: list[tuple[HostedConfig, Request]] = []
        self._seen: set[str] = set()

    def __call__(self, generator: HostedGenerator, request: Request) -> None:
        """As `OnMissing`."""
        if request.answer_key.digest not in self._seen:
            self._seen.add(request.answer_key.digest)
            self.collected.append((generator.config, request))
        raise AnswerMissing("asked, and not answered yet")

    def take(self) -> list[tuple[HostedConfig, Request]]:
        """The notes, and forget them."""
        collected, self.collected, self._seen = self.collected, [], set()
        return collected


class RequestScheduler:
    """Asks services all that a job needs. A context: leaving it waits for the calls in flight."""

    def __init__(
        self, configs: Sequence[HostedConfig], store: AnswerStore, *, policy: RequestPolicy, mixed: bool = False
    ) -> None:
        self._policy, self._mixed = policy, mixed
        self._ledger = Ledger(store.folder)
        recover(self._ledger, store)
        self._clients = {_name(config): ServiceClient(config, store, self._ledger, policy) for config in configs}
        # Enough waiting calls to keep all places taken while some sleep before another try; each holds a picture. Those
        # of a batch hold none: theirs are in files.
        any_batches = any(client.uses_batches for client in self._clients.values())
        waiting = 4 * sum(config.limits.concurrency for config in configs) + 16
        self._window = threading.Semaphore(_MAX_IN_BATCHES if any_batches else waiting)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="requests", daemon=True)
        self._reader: threading.Thread | None = None
        self._stopped: DistillError | None = None
        self._futures: set[Future[None]] = set()
        self._spent: Spend | None = None

    def __enter__(self) -> Self:
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
        finally:  # also when Ctrl-C comes once more: what is in flight is given up then
            asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            with suppress(DistillError):
                self._spent = self._ledger.spend(self._policy.job)
            self._ledger.close()

    async def _shut_down(self) -> None:
        """End whatever still runs in the loop, and give connections back."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    @property
    def spend(self) -> Spend:
        """What the job has used up so far."""
        return self._spent or self._ledger.spend(self._policy.job)

    @property
    def spent_usd(self) -> float:
        """What its answers have cost so far."""
        return self.spend.cost_usd

    @property
    def in_flight(self) -> int:
        """Questions that services have."""
        return sum(client.in_flight for client in self._clients.values())

    @property
    def shutdown_message(self) -> str:
        """What becomes of the questions in flight when one leaves now."""
        if any(client.uses_batches for client in self._clients.values()):
            return f"{self.in_flight} questions are with the service; run the same command again to fetch the answers"
        return f"waiting for {self.in_flight} answers in flight; Ctrl-C again gives them up"

    def stop(self, error: DistillError) -> None:
        """Begin no more calls. Those in flight are answered and kept."""
        self._stopped = self._stopped or error
        for client in self._clients.values():
            self._loop.call_soon_threadsafe(client.stop, error)

    def shards(self, todo: Sequence[int], read: ReadShard, build: BuildTeacher) -> Iterator[int | None]:
        """Each slice, in order, when everything about it is settled; later ones are being asked meanwhile.

        While none is ready, None comes every half second, so that the caller can do other things.

        Args:
            todo: The slices.
            read: Gives the photos of a slice.
            build: Builds the teacher around a function that is told of every call it would make.

        Raises:
            RunStopped: A cap, the deadline, the disk or the service ended the asking; slices that were not given are to
                do.
            UsageError: There is no key.
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
        """Whether a call has ended, waiting a little; one that failed for good has: the label will say so.

        Raises:
            RunStopped: No more calls are made.
            UsageError: There is no key.
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
        """The reader's work; whatever goes wrong is the caller's to know."""
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

    def _submit_missing(self, index: int, read: ReadShard, teacher: Teacher, collector: RequestCollector) -> list[Future[None]]:
        """Submit all that the teacher would ask about the photos of a slice now."""
        futures: list[Future[None]] = []
        for photo in read(index):
            with suppress(DistillError):  # what is wrong with a photo is said when it is labeled
                teacher.label(photo)
            futures += [self._submit(config, request) for config, request in collector.take()]
            self._check_stopped()
        return futures

    def _check_stopped(self) -> None:
        if self._stopped is not None:
            raise to_run_stopped(self._stopped)

    def _submit(self, config: HostedConfig, request: Request) -> Future[None]:
        """Ask, when its turn comes; waits while too many are waiting already."""
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
    """Configs hold mappings and are no keys themselves."""
    return config.model_dump_json()


def _next(ready: queue.Queue[_Item]) -> _Item | None:
    """The next item, or None when there is none for a while."""
    with suppress(queue.Empty):
        return ready.get(timeout=_HEARTBEAT_S)
    return None
