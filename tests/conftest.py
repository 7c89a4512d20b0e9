"""Settings of all tests; shared fixtures are in `fixtures.py`."""

from __future__ import annotations

import os
import signal
from importlib import metadata
from pathlib import Path

import pytest

pytest_plugins = ["tests.fixtures"]

# Two cores are shared by everything; more threads only fight.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """The versions that matter when a test fails somewhere else."""
    names = ("torch", "timm", "lightning", "onnx", "onnxruntime", "onnxruntime-gpu", "av", "numpy")
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data(repository: Path) -> Path:
    """Real photos and videos, which the repository does not hold: `DISTILL_DATA` or `../shared/data`."""
    folder = Path(os.environ.get("DISTILL_DATA") or repository.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("needs real photos and videos: set DISTILL_DATA to their folder")
    return folder
