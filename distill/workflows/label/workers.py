"""Worker processes of a labeling job."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distill.errors import DistillError
from distill.runtime.cpu import usable_cores

if TYPE_CHECKING:
    from distill.teachers.labeling.job import Job


def num_workers(job: Job, wanted: int, num_shards: int) -> int:
    """Number of processes: one, or one per GPU, for models that use the whole machine, else one per core."""
    from distill.teachers.kinds import kind_of

    best = wanted or (num_gpus(job) or 1 if kind_of(job.config).uses_all_cores else usable_cores())
    return max(1, min(best, num_shards))


def num_gpus(job: Job) -> int:
    """Number of GPUs for the models of a job; 0 where it has no model, or the config names a device."""
    from distill.teachers.kinds import kind_of

    if not kind_of(job.config).uses_gpu or getattr(job.config, "device", "auto") not in ("auto", "cuda"):
        return 0
    from distill.teachers.local.devices import count_gpus

    return count_gpus()


def run_shards(job: Job, todo: Iterable[int | None], workers: int) -> Iterator[int]:
    """Label the shards; yields the number of photos done since the last time.

    Args:
        job: The job.
        todo: Indices of the shards; None means that none is ready yet.
        workers: Processes; 1: this process.
    """
    from distill.teachers.labeling.label_shard import label_shard

    if workers == 1:
        done: list[int] = []
        for index in todo:
            if index is not None:
                label_shard(job, index, done.append)
            yield sum(done)
            done.clear()
        return
    context = multiprocessing.get_context("spawn")
    counter, started = context.Value("q", 0), context.Value("q", 0)
    gpus = num_gpus(job)
    seen = 0
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(job, counter, started, gpus)
    )
    try:
        waiting, running, more = iter(todo), set[Future[None]](), True
        while more or running:
            while more and len(running) < 2 * workers:
                index = next(waiting, _NO_MORE)
                more = index is not _NO_MORE
                if not isinstance(index, int):
                    break
                with _script_not_imported():
                    running.add(pool.submit(_work, index))
            if running:
                finished, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            else:
                finished = set()
            for future in finished:
                future.result()
            seen, new = counter.value, counter.value - seen
            yield new
        pool.shutdown()
    except BrokenProcessPool as error:
        raise DistillError(
            "a labeling process was killed, most likely for lack of memory", hint="run again with --workers 1"
        ) from error
    finally:
        # Shards are written atomically, so a process can be stopped anywhere.
        for child in multiprocessing.active_children():
            child.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _script_not_imported() -> Iterator[None]:
    """Keep new processes from importing the script that runs: it may label without an ``if __name__`` guard."""
    main = vars(sys.modules["__main__"])
    file = main.pop("__file__", None) if main.get("__spec__") is None else None  # python -m imports modules as usual
    try:
        yield
    finally:
        if file is not None:
            main["__file__"] = file


_NO_MORE: Any = object()
_JOB: list[Any] = []


def _start_worker(job: Job, counter: Any, started: Any, gpus: int) -> None:
    """Set up a worker process: it ignores Ctrl-C, uses one thread, and ends with its parent."""
    import cv2

    from distill.runtime.cpu import one_blas_thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu_of(number, gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    # Without its parent, a worker would wait for the queue of the pool for ever.
    threading.Thread(target=_follow_parent, daemon=True).start()
    cv2.setNumThreads(1)
    one_blas_thread()
    _JOB[:] = [job, counter]


def gpu_of(worker: int, gpus: int, visible: str | None) -> str:
    """``CUDA_VISIBLE_DEVICES`` of a worker: one GPU of those that the job may use, in turn.

    Args:
        worker: Counted from 0.
        gpus: Number of GPUs.
        visible: ``CUDA_VISIBLE_DEVICES`` of the job; None: all.
    """
    names = [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(gpus)]
    return names[worker % len(names)]


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(index: int) -> None:
    from distill.teachers.labeling.label_shard import label_shard

    job, counter = _JOB

    def advance(count: int) -> None:
        with counter.get_lock():
            counter.value += count

    label_shard(job, index, advance)
