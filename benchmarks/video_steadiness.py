"""Temporal smoothing: flicker and accuracy, on real images with truth and with a real model on a clip.

    DISTILL_DATA=path/to/data python benchmarks/video_steadiness.py [--out results.md]

Kitchen: a window pans over real photos (2 px and 5 px per frame, or static), with the real depth and normals as truth;
the student is the truth plus smooth noise and a jump of the whole depth map, 4 % each, and 5 degrees. Images have
sensor noise. DAVIS: ESPNetv2 (VOC classes) on the clip libby, a running dog, against the annotated masks.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from machine import results_page
from numpy import ndarray

from distill.export.inference.temporal_filter import TemporalFilter, TemporalFilterConfig
from distill.metrics import TemporalMetrics
from distill.report.blocks import Table
from distill.spec import DepthSpec, InputSpec, NormalsSpec, SemanticSpec, StudentSpec

WINDOW_HW = (360, 480)
FRAMES = 30
DOG = 12
"""Of the VOC classes."""
STRENGTHS = (0.25, 0.5, 1.0)
SPEC = StudentSpec(name="x", backbone="x", input=InputSpec(size_hw=(64, 64)), depth=DepthSpec(), normals=NormalsSpec())
VOC = StudentSpec(
    name="x",
    backbone="x",
    input=InputSpec(size_hw=(384, 384)),
    semantic=SemanticSpec(classes=tuple(map(str, range(21)))),
)


def smooth(random: np.random.Generator, channels: int) -> ndarray:
    coarse = random.normal(0, 1, (WINDOW_HW[0] // 12, WINDOW_HW[1] // 12, channels)).astype(np.float32)
    return cv2.resize(coarse, WINDOW_HW[::-1]).reshape(*WINDOW_HW, channels)


def kitchen(
    folder: Path, key: str, speed_px: float
) -> Iterator[tuple[ndarray, dict[str, ndarray], dict[str, ndarray]]]:
    """(frame, truth, prediction of a flickering student)."""
    rgb = cv2.imread(str(next((folder / "rgb").glob(f"{key}.*"))))[..., ::-1]
    depth = cv2.imread(str(next((folder / "depth").glob(f"{key}.*"))), cv2.IMREAD_UNCHANGED) / np.float32(1000)
    stored = cv2.imread(str(next((folder / "normal").glob(f"{key}.*"))))[..., ::-1].astype(np.float32)
    normals = (stored / 255 * 2 - 1) * (1, -1, -1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    random = np.random.default_rng(0)
    for number in range(FRAMES):
        left, top = int(number * speed_px), int(number * speed_px / 2)
        window = (slice(top, top + WINDOW_HW[0]), slice(left, left + WINDOW_HW[1]))
        true_depth = np.where(depth[window] > 0, depth[window], np.nan).astype(np.float32)
        truth = {"depth": true_depth, "normals": normals[window].astype(np.float32)}
        said = np.nan_to_num(true_depth, nan=2.0) * np.exp(0.04 * smooth(random, 1)[..., 0] + 0.04 * random.normal())
        tilted = truth["normals"] + np.radians(5) * smooth(random, 3)
        tilted /= np.maximum(np.linalg.norm(tilted, axis=-1, keepdims=True), 1e-6)
        answer = {"depth": said.astype(np.float32), "normals": tilted.astype(np.float32)}
        answer |= {f"{name}_confidence": np.full(WINDOW_HW, 0.8, np.float32) for name in list(answer)}
        noisy = np.clip(rgb[window] + random.normal(0, 3, (*WINDOW_HW, 3)), 0, 255).astype(np.uint8)
        yield noisy, truth, answer


def score_kitchen(folder: Path, key: str, speed_px: float, strength: float) -> dict[str, float]:
    temporal_filter = TemporalFilter(SPEC, TemporalFilterConfig(strength)) if strength else None
    metrics, errors = TemporalMetrics(SPEC), []
    for number, (rgb, truth, answer) in enumerate(kitchen(folder, key, speed_px)):
        maps = temporal_filter.apply(rgb, answer, number) if temporal_filter else answer
        metrics.update(rgb, maps, truth)
        cosine = np.clip((maps["normals"] * truth["normals"]).sum(-1), -1, 1)
        valid = np.isfinite(truth["depth"]) & (np.linalg.norm(truth["normals"], axis=-1) > 0.5)
        errors.append(
            (np.abs(maps["depth"] / truth["depth"] - 1)[valid].mean(), np.degrees(np.arccos(cosine))[valid].mean())
        )
    depth, normals = np.mean(errors[3:], axis=0)
    return metrics.compute() | {"abs_rel": float(depth), "angle_deg": float(normals)}


def davis(data: Path) -> list[tuple[ndarray, ndarray, dict[str, ndarray]]]:
    """(frame, mask, prediction of ESPNetv2)."""
    session = onnxruntime.InferenceSession(str(data / "models" / "espnetv2_s_2.0_pascal_384x384.onnx"))
    name, found = session.get_inputs()[0].name, []
    for path in sorted((data / "video_seg_davis" / "JPEGImages" / "480p" / "libby").glob("*.jpg")):
        rgb = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        mask = cv2.imread(str(path).replace("JPEGImages", "Annotations").replace(".jpg", ".png"), 0) > 127
        small = cv2.resize(rgb, (384, 384), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        small = (small - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        logits = session.run(None, {name: small.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
        share = np.exp(logits - logits.max(axis=0))
        share /= share.sum(axis=0)
        size_wh = (rgb.shape[1], rgb.shape[0])
        ids = cv2.resize(share.argmax(axis=0).astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
        sure = cv2.resize(share.max(axis=0), size_wh)
        found.append((rgb, mask, {"semantic": ids, "semantic_confidence": sure}))
    return found


def score_davis(clip: list[tuple[ndarray, ndarray, dict[str, ndarray]]], strength: float) -> dict[str, float]:
    temporal_filter = TemporalFilter(VOC, TemporalFilterConfig(strength)) if strength else None
    metrics, hit, union = TemporalMetrics(VOC), 0, 0
    for number, (rgb, mask, answer) in enumerate(clip):
        maps = temporal_filter.apply(rgb, answer, number) if temporal_filter else answer
        metrics.update(rgb, maps)
        dog = maps["semantic"] == DOG
        hit, union = hit + int((dog & mask).sum()), union + int((dog | mask).sum())
    return metrics.compute() | {"iou": hit / max(union, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = Path(os.environ["DISTILL_DATA"])
    folder = next((data / "depth_normals_kitchen").glob("train*"), data / "depth_normals_kitchen")
    keys = sorted(path.stem for path in (folder / "rgb").iterdir())[:3]
    rows = []
    for speed_px in (0.0, 2.0, 5.0):
        for strength in (0.0, *STRENGTHS):
            scores = [score_kitchen(folder, key, speed_px, strength) for key in keys]
            names = ("depth_change_percent", "depth_scale_jitter_percent", "normals_change_deg", "abs_rel", "angle_deg")
            means = [float(np.mean([score[name] for score in scores])) for name in names]
            rows.append([f"{speed_px:g} px/frame, steady {strength:g}", *(round(value, 4) for value in means)])
    clip = davis(data)
    dogs = [(strength, score_davis(clip, strength)) for strength in (0.0, *STRENGTHS)]
    tables = [
        Table(
            ["kitchen, 3 photos", "depth change %", "scale jitter %", "normals change deg", "AbsRel", "angle deg"],
            rows,
            note="changes are beyond those of the truth",
        ),
        Table(
            ["DAVIS libby", "pixels that change class, %", "IoU of the dog"],
            [
                [f"steady {strength:g}", round(score["semantic_change_percent"], 3), round(score["iou"], 4)]
                for strength, score in dogs
            ],
        ),
    ]
    results_page("Temporal smoothing", __doc__ or "", tables, options.out)


if __name__ == "__main__":
    main()
