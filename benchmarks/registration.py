"""Accuracy of registration: synthetic images of every task, and real photos with real labels.

    DISTILL_DATA=path/to/data python benchmarks/registration.py --out benchmarks/results/registration.md
    DISTILL_DATA=path/to/data python benchmarks/registration.py --fit      # the weights of the acceptance rule
    ... --before CHECKOUT      # also the CPU time of another checkout, image by image in turn

Images are shifted by up to 24 px, zoomed by 0.93 to 1.07 and stretched by up to 2 %, on canvases of other shapes
(cropped or letterboxed), with JPEG, noise and halos. The error is the mean distance, over the image or its borders,
between true and estimated positions of points, for a longer side of 1000 px.

Real labels are not exactly aligned with their photos. The "own" columns correct for that: the estimated drift against
the drift applied to the position at which the same method finds the unmodified label, at its own size; only images
without bars, whose ends mark the photo's border wherever its label is.

Thresholds and weights were chosen on other scenes, sequences and frames than the reported ones.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pickle
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from machine import results_page
from sklearn.linear_model import LogisticRegression

from distill.config.synthetic import FaultsConfig, SyntheticConfig
from distill.images import decode_rgb
from distill.report.blocks import Table
from distill.tasks import Task
from distill.teachers.codecs.depth import encode_depth_rgb
from distill.teachers.codecs.normals import encode_normals_rgb
from distill.teachers.prompts.colors import palette
from distill.teachers.registration.align import IDENTITY, Registration, decide, resize_scale
from distill.teachers.registration.edges import edge_points
from distill.teachers.registration.estimate import find_drift
from distill.teachers.registration.match_stats import AxisAlignedTransform, MatchStats
from distill.teachers.synthetic.answer_rendering import render_answer
from distill.teachers.synthetic.corruptions import draw_canvas_transform, encode_file
from distill.teachers.synthetic.generator import SyntheticGenerator
from distill.teachers.synthetic.rendering import scene, scene_photo

FAULTS = FaultsConfig(
    jpeg_probability=0.5,
    color_noise_sigma=2.0,
    color_drift=2.0,
    edge_halo_px=0.6,
    drift_probability=1.0,
    shift_px=24.0,
    zoom=0.07,
    aspect=0.02,
    output_size="api",
    missing_instance_probability=0.03,
    wrong_legend_probability=0.03,
)
STILL = FAULTS.model_copy(update={"drift_probability": 0.0})
PHOTOS_HW = ((480, 640), (640, 480), (540, 960), (600, 600))
CANVASES_HW = ((896, 1200), (848, 1264), (1024, 1024), (928, 1152))


@dataclass(frozen=True)
class Case:
    """Image with known drift."""

    kind: str
    photo: np.ndarray
    generated: np.ndarray
    truth: Registration
    resize_mode: str
    own: AxisAlignedTransform | None = None
    """Known position of the label on its photo before the drift, in pixels of the photo."""


def apart_px(
    one: Registration, other: Registration, size_hw: tuple[int, int], generated: np.ndarray | None = None
) -> float:
    """Mean distance between two registrations over the image or its borders, in px of 1000."""
    if generated is None:
        axes = [np.linspace(-0.5, 0.5, 9) * side for side in size_hw]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    else:
        seen = edge_points(generated).position
        places = (seen - one.shift_px) / one.scale_hw if len(seen) else np.zeros((1, 2))
    apart = np.array(one.shift_px) - other.shift_px + (np.array(one.scale_hw) - other.scale_hw) * places
    return float(np.linalg.norm(apart, axis=1).mean() * 1000 / max(size_hw))


def registration_of(shift_px: Iterable[float], scale_hw: tuple[float, float]) -> Registration:
    down, right = shift_px
    tall, wide = scale_hw
    return Registration((float(down), float(right)), (tall * wide) ** 0.5, wide / tall)


def synthetic_cases(scenes: range, seed: int, faults: FaultsConfig) -> Iterator[Case]:
    for index in scenes:
        size_hw = PHOTOS_HW[index % len(PHOTOS_HW)]
        config = SyntheticConfig(scenes=index + 1, size_hw=size_hw, tasks=tuple(Task), faults=faults, seed=seed)
        photo = scene_photo(index, config)
        seen = set()
        for prompt_spec in SyntheticGenerator(config).prompt_specs(photo):
            if prompt_spec.task in seen:
                continue
            seen.add(prompt_spec.task)
            dice = [index, list(Task).index(prompt_spec.task), seed]
            placing = draw_canvas_transform(faults, photo.size_hw, prompt_spec.resize_mode, np.random.default_rng(dice))
            rng = np.random.default_rng(dice)
            world, camera = scene(seed, index)
            generated = render_answer(world, camera, photo.size_hw, prompt_spec, faults, rng)
            generated = decode_rgb(encode_file(generated, faults, rng), "answer")[0]
            rule = resize_scale(photo.size_hw, placing.size_hw, prompt_spec.resize_mode)
            truth = registration_of(placing.shift_yx_px, (placing.scale_yx[0] / rule[0], placing.scale_yx[1] / rule[1]))
            yield Case(f"synthetic {prompt_spec.task}", photo.rgb, generated, truth, prompt_spec.resize_mode)


def read_rgb(path: Path) -> np.ndarray:
    return decode_rgb(path.read_bytes(), path.name)[0]


def read_ids(folder: Path, stem: str) -> np.ndarray:
    return cv2.imread(str(next(folder.glob(stem + ".*"))), cv2.IMREAD_GRAYSCALE)


def real_pairs(data: Path, tuning: bool) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """(kind, number of drifts, photo, rendered truth); for tuning, other scenes, sequences and frames."""
    nyu = data / "depth_seg_nyu" / ("train" if tuning else "val")
    for path in sorted((nyu / "rgb").iterdir())[:: 24 if tuning else 1]:
        depth = read_ids(nyu / "depth8", path.stem)
        inner = np.s_[45:471, 41:601]
        generated = encode_depth_rgb((depth[inner] + 0.5) / 25.5)
        yield "NYU depth", 2, np.ascontiguousarray(read_rgb(path)[inner]), generated
    colors = np.array(palette(12), np.uint8)
    camvid = data / "seg_camvid" / ("train" if tuning else "val")
    sequence = [path for path in sorted((camvid / "images").iterdir()) if path.name.startswith("0016E5") is not tuning]
    for path in sequence[:: 3 if tuning else 1]:
        ids = read_ids(camvid / "labels", path.stem)
        yield "CamVid semantic", 1, read_rgb(path), colors[np.minimum(ids, 11)]
    kitchen = data / "depth_normals_kitchen"
    frames = sorted(kitchen.glob("*/rgb/*"), key=lambda path: path.stem)
    for path in frames[:16] if tuning else frames[16:]:
        stored = read_rgb(next((path.parent.parent / "normal").glob(path.stem + ".*")))
        generated = encode_normals_rgb(((stored / 127.5 - 1) * (1, -1, -1)).astype(np.float32))
        # The sensor's holes would be borders that no photo shows.
        holes = (~stored.any(axis=-1)).astype(np.uint8)
        yield "kitchen normals", 5, read_rgb(path), cv2.inpaint(generated, holes, 3, cv2.INPAINT_TELEA)


def real_cases(data: Path, tuning: bool) -> Iterator[Case]:
    dice = np.random.default_rng(int(tuning))
    number = itertools.count()
    for kind, drifts, photo, generated in real_pairs(data, tuning):
        untouched = match_stats_of(photo, through_jpeg(generated), "fill")
        own = untouched.transform if untouched else None
        for _ in range(drifts):
            size_hw = CANVASES_HW[dice.integers(len(CANVASES_HW))]
            resize_mode = ("cover", "contain")[next(number) % 2]
            shift = tuple(dice.uniform(-24, 24, 2).tolist())
            truth = Registration(shift, dice.uniform(0.93, 1.07), dice.uniform(0.98, 1.02))
            yield Case(kind, photo, drawn(generated, size_hw, resize_mode, truth), truth, resize_mode, own)


def drawn(generated: np.ndarray, size_hw: tuple[int, int], resize_mode: str, transform: Registration) -> np.ndarray:
    """Truth transformed by a registration, as a JPEG of quality 92."""
    rule = resize_scale(generated.shape[:2], size_hw, resize_mode)
    matrix = np.zeros((2, 3))
    for axis in (0, 1):
        scale = rule[axis] * transform.scale_hw[axis]
        matrix[1 - axis, 1 - axis] = scale
        matrix[1 - axis, 2] = (
            size_hw[axis] / 2 + transform.shift_px[axis] - scale * (generated.shape[axis] - 1) / 2 - 0.5
        )
    return through_jpeg(cv2.warpAffine(generated, matrix, size_hw[::-1], flags=cv2.INTER_NEAREST))


def through_jpeg(picture: np.ndarray) -> np.ndarray:
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def match_stats_of(photo: np.ndarray, generated: np.ndarray, resize_mode: str) -> MatchStats | None:
    return find_drift(photo, generated, resize_scale(photo.shape[:2], generated.shape[:2], resize_mode))


def placed(photo: np.ndarray, generated: np.ndarray, resize_mode: str) -> Registration:
    """As `estimate_registration`."""
    return decide(match_stats_of(photo, generated, resize_mode), generated.shape[:2])


def own_place(case: Case) -> Registration | None:
    """Position after the drift, relative to the position found before it."""
    if case.own is None:
        return None
    transform, rule = case.truth, resize_scale(case.photo.shape[:2], case.generated.shape[:2], case.resize_mode)
    shift = [transform.shift_px[i] + transform.scale_hw[i] * rule[i] * case.own.shift_px[i] for i in (0, 1)]
    return registration_of(
        shift, (transform.scale_hw[0] * case.own.scale_hw[0], transform.scale_hw[1] * case.own.scale_hw[1])
    )


def row_of(kind: str, cases: list[Case]) -> list[str | int]:
    errors, at_borders, owns, labels_off, nearest = [], [], [], [], []
    for case in cases:
        seen = match_stats_of(case.photo, case.generated, case.resize_mode)
        size_hw = case.generated.shape[:2]
        found = decide(seen, size_hw)
        if not found.accepted:
            continue
        errors.append(apart_px(case.truth, found, size_hw))
        at_borders.append(apart_px(case.truth, found, size_hw, case.generated))
        nearest.append(at_borders[-1])
        own = own_place(case)
        if own is not None:
            labels_off.append(apart_px(case.truth, own, size_hw, case.generated))
            error = apart_px(own, found, size_hw, case.generated)
            nearest[-1] = min(nearest[-1], error)
            owns += [error] if seen is not None and not seen.has_letterbox else []
    row: list[str | int] = [kind, len(cases), *quantiles(errors), *quantiles(at_borders)]
    row += [*quantiles(labels_off), *quantiles(owns), len(owns) or ""]
    row += [
        f"{1 - len(errors) / len(cases):.1%}",
        *(f"{np.mean(np.array(far) > 4):.1%}" for far in (at_borders, nearest)),
    ]
    print(row, flush=True)
    return row


def quantiles(errors: list[float]) -> list[str]:
    return [f"{np.percentile(errors, q):.2f}" for q in (50, 90)] if errors else ["", ""]


def strangers(cases: list[Case], step: int) -> Iterator[tuple[Case, np.ndarray]]:
    """Images paired with other photos of the same size, far apart in the list to avoid neighboring frames."""
    for i, case in enumerate(cases):
        for j in range(len(cases) // 3, len(cases)):
            photo = cases[(i + step * j) % len(cases)].photo
            if photo.shape == case.photo.shape and not np.array_equal(photo, case.photo):
                yield case, photo
                break


def spoilers(size_hw: tuple[int, int]) -> dict[str, np.ndarray]:
    """(2, 3) matrices that no shift, zoom or aspect can correct."""
    height, width = size_hw
    middle = width / 2, height / 2
    found = {f"turned by {degrees} degrees": cv2.getRotationMatrix2D(middle, degrees, 1.0) for degrees in (4, 8)}
    for shear in (0.08, 0.12):
        found[f"sheared by {shear:.0%}"] = np.array([[1, shear, -shear * middle[1]], [0, 1, 0]])
    for zoom in (1.25, 1.4):
        found[f"zoomed by {zoom}"] = cv2.getRotationMatrix2D(middle, 0, zoom)
    return found


def bent(generated: np.ndarray) -> np.ndarray:
    """Image bent by waves of 25 px."""
    height, width = generated.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    down = np.float32(25) * np.sin(columns / width * 9, dtype=np.float32)
    side = np.float32(25) * np.sin(rows / height * 9, dtype=np.float32)
    return cv2.remap(generated, columns + side, rows + down, cv2.INTER_NEAREST, borderMode=1)


def spoiled(generated: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Image transformed in every way that cannot be corrected."""
    yield "mirrored", np.ascontiguousarray(generated[:, ::-1])
    yield "bent by 25 px", bent(generated)
    size_wh = generated.shape[1], generated.shape[0]
    for how, matrix in spoilers(generated.shape[:2]).items():
        yield how, cv2.warpAffine(generated, matrix, size_wh, flags=cv2.INTER_NEAREST, borderMode=1)


def rejections(groups: dict[str, list[Case]], most: int) -> Table:
    rows = []
    for kind, cases in groups.items():
        pairs = list(strangers(cases, 1))[:most]
        refused = [not placed(photo, case.generated, case.resize_mode).accepted for case, photo in pairs]
        rows.append([f"{kind}, another photo", len(pairs), f"{np.mean(refused):.1%}"])
        print(rows[-1], flush=True)
    dense = ("depth", "normals", "semantic")
    cases = [case for kind, cases in groups.items() if kind.endswith(dense) for case in cases[: most // 2]]
    broken = defaultdict(list)
    for case in cases:
        for how, generated in spoiled(case.generated):
            broken[how].append((case.kind, not placed(case.photo, generated, case.resize_mode).accepted))
    for how, refused in broken.items():
        print(
            how, {kind: f"{np.mean([no for of, no in refused if of == kind]):.0%}" for kind, _ in refused}, flush=True
        )
        rows.append([how, len(refused), f"{np.mean([no for _, no in refused]):.1%}"])
    return Table(["images that cannot be corrected", "count", "rejected"], rows)


def in_place(scenes: range, seed: int) -> Table:
    found = defaultdict(list)
    for case in synthetic_cases(scenes, seed, STILL):
        aligned = placed(case.photo, case.generated, case.resize_mode)
        error = apart_px(IDENTITY, aligned, case.generated.shape[:2])
        found[case.kind].append((aligned.accepted, error == 0, error))
    rows = []
    for kind, values in found.items():
        accepted, untouched, errors = (np.array(column, float) for column in zip(*values, strict=True))
        rows.append([kind, len(values), f"{1 - accepted.mean():.1%}", f"{untouched.mean():.0%}", f"{errors.max():.2f}"])
    return Table(["answers without drift", "count", "rejected", "left in place", "largest move px"], rows)


def real_answers(data: Path) -> Table:
    """Results on images of a real generator, without known truth."""
    rows = []
    folder = data / "vision_banana"
    for entry in yaml.safe_load((folder / "answers.yaml").read_text()):
        photo, generated = read_rgb(folder / entry["photo"]), read_rgb(folder / entry["answer"])
        seen = match_stats_of(photo, generated, "cover")
        found = decide(seen, generated.shape[:2])
        shift = f"{found.shift_px[0]:.1f}, {found.shift_px[1]:.1f}"
        numbers = [f"{found.zoom:.4f}", f"{found.aspect:.4f}"]
        left = registration_of(seen.transform.shift_px, seen.transform.scale_hw)
        numbers += [
            f"{apart_px(found, left, generated.shape[:2]):.2f}",
            f"{found.residual_px:.2f}",
            f"{found.score:.2f}",
        ]
        rows.append([Path(entry["answer"]).stem, shift, *numbers, "yes" if found.accepted else "no"])
    columns = ["real image", "corrected by px (down, right)", "zoom", "aspect", "residual px of 1000"]
    return Table([*columns, "expected error px", "score", "accepted"], rows)


def features(stats: MatchStats) -> list[float]:
    margin = stats.agreement - stats.agreement_mirrored
    return [margin, 1 / stats.border_px**0.5]


def fit(data: Path | None, num_scenes: int) -> None:
    """Print the fit behind the weights of the acceptance rule: matching against mismatched pairs."""
    groups = grouped(data, num_scenes, tuning=True)
    rows, right = [], []
    for kind, cases in groups.items():
        pairs = [(case, case.photo, True) for case in cases]
        pairs += [(case, photo, False) for step in (1, 2) for case, photo in strangers(cases, step)]
        before = len(rows)
        for case, photo, belongs in pairs:
            seen = match_stats_of(photo, case.generated, case.resize_mode)
            if seen is not None and not (belongs and far_off(case, seen)):
                rows.append(features(seen))
                right.append(belongs)
        print(kind, len(rows) - before, flush=True)
    model = LogisticRegression(C=100.0, class_weight="balanced", max_iter=2000).fit(np.array(rows), right)
    chance = model.predict_proba(np.array(rows))[:, 1]
    print("margin, shortness:", model.coef_.round(2), "offset:", model.intercept_.round(2))
    print("wrong rejects", np.mean(chance[np.array(right)] < 0.5), "accepts", np.mean(chance[~np.array(right)] >= 0.5))


def far_off(case: Case, seen: MatchStats) -> bool:
    found = registration_of(seen.transform.shift_px, seen.transform.scale_hw)
    return apart_px(case.truth, found, case.generated.shape[:2], case.generated) > 12


def grouped(data: Path | None, num_scenes: int, *, tuning: bool) -> dict[str, list[Case]]:
    groups = defaultdict(list)
    scenes = range(1000, 1000 + num_scenes // 3) if tuning else range(num_scenes)
    synthetic = synthetic_cases(scenes, 5 if tuning else 0, FAULTS)
    for case in itertools.chain(synthetic, real_cases(data, tuning) if data else ()):
        groups[case.kind].append(case)
    return groups


WORKER = """
import pickle, sys, time
import cv2
cv2.setNumThreads(1)
from distill.teachers.registration.align import estimate_registration
with open(sys.argv[1], "rb") as file:
    cases = pickle.load(file)
for line in sys.stdin:
    started = time.process_time()
    estimate_registration(*cases[int(line)])
    print(time.process_time() - started, flush=True)
"""


def speed(groups: dict[str, list[Case]], data: Path | None, before: Path | None) -> Table:
    """Median CPU time of `estimate_registration`, of this checkout and of another one, image by image in turn."""
    kinds: dict[str, list[tuple[np.ndarray, np.ndarray, str]]] = {
        kind: [(case.photo, case.generated, case.resize_mode) for case in cases[:3]] for kind, cases in groups.items()
    }
    for entry in yaml.safe_load((data / "vision_banana/answers.yaml").read_text()) if data else ():
        photo, generated = (read_rgb(data / "vision_banana" / entry[name]) for name in ("photo", "answer"))
        shrunk = cv2.resize(photo, generated.shape[1::-1], interpolation=cv2.INTER_AREA)
        kinds.setdefault("real answers, photo of the same size", []).append((shrunk, generated, "cover"))
        kinds.setdefault("real answers, photo of 1.8 to 24 megapixels", []).append((photo, generated, "cover"))
    cases = [case for group in kinds.values() for case in group]
    checkouts = [Path(__file__).resolve().parents[1], *([before.resolve()] if before else [])]
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "cases.pickle"
        stored.write_bytes(pickle.dumps(cases))
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(stored)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=checkout,  # the folder that is searched first for modules
                env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
            )
            for checkout in checkouts
        ]
        # The best of three: other jobs on the machine only add time.
        spent = np.array([[[timed(worker, i) for worker in workers] for i in range(len(cases))] for _ in range(3)]).min(
            0
        )
        for worker in workers:
            worker.communicate()
    rows, first = [], 0
    for kind, group in kinds.items():
        part = spent[first : first + len(group)]
        first += len(group)
        row: list[str | int] = [kind, len(group), f"{np.median(part[:, 0]):.3f}"]
        if before:
            row += [f"{np.median(part[:, 1]):.3f}", f"{np.median(part[:, 1] / part[:, 0]):.1f}"]
        rows.append(row)
    return Table(["CPU seconds per image", "count", "now", *(["before", "before / now"] if before else [])], rows)


def timed(worker: subprocess.Popen[str], number: int) -> float:
    assert worker.stdin is not None and worker.stdout is not None
    print(number, file=worker.stdin, flush=True)
    return float(worker.stdout.readline())


def main() -> None:
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--fit", action="store_true", help="fit the accept rule on the tuning pairs and print it")
    parser.add_argument("--before", type=Path, help="another checkout to compare the CPU time with")
    given = parser.parse_args()
    data = Path(os.environ["DISTILL_DATA"]) if "DISTILL_DATA" in os.environ else None
    if given.fit:
        fit(data, given.scenes)
        return
    groups = grouped(data, given.scenes, tuning=False)
    rows = [row_of(kind, cases) for kind, cases in groups.items()]
    columns = ["images", "count", "px median", "90 %", "at borders median", "90 %", "labels off median", "90 %"]
    columns += ["own median", "90 %", "own count", "rejected", "off by > 4 px", "of label's own place, too"]
    tables = [Table(columns, rows), rejections(groups, 40), in_place(range(500, 500 + given.scenes // 10), 3)]
    tables += [real_answers(data)] if data else []
    tables += [speed(groups, data, given.before)]
    notes = (
        "Errors of accepted images, in px for a longer side of 1000 px. 'at borders': only at the image's borders, "
        "which counts for a single instance in a corner; so do all later columns. 'labels off': offset of real labels "
        "from their photos before the drift, as the same method finds it. 'own': error against the drift applied to "
        "that position; images without bars. Bars mark the photo's border independent of its label, so an image with "
        "bars may be right at either position: the last column counts those that are off by more than 4 px from both."
    )
    results_page("Registration of generated images", notes, tables, given.out)


if __name__ == "__main__":
    main()
