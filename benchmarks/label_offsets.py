"""Offsets of real labels from their photos, by registration and by mutual information.

    DISTILL_DATA=path/to/data python benchmarks/label_offsets.py --out benchmarks/results/label_offsets.md

Registration compares borders. Mutual information does not use them: it finds the shift at which the label's colors are
most informative about the photo's over the whole image (Viola and Wells, 1997). An offset that both find, pair by pair,
is the label's and not an error of either method.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from machine import results_page
from registration import match_stats_of, real_pairs, through_jpeg

from distill.report.blocks import Table

_COLORS = 24
_REACH_PX = 14


def color_ids(rgb: np.ndarray) -> np.ndarray:
    """Image quantized to a few of its colors (k-means in CIELAB)."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    cv2.setRNGSeed(0)
    centers = cv2.kmeans(lab[::37], _COLORS, None, (3, 20, 1.0), 2, cv2.KMEANS_PP_CENTERS)[2]
    return ((lab[:, None] - centers) ** 2).sum(axis=-1).argmin(axis=1).reshape(rgb.shape[:2])


def mutual_information(one: np.ndarray, other: np.ndarray) -> float:
    """Mutual information in nats."""
    joint = np.bincount((one * _COLORS + other).ravel(), minlength=_COLORS**2).reshape(_COLORS, _COLORS) / one.size
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())


def best_shift(photo: np.ndarray, generated: np.ndarray) -> tuple[int, int]:
    """Offset (down, right) of the label from its photo, in px."""
    ids, answer = color_ids(cv2.GaussianBlur(photo, (0, 0), 1.5)), color_ids(generated)
    height, width = answer.shape
    inner = answer[_REACH_PX : height - _REACH_PX, _REACH_PX : width - _REACH_PX]

    def worth(shift: tuple[int, int]) -> float:
        down, right = (_REACH_PX - move for move in shift)
        return mutual_information(ids[down : down + inner.shape[0], right : right + inner.shape[1]], inner)

    every = range(-_REACH_PX, _REACH_PX + 1, 2)
    down, right = max(itertools.product(every, every), key=worth)
    near = [range(max(-_REACH_PX, move - 1), min(_REACH_PX, move + 1) + 1) for move in (down, right)]
    return max(itertools.product(*near), key=worth)


def main() -> None:
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--most", type=int, default=40, help="pairs of each kind")
    given = parser.parse_args()
    found = defaultdict(list)
    for kind, _, photo, generated in real_pairs(Path(os.environ["DISTILL_DATA"]), tuning=False):
        seen = match_stats_of(photo, through_jpeg(generated), "fill") if len(found[kind]) < given.most else None
        if seen is not None:
            scale = 1000 / max(generated.shape[:2])
            shifts = [np.array(shift) * scale for shift in (best_shift(photo, generated), seen.transform.shift_px)]
            found[kind].append(np.stack(shifts))
    rows = []
    for kind, pairs in found.items():
        both = np.array(pairs)
        lengths = np.median(np.linalg.norm(both, axis=-1), axis=0)
        apart = np.median(np.linalg.norm(both[:, 0] - both[:, 1], axis=-1))
        alike = [f"{np.corrcoef(both[:, 0, axis], both[:, 1, axis])[0, 1]:.2f}" for axis in (0, 1)]
        seen = np.percentile(both[:, 1], (25, 50, 75), axis=0)
        where = [f"{middle:+.1f} ({low:+.1f} to {high:+.1f})" for low, middle, high in seen.T]
        rows.append([kind, len(pairs), *(f"{length:.1f}" for length in lengths), f"{apart:.1f}", *alike, *where])
        print(rows[-1], flush=True)
    columns = ["untouched labels", "pairs", "off by mutual information px", "by registration px", "between the two px"]
    columns += [
        "correlation down",
        "right",
        "registration: down px (half of the pairs)",
        "right px (half of the pairs)",
    ]
    notes = (
        "Medians of the shift at the middle of the picture, in px for a longer side of 1000 px. Where nothing "
        "correlates, mutual information says nothing: depth changes slowly, and far more with where things are than "
        "with what they are, and offsets of street labels are smaller than the step of the search (2 px of 1000)."
    )
    results_page("Real labels against their own photos", notes, [Table(columns, rows)], given.out)


if __name__ == "__main__":
    main()
