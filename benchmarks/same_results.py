"""Prove that a refactoring changed no result: labels, weights, engine outputs and metrics, before and after.

Run the same jobs on both commits, on the same machine and in the same Python environment, then compare:

    git worktree add /tmp/before COMMIT
    export DISTILL_DATA=path/to/data
    python benchmarks/same_results.py run --checkout /tmp/before --out before.json
    python benchmarks/same_results.py run --out after.json
    python benchmarks/same_results.py compare before.json after.json

`run` uses the `distill` of the checkout that contains this script unless --checkout names another one; it prefixes
nothing to your PATH and needs no installation beyond the environment of `python`. It takes about five minutes of CPU
time on one core; `nice -n 5` is fine, because no result depends on time. `compare` exits with 1 and lists the
differences if there are any. Two runs of the same commit must compare equal, too: try this first.

The jobs use the command line only, so this script imports nothing of `distill`:

1. label: SHA-256 of every file in the shards except JSON (label maps, confidence maps, photos), for 64 synthetic
   scenes with all tasks and, if DISTILL_DATA is set, 13 real generated images (replay) and ESPNetv2 on 20 photos
2. train: SHA-256 of every tensor after 60 steps of a nano student on the synthetic shards, and the last losses
3. export: SHA-256 of every output of the ONNX file on 8 images of different sizes
4. evaluate: every number that `distill evaluate --json` prints for student, ONNX file and mean baseline on 16 other
   scenes with exact truth

Names may change in a refactoring, values may not. Two tables below hold the names: NEW_TO_OLD for the command line and
RENAMED_KEYS for keys of results. `compare` suggests rows for RENAMED_KEYS where only a name has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# The command line, new to old. Commands below are written in the new spelling. A command that a checkout refuses as
# wrong use (exit code 2, before anything is written) is tried again with the old spelling of what it contains.
NEW_TO_OLD = {
    "--baseline": "--trivial",
    "--images": "--samples",
    "--max-failures": "--tolerate",
    "trainer.": "train.",  # the section of the training config, if it is renamed together with its class
}
# Keys of results, old to new: whole keys or words in them (as in train_instance_centre). Applied to both sides.
RENAMED_KEYS = {
    "centre": "center",
    "colour": "color",
    "flicker": "temporal",
    "gauge": "depth_kind",
    "labelled": "labeled",
    "licence": "license",
    "subjects": "models",
    "terms": "protocol",
    "trivial": "baseline",
}
# Values below these keys describe the machine or the time, not the result.
IGNORED_KEYS = {"made_with", "machine", "versions", "seconds", "elapsed_s"}
# Sections in which equal contents under other names count as equal, because the refactoring may rename parameters.
FREE_NAMES = {"train/weights"}

SIZE = "[96,128]"
SCENES = ["--teacher", "synthetic", "--set", "tasks=[depth,normals,semantic,instance,referring]", "--set", "seed=3"]
SCENES += ["--set", f"size_hw={SIZE}"]
TRAINING = ["tasks=[depth,normals,semantic,instance]", "student.preset=nano", f"student.size_hw={SIZE}"]
# 56 of the 64 scenes are trained on: 10 batches of at most 6, 6 times, are 60 steps.
TRAINING += ["data.batch_size=6", "data.workers=0", "trainer.epochs=6", "trainer.validations=2", "trainer.seed=0"]
TRAINING += ["trainer.threads=1", "trainer.accelerator=cpu", "trainer.logger=none"]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MAX_LISTED = 20
Section = dict[str, Any]


class Jobs:
    """Runs the jobs with one checkout and collects the results."""

    def __init__(self, checkout: Path, work: Path, data: Path | None) -> None:
        self.checkout, self.work, self.data = checkout, work, data
        self.results: dict[str, Section] = {}
        self.skipped: list[str] = []
        self.seconds: dict[str, dict[str, float]] = {}
        self.env = {**os.environ, **dict.fromkeys(THREADS, "1"), "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(checkout)}
        imported = self._python(["-c", "import distill; print(distill.__file__)"]).stdout.strip()
        if not Path(imported).resolve().is_relative_to(checkout):
            raise SystemExit(f"python imports {imported}, not the distill of {checkout}")

    def run(self) -> None:
        """All jobs in order; each builds on the files of those before it."""
        with self._timed("label/synthetic"):
            self._label("synthetic", [*SCENES, "--set", "scenes=64", "--set", "faults=moderate"])
        self._label_real_data()
        with self._timed("train"):
            self._train()
        with self._timed("evaluate"):  # first the scenes with truth, which the export is compared on
            self._label("truth", [*SCENES, "--set", "scenes=16", "--set", "first=1000000", "--set", "truth=true"])
        with self._timed("export"):
            self._export()
        with self._timed("evaluate"):
            self._evaluate()

    def _label(self, name: str, words: list[str]) -> None:
        fixed = ["--out", name, "--workers", "1", "--previews", "0", "--max-failures", "64", "--json"]
        self._distill(["label", *words, *fixed])
        self.results[f"label/{name}"] = found = {}
        for path in sorted((self.work / name).glob("*.tar")):
            found.update({member: digest(content) for member, content in members(path) if member[-5:] != ".json"})

    def _label_real_data(self) -> None:
        if self.data is None:
            self.skipped = ["label/replay", "label/espnetv2"]
            return
        with self._timed("label/replay"):
            folder = self.data / "vision_banana"
            answers = ["--teacher", "replay", "--answers", str(folder / "answers.yaml")]
            self._label("replay", [str(folder / "photos"), *answers])
        with self._timed("label/espnetv2"):
            photos = sorted((self.data / "seg_camvid" / "val" / "images").glob("*.jpg"))[:20]
            teacher = next((self.checkout / "configs").rglob("espnetv2_camvid.yaml"))
            model = self.data / "models" / "espnetv2_s_2.0_city_1024x512.onnx"
            self._label("espnetv2", [*map(str, photos), "--teacher", str(teacher), "--set", f"model={model}"])

    def _train(self) -> None:
        from safetensors.numpy import load_file

        self._distill(["train", "--shards", "synthetic", "--out", "run", "--json", *TRAINING])
        weights = load_file(self.work / "run" / "weights.safetensors")
        self.results["train/weights"] = {name: digest_array(array) for name, array in weights.items()}
        history = json.loads((self.work / "run" / "history.json").read_text())
        self.results["train/losses"] = numbers(history[-1])

    def _export(self) -> None:
        import onnxruntime
        from PIL import Image

        self._distill(["export", "run", "--to", "onnx", "--images", "truth", "--out", "exported/student.onnx", "--json"])
        model = next((self.work / "exported").rglob("*.onnx")).replace(self.work / "student.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        shards = itertools.chain.from_iterable(members(path) for path in sorted((self.work / "truth").glob("*.tar")))
        photos = [content for member, content in shards if member.endswith(".jpg")]
        self.results["export/outputs"] = found = {}
        for index, photo in enumerate(photos[:8]):
            image = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB"))[5 * index :, 3 * index :]
            outputs = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(image[None])})
            found.update({f"image{index}/{name}": digest_array(x) for name, x in zip(names, outputs, strict=True)})

    def _evaluate(self) -> None:
        words = ["run", "student.onnx", "--truth", "truth", "--baseline", "synthetic", "--worst", "0", "--json"]
        self.results["evaluate/metrics"] = numbers(json.loads(self._distill(["evaluate", *words])))

    def _distill(self, words: list[str]) -> str:
        """Standard output of a command, in the first spelling that the checkout accepts."""
        renamed = [new for new in NEW_TO_OLD if any(word.startswith(new) for word in words)]
        errors = []
        for spelling in itertools.product(*((new, NEW_TO_OLD[new]) for new in renamed)):
            chosen = list(words)
            for new, used in zip(renamed, spelling, strict=True):
                chosen = [used + word.removeprefix(new) if word.startswith(new) else word for word in chosen]
            done = self._python(["-m", "distill", *chosen])
            if done.returncode == 0:
                return done.stdout
            errors.append(f"distill {' '.join(chosen)}\n{done.stderr}")
            if done.returncode != 2:
                break
        raise SystemExit("\n".join([*errors, "the command failed in every spelling above"]))

    def _python(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=self.work, env=self.env, capture_output=True, text=True, check=False)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        print(f"{name} ...", flush=True)
        wall, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        yield
        end, spent = resource.getrusage(resource.RUSAGE_CHILDREN), self.seconds.setdefault(name, {"wall": 0, "cpu": 0})
        spent["wall"] += round(time.monotonic() - wall, 1)
        spent["cpu"] += round(end.ru_utime + end.ru_stime - used.ru_utime - used.ru_stime, 1)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file in a tar."""
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield member.name, file.read()


def digest(content: bytes) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(content).hexdigest()


def digest_array(array: np.ndarray) -> str:
    """SHA-256 of type, shape and values of an array."""
    return digest(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())


def numbers(value: Any, path: str = "") -> Section:
    """The numbers (and nulls) in a JSON value, by path."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        found = [numbers(item, f"{path}/{key}".strip("/")) for key, item in pairs if str(key) not in IGNORED_KEYS]
        return {key: number for part in found for key, number in part.items()}
    return {} if isinstance(value, str) else {path: value}


def normalized(section: Section) -> Section:
    """The section with keys as RENAMED_KEYS has them."""
    pattern = re.compile(rf"(?<![A-Za-z])({'|'.join(RENAMED_KEYS)})(?![A-Za-z])")
    return {pattern.sub(lambda match: RENAMED_KEYS[match[1]], key): value for key, value in section.items()}


def differences(name: str, first: Section, second: Section) -> list[str]:
    """One line for each difference between two sections; none if they are equal."""
    first, second = normalized(first), normalized(second)
    only_first, only_second = sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys())
    if name in FREE_NAMES and only_first and Counter(first.values()) == Counter(second.values()):
        print(f"{name}: equal contents; {len(only_first)} names differ, such as {only_first[0]} and {only_second[0]}")
        return []
    lines = [f"{name}/{key}: {first[key]} became {second[key]}" for key in first if second.get(key, 0) != first[key]]
    lines = [line for line in lines if line.split(": ")[0].removeprefix(f"{name}/") in second]
    for key in only_first:
        same = [other for other in only_second if second[other] == first[key]]
        hint = f"; {same[0]} has the same value: if it was renamed, add it to RENAMED_KEYS" if same else ""
        lines.append(f"{name}/{key}: only in the first file{hint}")
    return lines + [f"{name}/{key}: only in the second file" for key in only_second]


def run(checkout: Path, out: Path) -> None:
    """Run all jobs and write their results."""
    data = Path(os.environ["DISTILL_DATA"]).resolve() if "DISTILL_DATA" in os.environ else None
    with tempfile.TemporaryDirectory() as folder:
        jobs = Jobs(checkout.resolve(), Path(folder), data)
        jobs.run()
    values = {"checkout": str(checkout.resolve()), "python": sys.version, "seconds": jobs.seconds}
    out.write_text(json.dumps({**values, "skipped": jobs.skipped, "results": jobs.results}, indent=1))
    for name in jobs.skipped:
        print(f"{name}: skipped, because DISTILL_DATA is not set")
    total = {kind: sum(spent[kind] for spent in jobs.seconds.values()) for kind in ("wall", "cpu")}
    print(f"wrote {out}: {total['wall']:.0f} s, of which {total['cpu']:.0f} s of CPU time")


def compare(first: Path, second: Path) -> int:
    """The exit code: 1 if the results in two files differ."""
    before, after = json.loads(first.read_text())["results"], json.loads(second.read_text())["results"]
    different = 0
    for name in {**before, **after}:
        lines = differences(name, before.get(name, {}), after.get(name, {}))
        print(f"{name}: {f'{len(lines)} differences' if lines else f'{len(before[name])} values are equal'}")
        print("".join(f"  {line}\n" for line in lines[:MAX_LISTED]), end="")
        different += len(lines)
    print(f"{different} differences" if different else "no difference")
    return 1 if different else 0


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run", help="run the jobs and write their results")
    running.add_argument("--checkout", type=Path, default=Path(__file__).parents[1], help="another commit's files")
    running.add_argument("--out", type=Path, required=True, help="JSON file to write")
    comparing = verbs.add_parser("compare", help="compare two results; exit with 1 if they differ")
    comparing.add_argument("files", type=Path, nargs=2)
    arguments = parser.parse_args()
    if arguments.verb == "run":
        run(arguments.checkout, arguments.out)
        return 0
    return compare(*arguments.files)


if __name__ == "__main__":
    sys.exit(main())
