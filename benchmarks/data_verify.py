r"""Verification of a set: what it finds, how fast it is, and the memory that it needs.

    python benchmarks/data_verify.py --faults 200 --samples 100000 --large 400 \
        --out benchmarks/results/data_verify.md

Faults: single flipped bits at random places, cuts, missing and duplicate members, wrong digests, each in a fresh copy
of a small set; a fault counts as named if a reported byte range has it. Speed is measured on one core, on a set of
samples with photo, depth, normals and classes that is in the page cache; the time is that of the process on the core.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from machine import results_page

from distill.datasets.verification import verify
from distill.images import encode_jpeg
from distill.labels import Label, encode
from distill.report.blocks import Table
from distill.shards import Manifest, Sample, read_manifest, read_samples, write_manifest, write_shard
from distill.tasks import DepthKind, Task

TASKS = (Task.DEPTH, Task.NORMALS, Task.SEMANTIC)


def sample(number: int, size_hw: tuple[int, int], tasks: tuple[Task, ...] = TASKS) -> Sample:
    """A smooth random photo with smooth random labels."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)
    rgb = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    rgb = np.clip(rgb + rng.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    field = cv2.resize(rng.uniform(1, 20, (6, 8)).astype(np.float32), size_hw[::-1])
    vector = np.dstack([cv2.resize(rng.normal(0, 1, (6, 8)).astype(np.float32), size_hw[::-1]) for _ in range(3)])
    vector /= np.linalg.norm(vector, axis=-1, keepdims=True) + 1e-6
    ids = (field.astype(np.uint8) // 7) % 3
    valid, sure = np.ones(size_hw, bool), np.clip(field / 20, 0, 1)
    photo = encode_jpeg(rgb, quality=90)
    files = {"jpg": photo}
    values = {Task.DEPTH: field, Task.NORMALS: vector.astype(np.float32), Task.SEMANTIC: ids}
    for task, value in ((task, values[task]) for task in tasks):
        kind = DepthKind.METRIC if task is Task.DEPTH else None
        files |= encode(Label(task, value, valid, sure.astype(np.float32), kind))
    meta = {"name": f"{number}.jpg", "photo_sha256": hashlib.sha256(photo).hexdigest(), "depth_kind": "metric"}
    meta |= {"size_hw": list(size_hw), "records": [{"task": str(task), "quality": 1.0} for task in tasks]}
    return Sample(f"sample-{number:07d}", files | {"json": json.dumps(meta).encode()})


def write_set(
    folder: Path,
    num_samples: int,
    size_hw: tuple[int, int],
    per_shard: int,
    distinct: int,
    tasks: tuple[Task, ...] = TASKS,
) -> Path:
    """A set of samples, `distinct` of which are rendered; the others are these under other keys."""
    folder.mkdir(parents=True)
    rendered = [sample(number, size_hw, tasks) for number in range(min(num_samples, distinct))]
    entries = []
    for start in range(0, num_samples, per_shard):
        numbers = range(start, min(start + per_shard, num_samples))
        samples = (Sample(f"sample-{number:07d}", rendered[number % len(rendered)].files) for number in numbers)
        entries.append(write_shard(folder / f"shard-{len(entries):06d}.tar", samples, tasks))
    manifest = Manifest(tasks=tasks, classes=("a", "b", "c"), shards=tuple(entries), teachers=("random",))
    write_manifest(folder, manifest)
    return folder


def flip(folder: Path, rng: random.Random) -> tuple[str, int]:
    """Flip one bit."""
    path = rng.choice(sorted(folder.glob("*.tar")))
    at = rng.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << rng.randrange(8)]))
    return path.name, at


def cut(folder: Path, rng: random.Random) -> tuple[str, None]:
    """Cut a tar anywhere."""
    path = rng.choice(sorted(folder.glob("*.tar")))
    os.truncate(path, rng.randrange(path.stat().st_size))
    return path.name, None


def rewrite(path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    """Change the members of a tar."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))


def drop_member(folder: Path, rng: random.Random) -> tuple[str, None]:
    """Leave out one member."""
    path = rng.choice(sorted(folder.glob("*.tar")))
    rewrite(path, lambda members: members.remove(rng.choice(members)))
    return path.name, None


def repeat_member(folder: Path, rng: random.Random) -> tuple[str, None]:
    """Write one member twice."""
    path = rng.choice(sorted(folder.glob("*.tar")))
    rewrite(path, lambda members: members.insert(rng.randrange(len(members)), rng.choice(members)))
    return path.name, None


def wrong_digest(folder: Path, rng: random.Random) -> tuple[str, None]:
    """State another SHA-256 in the manifest."""
    manifest = read_manifest(folder)
    number = rng.randrange(len(manifest.shards))
    shards = list(manifest.shards)
    digest = list(shards[number].sha256)
    digest[rng.randrange(64)] = rng.choice("0123456789abcdef".replace(digest[0], ""))
    shards[number] = shards[number].model_copy(update={"sha256": "".join(reversed(digest))})
    write_manifest(folder, manifest.model_copy(update={"shards": tuple(shards)}))
    return shards[number].name, None


KINDS = (flip, cut, drop_member, repeat_member, wrong_digest)


def measure_faults(number: int, folder: Path) -> Table:
    """Insert each kind of fault `number` times (flips) or a tenth as often (others), and salvage."""
    whole = write_set(folder / "whole", 8, (36, 48), 4, 8)
    originals = {one.key: one.files for one in read_samples(whole)}
    rng, rows = random.Random(0), []
    for kind in KINDS:
        counts = Counter[str]()
        for _ in range(number if kind is flip else max(1, number // 10)):
            damaged, out = folder / "damaged", folder / "out"
            shutil.copytree(whole, damaged)
            name, at = kind(damaged, rng)
            report = verify(damaged, salvage=out)
            counts["inserted"] += 1
            counts["found"] += any(fault.file == name for fault in report.faults)
            counts["named"] += at is None or any(
                fault.first_byte is not None and fault.first_byte <= at <= (fault.last_byte or 0)
                for fault in report.faults
            )
            kept = {one.key: one.files for one in read_samples(out)}
            others = {key for key in originals if key not in keys_of(whole / name)}
            counts["kept"] += kept.items() <= originals.items() and kept.keys() >= others | untouched(
                whole / name, damaged / name
            )
            counts["valid"] += not verify(out).num_faults
            shutil.rmtree(damaged)
            shutil.rmtree(out, ignore_errors=True)
        rows.append(
            [
                (kind.__doc__ or "").rstrip("."),
                *(counts[key] for key in ("inserted", "found", "named", "kept", "valid")),
            ]
        )
    columns = [
        "fault",
        "inserted",
        "found",
        "byte range has it",
        "all untouched samples kept, no other",
        "new set intact",
    ]
    return Table(columns, rows, title="Faults in a set of 8 samples")


def keys_of(path: Path) -> set[str]:
    """Keys of a tar."""
    with tarfile.open(path) as tar:
        return {member.name.partition(".")[0] for member in tar}


def untouched(whole: Path, damaged: Path) -> set[str]:
    """Keys of which every member, header and padding included, is in the damaged tar."""
    with tarfile.open(whole) as tar:
        spans = [(member.name.partition(".")[0], member.offset, member.offset_data, member.size) for member in tar]
    data, changed = whole.read_bytes(), damaged.read_bytes()
    touched = {
        key for key, start, content, size in spans if data[start : content + -(-size // 512) * 512] not in changed
    }
    return {key for key, *_ in spans} - touched


SCRIPT = """
import sys, time
from pathlib import Path
from distill.datasets.verification import verify
def peak_kib():  # of this program only, unlike getrusage
    return next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
verify(sys.argv[2])
start, memory = time.process_time(), peak_kib()
report = verify(sys.argv[1], quick=sys.argv[3] == "quick")
assert not report.num_faults
print(time.process_time() - start, memory, peak_kib())
"""


def measure_speed(folder: Path, small: Path, mode: str) -> list[object]:
    """MB/s, samples/s and memory of one verification on one core."""
    command = ["taskset", "-c", "0", sys.executable, "-c", SCRIPT, str(folder), str(small), mode]
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENCV_FOR_THREADS_NUM="1")
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds, before, after = map(float, done.stdout.split())
    manifest = read_manifest(folder)
    megabytes = sum(shard.bytes for shard in manifest.shards) / 1e6
    return [
        mode,
        manifest.samples,
        round(megabytes),
        round(seconds, 1),
        round(megabytes / seconds),
        round(manifest.samples / seconds),
        round(after / 1024),
        round((after - before) / 1024),
    ]


def main() -> None:
    """Measure and print one page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=400, help="samples of 1280x720")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    tables = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.faults:
            tables.append(measure_faults(chosen.faults, folder / "faults"))
        small = write_set(folder / "small", 4, (36, 48), 4, 4)
        many = write_set(folder / "many", chosen.samples, (36, 48), 1000, 50, (Task.DEPTH,))
        large = write_set(folder / "large", chosen.large, (720, 1280), 50, 20)
        rows = [
            [size, *measure_speed(place, small, mode)]
            for size, place in (("48x36, depth", many), ("1280x720, three tasks", large))
            for mode in ("quick", "full")
        ]
        columns = [
            "photos",
            "pass",
            "samples",
            "MB",
            "s",
            "MB/s",
            "samples/s",
            "peak memory, MB",
            "more than for 4, MB",
        ]
        tables.append(Table(columns, rows, title="Speed and memory on one core"))
    results_page(
        "Verification of sets of shards",
        "quick: SHA-256 of the tars; full: the same, and every photo and map is decoded and checked.",
        tables,
        chosen.out,
    )


if __name__ == "__main__":
    main()
