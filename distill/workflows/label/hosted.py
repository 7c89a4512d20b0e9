"""Labeling with hosted teachers: deadline, budget, and shards in the order in which their answers arrive."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from distill.errors import DistillError, UsageError
from distill.runtime.progress import Reporter
from distill.workflows.label.result import HostedSpend

if TYPE_CHECKING:
    from distill.config.hosted import HostedConfig
    from distill.config.teacher_base import TeacherConfig
    from distill.images import Photo
    from distill.teachers.hosted.scheduler import RequestScheduler
    from distill.teachers.labeling.job import Job
    from distill.teachers.store.spending import Budget

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


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
        raise UsageError(f"--deadline {text}: not a time", hint="such as 90m, 06:30 or 2026-12-01T06:30") from None


def job_name(job: Job) -> str:
    """Name of the budget: one for all runs into the same folder, parts of a job array included."""
    return hashlib.sha256(str(job.out.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]


def hosted_configs(config: TeacherConfig) -> list[HostedConfig]:
    """Configs of the hosted teachers: the config itself, or members of an ensemble."""
    from distill.config.ensemble import EnsembleConfig
    from distill.config.hosted import HostedConfig
    from distill.teachers.ensemble import member_config

    whole = [member_config(member) for member in config.members()] if isinstance(config, EnsembleConfig) else [config]
    parts: list[HostedConfig] = []
    for part in whole:
        if isinstance(part, HostedConfig) and part not in parts:
            parts.append(part)
    return parts


def stores_answers(config: TeacherConfig) -> bool:
    """Whether answers are stored although no --store is given."""
    from distill.teachers.kinds import kind_of

    return kind_of(config).stores_by_default or bool(hosted_configs(config))


class ShardsWithAnswers:
    """Shards of a job in the order in which their answers arrive; None from time to time while none is ready.

    Attributes:
        stopped: Why the requests ended early: budget, deadline, disk or service.
    """

    def __init__(self, job: Job, todo: Sequence[int], scheduler: RequestScheduler | None) -> None:
        self._job, self._todo, self._scheduler = job, todo, scheduler
        self.stopped: DistillError | None = None

    def __iter__(self) -> Iterator[int | None]:
        from distill.teachers.hosted.run_limits import RunStopped

        if self._scheduler is None:
            yield from self._todo
            return
        try:
            yield from self._scheduler.shards(self._todo, self._photos, self._job.build_teacher)
        except RunStopped as stopped:
            self.stopped = stopped

    @property
    def note(self) -> str:
        """Note for the progress bar."""
        if self._scheduler is None:
            return ""
        return f"{self._scheduler.spent_usd:.2f} USD, {self._scheduler.in_flight} in flight"

    @property
    def spend(self) -> HostedSpend | None:
        """Requests of this run; None without a hosted teacher."""
        if self._scheduler is None:
            return None
        spend = self._scheduler.spend
        return HostedSpend(
            stopped=self.stopped.message if self.stopped else "",
            hint=self.stopped.hint if self.stopped else "",
            calls=spend.calls,
            spent_usd=round(spend.cost_usd, 6),
            uncertain_usd=round(spend.uncertain_usd, 6),
        )

    def _photos(self, index: int) -> Iterator[Photo]:
        from distill.inputs import UnreadablePhoto

        for photo in self._job.read_photos(index):
            if not isinstance(photo, UnreadablePhoto):
                yield photo


@contextmanager
def shards_with_answers(
    job: Job, todo: Sequence[int], budget: Budget, reporter: Reporter, *, trust_service: bool = False
) -> Iterator[ShardsWithAnswers]:
    """Open the shards to label; those of a hosted teacher follow when their answers are stored.

    Leaving the context waits for requests in flight, whose answers are stored; also on Ctrl-C.
    """
    parts = [] if job.offline else hosted_configs(job.config)
    if not parts or job.store is None or not todo:
        yield ShardsWithAnswers(job, todo, None)
        return
    from distill.teachers.hosted.run_limits import RequestPolicy
    from distill.teachers.hosted.scheduler import RequestScheduler
    from distill.teachers.hosted.services.registry import prices_of
    from distill.teachers.store.answers import AnswerStore

    for part in parts:
        reason = part.foreign_service()
        if reason and not trust_service:
            raise UsageError(
                f"the config {reason}, so its author would receive a key of yours",
                hint="add --trust-service (trust_service=True) if you trust the address and the variable",
            )
    for part in parts if budget.max_usd is not None else []:
        if not prices_of(part)[0].known:
            raise UsageError(
                f"--max-usd needs a price, and none is known for {part.model}",
                hint="add it to a table and name that in the config: prices: FILE",
            )
    policy = RequestPolicy(job=job_name(job), budget=budget)
    with RequestScheduler(parts, AnswerStore(job.store), policy=policy, mixed=job.config not in parts) as scheduler:
        try:
            yield ShardsWithAnswers(job, todo, scheduler)
        except BaseException as error:
            scheduler.stop(DistillError("interrupted"))
            if isinstance(error, KeyboardInterrupt) and scheduler.in_flight:
                reporter.info(scheduler.shutdown_message)
            raise
