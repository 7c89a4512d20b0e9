"""Answers in half-price jobs: questions are gathered into files, jobs are seen through, by whichever process lives.

    gather -> LABEL.jsonl, LABEL.calls.json -> ledger ("new") -> upload, begin -> ledger ("running") -> wait, collect

A job is in the ledger before it is at the service, and carries its label there. So whatever dies when, the next process
finds the job by its label, or knows that it was never begun; no question is ever in two jobs.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import IO, Any

from distill.config.hosted import GeminiRecipe
from distill.errors import DistillError
from distill.teachers.hosted.batch.api import Gone, JobClient
from distill.teachers.hosted.batch.files import BatchFiles, request_line, result_rows, subject
from distill.teachers.hosted.generator import next_step, settled
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.request_runner import Engine, Stopped, Terms, keep_reply
from distill.teachers.hosted.services.base import Call, Sent, sayable
from distill.teachers.hosted.services.gemini_responses import read_reply
from distill.teachers.store.answers import EMPTY, PICTURE, AnswerStore
from distill.teachers.store.ledger import BATCH_OVER, Ledger
from distill.teachers.store.spending import CapReached

_MOST_BYTES = 1_900_000_000
"""The service takes 2 GB a file."""
_MOST_TRIES = 3
"""Jobs in which a question may stand before it is given up."""
_NEW, _RUNNING = "new", "running"
_OTHER_PROCESS_S = 0.5
_NO_PICTURE = "the photo of a batch job that failed is at hand no more; label it again to ask again"


@dataclass
class _Job:
    """Questions that go, or went, to the service together."""

    label: str
    calls: dict[str, Call] = field(default_factory=dict)
    """Without their pictures: those are in the file."""
    waiting: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    size_bytes: int = 0


class BatchEngine:
    """Gets answers in jobs. Has the face of `Engine`, and leaves the gate's questions to one."""

    def __init__(
        self,
        recipe: GeminiRecipe,
        client: JobClient,
        store: AnswerStore,
        ledger: Ledger,
        *,
        price: Price,
        terms: Terms,
        online: Engine,
        hidden: tuple[str, ...],
    ) -> None:
        self._recipe, self._client, self._store, self._ledger = recipe, client, store, ledger
        self._price, self._terms, self._online, self._hidden = price, terms, online, hidden
        self._files = BatchFiles(store.folder / "batches")
        self._gathering: _Job | None = None
        self._file: IO[bytes] | None = None
        self._jobs: dict[str, _Job] = {}
        self._tries: dict[str, int] = {}
        self._sent_before: dict[str, Sent] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed_s = 0.0
        self._adopt()

    @property
    def stopped(self) -> DistillError | None:
        """Why no more questions are asked."""
        return self._online.stopped

    @property
    def in_flight(self) -> int:
        """Questions that wait for the service."""
        return sum(len(job.calls) for job in self._jobs.values())

    def stop(self, error: DistillError) -> None:
        """Begin no more jobs and wait for none; those at the service go on, and the next run collects them."""
        self._online.stop(error)
        for task in list(self._tasks):
            task.cancel()
        gathering, self._gathering = self._gathering, None
        if gathering is not None:
            self._release(gathering, "never sent")
        for job in [*self._jobs.values(), *([gathering] if gathering else [])]:
            self._tell(job, Stopped(error.message, hint=error.hint))

    async def answer(self, call: Call) -> None:
        """See to it that the final answer is in the store.

        Raises:
            Stopped: The run asks no more.
            DistillError: This question failed for good.
        """
        tries = self._recipe.limits.tries_without_picture
        while settled(self._store, call, tries) is None:
            step = next_step(self._store, call, tries)
            if step is call.gate:
                await self._online.answer(step)
                step.sent.data = b""
            else:
                await self._join(step)

    async def _join(self, call: Call) -> None:
        """Wait for the job that has the question, or put it into the next one."""
        key = call.ask.key
        if self.stopped is not None:
            raise Stopped(self.stopped.message, hint=self.stopped.hint)
        known = [*self._jobs.values(), *([self._gathering] if self._gathering else [])]
        job = next((job for job in known if key in job.calls), None)
        if job is None and not self._reserve(call):
            await asyncio.sleep(_OTHER_PROCESS_S)
            self._adopt()  # its process may have died
            return
        job = job or self._gather(call)
        future = job.waiting.setdefault(key, asyncio.get_running_loop().create_future())
        await asyncio.shield(future)

    def _reserve(self, call: Call) -> bool:
        """Take the question, if the caps allow; False when it is in another's hands.

        Raises:
            Stopped: They do not. Jobs at the service are waited for all the same.
        """
        gathered = len(self._gathering.calls) if self._gathering else 0
        self._online.check_before(call, expected=self.in_flight + gathered)
        try:
            return self._ledger.reserve(
                call.ask.key,
                job=self._terms.job,
                worst_usd=self._price.worst_usd(call.prompt_spec.prompt),
                caps=self._terms.caps,
                unsent=True,
                answered=lambda: self._store.holds(call.ask.key),
                license=self._terms.license,
                model=call.ask.model,
                task=str(call.prompt_spec.task),
                subject=call.photo,
            )
        except CapReached as cap:
            raise Stopped(cap.message, hint=cap.hint) from None

    def _gather(self, call: Call) -> _Job:
        """Write the question into the file of the next job; a full one is sent off. The picture is then let go of.

        Raises:
            DistillError: The picture is at hand no more.
            Stopped: The file cannot be written.
        """
        sent = call.sent if call.sent.data else self._sent_before.get(subject(call))
        if sent is None:
            self._ledger.settle(call.ask.key, "failed", detail=_NO_PICTURE)
            raise DistillError(_NO_PICTURE)
        line = request_line(replace(call, sent=sent), self._recipe)
        if self._gathering is not None and self._gathering.size_bytes + len(line) > _MOST_BYTES:
            self._send_off()
        try:
            if self._gathering is None or self._file is None:
                self._gathering = _Job(f"distill-{secrets.token_hex(10)}")
                self._file = self._files.open_requests(self._gathering.label)
                self._start(self._send_off_when_quiet(self._gathering))
            self._file.write(line)
        except OSError as error:
            full = DistillError(
                f"{self._files.folder}: cannot be written: {error.strerror}", hint="free space, run again"
            )
            self.stop(full)
            raise Stopped(full.message, hint=full.hint) from error
        job = self._gathering
        job.calls[call.ask.key] = replace(call, sent=Sent(), gate=None)
        call.sent.data = b""  # ten thousand of them would fill the memory; this one is in the file
        job.size_bytes += len(line)
        self._changed_s = asyncio.get_running_loop().time()
        if len(job.calls) >= self._recipe.batch_images:
            self._send_off()
        return job

    async def _send_off_when_quiet(self, job: _Job) -> None:
        """A job that is not full is sent off when nothing has come for a while."""
        quiet_s, loop = min(5.0, self._recipe.poll_s), asyncio.get_running_loop()
        while self._gathering is job:
            await asyncio.sleep(quiet_s / 2)
            if self._gathering is job and loop.time() - self._changed_s >= quiet_s:
                self._send_off()

    def _send_off(self) -> None:
        """Close the file of the job in hand, and see the job through."""
        job, file = self._gathering, self._file
        self._gathering = self._file = None
        if job is not None and file is not None:
            file.close()
            self._jobs[job.label] = job
            self._start(self._see_through(job))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _see_through(self, job: _Job, name: str = "", *, adopted: bool = False) -> None:
        """From the file to the answers in the store; whoever waits is told."""
        try:
            if not adopted:
                self._enter(job)
            if not name:
                name = await self._client.find(job.label) if adopted else ""
                name = name or await self._client.begin(self._files.requests(job.label), job.label)
                self._ledger.write_batch(job.label, job=self._terms.job, name=name, state=_RUNNING, keys=[*job.calls])
            await self._collect(job, name)
        except DistillError as error:
            self.stop(error)
            self._tell(job, Stopped(error.message, hint=error.hint))
        except Exception as error:  # nobody waits for a task: what it raises would be lost
            said = DistillError(f"{type(error).__name__}: {sayable(str(error), self._hidden)}")
            self.stop(said)
            self._tell(job, Stopped(said.message))

    def _enter(self, job: _Job) -> None:
        """The job into the ledger, before the service can know of it."""
        self._files.write_calls(job.label, job.calls.values())
        self._ledger.write_batch(job.label, job=self._terms.job, name="", state=_NEW, keys=[*job.calls])

    async def _collect(self, job: _Job, name: str) -> None:
        """Wait for the job's end, store its answers, and close it."""
        failed: dict[str, str] = {}
        try:
            state, file = await self._client.wait(name)
            data = await self._client.fetch(file) if file else b""
        except Gone:
            state, file, data = "GONE", "", b""
        if file:
            failed = await asyncio.to_thread(self._keep_all, job, data)
        # Whether questions of a job without results were charged is not said anywhere: they count as charged.
        charged = not file and state != "CANCELLED"
        self._close(job, failed, f"the batch job ended as {state} without an answer", charged=charged)

    def _keep_all(self, job: _Job, data: bytes) -> dict[str, str]:
        """Store every answer in a result file; gives why questions have none. A bad line costs only itself."""
        failed: dict[str, str] = {}
        for key, row in result_rows(data):
            call = job.calls.get(key)
            if call is None:
                continue
            if isinstance(row.get("response"), dict):
                self._keep(call, row["response"])
            else:
                error = row.get("error")
                text = str(error.get("message")) if isinstance(error, dict) else "no reason given"
                failed[call.ask.key] = f"the batch job failed on this question: {sayable(text, self._hidden)}"
        return failed

    def _keep(self, call: Call, response: dict[str, Any]) -> None:
        key = call.ask.key
        if self._store.holds(key):  # stored, and killed before the ledger knew
            meta = self._store.meta(key) or {}
            self._ledger.settle(key, "done", cost_usd=meta.get("cost_usd", 0.0), finish=str(meta.get("finish", "")))
            return
        reply = read_reply(response)
        cost_usd = self._price.cost_usd(reply.usage) if reply.usage or reply.data else 0.0
        keep_reply(self._store, call, reply, cost_usd=cost_usd, license=self._terms.license, secrets=self._hidden)
        usage = reply.usage
        self._ledger.settle(
            key,
            "done" if reply.kind == PICTURE else reply.kind,
            cost_usd=cost_usd,
            tokens_in=usage.read if usage else 0,
            tokens_out=usage.text + usage.image if usage else 0,
            finish=reply.finish,
            detail=sayable(reply.reason, self._hidden),
        )

    def _close(self, job: _Job, failed: dict[str, str], text: str, *, charged: bool) -> None:
        """The job is over: questions without an answer may stand in another one, or have failed."""
        for key in job.calls:
            if self._store.holds(key):
                continue
            why = failed.get(key, text)
            self._tries[key] = self._tries.get(key, 0) + 1
            over = self._tries[key] >= _MOST_TRIES
            self._ledger.settle(key, "failed" if over else "waiting", doubtful=charged, detail=why)
            future = job.waiting.get(key)
            if over and future is not None and not future.done():
                future.set_exception(DistillError(why))
        self._sent_before |= self._pictures_still_needed(job)
        self._ledger.write_batch(job.label, job=self._terms.job, name="", state=BATCH_OVER, keys=[*job.calls])
        self._jobs.pop(job.label, None)
        self._tell(job, None)
        self._files.remove(job.label)

    def _pictures_still_needed(self, job: _Job) -> dict[str, Sent]:
        """Of questions that have to be asked again, by what they show."""
        needed = {}
        for key, call in job.calls.items():
            meta = self._store.meta(key)
            if meta is None or meta["kind"] == EMPTY:
                needed[key] = call
        return self._files.pictures(job.label, needed)

    def _release(self, job: _Job, why: str) -> None:
        """Give questions back that never left."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for key in job.calls:
            self._ledger.settle(key, "waiting", detail=why)
        self._files.remove(job.label)

    def _adopt(self) -> None:
        """Take over the jobs whose processes have died."""
        for row in self._ledger.batches():
            if row["state"] == BATCH_OVER or row["taken"] or row["label"] in self._jobs:
                continue
            calls = self._files.read_calls(row["label"])
            if calls is None:
                continue  # another user's leftovers; its money is counted as reserved
            job = _Job(row["label"], calls)
            if self._ledger.adopt_batch(job.label):
                self._jobs[job.label] = job
                self._start(self._see_through(job, row["name"], adopted=True))

    def _tell(self, job: _Job, error: DistillError | None) -> None:
        for future in job.waiting.values():
            if not future.done():
                future.set_exception(error) if error is not None else future.set_result(None)
        for future in job.waiting.values():
            future.exception()  # nobody may be waiting any more
