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


@pytest.mark.parametrize("fate", ["echo 401", "echo 403", "echo 400", "echo 429", "echo 500"])
def test_a_key_that_the_service_repeats_is_written_nowhere(tmp_path: Path, fate: str) -> None:
    write_photos(tmp_path / "photos", 1)
    limits = {**QUICK, "concurrency": 1, "max_attempts": 1}
    with FakeOpenai(*[fate] * 8) as server:
        result = label(job(tmp_path, server.url, limits=limits))
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 3 and not any(b"key-1" in data for data in written) and "key-1" not in str(result)


@pytest.mark.parametrize(("fate", "usd"), [("negative", 0.0), ("huge", 1.0)])
def test_token_counts_of_a_service_are_bounded(tmp_path: Path, fate: str, usd: float) -> None:
    write_photos(tmp_path / "photos", 1)
    table = tmp_path / "prices.yaml"
    table.write_text(yaml.safe_dump({"dated": "2026-01-02", "models": {"editor": {"per_million": {"image": 10.0}}}}))
    with FakeOpenai(fate) as server:
        result = label(job(tmp_path, server.url, model="editor", prices=str(table)))
    assert usd <= result["spent_usd"] < 1e4 and result["labels"] == {"depth": 1}


def test_a_pause_of_years_ends_the_run(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1)
    with FakeOpenai(*["later"] * 8) as server:
        assert "requires a pause of" in label(job(tmp_path, server.url))["stopped"]


@pytest.mark.parametrize("key", ["two\nlines", "two words", "\x1b[31mkey", "schl\u00fcssel"])
def test_a_key_with_other_characters_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    write_photos(tmp_path / "photos", 1)
    with FakeOpenai() as server, pytest.raises(UsageError, match="no key has") as caught:
        raise UsageError(label(job(tmp_path, server.url))["stopped"])
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_url": "http://192.168.1.5:8000"}, "unencrypted"),
        ({"base_url": "http://localhost.example.com"}, "unencrypted"),
        ({"base_url": "https://user:pw@example.com"}, "keys come from the environment"),
        ({"base_url": "https://example.com/?key=abc"}, "keys come from the environment"),
        ({"base_url": "https://example.com/#key"}, "keys come from the environment"),
        ({"base_url": "https://example.com/sk-abcdef0123456789"}, "keys come from the environment"),
        ({"base_url": "file:///etc/passwd"}, "https://"),
        ({"api_key_env": ["sk-abcdef"]}, "names of environment variables"),
    ],
)
def test_addresses_and_variables_of_a_config_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_config(OpenaiConfig, {"kind": "openai", **values})
    assert "abcdef" not in str(caught.value) and "pw@" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"base_url": "https://example.com"}, {"api_key_env": ["OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"]}]
)
def test_a_config_cannot_send_a_key_elsewhere(tmp_path: Path, values: dict[str, Any]) -> None:
    write_photos(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match="its author would receive a key") as caught:
        label(job(tmp_path, values.pop("base_url", "https://api.openai.com"), **values))
    assert "--trust-service" in str(caught.value)
