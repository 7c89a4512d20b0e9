"""Engine stage of batch inference: batches through a runner, in order, with bounded memory.

Decoders, engines, PNG and video encoders release Python's lock while they work, so threads are sufficient. A slow stage
delays the ones before it: no queue grows. An exception is raised after the results of all earlier items.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import numpy as np

from distill.export.inference.batch_size import in_batches
from distill.export.inference.stages import SegmentEnd, StageTimer, attach_frame, lower_priority
from distill.export.runners import Outputs, Runner
from distill.runtime.parallel import map_ordered

_MAX_CALLS = 4
"""Concurrent calls of the engine; each holds a batch of maps in memory."""


def infer(
    runner: Runner,
    items: Iterable[Any],
    *,
    batch: int | None = None,
    timer: StageTimer | None = None,
    workers: int = 1,
) -> Generator[Any, None, None]:
    """(item, outputs) of each image in order; each `SegmentEnd` unchanged.

    Args:
        runner: The student.
        items: `PipelineItem` and `SegmentEnd` objects.
        batch: Images per call; None: chosen by their size.
        timer: Takes the engine's time.
        workers: Concurrent calls (see `engine_workers`).
    """
    timer = timer or StageTimer()
    timer.workers["engine"] = workers

    def run(group: list[Any]) -> Outputs | None:
        if isinstance(group[0], SegmentEnd):
            return None
        with timer.stage("engine"), attach_frame(group):
            return runner(group[0].rgb[None] if len(group) == 1 else np.stack([item.rgb for item in group]))

    def run_low_priority(group: list[Any]) -> Outputs | None:
        lower_priority()
        return run(group)

    groups = in_batches(items, batch, runner)
    work = run if workers == 1 else run_low_priority
    for group, outputs in map_ordered(groups, work, workers, max_pending=workers + 1):
        if outputs is None:
            yield group[0]
            continue
        for index, item in enumerate(group):
            yield item, {name: value[index] for name, value in outputs.items()}
        del outputs, group, item


def engine_workers(runner: Runner, cores: int) -> int:
    """Concurrent calls with which a CPU engine fills the cores.

    The threads of one call wait for each other at every layer, for a long time if decoder and encoder need the cores
    too; concurrent calls do not.
    """
    return max(1, min(_MAX_CALLS, cores // runner.threads)) if "cpu" in runner.engine else 1


def engine_threads(cores: int) -> int:
    """Threads per call with which `engine_workers` calls fill the cores."""
    return max(1, cores // _MAX_CALLS)
