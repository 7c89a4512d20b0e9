"""Kill `distill label` or `distill train`, run the same command again, and compare with an undisturbed run.

    python benchmarks/kill_resume.py label --kills 30 --out benchmarks/results/kill_resume_label.md
    python benchmarks/kill_resume.py train --out benchmarks/results/kill_resume.md

`label`: kills at random moments; a kill is counted only when it meets a running process that has published a shard
since the last one. All shards must be the same byte by byte. `train`: kills directly behind chosen writes, each kind of
write once and twice in a row, and at random moments, with a state after every step. Weights, states, curves and sample
images must be the same bit for bit. The tests do the same at a few chosen moments.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import results_page

from distill.report.blocks import Table
from distill.shards import file_sha256, verify


def command(out: Path, scenes: int, workers: int) -> list[str]:
    """A labeling job of synthetic scenes with faulty answers, which are aligned with their photos."""
    settings = ("--set", f"scenes={scenes}", "--set", "size_hw=[48,64]", "--set", "faults=moderate")
    job = ("--out", str(out), "--shard-size", "4", "--previews", "3", "--workers", str(workers))
    return [sys.executable, "-m", "distill", "label", "--teacher", "synthetic", *settings, *job]


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every shard and of the manifest."""
    return {path.name: file_sha256(path) for path in [*sorted(folder.glob("*.tar")), folder / "dataset.json"]}


def kill_once(words: list[str], out: Path, rng: random.Random, longest_s: float) -> bool:
    """Start a job, wait for a new shard, kill its process group up to `longest_s` later; False: it had finished."""
    before = len(list(out.glob("*.tar")))
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(list(out.glob("*.tar"))) == before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, longest_s))
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def measure_label(chosen: argparse.Namespace, folder: Path) -> bool:
    """Kill a labeling job, and print one page; returns whether all bytes are the same."""
    rng = random.Random(chosen.seed)
    whole, killed = folder / "whole", folder / "killed"
    subprocess.run(command(whole, chosen.scenes, chosen.workers), check=True, capture_output=True)
    words, kills = command(killed, chosen.scenes, chosen.workers), 0
    while kills < chosen.kills and kill_once(words, killed, rng, chosen.longest_s):
        kills += 1
    subprocess.run(words, check=True, capture_output=True)
    same = contents(killed) == contents(whole) and not verify(killed)
    row = [chosen.scenes, chosen.workers, kills, "yes" if same else "NO"]
    table = Table(["scenes", "processes", "kills", "bytes of all shards the same"], [row])
    results_page("Labeling killed and resumed", "Each kill ends all processes of the job.", [table], chosen.out)
    return same


@dataclass(frozen=True)
class TrainingRun:
    """A training config, and the moments at which it is killed.

    Attributes:
        name: For the table.
        overrides: Of `tests.fakes.killed_training.TINY`.
        photos: Number of photos.
        every_kind: Whether it is killed behind each kind of write.
        chains: Further kills: (write, its number in the process) of each process in turn.
        random_kills: Number of kills at random moments.
    """

    name: str
    overrides: Mapping[str, Any]
    photos: int = 30
    every_kind: bool = False
    chains: tuple[tuple[tuple[str, int], ...], ...] = ()
    random_kills: int = 0


LAST, CURVE = "checkpoints/last.ckpt", "logs/batches.csv"
_SIX, _FOUR = {"train.epochs": 6, "train.num_validations": 3}, {"train.epochs": 4, "train.num_validations": 2}
RUNS = (
    TrainingRun(
        "6 batches an epoch, validations behind 12, 24 and 36",
        _SIX,
        every_kind=True,
        chains=(((LAST, 5), (LAST, 5)), ((LAST, 17), (LAST, 5)), ((LAST, 11), (LAST, 1)), ((LAST, 11), (LAST, 5))),
        random_kills=10,
    ),
    TrainingRun(
        "validations behind 18 and 30, not every second epoch",
        {"train.epochs": 5, "train.num_validations": 2},
        chains=(((LAST, 12), (LAST, 5)),),
    ),
    TrainingRun(
        "steps of 4 batches, 6 an epoch (an incomplete step at its end)",
        _FOUR | {"optim.accumulate": 4},
        chains=(((LAST, 2), (LAST, 1)), ((CURVE, 3),)),
    ),
    TrainingRun("batches of equal size", _FOUR, photos=31, chains=(((LAST, 7), (LAST, 3)),)),
    TrainingRun("without averaged weights", _FOUR | {"optim.ema_decay": 0}, chains=(((LAST, 11), (LAST, 6)),)),
    TrainingRun(
        "without validation photos",
        {"train.epochs": 2, "data.val_fraction": 0},
        chains=(((LAST, 9), (LAST, 3)), (("weights.safetensors", 1),)),
    ),
    TrainingRun(
        "2 worker processes, decoded again each epoch",
        _FOUR | {"data.workers": 2, "data.memory_cache_gib": 0, "data.disk_cache_gib": 0},
        chains=(((LAST, 5), (LAST, 5)),),
    ),
    TrainingRun(
        "decoded on the disk, weights of noisy labels",
        _FOUR | {"data.memory_cache_gib": 0, "loss.noisy_labels.sigma": 3.0},
        chains=(((LAST, 8), (LAST, 8)),),
    ),
    TrainingRun(
        "stopped early",
        {"train.epochs": 9, "train.num_validations": 9, "train.patience": 1, "optim.lr": 1e-9},
        chains=(((LAST, 11),), (("checkpoints/best.ckpt", 1), (LAST, 6))),
    ),
)


def kinds_of_writes(writes: list[str]) -> dict[str, list[tuple[str, int]]]:
    """Moments of each kind of write in an undisturbed run: (beginning of the name, its number)."""
    kinds: dict[str, list[tuple[str, int]]] = {}
    counts: dict[str, int] = {}
    batches = 0
    for place, name in enumerate(writes):
        counts[name] = counts.get(name, 0) + 1
        kind = name.split("/")[0] if name.startswith("samples") else name
        if name == CURVE:
            batches += 1
        if name == LAST:
            validated = writes[max(0, place - 1)] == "checkpoints/best.ckpt" or "metrics" in writes[place - 2]
            kind += ": validation" if validated else ": end of an epoch" if batches % 6 == 0 else ": batch"
        kinds.setdefault(kind, []).append((name, counts[name]))
    return kinds


@dataclass
class TrainingTable:
    """Rows of the result."""

    rows: list[list[object]] = field(default_factory=list)
    kills: int = 0

    def add(self, run: str, kills: list[str], wanted: dict[str, str], found: dict[str, str], code: int) -> None:
        """Add one comparison."""
        differ = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
        state = "yes" if code == 0 and not differ else f"NO: exit code {code}, {', '.join(differ)}"
        self.rows.append([run, "; ".join(kills), state])
        self.kills += len(kills)
        print(self.rows[-1], flush=True)


def measure_train(chosen: argparse.Namespace, folder: Path) -> bool:
    """Kill training runs, and print one page; returns whether all results are the same."""
    import torch

    torch.set_num_threads(1)  # before the children are forked
    rng, table = random.Random(chosen.seed), TrainingTable()
    with contextlib.suppress(KeyboardInterrupt):  # the page then has the rows so far
        for number, run in enumerate(RUNS):
            kill_training(run, folder / str(number), rng, table)
    notes = (
        f"{table.kills} kills (SIGKILL). Each row is one run: the process is killed directly behind the named write "
        "(its number counts the writes of that process), started again, killed again where a second write is named, "
        "and then runs to its end. Compared with an undisturbed run: weights, spec, both checkpoints (weights, average,"
        " optimizer, counters), the losses of every batch, the scores of every validation, sample images, result; "
        "without times. Synthetic blocks of 48x64 px, a student of 32x32 px, one thread, a state after every step."
    )
    results = Table(["run", "killed behind", "the same bit for bit"], table.rows)
    results_page("Training killed and resumed", notes, [results], chosen.out)
    return all(str(row[-1]) == "yes" for row in table.rows)


def kill_training(run: TrainingRun, folder: Path, rng: random.Random, table: TrainingTable) -> None:
    """Kill one config at all of its moments."""
    from tests.builders.shards import write_tiny_shards
    from tests.fakes.killed_training import outcome, train_killed

    shards = write_tiny_shards(folder / "shards", num_samples=run.photos)
    started = time.monotonic()
    code, writes = train_killed(shards, folder / "whole", run.overrides)
    took_s, wanted = time.monotonic() - started, outcome(folder / "whole")
    if code:
        sys.exit(f"{run.name}: the undisturbed run fails")
    for number, chain in enumerate([*run.chains, *(every_kind(writes, rng) if run.every_kind else ())]):
        out, kills = folder / f"chain{number}", list[str]()
        for moment in chain:
            code, done = train_killed(shards, out, run.overrides, behind=moment)
            if code == -signal.SIGKILL:
                kills.append(f"{done[-1]} {moment[1]} (batch {batches_seen(out)})")
        code, _ = train_killed(shards, out, run.overrides)
        table.add(run.name, kills, wanted, outcome(out), code)
    if run.random_kills:
        out, kills = folder / "random", list[str]()
        while len(kills) < run.random_kills:
            code, _ = train_killed(shards, out, run.overrides, after_s=rng.uniform(0.1, 0.7) * took_s)
            if code == 0:
                break
            kills.append(f"random (batch {batches_seen(out)})")
        code, _ = train_killed(shards, out, run.overrides)
        table.add(run.name, kills, wanted, outcome(out), code)


def batches_seen(out: Path) -> int:
    """Rows of the curve."""
    return len((out / CURVE).read_text().splitlines()) - 1 if (out / CURVE).is_file() else 0


def every_kind(writes: list[str], rng: random.Random) -> Iterator[tuple[tuple[str, int], ...]]:
    """A kill behind each kind of write, and in another run two in a row."""
    for moments in kinds_of_writes(writes).values():
        yield (rng.choice(moments),)
        name, number = rng.choice(moments)
        yield ((name, max(1, number // 2)), (name, 1))


def main() -> None:
    """Measure and print one page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("label", "train"))
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--scenes", type=int, default=240)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--longest-s", type=float, default=2.0, help="latest moment of a kill after a new shard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure = measure_label if chosen.verb == "label" else measure_train
        if not measure(chosen, Path(folder)):
            sys.exit(1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
