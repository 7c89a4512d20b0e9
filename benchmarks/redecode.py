"""Speed of decoding stored images again with another threshold, without requests.

    python benchmarks/redecode.py --out benchmarks/results/redecode.md

Images are generated once and stored; the shards are then written again with `--offline` and another threshold. For
comparison, in the same run and on one core: the bare decoders on the same images, and the steps required by any
relabeling (read and decode the image, decode the label, encode and write the maps).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import results_page

from distill.images import decode_rgb
from distill.labels import Label, encode
from distill.report.blocks import Table
from distill.tasks import Task
from distill.teachers.base import PromptSpec
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.records import CachedAnswer
from distill.teachers.synthetic.scene import SYNTHETIC_CLASSES
from distill.teachers.tasks import decode_answer
from distill.teachers.tasks.depth import depth_prompt
from distill.teachers.tasks.normals import normals_prompt
from distill.teachers.tasks.semantic import semantic_prompt

PROMPT_SPECS = {
    prompt_spec.prompt: prompt_spec
    for prompt_spec in (depth_prompt(), normals_prompt(), semantic_prompt(SYNTHETIC_CLASSES))
}


def distill(*words: object) -> dict[str, Any]:
    """JSON output of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "distill", *map(str, words), "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def prompt_spec_of(stored: CachedAnswer) -> PromptSpec:
    """Prompt of a stored image, found by its text."""
    sentence = stored.meta["answer_key"]["prompt"]
    return next(prompt_spec for prompt, prompt_spec in PROMPT_SPECS.items() if prompt and prompt in sentence)


def second_values_of(work: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 512))
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    work = given.work or Path(tempfile.mkdtemp())
    scenes = -(-given.answers // 3)
    teacher = [
        "--teacher",
        "synthetic",
        "--set",
        f"scenes={scenes}",
        "--set",
        "faults={jpeg_probability: 0.5, output_size: other}",
    ]
    teacher += ["--set", f"size_hw=[{given.size[0]},{given.size[1]}]", "--store", work / "answers"]
    first = distill("label", *teacher, "--check", "--out", work / "first", "--previews", 0)
    again = ["label", work / "first", *teacher, "--offline", "--previews", 0, "--workers"]
    rows: list[list[str | int]] = []
    for name, workers, more in (
        ("relabeled, one core", 1, ["--no-check"]),
        ("relabeled with another threshold, one core", 1, ["--check", "--min-quality", "0.5"]),
        ("relabeled with another threshold, two cores", 2, ["--check", "--min-quality", "0.4"]),
    ):
        result = distill(*again, workers, *more, "--out", work / f"again{len(rows)}")
        rows.append(
            [name, result["answers"], f"{result['seconds']:.1f}", f"{result['answers'] / result['seconds']:.1f}"]
        )
    rows += bare_steps(AnswerStore(work / "answers"), work)
    notes = (
        f"{first['answers']} stored answers about photos of {given.size[1]}x{given.size[0]} px (answers are 1.25 or "
        "1.5 times larger, half of them JPEG); start-up and report included. No request was sent."
    )
    results_page("Reading stored answers again", notes, [Table(["what", "answers", "s", "answers/s"], rows)], given.out)


def bare_steps(store: AnswerStore, work: Path) -> list[list[str | int]]:
    """CPU time of the single steps on a sample of stored images."""
    found = [store.get(path.stem) for path in sorted(store.folder.glob("??/*.json"))[:150]]
    stored = [item for item in found if item is not None and item.data]
    pictures = [decode_rgb(item.data, "")[0] for item in stored]
    prompt_specs = [prompt_spec_of(item) for item in stored]
    labels: list[Label] = []

    def decode() -> None:
        labels[:] = [
            decode_answer(picture, prompt_spec) for picture, prompt_spec in zip(pictures, prompt_specs, strict=True)
        ]

    def write() -> None:
        for number, label in enumerate(labels):
            for name, data in encode(label).items():
                (work / f"bare-{number % 8}.{name}").write_bytes(data)

    decode()  # the colors' tables are filled
    steps = {"bare decoders": second_values_of(decode)}
    steps["bare pictures"] = second_values_of(lambda: [decode_rgb(item.data, "") for item in stored])
    steps["bare maps, encoded and written"] = second_values_of(write)
    steps["bare steps together"] = sum(steps.values())
    assert {label.task for label in labels} <= set(Task) and np.isfinite(sum(steps.values()))
    return [[name, len(labels), f"{s:.2f}", f"{len(labels) / s:.1f}"] for name, s in steps.items()]


if __name__ == "__main__":
    main()
