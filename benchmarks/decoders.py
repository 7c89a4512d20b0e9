"""Images per second of every decoder on one core, against straightforward numpy.

    DISTILL_DATA=path/to/data python benchmarks/decoders.py --out benchmarks/results/decoders.md

Generated images of 1024x1024 px of synthetic scenes with noise and JPEG; decoding gives values, confidence and valid
mask. "first" is the first image of a kind, which fills the table of colors; "next" the median of all later ones.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import yaml
from machine import results_page

from distill.config.synthetic import FaultsConfig, SyntheticConfig
from distill.images import decode_rgb
from distill.report.blocks import Table
from distill.tasks import Task, unwarp_depth
from distill.teachers.base import PromptSpec
from distill.teachers.codecs.colormaps import path
from distill.teachers.synthetic.answer_rendering import render_answer
from distill.teachers.synthetic.corruptions import encode_file
from distill.teachers.synthetic.generator import SyntheticGenerator
from distill.teachers.synthetic.rendering import scene, scene_photo
from distill.teachers.tasks import decode_answer

SIDE_PX = 1024
FAULTS = FaultsConfig(jpeg_probability=0.5, jpeg_quality=90, color_noise_sigma=2.0, edge_halo_px=0.6)


def plain_depth(generated: np.ndarray, prompt_spec: PromptSpec) -> np.ndarray:
    """Depth as in the paper: distance to each edge of the path, argmin, inverse warp, in float32."""
    vertices = path(prompt_spec.colormap).astype(np.float32)
    pixels = generated.astype(np.float32)
    distances, places = [], []
    for start, end in itertools.pairwise(vertices):
        step = end - start
        along = np.clip((pixels - start) @ step / (step @ step), 0, 1)
        distances.append(((pixels - start - along[..., None] * step) ** 2).sum(axis=-1))
        places.append(along)
    nearest = np.argmin(distances, axis=0)
    along = np.take_along_axis(np.array(places), nearest[None], axis=0)[0]
    position = np.minimum((nearest + along) / (len(vertices) - 1), 1 - 1e-6)
    depth_m = np.asarray(unwarp_depth(position))
    return depth_m * np.exp(-np.sqrt(np.min(distances, axis=0)) / 10)


def plain_normals(generated: np.ndarray, prompt_spec: PromptSpec) -> np.ndarray:
    vector = (generated.astype(np.float32) / 127.5 - 1) * np.array([-1, 1, 1], np.float32)
    length = np.linalg.norm(vector, axis=-1)
    valid = (length > 0.8) & (length < 1.2)
    return vector / length[..., None] * (valid * np.exp(-0.5 * ((length - 1) / 0.1) ** 2))[..., None]


def plain_semantic(generated: np.ndarray, prompt_spec: PromptSpec) -> np.ndarray:
    colors = np.array(list(prompt_spec.legend.values()), np.float32)
    distance = ((generated[:, :, None].astype(np.float32) - colors) ** 2).sum(axis=-1)
    return np.where(distance.min(axis=-1) < 1600, distance.argmin(axis=-1), 255)


PLAIN = {Task.DEPTH: plain_depth, Task.NORMALS: plain_normals, Task.SEMANTIC: plain_semantic}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU time, independent of other programs."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return float(np.median(times))


def answers(num_scenes: int) -> list[tuple[PromptSpec, np.ndarray]]:
    config = SyntheticConfig(size_hw=(SIDE_PX, SIDE_PX), tasks=tuple(PLAIN), faults=FAULTS)
    found = []
    for index in range(num_scenes):
        world, camera = scene(config.seed, index)
        for prompt_spec in SyntheticGenerator(config).prompt_specs(scene_photo(index, config)):
            rng = np.random.default_rng(index)
            generated = render_answer(world, camera, config.size_hw, prompt_spec, FAULTS, rng)
            found.append((prompt_spec, decode_rgb(encode_file(generated, FAULTS, rng), "answer")[0]))
    return found


def row_of(name: str, prompted: list[tuple[PromptSpec, np.ndarray]], plain: Callable | None) -> list[str]:
    first = seconds(lambda: decode_answer(prompted[0][1], prompted[0][0]), 1)
    for prompt_spec, generated in prompted[1:]:
        decode_answer(generated, prompt_spec)
    each = float(np.median([seconds(lambda q=q, p=p: decode_answer(p, q), 9) for q, p in prompted]))
    slow = seconds(lambda: plain(prompted[0][1], prompted[0][0]), 3) if plain else None
    ratio = [f"{1000 * slow:.0f}", f"{slow / each:.0f}x"] if slow else ["", ""]
    return [name, f"{1000 * first:.0f}", f"{1000 * each:.1f}", f"{1 / each:.0f}", *ratio]


def real_instances(data: Path) -> list[tuple[PromptSpec, np.ndarray]]:
    folder = data / "vision_banana"
    entries = yaml.safe_load((folder / "answers.yaml").read_text())
    return [
        (
            PromptSpec(Task.INSTANCE, class_name=entry["class"], background=tuple(entry["background"])),
            decode_rgb((folder / entry["answer"]).read_bytes(), entry["answer"])[0],
        )
        for entry in entries
        if entry["task"] == "instance"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, default=3)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    made = answers(given.scenes)
    rows = []
    for task, plain in PLAIN.items():
        rows.append(row_of(str(task), [(q, p) for q, p in made if q.task is task], plain))
    if "DISTILL_DATA" in os.environ:
        rows += [
            row_of(f"instances, real: {q.class_name}", [(q, p)], None)
            for q, p in real_instances(Path(os.environ["DISTILL_DATA"]))
        ]
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    notes = f"One thread, processor time. Peak memory of the whole benchmark: {peak_gib:.2f} GiB."
    columns = ["answers", "first ms", "next ms", "images/s", "plain numpy ms", "faster by"]
    results_page("Speed of the decoders", notes, [Table(columns, rows)], given.out)


if __name__ == "__main__":
    main()
