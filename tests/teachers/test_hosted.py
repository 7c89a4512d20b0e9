"""Hosted teachers against a fake server with the real wire format and all known faults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.config import load_config
from distill.config.adapters import ReplayConfig
from distill.config.ensemble import EnsembleConfig
from distill.errors import DistillError, UsageError
from distill.shards import read_samples
from distill.tasks import Task
from distill.teachers.labeling.job import Job
from distill.teachers.prompts.prompt_ensemble import PromptEnsemble
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.ledger import Ledger
from distill.teachers.store.maintenance import export_answers
from distill.teachers.store.spending import Budget
from distill.workflows.label.estimate import plan_local
from tests.fakes.gemini import FakeGemini, Settings
from tests.fakes.hosted_jobs import KEY, charged_usd, command, job, label, run, shards, values, write_photos

EVERYTHING = {
    "busy": 0.1,
    "error": 0.05,
    "html": 0.02,
    "cut": 0.03,
    "refusal": 0.04,
    "prompt_block": 0.02,
    "recitation": 0.02,
    "bad_request": 0.03,
    "wrong_size": 0.04,
    "no_picture": 0.04,
    "mislabeled": 0.1,
    "text_only": 0.1,
    "thought_only": 0.05,
    "draft_too": 0.3,
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)


def test_all_faults_are_recorded_and_no_answer_is_paid_twice(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 24)
    with FakeGemini(Settings(size="photo"), **EVERYTHING) as server:
        result = label(job(tmp_path, server.url))
        stats = server.stats
    labels, listed = sum(result["labels"].values()), len(result["unanswered"])
    assert labels + listed == 24 * 3
    assert 0 < listed < 30 and not result["failed"] and result["complete"] and not result["stopped"]
    assert stats["duplicates"] == 0 and stats["made"] >= labels
    assert result["spent_usd"] == pytest.approx(charged_usd(stats), rel=1e-4)
    kinds = {row["kind"] for row in result["unanswered"]}
    assert "refused" in kinds and "failed" in kinds
    for outcome in ("busy", "mislabeled", "text_only"):  # the dose was real
        assert stats["outcomes"][outcome] > 0


def test_stored_answers_are_decoded_again_without_requests(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 6)
    with FakeGemini(Settings(size="photo"), **EVERYTHING) as server:
        label(job(tmp_path, server.url))
        made = server.stats["made"]
        again = label(job(tmp_path, server.url, out="again"))  # the store has everything
        assert server.stats["made"] == made and again["complete"]
    offline = label(job(tmp_path, "", out="offline", offline=True))  # no server at all
    assert shards(tmp_path / "out") == shards(tmp_path / "again")
    assert offline["labels"] == again["labels"]
    depths = [sample.label(Task.DEPTH).value for sample in read_samples(tmp_path / "offline")]
    assert depths and all(depth.shape == (40, 60) for depth in depths)


def test_exported_answers_replay_to_the_same_labels(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 3)
    with FakeGemini(Settings(size="photo")) as server:
        label(job(tmp_path, server.url))
    export_answers(AnswerStore(tmp_path / "answers"), tmp_path / "handed_on")
    config = ReplayConfig(answers=tmp_path / "handed_on" / "answers.yaml")
    replayed = Job(
        out=tmp_path / "replayed",
        config=config,
        folder=tmp_path,
        inputs=(str(tmp_path / "photos"),),
        tasks=(Task.DEPTH, Task.NORMALS, Task.SEMANTIC),
    )
    assert label(replayed)["labels"] == {"depth": 3, "normals": 3, "semantic": 3}
    for ours, theirs in zip(read_samples(tmp_path / "out"), read_samples(tmp_path / "replayed"), strict=True):
        assert {name: data for name, data in ours.files.items() if name != "json"} == {
            name: data for name, data in theirs.files.items() if name != "json"
        }


def test_offline_prompts_without_an_answer_fail(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 2)
    result = label(job(tmp_path, "", offline=True))
    assert [row["reason"] for row in result["unanswered"]] == ["no answer is stored for this prompt"] * 6


def test_budget_is_never_exceeded_and_can_be_raised(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 12)
    settings = Settings(size="photo", latency_s=0.02)
    with FakeGemini(settings, cut=0.1, cut_midway=0.1) as server:
        capped = label(job(tmp_path, server.url), Budget(max_usd=0.7))
        assert "0.70 USD" in capped["stopped"] and not capped["complete"]
        assert 0.2 < charged_usd(server.stats) <= 0.7
        server.settings.faults.cut_midway = 0.0
        done = label(job(tmp_path, server.url), Budget(max_usd=10.0))
        assert done["complete"] and done["labeled"] == 12
        assert server.stats["duplicates"] <= server.stats["lost"]  # only what never arrived


def test_request_limit_and_deadline_stop_the_run(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    with FakeGemini(Settings(size="photo")) as server:
        counted = label(job(tmp_path, server.url), Budget(max_requests=5))
        assert counted["stopped"] and server.stats["made"] == 5
        late = label(job(tmp_path, server.url), Budget(deadline_s=1.0))
        assert "deadline" in late["stopped"] and server.stats["made"] == 5


def test_api_key_is_neither_written_nor_printed(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 6)
    with FakeGemini(Settings(size="photo", echo_key=True), **{**EVERYTHING, "bad_request": 0.2}) as server:
        words = command(tmp_path, server.url, "--json")
        done = run(words, DISTILL_DEBUG="1")
        assert json.loads(done.stdout)["labeled"] == 6, done.stderr
        server.settings.down = True
        failed = run(
            command(tmp_path, server.url, out="out2", seed=1, limits={"abort_after_s": 0.2}), DISTILL_DEBUG="1"
        )
        assert failed.returncode == 1 and "only errors for a while" in failed.stdout
    told = [done.stdout, done.stderr, failed.stdout, failed.stderr]
    told += [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(told) > 40
    assert not any(KEY in text for text in told)
    # If this fails the test is blind: the server did put the key into its errors, and they were kept.
    assert any("(key ***" in text for text in told)


@pytest.mark.parametrize(
    ("config", "environment", "sentence"),
    [
        ({}, "wrong", "does not accept the key"),
        ({"model": "no-such-model"}, KEY, "has no such model"),
    ],
)
def test_account_errors_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict, environment: str, sentence: str
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", environment)
    write_photos(tmp_path / "photos", 4)
    with FakeGemini(Settings(size="photo")) as server:
        result = label(job(tmp_path, server.url, **config))
        assert sentence in result["stopped"]
        assert server.stats["made"] == 0


def test_missing_api_key_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    write_photos(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match="no API key"):
        label(job(tmp_path, "http://127.0.0.1:1"))


def test_daily_quota_stops_the_run(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    with FakeGemini(Settings(size="photo", quota_of_the_day=5)) as server:
        result = label(job(tmp_path, server.url))
        assert "daily quota" in result["stopped"] and server.stats["made"] >= 5
        server.settings.quota_of_the_day = 0
        assert label(job(tmp_path, server.url))["labeled"] == 4
        assert server.stats["duplicates"] == 0


def test_run_stops_when_the_service_is_down_and_resumes(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    with FakeGemini(Settings(size="photo", down=True)) as server:
        result = label(job(tmp_path, server.url, limits={"abort_after_s": 0.3}))
        assert "only errors for a while" in result["stopped"] and "503" in result["stopped"]
        assert "<html" not in result["stopped"]
        server.settings.down = False
        assert label(job(tmp_path, server.url))["labeled"] == 4


def test_unreachable_service_costs_nothing(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1)
    result = label(job(tmp_path, "http://127.0.0.1:9", limits={"abort_after_s": 0.2}))
    assert result["stopped"] and result["uncertain_usd"] == 0.0


def test_absent_object_costs_only_a_presence_check(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 2)
    prompts = {"tasks": ["instance"], "instances": ["car", "unicorn"]}
    with FakeGemini(Settings(size="photo", say_no="unicorn")) as server:
        result = label(job(tmp_path, server.url, prompts=prompts, presence_model="gemini-3.1-flash-lite"))
        assert not result["unanswered"] and result["labels"]["instance"] == 2
        assert server.stats["usage"]["image"] == 2 * 1120  # cars only
    sample = next(read_samples(tmp_path / "out"))
    assert {row["class"] for row in sample.meta["instances"]} == {"car"}
    absent = [record for record in sample.meta["records"] if record["answer"].endswith(".absent")]
    assert len(absent) == 1 and 0 < absent[0]["cost_usd"] < 0.001


def test_two_processes_share_a_store_and_pay_once(tmp_path: Path) -> None:
    import subprocess

    from tests.fakes.hosted_jobs import environment

    write_photos(tmp_path / "photos", 8)
    with FakeGemini(Settings(size="photo", latency_s=0.1)) as server:
        both = [
            subprocess.Popen(
                command(tmp_path, server.url, "--json", out=out),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
            )
            for out in ("one", "two")
        ]
        results = [json.loads(process.communicate(timeout=200)[0]) for process in both]
        assert [result["labeled"] for result in results] == [8, 8]
        assert server.stats["made"] == 24
    assert shards(tmp_path / "one") == shards(tmp_path / "two")


def test_photo_is_resized_and_its_label_has_the_photo_size(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1, size_hw=(64, 96))
    with FakeGemini() as server:
        prompts = {"tasks": ["depth"]}
        result = label(job(tmp_path, server.url, canvas_mode="exact", prompts=prompts, image_size="1K"))
        body = server.fake.bodies[-1]
    assert result["labels"] == {"depth": 1}
    assert body["generationConfig"]["imageConfig"] == {"aspectRatio": "3:2", "imageSize": "1K"}
    assert body["generationConfig"]["responseModalities"] == ["IMAGE"]
    from distill.images import image_size_hw
    from tests.fakes.gemini import photo_of

    assert image_size_hw(photo_of(body), "sent") == (848, 1264)
    label_of = next(read_samples(tmp_path / "out")).label(Task.DEPTH)
    assert label_of.value.shape == (64, 96) and label_of.valid.all()  # stretched back: no border was cut


def test_flex_mode_is_requested_and_costs_half(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1)
    with FakeGemini(Settings(size="photo")) as server:
        result = label(job(tmp_path, server.url, mode="flex"))
        assert server.fake.bodies[-1]["serviceTier"] == "flex"
        assert result["spent_usd"] == pytest.approx(charged_usd(server.stats, 0.5), rel=1e-4)


def test_vertex_requests_png(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1)
    with FakeGemini(Settings(size="photo")) as server:
        result = label(job(tmp_path, server.url, vertex=True, prompts={"tasks": ["depth"]}))
        assert result["labels"] == {"depth": 1}
        assert server.fake.bodies[-1]["generationConfig"]["imageConfig"]["imageOutputOptions"] == {
            "mimeType": "image/png"
        }


def test_samples_and_mirrored_photos_are_requested_once(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 2)
    with FakeGemini(Settings(size="photo")) as server:
        fused = replace(
            job(tmp_path, server.url, prompts={"tasks": ["depth"]}),
            prompt_ensemble=PromptEnsemble(num_answers=3, flip=True),
        )
        assert label(fused)["labels"] == {"depth": 2}
        assert server.stats["made"] == server.stats["asked_for"] == 2 * 3 * 2
        assert label(replace(fused, out=tmp_path / "again"))["labels"] == {"depth": 2}
        assert server.stats["made"] == 12
    subjects = {row["subject"] for row in Ledger(tmp_path / "answers").rows()}
    assert "00000.png (mirrored)" in subjects and len(subjects) == 4


def test_overwrite_reuses_stored_answers(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 2)
    with FakeGemini(Settings(size="photo")) as server:
        label(job(tmp_path, server.url))
        first = shards(tmp_path / "out")
        done = run(command(tmp_path, server.url, "--overwrite", "--json"))
        assert json.loads(done.stdout)["labeled"] == 2 and server.stats["made"] == 6
    assert shards(tmp_path / "out") == first


def test_cascade_requests_the_expensive_teacher_only_if_needed(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    depth = tmp_path / "depth"
    depth.mkdir()
    for number in range(2):  # of the others there is no map
        Image.fromarray(np.full((40, 60), 2500, np.uint16)).save(depth / f"{number:05d}.png")
    with FakeGemini(Settings(size="photo"), text_only=0.3) as server:
        expensive = values(server.url, prompts={"tasks": ["depth"]})
        cheap = {"kind": "maps", "depth": {"pattern": "../depth/{stem}.png", "scale": 0.001, "depth_kind": "metric"}}
        depth_kind = "affine_invariant_disparity"
        blend = {
            "strategy": "cascade",
            "min_quality": 0.0,
            "depth_kind": depth_kind,
            "teachers": [{"teacher": cheap}, {"teacher": expensive}],
        }
        mixed = Job(
            out=tmp_path / "out",
            config=load_config(EnsembleConfig, {"kind": "ensemble", "depth": blend}),
            folder=tmp_path,
            inputs=(str(tmp_path / "photos"),),
            store=tmp_path / "answers",
        )
        plan, said = plan_local(mixed)
        assert plan["cost_usd"] == pytest.approx(4 * 0.0355, abs=0.005) and "at most 0.14 USD" in said
        result = label(mixed)
        assert result["labels"] == {"depth": 4} and result["complete"]
        rows = list(Ledger(tmp_path / "answers").rows())
        assert {row["subject"] for row in rows} == {"00002.png", "00003.png"}
        assert server.stats["duplicates"] == 0
    models = {sample.meta["name"]: sample.meta["records"][0].get("model", "") for sample in read_samples(mixed.out)}
    assert [models[name] == "fake-1" for name in sorted(models)] == [False, False, True, True]


def test_every_request_has_a_ledger_row(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 3)
    with FakeGemini(Settings(size="photo"), busy=0.3) as server:
        label(job(tmp_path, server.url))
    rows = list(Ledger(tmp_path / "answers").rows())
    assert len(rows) == 9 and {row["state"] for row in rows} == {"done"}
    assert {row["license"] for row in rows} == {"restricted (Gemini API Additional Terms)"}
    assert all(row["tokens_out"] == 1120 and row["finish"] == "STOP" and row["cost_usd"] > 0 for row in rows)
    assert {row["subject"] for row in rows} == {"00000.png", "00001.png", "00002.png"}
    assert sum(row["attempts"] for row in rows) > 9


def test_full_disk_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise DistillError("the disk is full")

    write_photos(tmp_path / "photos", 2)
    with FakeGemini(Settings(size="photo")) as server, monkeypatch.context() as patch:
        patch.setattr(AnswerStore, "put", full)
        assert label(job(tmp_path, server.url))["stopped"] == "the disk is full"
