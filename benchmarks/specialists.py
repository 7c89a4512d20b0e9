"""Time `distill label` with an ONNX teacher against the bare ONNX Runtime session, in turns, over the same photos.

    DISTILL_MODELS=MODELS python benchmarks/specialists.py PHOTOS configs/teachers/tcmonodepth.yaml ... [--out FILE]

Three contestants for each teacher, all in one process that has the model open:

* bare session: ONNX Runtime with its own defaults (all cores), fed prepared tensors; nothing is read and nothing kept;
* plain script: the same session, but each photo is read and prepared for it, and the answer is thrown away;
* distill label: reads the photos, runs the model, reads its output into labels with confidence, writes shards.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from machine import results_page

from distill.commands.teachers import load_teacher
from distill.images import read_photo
from distill.recipe.teacher import OnnxRecipe
from distill.report import Table
from distill.teachers.labelling import Job, label_slice
from distill.teachers.sources import Unreadable
from distill.teachers.specialists.onnx import OnnxSpecialist, find_model

_CHUNK = 14
"""Photos in a turn: long enough to fill the pipeline, short enough that a busy moment falls on all three."""
NOTES = """Photos per second, the median over rounds in which the three took turns, 14 photos each; shares are medians
of the rounds' own ratios. The bare session has the machine's cores to itself; labelling gives each photo one thread and
works on as many photos at once as there are cores, which leaves room for reading photos and writing shards where a
network does not scale to all cores by itself. Start-up (imports, opening the model) is left out of all three."""


class Contest:
    """One teacher's three contestants."""

    def __init__(self, recipe: OnnxRecipe, photos: Path, scratch: Path) -> None:
        self._scratch, self._rounds = scratch, 0
        self._recipe, self._photos = recipe, photos
        self._specialist = OnnxSpecialist(recipe, Path())
        self._session = onnxruntime.InferenceSession(
            str(find_model(recipe.model, Path())), providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        job = self._job()
        self.num_photos = job.num_photos
        read = [photo for photo in job.source.read(0, self.num_photos) if not isinstance(photo, Unreadable)]
        self._paths = [Path(str(photo.origin["path"])) for photo in read]
        self._tensors = [self._prepared(photo.rgb) for photo in read[:8]]
        self._teacher = job.teacher
        self._teacher.teach(read[0])

    def _job(self) -> Job:
        out = self._scratch / f"round{self._rounds}"
        return Job(
            out=out, recipe=self._recipe, folder=Path(), inputs=(str(self._photos),), shard_size=_CHUNK, previews=0
        )

    def _prepared(self, rgb: np.ndarray) -> np.ndarray:
        return self._specialist._prepare(rgb, self._session)

    def begin(self) -> Job:
        """A fresh job for one round, with the model open: start-up is not what is timed."""
        self._rounds += 1
        job = self._job()
        job.__dict__["teacher"] = self._teacher
        job.identity(0)
        return job

    def bare(self, job: Job, index: int) -> None:
        """Run prepared tensors, as many as the slice has photos."""
        for number in range(*job.bounds(index)):
            self._session.run(None, {self._input: self._tensors[number % len(self._tensors)]})

    def script(self, job: Job, index: int) -> None:
        """Read, prepare, run, forget."""
        for path in self._paths[slice(*job.bounds(index))]:
            photo = read_photo(path.read_bytes(), key="k", name=path.name)
            self._session.run(None, {self._input: self._prepared(photo.rgb)})

    def label(self, job: Job, index: int) -> None:
        """Write a shard."""
        label_slice(job, index)


def timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compete(contest: Contest, seconds: float, rounds: int) -> dict[str, Any]:
    """Seconds of each contestant, round by round; within a round they take turns slice by slice, in changing order."""
    contestants = {"bare session": contest.bare, "plain script": contest.script, "distill label": contest.label}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    start = time.perf_counter()
    while len(taken["bare session"]) < rounds and (time.perf_counter() - start < seconds or not taken["bare session"]):
        job = contest.begin()
        total = dict.fromkeys(contestants, 0.0)
        for index in range(job.num_slices):
            for name in list(contestants)[:: 1 if index % 2 else -1]:
                total[name] += timed(partial(contestants[name], job, index))
        for name, value in total.items():
            taken[name].append(value)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("teachers", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each teacher")
    parser.add_argument("--rounds", type=int, default=5, help="for each teacher, at most")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for path in options.teachers:
        recipe, _ = load_teacher(str(path), None, [])
        assert isinstance(recipe, OnnxRecipe)
        with tempfile.TemporaryDirectory() as scratch:
            contest = Contest(recipe, options.photos, Path(scratch))
            taken = compete(contest, options.seconds, options.rounds)
        arrays = {name: np.array(values) for name, values in taken.items()}
        rate = {name: contest.num_photos / float(np.median(values)) for name, values in arrays.items()}
        share = {
            name: float(np.median(arrays[name] / arrays["distill label"])) for name in ("bare session", "plain script")
        }
        rows.append(
            [
                path.stem,
                contest.num_photos,
                len(arrays["bare session"]),
                *(round(rate[name], 1) for name in arrays),
                f"{100 * share['bare session']:.0f} %",
                f"{100 * share['plain script']:.0f} %",
            ]
        )
        print(rows[-1], flush=True)
    columns = ["teacher", "photos", "rounds", "bare session", "plain script", "distill label", "of bare", "of script"]
    cores = len(os.sched_getaffinity(0))
    results_page(f"Labelling with ONNX teachers on {cores} cores", NOTES, [Table(columns, rows)], options.out)


if __name__ == "__main__":
    main()
