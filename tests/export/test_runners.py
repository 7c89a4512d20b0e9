"""Opening runners of all engines, and errors for unsuitable files and inputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from distill.errors import DistillError, UsageError
from distill.export.runners import open_runner
from distill.spec import METADATA_KEY
from distill.workflows.open_model import open_model


def test_run_folder_and_export_give_equal_outputs(run_dir: Path, onnx_file: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    with open_model(run_dir, threads=2) as first, open_model(onnx_file, threads=2) as second:
        assert first.engine == "torch cpu" and second.engine.startswith("onnxruntime")
        assert first.spec == second.spec and first.threads == second.threads == 2
        a, b = first(images), second(images)
    assert np.abs(a["depth"] - b["depth"]).max() < 1e-3


def test_a_runner_serves_several_threads(onnx_file: Path) -> None:
    pictures = [np.full((1, 32, 32, 3), value, np.uint8) for value in range(0, 250, 25)]
    with open_runner(onnx_file, threads=1) as runner:

        def depth_of(picture: np.ndarray) -> np.ndarray:
            return runner(picture)["depth"].copy()

        alone = [depth_of(picture) for picture in pictures]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(depth_of, pictures))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_invalid_images_raise_a_message(onnx_file: Path, images: np.ndarray) -> None:
    with open_runner(onnx_file, threads=1) as runner, pytest.raises(DistillError, match="not uint8"):
        runner(images)


def test_damaged_files_and_other_formats_have_different_errors(onnx_file: Path, tmp_path: Path) -> None:
    data = onnx_file.read_bytes()
    cases = {
        "half": (data[: len(data) // 2], "cut off or damaged"),
        "nearly": (data[:-300], "cut off or damaged"),
        "empty": (b"", "empty"),
        "text": (b"hello", "not an ONNX file"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(DistillError, match=rf"{name}\.onnx: .*{words}"):
            open_runner(path)


def test_an_onnx_file_without_a_spec_is_rejected(onnx_file: Path, tmp_path: Path) -> None:
    proto = onnx.load(onnx_file)
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    del proto.metadata_props[:]
    bare, lying, lost = tmp_path / "bare.onnx", tmp_path / "lying.onnx", tmp_path / "lost.onnx"
    onnx.save(proto, bare)
    with pytest.raises(DistillError, match="not a student"):
        open_runner(bare)
    onnx.helper.set_model_props(proto, {METADATA_KEY: texts[METADATA_KEY].replace('"image"', '"picture"')})
    onnx.save(proto, lying)
    with pytest.raises(DistillError, match="its spec has"):
        open_runner(lying)
    onnx.save(proto, lost, save_as_external_data=True, location="weights.data", size_threshold=0)
    (tmp_path / "weights.data").unlink()
    with pytest.raises(DistillError, match="another file that is missing"):
        open_runner(lost)


def test_unknown_files_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"x")
    for path, words in (
        (tmp_path / "none.onnx", "no such file"),
        (tmp_path / "x.pt", r"no engine reads \.pt"),
        (tmp_path, r"not a trained student"),
    ):
        with pytest.raises(UsageError, match=words):
            open_model(path)


def test_a_missing_engine_names_its_extra(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DistillError) as caught:
        open_runner(onnx_file)
    assert "distill[cpu]" in caught.value.hint


def test_calling_a_closed_runner_raises(onnx_file: Path) -> None:
    runner, images = open_runner(onnx_file), np.zeros((1, 40, 50, 3), np.uint8)
    runner(images)
    runner.close()
    with pytest.raises(DistillError, match="the runner is closed"):
        runner(images)


def test_an_accepted_batch_does_not_accept_the_next(onnx_file: Path) -> None:
    images = np.zeros((1, 40, 50, 3), np.uint8)
    with open_runner(onnx_file, threads=1) as runner:
        with pytest.raises(DistillError, match="are a list"):
            runner([images[0]])  # type: ignore[call-overload]
        for kind in (images, torch.from_numpy(images)):
            runner(kind)
            for wrong in (images.astype(np.float32), torch.from_numpy(images).float(), images[0], images[..., :2]):
                with pytest.raises(DistillError, match="not uint8"):
                    runner(wrong)
            runner(kind)
