"""Label error against damage of generated images: JPEG, noise, blur and resizing.

    python benchmarks/robustness.py --out benchmarks/results/robustness.md

Images of synthetic scenes are rendered exactly, damaged, decoded, and compared with the undamaged values. "all" is
every pixel, "kept" the pixels in the valid mask; pixels that a damaged depth label shows as sky are excluded, as in
losses and metrics.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from machine import results_page
from PIL import Image
from sklearn.metrics import roc_auc_score

from distill.config.synthetic import PRESETS, SyntheticConfig
from distill.labels import is_beyond_range
from distill.report.blocks import Table
from distill.tasks import FAR_DEPTH_M, Task
from distill.teachers.base import PromptSpec
from distill.teachers.synthetic.answer_rendering import render_answer
from distill.teachers.synthetic.generator import SyntheticGenerator
from distill.teachers.synthetic.rendering import scene, scene_photo
from distill.teachers.tasks import decode_answer

Damage = Callable[[np.ndarray], np.ndarray]


def jpeg(quality: int, subsampling: int) -> Damage:
    def damage(rgb: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        return np.array(Image.open(buffer))

    return damage


def noise(sigma: float) -> Damage:
    def damage(rgb: np.ndarray) -> np.ndarray:
        dice = np.random.default_rng(0)
        return np.clip(np.rint(rgb + dice.normal(0, sigma, rgb.shape)), 0, 255).astype(np.uint8)

    return damage


def blur(sigma: float) -> Damage:
    return lambda rgb: cv2.GaussianBlur(rgb, (0, 0), sigma)


def half(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


DAMAGES: dict[str, Damage] = {
    "none": lambda rgb: rgb,
    **{f"JPEG {q} 4:4:4": jpeg(q, 0) for q in (100, 95, 90, 75, 60)},
    **{f"JPEG {q} 4:2:0": jpeg(q, 2) for q in (100, 95, 90, 75, 60)},
    **{f"noise sigma {s}": noise(s) for s in (1, 2, 4, 8)},
    **{f"blur sigma {s}": blur(s) for s in (0.5, 1.0, 2.0)},
    "resize x0.5 and back": half,
}


def errors(task: Task, truth: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Error per pixel: relative depth, degrees, or 1 for a wrong class."""
    if task is Task.DEPTH:
        return np.abs(value - truth) / np.maximum(truth, 1e-3)
    if task is Task.NORMALS:
        return np.degrees(np.arccos(np.clip((value * truth).sum(-1), -1, 1)))
    return (value != truth).astype(float)


def measured(
    task: Task, generated: np.ndarray, damaged: np.ndarray, prompt_spec: PromptSpec
) -> tuple[float, float, float]:
    """(mean error of all pixels, of valid pixels, fraction of valid pixels)."""
    truth = decode_answer(generated, prompt_spec)
    label = decode_answer(damaged, prompt_spec)
    known = truth.valid & ~is_beyond_range(truth) if task is Task.DEPTH else truth.valid
    error = errors(task, truth.value, label.value)
    kept = known & label.valid
    if task is Task.DEPTH:
        kept &= ~is_beyond_range(label)  # losses and metrics leave out what the label calls sky
    return float(error[known].mean()), float(error[kept].mean()), float(kept.sum() / known.sum())


def exact_answers(num_scenes: int, size_hw: tuple[int, int]) -> list[tuple[Task, PromptSpec, np.ndarray]]:
    tasks = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)
    config = SyntheticConfig(scenes=num_scenes, size_hw=size_hw, tasks=tasks)
    answers = []
    for index in range(num_scenes):
        world, camera = scene(config.seed, index)
        photo = scene_photo(index, config)
        for prompt_spec in SyntheticGenerator(config).prompt_specs(photo):
            rng = np.random.default_rng(index)
            generated = render_answer(world, camera, size_hw, prompt_spec, PRESETS["none"], rng)
            answers.append((prompt_spec.task, prompt_spec, generated))
    return answers


def mask_auroc(num_scenes: int, size_hw: tuple[int, int]) -> tuple[float, float]:
    """(AUROC of one minus confidence for depth errors above 10 %, fraction of such pixels) at moderate faults."""
    faults = PRESETS["moderate"].model_copy(
        update={"drift_probability": 0.0, "output_size": "same", "truncated_probability": 0.0}
    )
    config = SyntheticConfig(scenes=num_scenes, size_hw=size_hw, tasks=(Task.DEPTH,), faults=faults)
    scores, wrong = [], []
    for index in range(num_scenes):
        world, camera = scene(config.seed, index)
        prompt_spec = SyntheticGenerator(config).prompt_specs(scene_photo(index, config))[0]
        clean = render_answer(world, camera, size_hw, prompt_spec, PRESETS["none"], np.random.default_rng(index))
        faulty = render_answer(world, camera, size_hw, prompt_spec, faults, np.random.default_rng(index))
        if index % 2:
            faulty = jpeg(faults.jpeg_quality, 2)(faulty)
        truth, label = decode_answer(clean, prompt_spec), decode_answer(faulty, prompt_spec)
        known = ~is_beyond_range(truth)
        scores.append(1 - label.confidence[known])
        wrong.append(errors(Task.DEPTH, truth.value, label.value)[known] > 0.1)
    hit = np.concatenate(wrong)
    return float(roc_auc_score(hit, np.concatenate(scores))), float(hit.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=2, default=(768, 1024))
    given = parser.parse_args()
    size_hw = (given.size[0], given.size[1])
    answers = exact_answers(given.scenes, size_hw)
    rows = []
    for name, damage in DAMAGES.items():
        row: list[str | float] = [name]
        for task in (Task.DEPTH, Task.NORMALS, Task.SEMANTIC):
            found = [measured(task, generated, damage(generated), q) for own, q, generated in answers if own is task]
            every, kept, share = np.mean(found, axis=0)
            if task is Task.NORMALS:
                row += [f"{every:.2f}", f"{kept:.2f}", f"{100 * share:.1f}"]
            else:
                row += [f"{100 * every:.3f}", f"{100 * kept:.3f}", f"{100 * share:.1f}"]
        rows.append(row)
        print(row, flush=True)
    columns = ["damage"]
    for task in ("depth AbsRel %", "normals deg", "semantic wrong %"):
        columns += [f"{task} all", f"{task} kept", "kept %"]
    area, share = mask_auroc(given.scenes, size_hw)
    notes = (
        f"{given.scenes} synthetic scenes of {size_hw[1]}x{size_hw[0]} px, depth up to {FAR_DEPTH_M:.0f} m.\n\n"
        f"Valid mask: pixels with more than 10 % depth error ({100 * share:.2f} % of all, moderate faults, no drift) "
        f"are found by the confidence with an AUROC of **{area:.4f}**."
    )
    results_page("Robustness of the decoders", notes, [Table(columns, rows)], given.out)


if __name__ == "__main__":
    main()
