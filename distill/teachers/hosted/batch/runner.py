"""Answers in half-price jobs: questions are gathered into files, jobs are seen through, by whichever process lives.

    gather -> LABEL.jsonl, LABEL.requests.json -> ledger ("new") -> upload, begin -> ledger ("running") -> wait, collect

A job is in the ledger before it is at the service, and carries its label there. So whatever dies when, the next process
finds the job by its label, or knows that it was never begun; no question is ever in two jobs.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import IO, Any

from distill.config.hosted import GeminiConfig
from distill.errors import DistillError
from distill.teachers.hosted.batch.api import BatchNotFound, BatchApiClient
from distill.teachers.hosted.batch.files import BatchFiles, request_line, result_rows, image_id
from distill.teachers.hosted.generator import next_request, final_answer
from distill.teachers.hosted.pricing import Price
from distill.teachers.hosted.request_runner import RequestRunner, RunStopped, RequestPolicy, store_response
from distill.teachers.hosted.services.base import Request, RequestImage, redact
from distill.teachers.hosted.services.gemini_responses import parse_response
from distill.teachers.store.answers import EMPTY, IMAGE, AnswerStore
from distill.teachers.store.ledger import BATCH_FINISHED, Ledger
from distill.teachers.store.spending import BudgetExceeded

_MAX_BYTES = 1_900_000_000
"""The service takes 2 GB a file."""
_MAX_ATTEMPTS = 3
"""Jobs in which a question may stand before it is given up."""
_NEW, _RUNNING = "new", "running"
_POLL_OTHER_PROCESS_S = 0.5
_IMAGE_GONE = "the photo of a batch job that failed is at hand no more; label it again to ask again"


@dataclass
class _Job:
    """Questions that go, or went, to the service together."""

    label: str
    requests: dict[str, Request] = field(default_factory=dict)
    """Without their pictures: those are in the file."""
    waiting: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    size_bytes: int = 0


class BatchRunner:
    """Gets answers in jobs. Has the face of `RequestRunner`, and leaves the gate's questions to one."""

    def __init__(
        self,
        config: GeminiConfig,
        client: BatchApiClient,
        store: AnswerStore,
        ledger: Ledger,
        *,
        price: Price,
        policy: RequestPolicy,
        online: RequestRunner,
        secret_values: tuple[str, ...],
    ) -> None:
        self._config, self._client, self._store, self._ledger = config, client, store, ledger
        self._price, self._policy, self._online, self._secret_values = price, policy, online, secret_values
        self._files = BatchFiles(store.folder / "batches")
        self._open_job: _Job | None = None
        self._file: IO[bytes] | None = None
        self._jobs: dict[str, _Job] = {}
        self._tries: dict[str, int] = {}
        self._saved_images: dict[str, RequestImage] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed_s = 0.0
        self._claim_orphaned()

    @property
    def stopped(self) -> DistillError | None:
        """Why no more questions are asked."""
        return self._online.stopped

    @property
    def in_flight(self) -> int:
        """Questions that wait for the service."""
        return sum(len(job.requests) for job in self._jobs.values())

    def stop(self, error: DistillError) -> None:
        """Begin no more jobs and wait for none; those at the service go on, and the next run collects them."""
        self._online.stop(error)
        for task in list(self._tasks):
            task.cancel()
        open_job, self._open_job = self._open_job, None
        if open_job is not None:
            self._abandon(open_job, "never sent")
        for job in [*self._jobs.values(), *([open_job] if open_job else [])]:
            self._notify(job, RunStopped(error.message, hint=error.hint))

    async def answer(self, request: Request) -> None:
        """See to it that the final answer is in the store.

        Raises:
            RunStopped: The run asks no more.
            DistillError: This question failed for good.
        """
        tries = self._config.limits.max_attempts_without_image
        while final_answer(self._store, request, tries) is None:
            step = next_request(self._store, request, tries)
            if step is request.presence_check:
                await self._online.answer(step)
                step.image.data = b""
            else:
                await self._join(step)

    async def _join(self, request: Request) -> None:
        """Wait for the job that has the question, or put it into the next one."""
        key = request.answer_key.digest
        if self.stopped is not None:
            raise RunStopped(self.stopped.message, hint=self.stopped.hint)
        known = [*self._jobs.values(), *([self._open_job] if self._open_job else [])]
        job = next((job for job in known if key in job.requests), None)
        if job is None and not self._reserve(request):
            await asyncio.sleep(_POLL_OTHER_PROCESS_S)
            self._claim_orphaned()  # its process may have died
            return
        job = job or self._enqueue(request)
        future = job.waiting.setdefault(key, asyncio.get_running_loop().create_future())
        await asyncio.shield(future)

    def _reserve(self, request: Request) -> bool:
        """Take the question, if the caps allow; False when it is in another's hands.

        Raises:
            RunStopped: They do not. Jobs at the service are waited for all the same.
        """
        num_queued = len(self._open_job.requests) if self._open_job else 0
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
        except BudgetExceeded as cap:
            raise RunStopped(cap.message, hint=cap.hint) from None

    def _enqueue(self, request: Request) -> _Job:
        """Write the question into the file of the next job; a full one is sent off. The picture is then let go of.

        Raises:
            DistillError: The picture is at hand no more.
            RunStopped: The file cannot be written.
        """
        image = request.image if request.image.data else self._saved_images.get(image_id(request))
        if image is None:
            self._ledger.finish(request.answer_key.digest, "failed", detail=_IMAGE_GONE)
            raise DistillError(_IMAGE_GONE)
        line = request_line(replace(request, image=image), self._config)
        if self._open_job is not None and self._open_job.size_bytes + len(line) > _MAX_BYTES:
            self._submit_job()
        try:
            if self._open_job is None or self._file is None:
                self._open_job = _Job(f"distill-{secrets.token_hex(10)}")
                self._file = self._files.open_upload(self._open_job.label)
                self._start(self._submit_when_idle(self._open_job))
            self._file.write(line)
        except OSError as error:
            full = DistillError(
                f"{self._files.folder}: cannot be written: {error.strerror}", hint="free space, run again"
            )
            self.stop(full)
            raise RunStopped(full.message, hint=full.hint) from error
        job = self._open_job
        job.requests[request.answer_key.digest] = replace(request, image=RequestImage(), presence_check=None)
        request.image.data = b""  # ten thousand of them would fill the memory; this one is in the file
        job.size_bytes += len(line)
        self._changed_s = asyncio.get_running_loop().time()
        if len(job.requests) >= self._config.batch_images:
            self._submit_job()
        return job

    async def _submit_when_idle(self, job: _Job) -> None:
        """A job that is not full is sent off when nothing has come for a while."""
        quiet_s, loop = min(5.0, self._config.poll_s), asyncio.get_running_loop()
        while self._open_job is job:
            await asyncio.sleep(quiet_s / 2)
            if self._open_job is job and loop.time() - self._changed_s >= quiet_s:
                self._submit_job()

    def _submit_job(self) -> None:
        """Close the file of the job in hand, and see the job through."""
        job, file = self._open_job, self._file
        self._open_job = self._file = None
        if job is not None and file is not None:
            file.close()
            self._jobs[job.label] = job
            self._start(self._run_job(job))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_job(self, job: _Job, name: str = "", *, claimed: bool = False) -> None:
        """From the file to the answers in the store; whoever waits is told."""
        try:
            if not claimed:
                self._register(job)
            if not name:
                name = await self._client.find(job.label) if claimed else ""
                name = name or await self._client.begin(self._files.upload_path(job.label), job.label)
                self._ledger.write_batch(job.label, job=self._policy.job, name=name, state=_RUNNING, keys=[*job.requests])
            await self._collect(job, name)
        except DistillError as error:
            self.stop(error)
            self._notify(job, RunStopped(error.message, hint=error.hint))
        except Exception as error:  # nobody waits for a task: what it raises would be lost
            said = DistillError(f"{type(error).__name__}: {redact(str(error), self._secret_values)}")
            self.stop(said)
            self._notify(job, RunStopped(said.message))

    def _register(self, job: _Job) -> None:
        """The job into the ledger, before the service can know of it."""
        self._files.write_requests(job.label, job.requests.values())
        self._ledger.write_batch(job.label, job=self._policy.job, name="", state=_NEW, keys=[*job.requests])

    async def _collect(self, job: _Job, name: str) -> None:
        """Wait for the job's end, store its answers, and close it."""
        failed: dict[str, str] = {}
        try:
            state, file = await self._client.wait(name)
            data = await self._client.fetch(file) if file else b""
        except BatchNotFound:
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
            request = job.requests.get(key)
            if request is None:
                continue
            if isinstance(row.get("response"), dict):
                self._keep(request, row["response"])
            else:
                error = row.get("error")
                text = str(error.get("message")) if isinstance(error, dict) else "no reason given"
                failed[request.answer_key.digest] = f"the batch job failed on this question: {redact(text, self._secret_values)}"
        return failed

    def _keep(self, request: Request, body: dict[str, Any]) -> None:
        key = request.answer_key.digest
        if self._store.contains(key):  # stored, and killed before the ledger knew
            meta = self._store.meta(key) or {}
            self._ledger.finish(key, "done", cost_usd=meta.get("cost_usd", 0.0), finish=str(meta.get("finish", "")))
            return
        response = parse_response(body)
        cost_usd = self._price.cost_usd(response.usage) if response.usage or response.data else 0.0
        store_response(self._store, request, response, cost_usd=cost_usd, license=self._policy.license, secrets=self._secret_values)
        usage = response.usage
        self._ledger.finish(
            key,
            "done" if response.kind == IMAGE else response.kind,
            cost_usd=cost_usd,
            tokens_in=usage.input if usage else 0,
            tokens_out=usage.text + usage.image if usage else 0,
            finish=response.finish,
            detail=redact(response.reason, self._secret_values),
        )

    def _close(self, job: _Job, failed: dict[str, str], text: str, *, charged: bool) -> None:
        """The job is over: questions without an answer may stand in another one, or have failed."""
        for key in job.requests:
            if self._store.contains(key):
                continue
            why = failed.get(key, text)
            self._tries[key] = self._tries.get(key, 0) + 1
            over = self._tries[key] >= _MAX_ATTEMPTS
            self._ledger.finish(key, "failed" if over else "waiting", uncertain=charged, detail=why)
            future = job.waiting.get(key)
            if over and future is not None and not future.done():
                future.set_exception(DistillError(why))
        self._saved_images |= self._images_to_resend(job)
        self._ledger.write_batch(job.label, job=self._policy.job, name="", state=BATCH_FINISHED, keys=[*job.requests])
        self._jobs.pop(job.label, None)
        self._notify(job, None)
        self._files.remove(job.label)

    def _images_to_resend(self, job: _Job) -> dict[str, RequestImage]:
        """Of questions that have to be asked again, by what they show."""
        needed = {}
        for key, request in job.requests.items():
            meta = self._store.meta(key)
            if meta is None or meta["kind"] == EMPTY:
                needed[key] = request
        return self._files.images(job.label, needed)

    def _abandon(self, job: _Job, why: str) -> None:
        """Give questions back that never left."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for key in job.requests:
            self._ledger.finish(key, "waiting", detail=why)
        self._files.remove(job.label)

    def _claim_orphaned(self) -> None:
        """Take over the jobs whose processes have died."""
        for row in self._ledger.batches():
            if row["state"] == BATCH_FINISHED or row["taken"] or row["label"] in self._jobs:
                continue
            requests = self._files.read_requests(row["label"])
            if requests is None:
                continue  # another user's leftovers; its money is counted as reserved
            job = _Job(row["label"], requests)
            if self._ledger.claim_batch(job.label):
                self._jobs[job.label] = job
                self._start(self._run_job(job, row["name"], claimed=True))

    def _notify(self, job: _Job, error: DistillError | None) -> None:
        for future in job.waiting.values():
            if not future.done():
                future.set_exception(error) if error is not None else future.set_result(None)
        for future in job.waiting.values():
            future.exception()  # nobody may be waiting any more
