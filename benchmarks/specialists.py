"""`distill label` with an ONNX teacher against the bare ONNX Runtime session, in turns, on the same photos.

    DISTILL_MODELS=MODELS python benchmarks/specialists.py PHOTOS configs/teachers/tcmonodepth.yaml ... [--out FILE]

Four variants per teacher, all in one process with the model open:

* bare session: ONNX Runtime with its defaults (all cores) on prepared tensors; outputs are discarded;
* one thread: the same with one thread, for its CPU time, since waiting threads of the other one spin;
* plain script: one thread, but each photo is read and prepared, and the output is discarded;
* distill label: reads photos, runs the model, decodes labels with confidence, writes shards.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from machine import results_page

from distill.config.adapters import OnnxConfig
from distill.images import read_photo
from distill.inputs import UnreadablePhoto
from distill.report import Table
from distill.teachers.adapters.onnx import OnnxSpecialist, find_model
from distill.teachers.labeling.job import Job
from distill.teachers.labeling.label_shard import label_shard
from distill.workflows.teachers.load import load_teacher

_CHUNK = 64
"""Photos in a turn: a shard, as `distill label` makes them unless told otherwise."""
NOTES = """Processor time is that of all threads, and hardly depends on what else the machine does. `distill label`
works on as many photos at once as there are cores, one thread each; on idle cores its speed is the number of cores over
its processor time. The bare session cannot be faster than the number of cores over its processor time with one thread,
so the ratio of the two is the least share of its speed that labeling can have; where a network does not scale to all
cores the share is larger. Wall-clock rates are as they came, taking turns, a shard of photos each.
Start-up (imports, opening the model) is left out of everything."""


class Contest:
    """Variants for one teacher."""

    def __init__(self, config: OnnxConfig, photos: Path, scratch: Path, limit: int | None) -> None:
        self._limit = limit
        self._scratch, self._rounds = scratch, 0
        self._config, self._photos = config, photos
        self._specialist = OnnxSpecialist(config, Path())
        self._session = onnxruntime.InferenceSession(
            str(find_model(config.model, Path())), providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._single = onnxruntime.InferenceSession(
            str(find_model(config.model, Path())), options, providers=["CPUExecutionProvider"]
        )
        job = self._job()
        self.num_photos = job.num_photos
        read = [photo for photo in job.source.read(0, self.num_photos) if not isinstance(photo, UnreadablePhoto)]
        self._paths = [Path(str(photo.origin["path"])) for photo in read]
        self._tensors = [self._prepared(photo.rgb) for photo in read[:8]]
        self._teacher = job.teacher
        self._teacher.label(read[0])

    def _job(self) -> Job:
        out = self._scratch / f"round{self._rounds}"
        inputs = (str(self._photos),)
        return Job(
            out=out, config=self._config, folder=Path(), inputs=inputs, shard_size=_CHUNK, previews=0, limit=self._limit
        )

    def _prepared(self, rgb: np.ndarray) -> np.ndarray:
        return self._specialist._prepare(rgb, self._session)

    def begin(self) -> Job:
        """New job with the model open, so that start-up is not timed."""
        self._rounds += 1
        job = self._job()
        job.__dict__["teacher"] = self._teacher
        job.identity(0)
        return job

    def bare(self, job: Job, index: int) -> None:
        """Run prepared tensors, one per photo of the shard."""
        for number in range(*job.photo_range(index)):
            self._session.run(None, {self._input: self._tensors[number % len(self._tensors)]})

    def one_thread(self, job: Job, index: int) -> None:
        """Run prepared tensors with one thread."""
        for number in range(*job.photo_range(index)):
            self._single.run(None, {self._input: self._tensors[number % len(self._tensors)]})

    def script(self, job: Job, index: int) -> None:
        """Read, prepare, run."""
        for path in self._paths[slice(*job.photo_range(index))]:
            photo = read_photo(path.read_bytes(), key="k", name=path.name)
            self._single.run(None, {self._input: self._prepared(photo.rgb)})

    def label(self, job: Job, index: int) -> None:
        """Write a shard."""
        label_shard(job, index)


def timed(call: Callable[[], None]) -> tuple[float, float]:
    """(seconds, CPU seconds)."""
    start, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu


def compete(contest: Contest, seconds: float, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(seconds, CPU seconds) of each variant, round by round.

    Within a round they take turns shard by shard, in changing order.
    """
    contestants = {
        "bare session": contest.bare,
        "one thread": contest.one_thread,
        "plain script": contest.script,
        "distill label": contest.label,
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    start = time.perf_counter()
    while len(taken["bare session"]) < rounds and (time.perf_counter() - start < seconds or not taken["bare session"]):
        job = contest.begin()
        total = {name: np.zeros(2) for name in contestants}
        for index in range(job.num_shards):
            for name in list(contestants)[:: 1 if index % 2 else -1]:
                total[name] += timed(partial(contestants[name], job, index))
        for name, value in total.items():
            taken[name].append((float(value[0]), float(value[1])))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("teachers", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each teacher")
    parser.add_argument("--rounds", type=int, default=5, help="for each teacher, at most")
    parser.add_argument("--limit", type=int, help="only this many photos")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for path in options.teachers:
        config, _ = load_teacher(path)
        assert isinstance(config, OnnxConfig)
        with tempfile.TemporaryDirectory() as scratch:
            contest = Contest(config, options.photos, Path(scratch), options.limit)
            taken = compete(contest, options.seconds, options.rounds)
        median = {name: np.median(values, axis=0) for name, values in taken.items()}
        cpu_ms = {name: 1e3 * value[1] / contest.num_photos for name, value in median.items()}
        script = np.array(taken["plain script"])[:, 0] / np.array(taken["distill label"])[:, 0]
        wall = np.array(taken["bare session"])[:, 0] / np.array(taken["distill label"])[:, 0]
        rows.append(
            [
                path.stem,
                contest.num_photos,
                len(wall),
                *(round(float(cpu_ms[name]), 1) for name in ("one thread", "plain script", "distill label")),
                f"{100 * cpu_ms['one thread'] / cpu_ms['distill label']:.0f} %",
                *(round(contest.num_photos / float(median[name][0]), 1) for name in ("bare session", "distill label")),
                f"{100 * float(np.median(wall)):.0f} %",
                f"{100 * float(np.median(script)):.0f} %",
            ]
        )
        print(rows[-1], flush=True)
    columns = ["teacher", "photos", "rounds", "one thread, CPU ms", "plain script, CPU ms", "label, CPU ms"]
    columns += ["least share", "bare session, 1/s", "label, 1/s", "of the bare session", "of the plain script"]
    cores = len(os.sched_getaffinity(0))
    results_page(f"Labeling with ONNX teachers on {cores} cores", NOTES, [Table(columns, rows)], options.out)


if __name__ == "__main__":
    main()
