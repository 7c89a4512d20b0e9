"""`distill doctor`: what is there, what is missing, what is broken."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from typing import Any

import pytest
import typer

from distill.commands.doctor import doctor
from distill.workflows import doctor as doctor_module
from distill.workflows.doctor import examine


def test_this_machine_can_run_everything_needed(capsys: pytest.CaptureFixture[str]) -> None:
    doctor(network=False, as_json=True)
    values = json.loads(capsys.readouterr().out)
    assert values["ok"] is True
    states = {finding["name"]: finding["state"] for finding in values["findings"]}
    assert states["python"] == states["torch"] == states["H.264 decoder"] == "ok"
    assert not any(finding["area"] == "network" for finding in values["findings"])


def test_a_broken_package_fails_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def without_scipy(name: str, package: str | None = None) -> Any:
        if name == "scipy":
            raise ImportError("libgfortran is gone\nand more")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without_scipy)
    with pytest.raises(typer.Exit) as stop:
        doctor(network=False, as_json=False)
    assert stop.value.exit_code == 1
    text = capsys.readouterr().out
    assert "cannot be imported: libgfortran is gone" in text and "not working: scipy" in text
    assert "pip install --force-reinstall scipy" in text


def test_a_missing_extra_is_no_fault_and_names_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "_version", lambda name: None)
    found = {finding.name: finding for finding in examine() if finding.area == "extras"}
    assert found["openvino"].state == "missing" and "pip install 'distill[openvino]'" in found["openvino"].hint


def test_gpus_are_listed_by_the_drivers_word(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "NVIDIA X1, 24576 MiB, 570.1\nNVIDIA X2, 8192 MiB, 570.1\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, answer, ""))
    found = [finding for finding in examine() if finding.area == "gpu"]
    assert [finding.value for finding in found[:2]] == [
        "NVIDIA X1, 24576 MiB, driver 570.1",
        "NVIDIA X2, 8192 MiB, driver 570.1",
    ]


def test_keys_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "sk-very-secret")
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    found = next(finding for finding in examine() if finding.area == "keys")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"  # the packages that were imported report nothing
    assert found.state == "ok" and "secret" not in f"{found.value}{found.hint}"


def test_the_network_is_only_asked_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.request

    def refuse(*_: object, **__: object) -> None:
        raise OSError("unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert not any(finding.area == "network" for finding in examine())
    hub = next(finding for finding in examine(network=True) if finding.area == "network")
    assert hub.state == "missing" and "unreachable" in hub.value
