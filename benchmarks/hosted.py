"""Hosted labeling against a fake service that speaks the real wire format and keeps its own count.

    python benchmarks/hosted.py faults --out benchmarks/results/hosted_faults.md
    python benchmarks/hosted.py throughput --out benchmarks/results/hosted_throughput.md
    python benchmarks/hosted.py kills --out benchmarks/results/hosted_kills.md
    python benchmarks/hosted.py endurance --out benchmarks/results/hosted_endurance.md
    python benchmarks/hosted.py plan --out benchmarks/results/hosted_plan.md

faults: 2,000 requests with all faults; their outcomes, duplicates and charges. throughput: used share of the service's
rate limits. kills: SIGKILL at random moments, online and in batches. endurance: 20,000 tiny requests; memory of the
labeling process and CPU time besides decoding. plan: its duration.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from machine import results_page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from distill.report.blocks import Table
from tests.fakes.hosted_jobs import (
    charged_usd,
    command,
    environment,
    killed_until_done,
    run,
    served,
    shards,
    stats,
    write_photos,
)

FAULTS = {"busy": 0.10, "error": 0.05, "cut": 0.03, "refusal": 0.02, "wrong_size": 0.02, "no_picture": 0.01}
TWO_TASKS = {"tasks": ["depth", "normals"]}


def faults(requests: int, per_minute: float, concurrency: int) -> list[Table]:
    """All faults at once; then the same with a budget that runs out."""
    folder = Path(tempfile.mkdtemp())
    write_photos(folder / "photos", requests // 2)
    service = {
        "size": "photo",
        "latency_s": 0.5,
        "images_per_minute": per_minute,
        "concurrency": concurrency,
        "retry_delay_s": 0.5,
        "faults": FAULTS,
    }
    limits = {"images_per_minute": per_minute, "concurrency": concurrency, "timeout_s": 30.0, "initial_backoff_s": 0.25}
    likely_usd = requests * 0.0353
    with served(service) as url:
        words = command(folder, url, "--json", "--shard-size", 50, prompts=TWO_TASKS, limits=limits)
        capped = json.loads(run([*words, "--max-usd", str(round(likely_usd * 0.4, 2))]).stdout)
        at_cap = stats(url)
        done = json.loads(run([*words, "--max-usd", str(round(likely_usd * 2, 2))]).stdout)
        told = stats(url)
    labels, listed = sum(done["labels"].values()), len(done["unanswered"])
    shutil.rmtree(folder)
    return [
        Table(
            ["requests", "labels", "refused or listed", "accounted for", "answers made", "made twice"],
            [
                [
                    requests,
                    labels,
                    listed,
                    f"{(labels + listed) / requests:.1%}",
                    told["made"],
                    told["duplicates"],
                ]
            ],
        ),
        Table(
            ["cap, USD", "charged at the cap, USD", "stopped by it", "charged in the end, USD", "our own count, USD"],
            [
                [
                    round(likely_usd * 0.4, 2),
                    round(charged_usd(at_cap), 4),
                    bool(capped["stopped"]),
                    round(charged_usd(told), 4),
                    done["spent_usd"],
                ]
            ],
        ),
        Table(["fault", "times"], sorted([name, count] for name, count in told["outcomes"].items())),
    ]


def throughput(requests: int, per_minute: float, concurrency: int, latency_s: float) -> Table:
    """Used share of the rate limits in images and calls, with and without faults."""
    rows = []
    for name, rate, shares in (
        ("images per minute", per_minute, {}),
        ("images per minute", per_minute, FAULTS),
        ("calls in flight", 0.0, {}),
        ("calls in flight", 0.0, FAULTS),
    ):
        folder = Path(tempfile.mkdtemp())
        write_photos(folder / "photos", requests // 2)
        calls = concurrency if not rate else 4 * concurrency
        service = {
            "size": "photo",
            "latency_s": latency_s,
            "images_per_minute": rate,
            "concurrency": calls,
            "retry_delay_s": 0.5,
            "faults": shares,
        }
        limits = {"images_per_minute": rate or None, "concurrency": calls, "initial_backoff_s": 0.25, "timeout_s": 30.0}
        with served(service) as url:
            words = command(folder, url, "--json", "--shard-size", 50, prompts=TWO_TASKS, limits=limits)
            timeline = Timeline(url)
            assert run(words).returncode == 0
            timeline.stop()
            told = stats(url)
        offered = rate / 60 if rate else concurrency / latency_s
        rows.append(
            [
                name,
                "all" if shares else "none",
                round(offered, 1),
                round(timeline.rate(0.05, 0.95), 1),
                f"{timeline.rate(0.05, 0.95) / offered:.0%}",
                f"{told['made'] / told['seconds'] / offered:.0%}",
                told["most_in_flight"],
            ]
        )
        shutil.rmtree(folder)
    return Table(
        ["limit", "faults", "offered, images/s", "used, images/s", "used", "start and end included", "most in flight"],
        rows,
        note=f"{requests} requests each, {latency_s} s from call to answer; used: from the 5th to the 95th percent.",
    )


class Timeline:
    """Number of generated images over time."""

    def __init__(self, url: str) -> None:
        self._url, self._on = url, True
        self.points: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while self._on:
            self.points.append((time.monotonic(), stats(self._url)["made"]))
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop watching."""
        self._on = False
        self._thread.join()
        self.points.append((time.monotonic(), stats(self._url)["made"]))

    def rate(self, low: float, high: float) -> float:
        """Images per second between two fractions of all."""
        last = self.points[-1][1]
        start = next(point for point in self.points if point[1] >= low * last)
        end = next(point for point in self.points if point[1] >= high * last)
        return (end[1] - start[1]) / max(1e-9, end[0] - start[0])


def kills(count: int) -> list[Table]:
    """SIGKILL at random moments, of the process alone and of its process group."""
    rows = []
    for mode, group, workers in (("online", False, 1), ("online", True, 2), ("batch", False, 1), ("batch", True, 2)):
        folder, rng = Path(tempfile.mkdtemp()), random.Random(7)
        number = count // 2
        # A batch has many answers in one job: it takes more photos to be killed as often.
        photos = max(20, number * (14 if mode == "online" else 30))
        write_photos(folder / "photos", photos)
        more: dict[str, Any] = {"limits": {"concurrency": 8, "timeout_s": 900.0}}
        if mode == "batch":
            more |= {"mode": "batch", "poll_s": 0.3, "batch_images": 30}
        with served({"size": "photo", "latency_s": 0.25, "batch_s": 30.0, "faults": {"busy": 0.05}}) as url:
            words = command(folder, url, "--workers", workers, "--shard-size", 10, prompts=TWO_TASKS, **more)
            lost = killed_until_done(words, url, number, rng, longest_s=1.5, group=group)
            told = stats(url)
            straight = command(folder, url, "--shard-size", 10, out="straight", prompts=TWO_TASKS, **more)
            assert run(straight).returncode == 0
        same = shards(folder / "out") == shards(folder / "straight")
        rows.append(
            [
                mode,
                "group" if group else "process",
                len(lost),
                told["asked_for"],
                told["duplicates"],
                max(lost, default=0) if mode == "online" else "",
                "yes" if same else "NO",
            ]
        )
        print(rows[-1], file=sys.stderr, flush=True)
        shutil.rmtree(folder)
    return [
        Table(
            [
                "mode",
                "killed",
                "kills",
                "answers",
                "made twice in all",
                "made, not stored, at a kill",
                "shards the same",
            ],
            rows,
            note="8 calls in flight at most, so that 8 answers may be lost at a kill; those of an earlier kill that "
            "are not repeated yet count once more. A batch job continues at the service after its client is killed. "
            "Shards are compared with those that an undisturbed run makes of the same answers.",
        )
    ]


def endurance(requests: int) -> list[Table]:
    """Memory over many requests, and CPU time of requests and storage."""
    folder = Path(tempfile.mkdtemp())
    write_photos(folder / "photos", requests // 2, size_hw=(24, 32))
    limits = {"concurrency": 32}
    with served({"size": "photo"}) as url:
        words = command(folder, url, "--json", "--shard-size", 100, prompts=TWO_TASKS, limits=limits)
        cpu_s, memory = watched(words, lambda: stats(url)["made"])
        told = stats(url)
    again = command(
        folder, "", "--json", "--shard-size", 100, "--offline", out="again", prompts=TWO_TASKS, limits=limits
    )
    read_s, _ = watched(again, lambda: 0)
    shutil.rmtree(folder)
    # After the last response, the process releases its client.
    steady = [size for made, size in memory if 0.1 * requests <= made < requests]
    marks = [
        [made, round(size / 1e6, 1)]
        for share in (0.1, 0.25, 0.5, 0.75, 1.0)
        for made, size in [min(memory, key=lambda point: abs(point[0] - share * requests))]
    ]
    return [
        Table(["requests done", "resident, MB"], marks),
        Table(
            ["requests", "made twice", "resident from a tenth on, MB", "spread", "processor time, ms per request",
             "of it reading and writing labels", "requests and storage"],
            [
                [
                    requests,
                    told["duplicates"],
                    f"{min(steady) / 1e6:.1f} to {max(steady) / 1e6:.1f}",
                    f"{max(steady) / min(steady) - 1:.1%}",
                    round(1000 * cpu_s / requests, 2),
                    round(1000 * read_s / requests, 2),
                    round(1000 * (cpu_s - read_s) / requests, 2),
                ]
            ],
        ),
    ]  # fmt: skip


def watched(words: list[str], progress: Any) -> tuple[float, list[tuple[int, int]]]:
    """(CPU seconds, (progress, resident bytes) every half second) of a command in one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    points = []
    page = resource.getpagesize()
    while process.poll() is None:
        made = progress()
        try:
            points.append((made, int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * page))
        except (OSError, IndexError):
            break
        time.sleep(0.5)
    assert process.wait() == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, [point for point in points if point[1]]


def plan() -> list[Table]:
    """Duration and content of a plan for 10,000 photos and three tasks."""
    folder = Path(tempfile.mkdtemp())
    write_photos(folder / "one", 1, size_hw=(480, 640))
    (folder / "photos").mkdir()
    for number in range(10_000):
        (folder / "photos" / f"{number:05d}.png").symlink_to(folder / "one" / "00000.png")
    words = command(folder, "", "--plan", "--json", canvas_mode="exact")
    times, said = [], {}
    for _ in range(3):
        began = time.monotonic()
        said = json.loads(run(words, GEMINI_API_KEY="").stdout)
        times.append(time.monotonic() - began)
    shutil.rmtree(folder)
    rows = [[mode, cost["usd"], cost["at_most_usd"], cost["minutes"]] for mode, cost in said["modes"].items()]
    return [
        Table(["photos", "answers", "seconds, of three"], [[said["photos"], said["answers"], f"{min(times):.1f}"]]),
        Table(["mode", "USD", "at most, USD", "minutes"], rows, note=f"prices of {said['prices_dated']}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["faults", "throughput", "kills", "endurance", "plan"])
    parser.add_argument("--requests", type=int, default=0, help="fewer, for a quick look")
    parser.add_argument("--kills", type=int, default=50, help="for each mode")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.what == "faults":
        tables = faults(chosen.requests or 2000, 3000.0, 64)
    elif chosen.what == "throughput":
        tables = [throughput(chosen.requests or 2000, 2400.0, 20, 0.5)]
    elif chosen.what == "kills":
        tables = kills(chosen.kills)
    elif chosen.what == "endurance":
        tables = endurance(chosen.requests or 20_000)
    else:
        tables = plan()
    notes = "Against `tests/fakes/gemini.py` on the same machine, which shares its processor with the client."
    results_page(f"Hosted labeling: {chosen.what}", notes, tables, chosen.out)


if __name__ == "__main__":
    main()
