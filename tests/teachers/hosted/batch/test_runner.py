"""Half-price batch jobs: results, partial failures, killed processes, budget."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from distill.config.hosted import HostedConfig
from distill.teachers.hosted.batch.job import ResultWriter
from distill.teachers.hosted.request_collector import RequestCollector
from distill.teachers.hosted.run_limits import RequestPolicy
from distill.teachers.hosted.scheduler import RequestScheduler
from distill.teachers.hosted.services.gemini_batches import GeminiBatches
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.spending import Budget
from distill.workflows.label.hosted import job_name
from tests.fakes.gemini import FakeGemini, Settings
from tests.fakes.hosted_jobs import KEY, charged_usd, job, label, shards, write_photos

BATCH = {"mode": "batch", "poll_s": 0.05, "batch_images": 10}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)


def test_batch_labels_equal_online_labels_at_half_price(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 8)
    with FakeGemini(Settings(size="photo")) as server:
        batch = label(job(tmp_path, server.url, **BATCH))
        stats = server.stats
        assert (stats["made"], stats["batches"], stats["usage"]["image"]) == (24, 3, 0)
        assert batch["complete"] and sum(batch["labels"].values()) == 24
        assert batch["spent_usd"] == pytest.approx(charged_usd(stats), rel=1e-4)
        online = label(job(tmp_path, server.url, out="online"))  # the answers are the same, so they are not requested
        assert server.stats["made"] == 24 and online["spent_usd"] == 0
    assert shards(tmp_path / "out") == shards(tmp_path / "online")
    assert not list((tmp_path / "answers" / "batches").iterdir())


def test_partial_failures_are_retried_or_listed(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 10)
    faults = {"busy": 0.2, "batch_error": 0.15, "text_only": 0.15, "refusal": 0.1, "bad_request": 0.1}
    with FakeGemini(Settings(size="photo"), **faults) as server:
        result = label(job(tmp_path, server.url, **BATCH))
        assert sum(result["labels"].values()) + len(result["unanswered"]) == 30 and result["complete"]
        assert server.stats["duplicates"] == 0
    reasons = " ".join(row["reason"] for row in result["unanswered"])
    assert "the batch job failed for this request: internal error" in reasons and "IMAGE_SAFETY" in reasons


def test_expired_job_fails_its_requests(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1)
    with FakeGemini(Settings(size="photo", batch_expires=True)) as server:
        result = label(job(tmp_path, server.url, **BATCH))
    assert [row["reason"] for row in result["unanswered"]] == ["the batch job ended as EXPIRED without an answer"] * 3
    assert result["uncertain_usd"] > 0 and result["complete"]


@pytest.mark.parametrize("moment", ["before it is begun", "before its name is known", "while it runs", "at the end"])
def test_next_process_collects_the_job_of_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class Killed(BaseException):
        pass

    async def die(*arguments: object, **named: object) -> None:
        raise Killed

    begin = GeminiBatches.begin

    async def begin_and_die(self: GeminiBatches, path: Path, label: str) -> None:
        await begin(self, path, label)
        raise Killed

    write_photos(tmp_path / "photos", 4)
    with FakeGemini(Settings(size="photo", batch_s=0.3)) as server:
        with monkeypatch.context() as patch:
            if moment == "before it is begun":
                patch.setattr(GeminiBatches, "begin", die)
            elif moment == "before its name is known":
                patch.setattr(GeminiBatches, "begin", begin_and_die)
            elif moment == "while it runs":
                patch.setattr(GeminiBatches, "wait", die)
            else:
                patch.setattr(ResultWriter, "write", lambda self, job, data: (_ for _ in ()).throw(Killed))
            wanted = (["new"] if "before" in moment else ["running"]) * 2, 0 if moment == "before it is begun" else 2
            run_until_killed(tmp_path, server, wanted)
        assert reached(tmp_path, server) == wanted
        result = label(job(tmp_path, server.url, **BATCH))
        assert result["complete"] and sum(result["labels"].values()) == 12
        assert server.stats["made"] == 12 and server.stats["batches"] == 2
        assert result["spent_usd"] == pytest.approx(charged_usd(server.stats), rel=1e-4)
        assert result["uncertain_usd"] == 0.0


def reached(folder: Path, server: FakeGemini) -> tuple[list[str], int]:
    """(states of the jobs by the ledger, jobs by the service)."""
    return [batch["state"] for batch in Ledger(folder / "answers").batches.rows()], server.stats["batches"]


def run_until_killed(folder: Path, server: FakeGemini, until: tuple[list[str], int]) -> None:
    """A process that dies in the middle of a job: nothing after that is done in its name."""
    one = job(folder, server.url, **BATCH)
    collector = RequestCollector(use_cached=False)
    teacher, wanted = one.build_teacher(collector), []
    for photo in one.source.read(0, 4):
        teacher.label(photo)
        wanted += collector.take()
    scheduler = RequestScheduler(
        [cast(HostedConfig, one.config)], AnswerStore(folder / "answers"), policy=RequestPolicy(job=job_name(one))
    )
    (client,) = scheduler._clients.values()

    tasks = [scheduler._loop.create_task(client.answer(request)) for _, request in wanted]
    for _ in range(20):  # a busy machine takes longer
        scheduler._loop.run_until_complete(asyncio.sleep(1.5))
        if reached(folder, server) == until:
            break
    assert not any(task.done() for task in tasks)
    assert not any(request.image.data for _, request in wanted)  # ten thousand photos do not wait in memory
    # As the system does when a process dies: its lock is gone, and nothing is tidied up.
    scheduler._ledger._file._process_lock._file.close()
    for task in tasks:  # ended, not forgotten
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_budget_limits_batches_and_begun_jobs_are_collected(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 12)
    with FakeGemini(Settings(size="photo")) as server:
        capped = label(job(tmp_path, server.url, **BATCH), Budget(max_usd=0.6))
        assert "limit of 0.60 USD" in capped["stopped"] and capped["labeled"] > 0 and not capped["complete"]
        assert 0.2 < charged_usd(server.stats) <= 0.6
        done = label(job(tmp_path, server.url, **BATCH))
        assert done["complete"] and server.stats["duplicates"] == 0 and server.stats["made"] == 36
