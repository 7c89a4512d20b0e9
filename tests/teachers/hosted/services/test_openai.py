"""``/v1/images/edits``: GPT-image and compatible servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from distill.config import load_config
from distill.config.hosted import OpenaiConfig
from distill.errors import UsageError
from distill.images import image_size_hw
from distill.teachers.labeling.job import Job
from distill.teachers.store.spending import Budget
from tests.fakes.hosted_jobs import QUICK, label, write_photos
from tests.fakes.openai import FakeOpenai


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-1")


def job(folder: Path, url: str, **more: Any) -> Job:
    values = {"kind": "openai", "base_url": url, "prompts": {"tasks": ["depth"]}, "limits": QUICK, **more}
    config = load_config(OpenaiConfig, values)
    photos = (str(folder / "photos"),)
    return Job(out=folder / "out", config=config, folder=folder, inputs=photos, previews=0, store=folder / "answers")


def test_photos_are_resized_and_labeled(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 3)
    with FakeOpenai() as server:
        result = label(job(tmp_path, server.url, model="gpt-image-1.5"))
        call = server.calls[0]
    assert result["labels"] == {"depth": 3} and not result["unanswered"]
    assert call["path"] == "/v1/images/edits" and call["key"] == "Bearer key-1"
    assert (call["model"], call["size"], call["output_format"]) == ("gpt-image-1.5", "1536x1024", "png")
    assert image_size_hw(call["image"], "sent") == (1024, 1536)


def test_compatible_server_without_sizes_and_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    write_photos(tmp_path / "photos", 1)
    own = {"model": "my-editor", "sizes_hw": [], "quality": "", "input_fidelity": "", "send_seed": True, "seed": 7}
    with FakeOpenai() as server:
        assert label(job(tmp_path, server.url + "/v1", **own))["labels"] == {"depth": 1}
        call = server.calls[0]
    assert call["seed"] == "7" and call["key"] is None
    assert not {"size", "quality", "input_fidelity", "output_format"} & set(call)


def test_errors_are_retried_and_refusals_are_stored(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    with FakeOpenai("busy", "cut", "html", "refuse") as server:
        result = label(job(tmp_path, server.url, limits={**QUICK, "concurrency": 1}))
        assert [row["kind"] for row in result["unanswered"]] == ["refused"]
        assert result["labels"] == {"depth": 3} and server.made == 3
        again = label(job(tmp_path, server.url, seed=0))
        assert again["labels"] == {"depth": 3} and server.made == 3


def test_missing_credit_stops_the_run(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 2)
    with FakeOpenai("broke") as server:
        assert "bill" in label(job(tmp_path, server.url, limits={**QUICK, "concurrency": 1}))["stopped"]


def test_budget_needs_a_price_from_a_table(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 5)
    table = tmp_path / "prices.yaml"
    table.write_text(yaml.safe_dump({"dated": "2026-01-02", "models": {"my-editor": {"per_image": {"medium": 0.04}}}}))
    with FakeOpenai() as server:
        with pytest.raises(UsageError, match="needs a price"):
            label(job(tmp_path, server.url, model="my-editor"), Budget(max_usd=1.0))
        result = label(job(tmp_path, server.url, model="my-editor", prices=str(table)), Budget(max_usd=0.13))
        assert server.made == 3 and result["spent_usd"] == pytest.approx(0.12)
