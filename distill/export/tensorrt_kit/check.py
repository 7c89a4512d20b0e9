"""Run the engine of this kit on the samples and compare: python check.py ENGINE [--dry-run].

Exit code 1 beyond a tolerance. Expected outputs are those of the original student; the tolerances are those of the
export.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distill.export.tensorrt_kit.cuda import KitError
from distill.export.tensorrt_kit.engine import Engine, read_kit

Maps = dict[str, np.ndarray]


def read_samples(folder: Path) -> list[tuple[np.ndarray, Maps]]:
    """(image, expected outputs) of every sample."""
    with np.load(folder / "samples.npz", allow_pickle=False) as stored:
        count = int(stored["count"])
        return [
            (
                stored[f"{index}/image"],
                {
                    name.split("/")[1]: stored[name]
                    for name in stored.files
                    if name.startswith(f"{index}/") and not name.endswith("/image")
                },
            )
            for index in range(count)
        ]


def instance_mismatch(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pixels whose instances in the two maps do not match; the numbers of instances are arbitrary.

    Two instances match if each has the largest intersection over union with the other; background matches background.
    """
    one, other = expected.astype(np.int64), found.astype(np.int64)
    rows, columns = int(one.max(initial=0)) + 1, int(other.max(initial=0)) + 1
    both = np.bincount((one * columns + other).ravel(), minlength=rows * columns).reshape(rows, columns)
    share = both / np.maximum(both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both, 1)
    share[0, 1:] = share[1:, 0] = 0.0
    share[0, 0] = 1.0
    best, back = share.argmax(1), share.argmax(0)
    paired = (back[best] == np.arange(rows)) & (share[np.arange(rows), best] > 0)
    mismatch: np.ndarray = ~paired[one] | (best[one] != other)
    return mismatch


def _ratio(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    near, far = np.minimum(expected, found), np.maximum(expected, found)
    differs: np.ndarray = far > 1.25 * np.maximum(near, 1e-3)
    return differs


def _angle_deg(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    angle_deg: np.ndarray = np.degrees(np.arccos(np.clip((expected * found).sum(-1), -1.0, 1.0)))
    return angle_deg


DIFFERENCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ids": lambda expected, found: expected != found,
    "instances": instance_mismatch,
    "angle_deg": _angle_deg,
    "ratio": _ratio,
    "relative": lambda expected, found: np.abs(expected - found) > 0.05,
    "absolute": lambda expected, found: np.abs(expected - found),
}
"""Difference of two maps per pixel: 1 where they disagree, an angle in degrees, or an absolute difference."""


def disagreement(expected: Maps, found: Maps, differences: dict[str, str]) -> dict[str, float]:
    """Mean difference by task; infinite if a value is NaN or infinite.

    Args:
        expected: Outputs of the original.
        found: Outputs of the engine.
        differences: Task to key of `DIFFERENCES`.
    """
    values: dict[str, float] = {}
    for task, name in differences.items():
        if name not in DIFFERENCES:
            raise KitError(f"kit.json: unknown difference {name!r} of {task}: export the kit again")
        good, other = expected[task], found[task]
        finite = np.isfinite(other.astype(np.float64)).all()
        values[task] = float(DIFFERENCES[name](good, other).mean()) if finite else float("inf")
    return values


def check(kit: dict[str, Any], samples: list[tuple[np.ndarray, Maps]], run: Any) -> dict[str, Any]:
    """Mean disagreement over the samples, and the tolerances."""
    rows = [disagreement(expected, run(image[None]), kit["differences"]) for image, expected in samples]
    found = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {
        "disagreement": found,
        "tolerances": kit["tolerances"],
        "passed": all(value <= kit["tolerances"].get(name, 0.0) for name, value in found.items()),
    }


def time_engine(run: Any, image: np.ndarray, batches: list[int], calls: int = 50) -> list[dict[str, float]]:
    """Median in ms and images/s, including copies to and from the GPU."""
    rows = []
    for batch in batches:
        images = np.repeat(image[None], batch, axis=0)
        for _ in range(3):
            run(images)
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            run(images)
            times.append(1000 * (time.perf_counter() - start))
        rows.append(
            {"batch": batch, "p50_ms": float(np.median(times)), "images_per_s": 1000 * batch * calls / sum(times)}
        )
    return rows


def self_test(kit: dict[str, Any], samples: list[tuple[np.ndarray, Maps]]) -> None:
    """Check the checker: expected outputs must pass, wrong ones must fail.

    Raises:
        KitError: It cannot distinguish them.
    """
    correct = iter([expected for _, expected in samples])
    good = check(kit, samples, lambda image: {name: value[None][0] for name, value in next(correct).items()})
    wrong = iter([{name: np.zeros_like(value) for name, value in expected.items()} for _, expected in samples])
    bad = check(kit, samples, lambda image: next(wrong))
    if not good["passed"] or bad["passed"]:
        raise KitError("the checker cannot distinguish correct outputs from wrong ones: export the kit again")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", type=Path, nargs="?", help="path printed by build.py")
    parser.add_argument("--dry-run", action="store_true", help="check the kit and the checker, without an engine")
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    try:
        kit, samples = read_kit(folder), read_samples(folder)
        if options.dry_run:
            self_test(kit, samples)
            print(f"{len(samples)} samples; the checker accepts correct outputs and rejects wrong ones")
            return 0
        if options.engine is None:
            raise KitError("name the engine file: python check.py engines/NAME.engine")
        engine = Engine(options.engine)

        def run(images: np.ndarray) -> Maps:
            return engine.run(images)

        result = check(kit, samples, lambda image: {name: value[0] for name, value in run(image).items()})
        result["timings"] = time_engine(run, samples[0][0], [1, kit["profile"][2][0]])
        print(json.dumps({**result, "facts": engine.facts}, indent=2))
        return 0 if result["passed"] else 1
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
