"""Prove that a refactoring changed no result: labels, weights, engine outputs and metrics, before and after.

Run the same jobs on both commits, on the same machine and in the same Python environment, then compare:

    git worktree add /tmp/before COMMIT
    DISTILL_DATA=path/to/data python benchmarks/same_results.py run --checkout /tmp/before --out before.json
    DISTILL_DATA=path/to/data python benchmarks/same_results.py run --out after.json
    python benchmarks/same_results.py compare before.json after.json

`run` uses the `distill` of --checkout, or of the checkout that contains this script. `compare` exits with 1 and lists
the differences if there are any. A refactoring may change names, but no value. The jobs use the command line only:

1. label: SHA-256 of every file in the shards except JSON (label maps, confidence maps, photos), for 64 synthetic
   scenes with all tasks, 16 with exact truth and, if DISTILL_DATA is set, 13 real generated images (replay) and
   ESPNetv2 on 20 photos
2. train: SHA-256 of every tensor after 60 steps of a nano student on the synthetic shards, and the last losses
3. export: SHA-256 of every output of the ONNX file on 8 images of different sizes
4. evaluate: every number of `distill evaluate --json` for student, ONNX file and mean baseline on those 16 scenes
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image
from safetensors.numpy import load_file

# The command line, new to old. Commands below are written in the new spelling. If a checkout refuses a command as wrong
# use (exit code 2, before anything is written), the old spelling of these flags and keys is tried.
NEW_TO_OLD = {
    "--baseline": "--trivial",
    "--images": "--samples",
    "--max-failures": "--tolerate",
    "train.num_validations": "train.validations",
}
# Keys of results, old to new: whole keys or words in them (as in train_instance_centre). Applied to both sides.
RENAMED_KEYS = {"centre": "center", "terms": "protocol", "trivial": "baseline"}
# Values below these keys describe the machine or the time, not the result.
IGNORED_KEYS = {"made_with", "environment", "machine", "versions", "seconds", "elapsed_s"}

SCENES = "--teacher synthetic --set tasks=[depth,normals,semantic,instance,referring] --set size_hw=[96,128]"
# 56 of the 64 scenes are for training: 6 epochs of 10 batches are 60 steps.
TRAINING = (
    "tasks=[depth,normals,semantic,instance] student.preset=nano student.size_hw=[96,128] data.batch_size=6"
    " data.workers=0 train.epochs=6 train.num_validations=2 train.seed=0 train.threads=1 train.accelerator=cpu"
    " train.logger=none"
)
REPLAY = "data/vision_banana/photos --teacher replay --answers data/vision_banana/answers.yaml"
ESPNETV2 = "--teacher configs/teachers/espnetv2_camvid.yaml --set model=data/models/espnetv2_s_2.0_city_1024x512.onnx"
REAL_DATA = ("label/replay", "label/espnetv2")
FIXED_ENV = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
Section = dict[str, str]


class Jobs:
    """Runs the jobs with one checkout, each on the files of those before it, and collects the results."""

    def __init__(self, checkout: Path, work: Path) -> None:
        self.work = work
        self.results: dict[str, Section] = {}
        self.seconds: dict[str, tuple[float, float]] = {}  # by the clock, and of CPU time
        self._env = {**os.environ, **FIXED_ENV, "PYTHONPATH": str(checkout)}
        imported = self._python(["-c", "import distill; print(distill.__file__)"]).stdout.strip()
        if not Path(imported).resolve().is_relative_to(checkout):
            raise SystemExit(f"python imports {imported or 'no distill'}, not the distill of {checkout}")

    def label(self, name: str, words: str) -> None:
        """Write shards into the folder `name`; record their contents."""
        with self._timed(f"label/{name}") as found:
            self._distill(f"label --out {name} --workers 1 --previews 0 --max-failures 64 --json {words}")
            found.update({member: sha256(content) for member, content in self._members(name)})

    def train(self) -> None:
        """Train on the synthetic shards; record weights and losses."""
        with self._timed("train/weights") as found:
            self._distill(f"train --shards synthetic --out run --json {TRAINING}")
            weights = load_file(self.work / "run" / "weights.safetensors")
            found.update({name: sha256(array) for name, array in weights.items()})
        self.results["train/losses"] = numbers(json.loads((self.work / "run" / "history.json").read_text())[-1])

    def export(self) -> None:
        """Export to ONNX; record the outputs for photos cropped to different sizes."""
        with self._timed("export/outputs") as found:
            self._distill("export run --to onnx --images truth --out exported/student.onnx --json")
            model = next((self.work / "exported").rglob("*.onnx")).replace(self.work / "student.onnx")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            photos = [content for member, content in self._members("truth") if member.endswith(".jpg")]
            for index, photo in enumerate(photos[:8]):
                image = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB"))[None, 5 * index :, 3 * index :]
                arrays = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(image)})
                outputs = zip(session.get_outputs(), arrays, strict=True)
                found.update({f"image{index}/{output.name}": sha256(array) for output, array in outputs})

    def evaluate(self) -> None:
        """Evaluate student, ONNX file and mean baseline; record every number."""
        with self._timed("evaluate/metrics") as found:
            printed = self._distill("evaluate run student.onnx --truth truth --baseline synthetic --worst 0 --json")
            found.update(numbers(json.loads(printed)))

    def _members(self, name: str) -> Iterator[tuple[str, bytes]]:
        """(name, content) of the files in a folder of shards, without JSON."""
        for path in sorted((self.work / name).glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    if file is not None and not member.name.endswith(".json"):
                        yield member.name, file.read()

    def _distill(self, command: str) -> str:
        """Standard output of a command, in the first spelling that the checkout accepts."""
        renamed = [new for new in NEW_TO_OLD if f" {new}" in command]
        errors: list[str] = []
        for spelling in itertools.product(*((new, NEW_TO_OLD[new]) for new in renamed)):
            chosen = command
            for new, used in zip(renamed, spelling, strict=True):
                chosen = chosen.replace(f" {new}", f" {used}")
            done = self._python(["-m", "distill", *chosen.split()])
            if done.returncode == 0:
                return done.stdout
            errors.append(f"distill {chosen}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            if done.returncode != 2:
                break
        raise SystemExit("\n".join([*errors, f"exit code {done.returncode}"]))

    def _python(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, *words]
        return subprocess.run(words, check=False, cwd=self.work, env=self._env, capture_output=True, text=True)

    @contextmanager
    def _timed(self, name: str) -> Iterator[Section]:
        """A new section of the results, which must not stay empty."""
        print(f"{name} ...", flush=True)
        start = os.times()
        yield self.results.setdefault(name, {})
        _, _, user_s, system_s, wall_s = (now - then for now, then in zip(os.times(), start, strict=True))
        self.seconds[name] = round(wall_s, 1), round(user_s + system_s, 1)
        if not self.results[name]:
            raise SystemExit(f"{name}: no result to record")


def sha256(content: bytes | np.ndarray) -> str:
    """Of a file, or of the type, shape and values of an array."""
    if isinstance(content, np.ndarray):
        content = f"{content.dtype} {content.shape} ".encode() + content.tobytes()
    return hashlib.sha256(content).hexdigest()


def numbers(value: Any, path: str = "") -> Section:
    """The numbers and nulls in a JSON value by path, as text that keeps every bit."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        parts = [numbers(item, f"{path}/{key}".strip("/")) for key, item in items if str(key) not in IGNORED_KEYS]
        return {key: number for part in parts for key, number in part.items()}
    return {} if isinstance(value, str) else {path: "null" if value is None else repr(float(value))}


def normalized(section: Section) -> Section:
    """The section with its keys renamed by RENAMED_KEYS."""
    pattern = re.compile(rf"(?<![A-Za-z])({'|'.join(RENAMED_KEYS)})(?![A-Za-z])")
    renamed = {pattern.sub(lambda match: RENAMED_KEYS[match[1]], key): value for key, value in section.items()}
    if len(renamed) < len(section):
        raise SystemExit("RENAMED_KEYS gives two values the same key")
    return renamed


def differences(name: str, first: Section, second: Section) -> list[str]:
    """One line for each difference between two sections; none if they are equal."""
    first, second = normalized(first), normalized(second)
    old, new = [key for key in first if key not in second], [key for key in second if key not in first]
    if name == "train/weights" and old and sorted(first[key] for key in old) == sorted(second[key] for key in new):
        print(f"{name}: {len(old)} parameters have a new name and equal contents")
        old = new = []
    lines = [f"{key}: {first[key]} became {second[key]}" for key in first if second.get(key, first[key]) != first[key]]
    for key in old:
        same = [other for other in new if second[other] == first[key]]
        hint = f"; if its new name is {same[0]}, add it to RENAMED_KEYS" if len(same) == 1 else ""
        lines.append(f"{key}: only in the first file{hint}")
    return lines + [f"{key}: only in the second file" for key in new]


def run(checkout: Path, out: Path) -> int:
    """Run all jobs and write their results; the exit code."""
    with tempfile.TemporaryDirectory() as work:
        jobs = Jobs(checkout.resolve(), Path(work))
        jobs.label("synthetic", f"{SCENES} --set scenes=64 --set faults=moderate")
        jobs.label("truth", f"{SCENES} --set scenes=16 --set first=1000000 --set truth=true")
        if "DISTILL_DATA" in os.environ:
            (jobs.work / "data").symlink_to(Path(os.environ["DISTILL_DATA"]).resolve())
            (jobs.work / "configs").symlink_to(checkout.resolve() / "configs")
            jobs.label("replay", REPLAY)
            jobs.label("espnetv2", f"data/seg_camvid/val/images --limit 20 {ESPNETV2}")
        else:
            print(f"{', '.join(REAL_DATA)}: skipped, because DISTILL_DATA is not set")
        jobs.train()
        jobs.export()
        jobs.evaluate()
    out.write_text(json.dumps({"python": sys.version, "seconds": jobs.seconds, "results": jobs.results}, indent=1))
    wall_s, cpu_s = map(sum, zip(*jobs.seconds.values(), strict=True))
    print(f"wrote {out}: {wall_s:.0f} s, of CPU time {cpu_s:.0f} s")
    return 0


def compare(paths: list[Path]) -> int:
    """The exit code: 1 if the results in two files differ."""
    before, after = (json.loads(path.read_text())["results"] for path in paths)
    total = 0
    for name in dict.fromkeys([*before, *after, *REAL_DATA]):
        lines = differences(name, before.get(name, {}), after.get(name, {}))
        equal = f"{len(before[name])} values are equal" if name in before else "skipped in both files"
        print(f"{name}:", f"{len(lines)} differences" if lines else equal)
        print("".join(f"  {line}\n" for line in lines[:20]), end="")
        total += len(lines)
    print(f"{total} differences" if total else "no difference")
    return 1 if total else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run", help="run the jobs and write their results")
    running.add_argument("--checkout", type=Path, default=Path(__file__).parents[1], help="files of another commit")
    running.add_argument("--out", type=Path, required=True, help="JSON file to write")
    comparing = verbs.add_parser("compare", help="compare two results; exit with 1 if they differ")
    comparing.add_argument("files", type=Path, nargs=2)
    arguments = parser.parse_args()
    return compare(arguments.files) if arguments.verb == "compare" else run(arguments.checkout, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
