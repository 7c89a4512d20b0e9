"""Asking a hosted teacher during `distill label`: what may be spent, and the slices as their answers come in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from distill.errors import DistillError, UsageError
from distill.runtime.progress import Reporter

if TYPE_CHECKING:
    from distill.config.hosted import HostedConfig
    from distill.images import Photo
    from distill.teachers.factory import AnyTeacherConfig
    from distill.teachers.hosted.scheduler import RequestScheduler
    from distill.teachers.labeling.job import Job

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True, slots=True)
class RunBudget:
    """What a job may use up, earlier runs of it included; None: no limit."""

    max_usd: float | None = None
    max_requests: int | None = None
    deadline_s: float | None = None
    """No call is begun later, in seconds since the epoch."""


UNLIMITED = RunBudget()


def parse_deadline(text: str, now: datetime | None = None) -> float:
    """Seconds since the epoch of ``90m``, ``1h30m``, ``06:30`` (the next one) or ``2026-12-01T06:30``.

    Raises:
        UsageError: None of these.
    """
    now = now or datetime.now().astimezone()
    match = _DURATION.fullmatch(text)
    if text and match:
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return now.timestamp() + hours * 3600 + minutes * 60 + seconds
    if clock := re.fullmatch(r"(\d{1,2}):(\d{2})", text):
        hour, minute = int(clock[1]), int(clock[2])
        if hour < 24 and minute < 60:
            when = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (when if when > now else when + timedelta(days=1)).timestamp()
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise UsageError(f"--deadline {text}: no time", hint="such as 90m, 06:30 or 2026-12-01T06:30") from None


def job_name(job: Job) -> str:
    """Whose money it is: one name for all runs into the same folder, parts of a job array included."""
    return hashlib.sha256(str(job.out.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]


def hosted_configs(config: AnyTeacherConfig) -> list[HostedConfig]:
    """The teachers in a config that are asked over a network: itself, or members of a mix."""
    from distill.config.ensemble import EnsembleConfig
    from distill.config.hosted import HostedConfig
    from distill.teachers.ensemble import member_config

    whole = [member_config(member) for member in config.members()] if isinstance(config, EnsembleConfig) else [config]
    parts: list[HostedConfig] = []
    for part in whole:
        if isinstance(part, HostedConfig) and part not in parts:
            parts.append(part)
    return parts


def stores_answers(config: AnyTeacherConfig) -> bool:
    """Whether answers are kept even when nobody says where."""
    return config.stores_answers or bool(hosted_configs(config))


class ShardsWithAnswers:
    """The slices of a job as their answers come in; None now and then while none is ready.

    Attributes:
        stopped: Why no more came, when a cap, the deadline, the disk or the service ended the asking.
    """

    def __init__(self, job: Job, todo: Sequence[int], scheduler: RequestScheduler | None) -> None:
        self._job, self._todo, self._scheduler = job, todo, scheduler
        self.stopped: DistillError | None = None

    def __iter__(self) -> Iterator[int | None]:
        from distill.teachers.hosted.request_runner import RunStopped

        if self._scheduler is None:
            yield from self._todo
            return
        try:
            yield from self._scheduler.shards(self._todo, self._photos, self._job.build_teacher)
        except RunStopped as stopped:
            self.stopped = stopped

    @property
    def note(self) -> str:
        """What the progress bar says besides."""
        if self._scheduler is None:
            return ""
        return f"{self._scheduler.spent_usd:.2f} USD, {self._scheduler.in_flight} in flight"

    @property
    def result(self) -> dict[str, Any]:
        """For the verb's result."""
        if self._scheduler is None:
            return {}
        spend = self._scheduler.spend
        return {
            "stopped": self.stopped.message if self.stopped else "",
            "hint": self.stopped.hint if self.stopped else "",
            "calls": spend.calls,
            "spent_usd": round(spend.cost_usd, 6),
            "uncertain_usd": round(spend.uncertain_usd, 6),
        }

    def _photos(self, index: int) -> Iterator[Photo]:
        from distill.inputs import UnreadablePhoto

        for photo in self._job.source.read(*self._job.photo_range(index)):
            if not isinstance(photo, UnreadablePhoto):
                yield photo


@contextmanager
def shards_with_answers(
    job: Job, todo: Sequence[int], budget: RunBudget, reporter: Reporter
) -> Iterator[ShardsWithAnswers]:
    """The slices to label; of a hosted teacher they come when their answers are stored.

    Leaving waits for the calls in flight, whose answers are kept; also on Ctrl-C.
    """
    parts = [] if job.offline else hosted_configs(job.config)
    if not parts or job.store is None or not todo:
        yield ShardsWithAnswers(job, todo, None)
        return
    from distill.teachers.hosted.request_runner import RequestPolicy
    from distill.teachers.hosted.scheduler import RequestScheduler
    from distill.teachers.hosted.services.open import prices_of
    from distill.teachers.store.answers import AnswerStore
    from distill.teachers.store.spending import Budget

    for part in parts if budget.max_usd is not None else []:
        if not prices_of(part)[0].known:
            raise UsageError(
                f"--max-usd needs a price, and none is known for {part.model}",
                hint="add it to a table and name that in the config: prices: FILE",
            )
    policy = RequestPolicy(
        job=job_name(job),
        budget=Budget(budget.max_usd, budget.max_requests),
        deadline_s=budget.deadline_s,
    )
    with RequestScheduler(parts, AnswerStore(job.store), policy=policy, mixed=job.config not in parts) as scheduler:
        try:
            yield ShardsWithAnswers(job, todo, scheduler)
        except BaseException as error:
            scheduler.stop(DistillError("interrupted"))
            if isinstance(error, KeyboardInterrupt) and scheduler.in_flight:
                reporter.info(scheduler.shutdown_message)
            raise
