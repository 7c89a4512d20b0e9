"""All questions of a job, asked ahead of the labeling: many in flight, in the order of the slices.

    thread "reader"    reads photos slice by slice, finds out what the teacher would ask, submits what is not stored
    thread "asker"     one event loop; every question waits there for its turn
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

from distill.config.hosted import HostedRecipe
from distill.errors import DistillError, UsageError
from distill.images import Photo
from distill.teachers.base import Teacher
from distill.teachers.hosted.client import Desk, as_stop
from distill.teachers.hosted.generator import HostedGenerator, Wants
from distill.teachers.hosted.request_runner import Stopped, Terms, recover
from distill.teachers.hosted.services.base import Call
from distill.teachers.store.answers import AnswerStore, Unanswered
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.spending import Spending

ReadSlice = Callable[[int], Iterator[Photo]]
BuildTeacher = Callable[[Wants], Teacher]
_Item = tuple[int, list[Future[None]]] | BaseException
_HEARTBEAT_S = 0.5
_MOST_IN_BATCHES = 100_000
_MOST_ROUNDS = 8


class Notes:
    """What a teacher would ask about one photo; each question once."""

    def __init__(self, *, reads: bool) -> None:
        self.reads = reads
        self.wanted: list[tuple[HostedRecipe, Call]] = []
        self._known: set[str] = set()

    def __call__(self, generator: HostedGenerator, call: Call) -> None:
        """As `Wants`."""
        if call.ask.key not in self._known:
            self._known.add(call.ask.key)
            self.wanted.append((generator.recipe, call))
        raise Unanswered("asked, and not answered yet")

    def take(self) -> list[tuple[HostedRecipe, Call]]:
        """The notes, and forget them."""
        wanted, self.wanted, self._known = self.wanted, [], set()
        return wanted


class Asker:
    """Asks services all that a job needs. A context: leaving it waits for the calls in flight."""

    def __init__(
        self, recipes: Sequence[HostedRecipe], store: AnswerStore, *, terms: Terms, mixed: bool = False
    ) -> None:
        self._terms, self._mixed = terms, mixed
        self._ledger = Ledger(store.folder)
        recover(self._ledger, store)
        self._desks = {_name(recipe): Desk(recipe, store, self._ledger, terms) for recipe in recipes}
        # Enough waiting calls to keep all places taken while some sleep before another try; each holds a picture. Those
        # of a batch hold none: theirs are in files.
        in_batches = any(desk.in_batches for desk in self._desks.values())
        waiting = 4 * sum(recipe.limits.concurrency for recipe in recipes) + 16
        self._window = threading.Semaphore(_MOST_IN_BATCHES if in_batches else waiting)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asker", daemon=True)
        self._reader: threading.Thread | None = None
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
        try:
            if self._reader is not None:
                self._reader.join()
            for call in list(self._calls):
                with suppress(DistillError):
                    call.result()
        finally:  # also when Ctrl-C comes once more: what is in flight is given up then
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            with suppress(DistillError):
                self._spent = self._ledger.spending(self._terms.job)
            self._ledger.close()

    async def _shut(self) -> None:
        """End whatever still runs in the loop, and give connections back."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for desk in self._desks.values():
            await desk.close()

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
        """Questions that services have."""
        return sum(desk.in_flight for desk in self._desks.values())

    @property
    def farewell(self) -> str:
        """What becomes of the questions in flight when one leaves now."""
        if any(desk.in_batches for desk in self._desks.values()):
            return f"{self.in_flight} questions are with the service; run the same command again to fetch the answers"
        return f"waiting for {self.in_flight} answers in flight; Ctrl-C again gives them up"

    def stop(self, error: DistillError) -> None:
        """Begin no more calls. Those in flight are answered and kept."""
        self._stopped = self._stopped or error
        for desk in self._desks.values():
            self._loop.call_soon_threadsafe(desk.stop, error)

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
            stopped = next((desk.stopped for desk in self._desks.values() if desk.stopped is not None), None)
            if stopped is not None:
                raise as_stop(stopped) from None
        return True

    def _read(self, todo: Sequence[int], read: ReadSlice, build: BuildTeacher, ready: queue.Queue[_Item]) -> None:
        """The reader's work; whatever goes wrong is the caller's to know."""
        try:
            notes = Notes(reads=self._mixed)
            teacher = build(notes)
            for index in todo:
                calls = self._round(index, read, teacher, notes)
                for _ in range(_MOST_ROUNDS if self._mixed else 0):
                    if not calls:
                        break
                    for call in calls:
                        while not self._settled(call):
                            self._check_stopped()
                    calls = self._round(index, read, teacher, notes)
                ready.put((index, calls))
        except BaseException as error:
            ready.put(error)

    def _round(self, index: int, read: ReadSlice, teacher: Teacher, notes: Notes) -> list[Future[None]]:
        """Submit all that the teacher would ask about the photos of a slice now."""
        calls: list[Future[None]] = []
        for photo in read(index):
            with suppress(DistillError):  # what is wrong with a photo is said when it is labeled
                teacher.label(photo)
            calls += [self._submit(recipe, call) for recipe, call in notes.take()]
            self._check_stopped()
        return calls

    def _check_stopped(self) -> None:
        if self._stopped is not None:
            raise as_stop(self._stopped)

    def _submit(self, recipe: HostedRecipe, call: Call) -> Future[None]:
        """Ask, when its turn comes; waits while too many are waiting already."""
        while not self._window.acquire(timeout=0.2):
            self._check_stopped()
        future = asyncio.run_coroutine_threadsafe(self._desks[_name(recipe)].answer(call), self._loop)
        self._calls.add(future)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[None]) -> None:
        self._calls.discard(future)
        self._window.release()


def _name(recipe: HostedRecipe) -> str:
    """Recipes hold mappings and are no keys themselves."""
    return recipe.model_dump_json()


def _next(ready: queue.Queue[_Item]) -> _Item | None:
    """The next item, or None when there is none for a while."""
    with suppress(queue.Empty):
        return ready.get(timeout=_HEARTBEAT_S)
    return None
