"""`distill label` with a hosted teacher as a user runs it: killed, interrupted, out of space, planned."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from distill.errors import UsageError
from distill.shards import verify
from distill.workflows.label.hosted import parse_deadline
from tests.fakes.gemini import FakeGemini, Settings
from tests.fakes.hosted_jobs import (
    QUICK,
    command,
    environment,
    job,
    killed_until_done,
    label,
    run,
    run_here,
    served,
    shards,
    stats,
    values,
    write_photos,
)


@pytest.mark.parametrize(("mode", "group"), [("online", True), ("batch", True)])
def test_shards_and_costs_are_the_same_after_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, group: bool
) -> None:
    """At two random moments; `benchmarks/hosted.py kills` does it hundreds of times, also to the process alone."""
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    write_photos(tmp_path / "photos", 12)
    more = {"mode": mode, "poll_s": 0.2, "batch_images": 9} if mode == "batch" else {}
    with served({"size": "photo", "latency_s": 0.2, "batch_s": 0.4}) as url:
        words = command(tmp_path, url, **more)
        lost = killed_until_done(words, url, 2, random.Random(5), longest_s=0.8, group=group)
        told = stats(url)
        allowed = 0 if mode == "batch" else len(lost) * QUICK["concurrency"]
        assert told["duplicates"] <= allowed
        assert mode == "batch" or all(count <= QUICK["concurrency"] for count in lost)
        assert told["asked_for"] == 36
        write_photos(tmp_path / "other" / "photos", 12)
        label(job(tmp_path / "other", url, **more))  # never killed, with a store of its own
    assert shards(tmp_path / "out") == shards(tmp_path / "other" / "out")
    verify(tmp_path / "out")


def test_ctrl_c_waits_for_the_answers_in_flight_and_keeps_them(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 12)
    with FakeGemini(Settings(size="photo", latency_s=1.0)) as server:
        words = command(tmp_path, server.url)
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment())
        while server.fake.in_flight < QUICK["concurrency"] and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=200)
        assert process.returncode == 130 and "answers in flight" in said and "run the same command again" in said
        made = server.stats["made"]
        kept = len(list((tmp_path / "answers").glob("[0-9a-f][0-9a-f]/*.json")))
        assert kept == made >= QUICK["concurrency"]
        assert run(words).returncode == 0
        assert server.stats["duplicates"] == 0 and server.stats["made"] == 36


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs root, to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_ends_the_run_in_one_sentence_and_space_lets_it_go_on(tmp_path: Path, small_disk: Path) -> None:
    write_photos(tmp_path / "photos", 12)
    ballast = small_disk / "ballast"
    with FakeGemini(Settings(size="photo", latency_s=0.02)) as server:
        words = command(tmp_path, server.url)
        words[words.index("--store") + 1] = str(small_disk / "answers")
        ballast.write_bytes(bytes(1_000_000))
        full = run_here(words)
        assert full.returncode == 1 and "are free" in full.stdout + full.stderr
        assert "Traceback" not in full.stderr and "free space" in full.stdout + full.stderr
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
        done = run_here([*words, "--json"])
        assert done.returncode == 0 and json.loads(done.stdout)["labeled"] == 12, done.stderr
        assert server.stats["duplicates"] == 0 and server.stats["made"] == 36


def test_full_shards_end_the_run_in_one_sentence_and_answers_are_kept(tmp_path: Path, small_disk: Path) -> None:
    write_photos(tmp_path / "photos", 12, size_hw=(200, 300))
    with FakeGemini(Settings(size="photo")) as server:
        words = command(tmp_path, server.url)
        words[words.index("--out") + 1] = str(small_disk / "out")
        (small_disk / "ballast").write_bytes(bytes(1_200_000))
        full = run_here(words)
        assert full.returncode == 1 and "No space left" in full.stderr and "Traceback" not in full.stderr
        made = server.stats["made"]
        (small_disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
        assert run_here(words).returncode == 0
        assert server.stats["duplicates"] == 0 and server.stats["made"] == 36 >= made


def test_a_ledger_that_cannot_be_written_ends_the_run_before_any_call(tmp_path: Path, small_disk: Path) -> None:
    write_photos(tmp_path / "photos", 2)
    with FakeGemini(Settings(size="photo")) as server:
        words = command(tmp_path, server.url)
        words[words.index("--store") + 1] = str(small_disk / "answers")
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        refused = run_here(words)
        assert refused.returncode == 1 and "Read-only file system" in refused.stderr
        assert "Traceback" not in refused.stderr and server.stats["made"] == 0
        subprocess.run(["mount", "-o", "remount,rw,size=64m", small_disk], check=True)
        assert run_here(words).returncode == 0 and server.stats["made"] == 6


PLAN = """
    import socket, sys
    def refuse(*arguments, **named):
        sys.stderr.write("a packet was sent\\n")
        raise AssertionError("a packet was sent")
    for name in ("connect", "connect_ex", "sendto", "sendmsg"):
        setattr(socket.socket, name, refuse)
    socket.getaddrinfo = socket.create_connection = refuse
    from distill.cli import main
    main()
"""


def blocked(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that cannot open a connection."""
    import textwrap

    code = textwrap.dedent(PLAN)
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment(**more), timeout=300)


def test_a_plan_of_ten_thousand_photos_says_what_both_modes_cost_and_sends_nothing(tmp_path: Path) -> None:
    write_photos(tmp_path / "one", 1)
    (tmp_path / "photos").mkdir()
    for number in range(10_000):
        (tmp_path / "photos" / f"{number:05d}.png").symlink_to(tmp_path / "one" / "00000.png")
    config = tmp_path / "gemini.yaml"
    config.write_text(yaml.safe_dump({"kind": "gemini", "prompts": values("")["prompts"]}))
    words = ("label", tmp_path / "photos", "--teacher", config, "--out", tmp_path / "out", "--plan")
    done = blocked(*words, "--json", GEMINI_API_KEY="")
    plan = json.loads(done.stdout)
    assert (plan["photos"], plan["answers"], plan["cached"], plan["shards"]) == (10_000, 30_000, 0, 157)
    online, batch = plan["modes"]["online"], plan["modes"]["batch"]
    # 1,120 tokens painted, 1,120 of the photo and the sentence read, for 30 and 1.50 USD a million.
    assert 30_000 * 0.0353 < online["usd"] < 30_000 * 0.0360 and online["minutes"] > 60
    assert batch["usd"] == pytest.approx(online["usd"] / 2, rel=1e-3)
    assert online["at_most_usd"] > online["usd"]
    said = blocked(*words, GEMINI_API_KEY="").stdout
    assert "online" in said and "batch" in said and "No request was sent" in said
    assert not (tmp_path / "out").exists() and not (tmp_path / "answers").exists()


def test_the_block_on_connections_would_have_been_noticed(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        words = command(tmp_path, url, limits={"abort_after_s": 0.1, "max_attempts": 1})[3:]
        done = blocked(*words)
    assert "a packet was sent" in done.stdout + done.stderr


def test_a_plan_counts_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    write_photos(tmp_path / "photos", 4)
    with FakeGemini(Settings(size="photo")) as server:
        label(job(tmp_path, server.url))
        made = server.stats["made"]
        write_photos(tmp_path / "photos", 4, first=4)
        plan = json.loads(run_here(command(tmp_path, server.url, "--plan", "--json")).stdout)
        assert (plan["answers"], plan["cached"], plan["to_request"], plan["cached_exact"]) == (24, 12, 12, True)
        assert server.stats["made"] == made


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("1h30m", 5400), ("45s", 45), ("2h", 7200)])
def test_deadlines_are_spans(text: str, seconds: float) -> None:
    from datetime import datetime

    now = datetime.fromisoformat("2026-03-01T10:00:00+00:00")
    assert parse_deadline(text, now) - now.timestamp() == seconds


def test_deadlines_are_moments() -> None:
    from datetime import datetime

    now = datetime.fromisoformat("2026-03-01T10:00:00+00:00")
    assert parse_deadline("11:30", now) - now.timestamp() == 5400
    assert parse_deadline("09:00", now) - now.timestamp() == 23 * 3600
    assert parse_deadline("2026-03-01T12:00:00+00:00", now) - now.timestamp() == 7200
    with pytest.raises(UsageError, match="not a time"):
        parse_deadline("soon")


def test_offline_needs_answers_and_money_needs_a_hosted_teacher(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1)
    words = command(tmp_path, "http://127.0.0.1:1", "--json", "--offline")
    result = json.loads(run_here(words, GEMINI_API_KEY="").stdout)
    assert len(result["unanswered"]) == 3 and (tmp_path / "out").is_dir()
