"""Answers from half-price batch jobs; any process may continue the jobs of an ended one.

    queue -> LABEL.jsonl, LABEL.requests.json -> ledger ("new") -> upload, begin -> ledger ("running") -> wait, collect

A job is in the ledger before the service has it, and carries its label there. After a kill at any moment, the next
process finds the job by its label, or that it was never submitted; no request is ever in two jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from distill.config.hosted import LimitsConfig
from distill.errors import DistillError
from distill.teachers.hosted.batch.files import BatchFiles
from distill.teachers.hosted.batch.job import BatchJob, ResultWriter
from distill.teachers.hosted.batch.pending_job import OpenJob
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.request_runner import POLL_OTHER_PROCESS_S, RequestRunner
from distill.teachers.hosted.request_sequence import final_answer, next_request
from distill.teachers.hosted.run_limits import RequestPolicy, RunStopped
from distill.teachers.hosted.services.base import BatchApi, Request
from distill.teachers.hosted.services.errors import BatchNotFound, redact
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.batch_table import BATCH_FINISHED
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.records import EMPTY
from distill.teachers.store.spending import BudgetExceeded

_MAX_ATTEMPTS = 3
"""Maximum number of jobs per request."""
_NEW, _RUNNING = "new", "running"


class BatchRunner:
    """Gets answers from batch jobs. Has the interface of `RequestRunner`, which sends the presence checks."""

    def __init__(
        self,
        api: BatchApi,
        store: AnswerStore,
        ledger: Ledger,
        *,
        price: Price,
        limits: LimitsConfig,
        policy: RequestPolicy,
        online: RequestRunner,
        secrets: Sequence[str],
    ) -> None:
        self._api, self._store, self._ledger = api, store, ledger
        self._price, self._limits, self._policy, self._online = price, limits, policy, online
        self._secrets = tuple(secrets)
        self._writer = ResultWriter(api, store, ledger, price=price, license=policy.license, secrets=secrets)
        self._files = BatchFiles(store.folder / "batches")
        self._open = OpenJob(api, self._files)
        self._jobs: dict[str, BatchJob] = {}
        self._attempts: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed_s = 0.0
        self._claim_orphaned()

    @property
    def stopped(self) -> DistillError | None:
        """Why no more requests are sent; None while the run goes on."""
        return self._online.stopped

    @property
    def in_flight(self) -> int:
        """Number of requests at the service."""
        return sum(len(job.requests) for job in self._jobs.values())

    def stop(self, error: DistillError) -> None:
        """Submit no more jobs and wait for none; the next run collects those at the service."""
        self._online.stop(error)
        for task in list(self._tasks):
            task.cancel()
        open_job = self._open.close()
        if open_job is not None:
            for key in open_job.requests:
                self._ledger.finish(key, "waiting", detail="never sent")
            self._files.remove(open_job.label)
        for job in [*self._jobs.values(), *([open_job] if open_job else [])]:
            job.notify(RunStopped(error.message, hint=error.hint))

    async def answer(self, request: Request) -> None:
        """Return when the final answer is stored.

        Raises:
            RunStopped: The run sends no more requests.
            DistillError: This request failed for good.
        """
        attempts = self._limits.max_attempts_without_image
        while final_answer(self._store, request, attempts) is None:
            step = next_request(self._store, request, attempts)
            if step is request.presence_check:
                await self._online.answer(step)
                step.image.data = b""
            else:
                await self._join(step)

    async def _join(self, request: Request) -> None:
        """Wait for the job that has the request, or add it to the next one."""
        key = request.answer_key.digest
        if self.stopped is not None:
            raise RunStopped(self.stopped.message, hint=self.stopped.hint)
        known = [*self._jobs.values(), *([self._open.job] if self._open.job else [])]
        job = next((job for job in known if key in job.requests), None)
        if job is None and not self._reserve(request):
            await asyncio.sleep(POLL_OTHER_PROCESS_S)
            self._claim_orphaned()  # its process may have ended
            return
        job = job or self._enqueue(request)
        future = job.waiting.setdefault(key, asyncio.get_running_loop().create_future())
        await asyncio.shield(future)

    def _reserve(self, request: Request) -> bool:
        """Reserve the request in the ledger; False if another process has it.

        Raises:
            RunStopped: A limit is reached. Jobs at the service are still waited for.
        """
        num_queued = len(self._open.job.requests) if self._open.job else 0
        self._online.check_limits(request, expected=self.in_flight + num_queued)
        try:
            return self._ledger.reserve(
                request.answer_key.digest,
                job=self._policy.job,
                worst_usd=self._price.worst_usd(request.prompt_spec.prompt),
                budget=self._policy.budget,
                queued=True,
                is_answered=lambda: self._store.contains(request.answer_key.digest),
                license=self._policy.license,
                model=request.answer_key.model,
                task=str(request.prompt_spec.task),
                subject=request.photo,
            )
        except BudgetExceeded as error:
            raise RunStopped(error.message, hint=error.hint) from None

    def _enqueue(self, request: Request) -> BatchJob:
        """Add the request to the next job; a full job is submitted.

        Raises:
            DistillError: The image is no longer available.
            RunStopped: The file cannot be written.
        """
        try:
            line = self._open.line(request)
        except DistillError as error:
            self._ledger.finish(request.answer_key.digest, "failed", detail=error.message)
            raise
        if not self._open.has_room(line):
            self._submit_job()
        is_new = self._open.job is None
        try:
            job = self._open.add(request, line)
        except OSError as error:
            full = DistillError(
                f"{self._files.folder}: cannot be written: {error.strerror}", hint="free space, then run again"
            )
            self.stop(full)
            raise RunStopped(full.message, hint=full.hint) from error
        self._changed_s = asyncio.get_running_loop().time()
        if is_new:
            self._start(self._submit_when_idle(job))
        if len(job.requests) >= self._api.max_requests:
            self._submit_job()
        return job

    async def _submit_when_idle(self, job: BatchJob) -> None:
        """Submit a job that is not full when no request has arrived for a while."""
        idle_s, loop = min(5.0, self._api.poll_s), asyncio.get_running_loop()
        while self._open.job is job:
            await asyncio.sleep(idle_s / 2)
            if self._open.job is job and loop.time() - self._changed_s >= idle_s:
                self._submit_job()

    def _submit_job(self) -> None:
        """Close the file of the open job and run the job."""
        job = self._open.close()
        if job is not None:
            self._jobs[job.label] = job
            self._start(self._run_job(job))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_job(self, job: BatchJob, name: str = "", *, claimed: bool = False) -> None:
        """From the file to the answers in the store; wakes the waiting callers."""
        try:
            if not claimed:  # into the ledger before the service has the job
                self._files.write_requests(job.label, job.requests.values())
                self._write_row(job, "", _NEW)
            if not name:
                name = await self._api.find(job.label) if claimed else ""
                name = name or await self._api.begin(self._files.upload_path(job.label), job.label)
                self._write_row(job, name, _RUNNING)
            await self._collect(job, name)
        except DistillError as error:
            self.stop(error)
            job.notify(RunStopped(error.message, hint=error.hint))
        except Exception as error:  # no one awaits this task: its exception would be lost
            unexpected = DistillError(f"{type(error).__name__}: {redact(str(error), self._secrets)}")
            self.stop(unexpected)
            job.notify(RunStopped(unexpected.message))

    def _write_row(self, job: BatchJob, name: str, state: str) -> None:
        self._ledger.batches.write(job.label, job=self._policy.job, name=name, state=state, keys=[*job.requests])

    async def _collect(self, job: BatchJob, name: str) -> None:
        """Wait for the end of the job, store its answers, and finish it."""
        failed: dict[str, str] = {}
        try:
            state, file = await self._api.wait(name)
            data = await self._api.fetch(file) if file else b""
        except BatchNotFound:
            state, file, data = "GONE", "", b""
        if file:
            failed = await asyncio.to_thread(self._writer.write, job, data)
        # It is not documented whether the requests of a job without results are charged: they count as charged.
        charged = not file and state != "CANCELLED"
        self._finish(job, failed, f"the batch job ended as {state} without an answer", charged=charged)

    def _finish(self, job: BatchJob, failed: dict[str, str], reason: str, *, charged: bool) -> None:
        """Finish a job: requests without an answer are sent in another one, or have failed."""
        for key in job.requests:
            if self._store.contains(key):
                continue
            why = failed.get(key, reason)
            self._attempts[key] = self._attempts.get(key, 0) + 1
            has_failed = self._attempts[key] >= _MAX_ATTEMPTS
            self._ledger.finish(key, "failed" if has_failed else "waiting", uncertain=charged, detail=why)
            future = job.waiting.get(key)
            if has_failed and future is not None and not future.done():
                future.set_exception(DistillError(why))
        self._open.save_images(self._files.images(job.label, self._unanswered(job), self._api))
        self._write_row(job, "", BATCH_FINISHED)
        self._jobs.pop(job.label, None)
        job.notify(None)
        self._files.remove(job.label)

    def _unanswered(self, job: BatchJob) -> dict[str, Request]:
        """Requests that have to be sent again."""
        metas = {key: self._store.meta(key) for key in job.requests}
        return {key: job.requests[key] for key, meta in metas.items() if meta is None or meta["kind"] == EMPTY}

    def _claim_orphaned(self) -> None:
        """Take over the jobs whose processes have ended."""
        for row in self._ledger.batches.rows():
            if row["state"] == BATCH_FINISHED or row["taken"] or row["label"] in self._jobs:
                continue
            requests = self._files.read_requests(row["label"])
            if requests is None:
                continue  # its files are gone; its cost stays counted as reserved
            job = BatchJob(row["label"], requests)
            if self._ledger.batches.claim(job.label):
                self._jobs[job.label] = job
                self._start(self._run_job(job, row["name"], claimed=True))
