"""All questions of a job, asked ahead of the labelling: many in flight, in the order of the slices.

    thread "reader"    reads photos slice by slice, finds out what the teacher would ask, submits what is not stored
    thread "asker"     one event loop; every call waits there for its turn
    the caller         gets each slice when all its questions are settled, and labels it out of the store

What a teacher would ask is found out by letting it ask: a generator that only takes notes stands in for the real one.
So samples, mirrored photos and whatever else a teacher may come to ask need no word here.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.ledger import Ledger, Spending
from distill.recipe.hosted import GeminiRecipe, HostedRecipe
from distill.teachers.answers import AnswerStore, Unanswered
from distill.teachers.base import Teacher
from distill.teachers.generators.hosted.engine import Engine, Stopped, Terms, recover
from distill.teachers.generators.hosted.opening import find_secrets, open_service, prices_of
from distill.teachers.generators.hosted.painter import HostedGenerator
from distill.teachers.generators.hosted.prices import Price
from distill.teachers.generators.hosted.service import Call, Service

if TYPE_CHECKING:
    from distill.teachers.generators.hosted.batch import BatchEngine

ReadSlice = Callable[[int], Iterator[Photo]]
BuildTeacher = Callable[[Callable[[HostedGenerator, Call], None]], Teacher]
_Item = tuple[int, list[Future[None]]] | BaseException
_HEARTBEAT_S = 0.5
_MOST_IN_BATCHES = 100_000
_LATER = "asked, and not answered yet"


class Asker:
    """Asks one service all that a job needs. A context: leaving it waits for the calls in flight."""

    def __init__(self, recipe: HostedRecipe, store: AnswerStore, *, terms: Terms) -> None:
        self._recipe, self._store, self._terms = recipe, store, terms
        self._ledger = Ledger(store.folder)
        recover(self._ledger, store)
        # Enough waiting calls to keep all places taken while some sleep before another try; each holds a picture. Those
        # of a batch hold none: theirs are in files.
        in_batches = getattr(recipe, "mode", "") == "batch"
        self._window = threading.Semaphore(_MOST_IN_BATCHES if in_batches else 4 * recipe.limits.concurrency + 16)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asker", daemon=True)
        self._reader: threading.Thread | None = None
        self._engine: Engine | BatchEngine | None = None
        self._service: Service | None = None
        self._stopped: DistillError | None = None
        self._calls: set[Future[None]] = set()
        self._spent: Spending | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(DistillError("the run ended"))
        if self._reader is not None:
            self._reader.join()
        for call in list(self._calls):
            with suppress(DistillError):
                call.result()
        if self._service is not None:
            asyncio.run_coroutine_threadsafe(self._service.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        with suppress(DistillError):
            self._spent = self._ledger.spending(self._terms.job)
        self._ledger.close()

    @property
    def spending(self) -> Spending:
        """What the job has used up so far."""
        return self._spent or self._ledger.spending(self._terms.job)

    @property
    def spent_usd(self) -> float:
        """What its answers have cost so far."""
        return self.spending.cost_usd

    @property
    def in_flight(self) -> int:
        """Calls that are sent and not answered."""
        return self._engine.in_flight if self._engine else 0

    @property
    def farewell(self) -> str:
        """What becomes of the calls in flight when one leaves now."""
        if getattr(self._recipe, "mode", "") == "batch":
            return f"{self.in_flight} questions are with the service; run the same command again to fetch the answers"
        return f"waiting for {self.in_flight} answers in flight; Ctrl-C again gives them up"

    def stop(self, error: DistillError) -> None:
        """Begin no more calls. Those in flight are answered and kept."""
        self._stopped = self._stopped or error
        if self._engine is not None:
            self._loop.call_soon_threadsafe(self._engine.stop, error)

    def slices(self, todo: Sequence[int], read: ReadSlice, build: BuildTeacher) -> Iterator[int | None]:
        """Each slice, in order, when everything about it is settled; later ones are being asked meanwhile.

        While none is ready, None comes every half second, so that the caller can do other things.

        Args:
            todo: The slices.
            read: Gives the photos of a slice.
            build: Builds the teacher around a function that is told of every call it would make.

        Raises:
            Stopped: A cap, the deadline, the disk or the service ended the asking; slices that were not given are to
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
            index, calls = item
            for call in calls:
                while not self._settled(call):
                    yield None
            yield index

    def _settled(self, call: Future[None]) -> bool:
        """Whether a call has ended, waiting a little; one that failed for good has: the label will say so.

        Raises:
            Stopped: No more calls are made.
            UsageError: There is no key.
        """
        try:
            call.result(timeout=_HEARTBEAT_S)
        except TimeoutError:
            return False
        except (Stopped, UsageError):
            raise
        except DistillError:
            if self._engine is not None and self._engine.stopped is not None:
                stopped = self._engine.stopped
                raise Stopped(stopped.message, hint=stopped.hint) from None
        return True

    def _read(
        self,
        todo: Sequence[int],
        read: ReadSlice,
        build: BuildTeacher,
        ready: queue.Queue[_Item],
    ) -> None:
        """The reader's work; whatever goes wrong is the caller's to know."""
        wanted: list[Call] = []
        settled: set[str] = set()

        def note(generator: HostedGenerator, call: Call) -> None:
            if call.ask.key not in settled:
                settled.add(call.ask.key)
                wanted.append(call)
            raise Unanswered(_LATER)

        try:
            teacher = build(note)
            for index in todo:
                calls: list[Future[None]] = []
                for photo in read(index):
                    settled.clear()
                    with suppress(DistillError):  # what is wrong with a photo is said when it is labelled
                        teacher.teach(photo)
                    calls += [self.submit(call) for call in wanted]
                    wanted.clear()
                    if self._stopped is not None:
                        raise _as_stop(self._stopped)
                ready.put((index, calls))
        except BaseException as error:
            ready.put(error)

    def submit(self, call: Call) -> Future[None]:
        """Ask, when its turn comes; waits while too many are waiting already.

        Raises:
            Stopped: No more calls are made.
            UsageError: There is no key.
        """
        while not self._window.acquire(timeout=0.2):
            if self._stopped is not None:
                raise _as_stop(self._stopped)
        future = asyncio.run_coroutine_threadsafe(self._answer(call), self._loop)
        self._calls.add(future)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[None]) -> None:
        self._calls.discard(future)
        self._window.release()

    async def _answer(self, call: Call) -> None:
        if self._engine is None:
            if self._stopped is not None:
                raise _as_stop(self._stopped)
            try:
                self._service = open_service(self._recipe)
            except DistillError as error:  # every other call would say the same
                self._stopped = self._stopped or error
                raise
            price, gate_price = prices_of(self._recipe)
            hidden = tuple(find_secrets(self._recipe))
            online = Engine(
                self._service,
                self._store,
                self._ledger,
                price=price,
                gate_price=gate_price,
                limits=self._recipe.limits,
                terms=self._terms,
                hidden=hidden,
            )
            self._engine = self._in_batches(online, price, hidden) or online
        await self._engine.answer(call)

    def _in_batches(self, online: Engine, price: Price, hidden: tuple[str, ...]) -> BatchEngine | None:
        """The engine that asks in batches, if the recipe wants it."""
        recipe, service = self._recipe, self._service
        if not isinstance(recipe, GeminiRecipe) or recipe.mode != "batch":
            return None
        from distill.teachers.generators.hosted.batch import BatchEngine
        from distill.teachers.generators.hosted.gemini import GeminiService
        from distill.teachers.generators.hosted.jobs import JobClient

        if not isinstance(service, GeminiService):
            raise UsageError("batches are to be had from the Gemini API only")
        client = JobClient(recipe, service.client, hidden=hidden)
        return BatchEngine(
            recipe, client, self._store, self._ledger, price=price, terms=self._terms, online=online, hidden=hidden
        )


def _as_stop(error: DistillError) -> DistillError:
    """Why no more calls are made; wrong use stays wrong use."""
    return error if isinstance(error, UsageError) else Stopped(error.message, hint=error.hint)


def _next(ready: queue.Queue[_Item]) -> _Item | None:
    """The next item, or None when there is none for a while."""
    with suppress(queue.Empty):
        return ready.get(timeout=_HEARTBEAT_S)
    return None
