"""How well the drift of a painted answer is found: synthetic answers of every task, and real photos with real labels.

    DISTILL_DATA=path/to/data python benchmarks/registration.py --out benchmarks/results/registration.md

Answers are shifted by up to 24 px, zoomed by 0.93 to 1.07 and stretched by up to 2 %, on canvases of other shapes (so
cropped or letterboxed), with JPEG, noise and halos. The error is the mean distance, over the picture, between where
points were painted and where the estimate says they were, for a longer side of 1000 px. Real labels do not lie exactly
on their photos; "own" is the error against the estimate for the same pair without drift.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from machine import results_page
from scipy.ndimage import distance_transform_edt

from distill.images import decode_rgb
from distill.recipe.synthetic import FaultsRecipe, SyntheticRecipe
from distill.report.blocks import Table
from distill.tasks import Task
from distill.teachers.decoders.colours import palette
from distill.teachers.decoders.depth import encode_depth_rgb
from distill.teachers.decoders.normals import encode_normals_rgb
from distill.teachers.generators.synthetic.faults import draw_placing, encode_file
from distill.teachers.generators.synthetic.generator import SyntheticGenerator
from distill.teachers.generators.synthetic.painter import paint_answer
from distill.teachers.generators.synthetic.view import scene, scene_photo
from distill.teachers.register import EXACT, Placement, canvas_scale, estimate

FAULTS = FaultsRecipe(
    jpeg_share=0.5,
    colour_noise_sigma=2.0,
    colour_drift=2.0,
    edge_halo_px=0.6,
    shift_px=24.0,
    zoom=0.07,
    aspect=0.02,
    canvas="api",
    missing_instance_share=0.03,
    wrong_legend_share=0.03,
)
CANVASES_HW = ((896, 1200), (848, 1264), (1024, 1024), (928, 1152))


@dataclass(frozen=True)
class Case:
    """An answer whose drift is known."""

    kind: str
    photo: np.ndarray
    painted: np.ndarray
    truth: Placement
    canvas: str
    twin: np.ndarray | None = None
    """The same answer without drift."""


def error_px(truth: Placement, found: Placement, size_hw: tuple[int, int]) -> float:
    apart = []
    for axis in (0, 1):
        places = np.linspace(-0.5, 0.5, 9) * size_hw[axis]
        scale = truth.scale_hw[axis] - found.scale_hw[axis]
        apart.append(truth.shift_px[axis] - found.shift_px[axis] + scale * places)
    distance = np.hypot(apart[0][:, None], apart[1][None])
    return float(distance.mean() * 1000 / max(size_hw))


def synthetic_cases(num_scenes: int, drifts: bool) -> Iterator[Case]:
    faults = FAULTS.model_copy(update={"drift_share": float(drifts)})
    recipe = SyntheticRecipe(scenes=num_scenes, size_hw=(480, 640), tasks=tuple(Task), faults=faults)
    for index in range(num_scenes):
        photo = scene_photo(index, recipe)
        seen = set()
        for question in SyntheticGenerator(recipe).questions(photo):
            if question.task in seen:
                continue
            seen.add(question.task)
            seed = [index, list(Task).index(question.task), int(drifts)]
            placing = draw_placing(faults, photo.size_hw, question.canvas, np.random.default_rng(seed))
            rng = np.random.default_rng(seed)
            world, camera = scene(recipe.seed, index)
            painted = paint_answer(world, camera, photo.size_hw, question, faults, rng)
            painted = decode_rgb(encode_file(painted, faults, rng), "answer")[0]
            rule = canvas_scale(photo.size_hw, placing.size_hw, question.canvas)
            tall, wide = placing.scale_yx[0] / rule[0], placing.scale_yx[1] / rule[1]
            truth = Placement(placing.shift_yx_px, (tall * wide) ** 0.5, wide / tall)
            yield Case(f"synthetic {question.task}", photo.rgb, painted, truth, question.canvas)


def read_rgb(path: Path) -> np.ndarray:
    return decode_rgb(path.read_bytes(), path.name)[0]


def real_pairs(data: Path, count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(kind, photo, painted truth)."""
    for path in sorted((data / "depth_seg_nyu/val/rgb").iterdir())[:: max(1, 75 // count)][:count]:
        depth = cv2.imread(str(next((data / "depth_seg_nyu/val/depth8").glob(path.stem + ".*"))), cv2.IMREAD_GRAYSCALE)
        inner = np.s_[45:471, 41:601]
        yield "NYU depth", np.ascontiguousarray(read_rgb(path)[inner]), encode_depth_rgb((depth[inner] + 0.5) / 25.5)
    colours = np.array(palette(12), np.uint8)
    for path in sorted((data / "seg_camvid/val/images").iterdir())[:: max(1, 101 // count)][:count]:
        ids = cv2.imread(str(next((data / "seg_camvid/val/labels").glob(path.stem + ".*"))), cv2.IMREAD_GRAYSCALE)
        yield "CamVid semantic", read_rgb(path), colours[np.minimum(ids, 11)]
    for path in sorted((data / "depth_normals_kitchen/train/rgb").iterdir())[:: max(1, 31 // count)][:count]:
        stored = read_rgb(next((data / "depth_normals_kitchen/train/normal").glob(path.stem + ".*")))
        # Holes would be borders that no photo shows.
        near = distance_transform_edt(~stored.any(axis=-1), return_distances=False, return_indices=True)
        normals = (stored[near[0], near[1]] / 127.5 - 1) * (1, -1, -1)
        yield "kitchen normals", read_rgb(path), encode_normals_rgb(normals.astype(np.float32))


def real_cases(data: Path, count: int) -> Iterator[Case]:
    dice = np.random.default_rng(0)
    for number, (kind, photo, painted) in enumerate(real_pairs(data, count)):
        size_hw = CANVASES_HW[dice.integers(len(CANVASES_HW))]
        canvas = ("cover", "contain")[number % 2]
        shift = tuple(dice.uniform(-24, 24, 2).tolist())
        truth = Placement(shift, dice.uniform(0.93, 1.07), dice.uniform(0.98, 1.02))
        drifted, still = (drawn(painted, size_hw, canvas, placement) for placement in (truth, EXACT))
        yield Case(kind, photo, drifted, truth, canvas, still)


def drawn(painted: np.ndarray, size_hw: tuple[int, int], canvas: str, placement: Placement) -> np.ndarray:
    """The truth as an answer with this placement would show it, through a JPEG of quality 92."""
    rule = canvas_scale(painted.shape[:2], size_hw, canvas)
    matrix = np.zeros((2, 3))
    for axis in (0, 1):
        scale = rule[axis] * placement.scale_hw[axis]
        matrix[1 - axis, 1 - axis] = scale
        matrix[1 - axis, 2] = size_hw[axis] / 2 + placement.shift_px[axis] - scale * (painted.shape[axis] - 1) / 2 - 0.5
    picture = cv2.warpAffine(painted, matrix, size_hw[::-1], flags=cv2.INTER_NEAREST)
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def own(case: Case) -> Placement:
    """The drift seen from where the same answer lies without it."""
    assert case.twin is not None
    still, drift = estimate(case.photo, case.twin, case.canvas), case.truth
    shift = tuple(drift.shift_px[i] + drift.scale_hw[i] * still.shift_px[i] for i in (0, 1))
    return Placement((shift[0], shift[1]), drift.zoom * still.zoom, drift.aspect * still.aspect)


def row_of(kind: str, cases: list[Case]) -> list[str | int]:
    errors, owns, rejected, missed = [], [], 0, 0
    for case in cases:
        found = estimate(case.photo, case.painted, case.canvas)
        error = error_px(case.truth, found, case.painted.shape[:2])
        rejected += not found.accepted
        missed += found.accepted and error > 4
        if found.accepted:
            errors.append(error)
            if case.twin is not None:
                owns.append(error_px(own(case), found, case.painted.shape[:2]))
    quantiles = [f"{np.percentile(errors, q):.2f}" for q in (50, 90)]
    more = [f"{np.percentile(owns, q):.2f}" for q in (50, 90)] if owns else ["", ""]
    print(kind, quantiles, more, rejected, missed, flush=True)
    return [kind, len(cases), *quantiles, *more, rejected, missed]


def real_answers(data: Path) -> Table:
    """What is found on answers of a real generator, where the truth is not known."""
    rows = []
    folder = data / "vision_banana"
    for entry in yaml.safe_load((folder / "answers.yaml").read_text()):
        found = estimate(read_rgb(folder / entry["photo"]), read_rgb(folder / entry["answer"]))
        shift = f"{found.shift_px[0]:.1f}, {found.shift_px[1]:.1f}"
        numbers = [f"{found.zoom:.4f}", f"{found.aspect:.4f}", f"{found.residual_px:.2f}", f"{found.score:.2f}"]
        rows.append([Path(entry["answer"]).stem, shift, *numbers, "yes" if found.accepted else "no"])
    columns = ["real answer", "shift px (down, right)", "zoom", "aspect", "residual px", "score", "accepted"]
    return Table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, default=12)
    given = parser.parse_args()
    data = Path(os.environ["DISTILL_DATA"]) if "DISTILL_DATA" in os.environ else None
    started = time.perf_counter()
    drifted = list(synthetic_cases(given.scenes, drifts=True))
    still = list(synthetic_cases(given.scenes, drifts=False))
    strangers = [
        Case("other photos", drifted[(i + len(drifted) // 2) % len(drifted)].photo, case.painted, EXACT, case.canvas)
        for i, case in enumerate(drifted[::2])
    ]
    by_kind = defaultdict(list)
    for case in [*drifted, *(real_cases(data, given.scenes) if data else ())]:
        by_kind[case.kind].append(case)
    rows = [row_of(kind, cases) for kind, cases in by_kind.items()]
    rows.append(row_of("synthetic, no drift", still))
    taken_in = sum(estimate(case.photo, case.painted, case.canvas).accepted for case in strangers)
    columns = ["answers", "count", "median px", "90 % within px", "own median", "own 90 %", "rejected", "off by > 4 px"]
    notes = (
        f"Answers to other photos: {len(strangers) - taken_in} of {len(strangers)} rejected.\n\n"
        f"Errors are those of accepted answers. {time.perf_counter() - started:.0f} s in all, rendering included."
    )
    tables = [Table(columns, rows), *([real_answers(data)] if data else [])]
    results_page("Registration of painted answers", notes, tables, given.out)


if __name__ == "__main__":
    main()
