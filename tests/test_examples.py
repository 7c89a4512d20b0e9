"""The examples that users copy: the same JPEG through each of them and through torch gives the same maps."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from distill.export.runners import ModuleRunner, Outputs
from distill.images import decode_rgb, encode_jpeg
from distill.students.model.student import Student

SIZES_HW = ((64, 64), (101, 77), (48, 120), (120, 48), (33, 65))


def photo(folder: Path, size_hw: tuple[int, int]) -> Path:
    random = np.random.default_rng(size_hw[0])
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    path = folder / "photo.jpg"
    path.write_bytes(encode_jpeg(np.asarray(coarse.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))))
    return path


def expected(student: Student, path: Path) -> Outputs:
    rgb, _ = decode_rgb(path.read_bytes(), path.name)
    return {name: value[0] for name, value in ModuleRunner(student, student.spec, threads=1)(rgb[None]).items()}


def assert_alike(ours: Outputs, theirs: Outputs) -> None:
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert value.shape == theirs[name].shape and value.dtype == theirs[name].dtype
        if name == "semantic":
            assert np.mean(value != theirs[name]) < 0.001
        else:
            assert np.abs(value - theirs[name]).max() < 1e-3 * max(1.0, np.abs(value).max())


def test_the_numpy_example(repository: Path, student: Student, onnx_file: Path, tmp_path: Path) -> None:
    source = repository / "docs" / "deploy" / "student.py"
    assert len(source.read_text().splitlines()) < 60 and "distill" not in source.read_text().replace("distill.spec", "")
    loaded = importlib.util.spec_from_file_location("student_example", source)
    assert loaded is not None and loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    example = module.Student(str(onnx_file), 1)
    for size_hw in SIZES_HW:
        path = photo(tmp_path, size_hw)
        assert_alike(expected(student, path), example(module.read_photo(str(path))))


@pytest.fixture(scope="module")
def program(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(the C++ example, built; the environment that it runs in)."""
    places = [os.environ.get("ONNXRUNTIME_INCLUDE", ""), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime"]
    include = next((place for place in places if place and (Path(place) / "onnxruntime_cxx_api.h").is_file()), None)
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"), None)
    if include is None or library is None or shutil.which("g++") is None:
        pytest.skip(
            "needs g++ and the C++ headers of ONNX Runtime: set ONNXRUNTIME_INCLUDE to the include folder of a release "
            "archive, or apt install libonnxruntime-dev (Debian 13 and later; Debian 12 has no such package)"
        )
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "libonnxruntime.so.1").symlink_to(library)
    (folder / "libonnxruntime.so").symlink_to(library)
    words = ["g++", "-std=c++17", str(repository / "docs" / "deploy" / "student.cpp"), "-I", include]
    subprocess.run([*words, "-L", str(folder), "-lonnxruntime", "-o", str(folder / "student")], check=True)
    return folder / "student", {**os.environ, "LD_LIBRARY_PATH": str(folder)}


def test_the_cpp_example(
    program: tuple[Path, dict[str, str]], student: Student, onnx_file: Path, tmp_path: Path
) -> None:
    path, environment = program
    for size_hw in SIZES_HW:
        ours = expected(student, photo(tmp_path, size_hw))
        raw = tmp_path / "photo.rgb"
        decode_rgb((tmp_path / "photo.jpg").read_bytes(), "photo")[0].tofile(raw)
        command = [str(path), str(onnx_file), str(raw), *map(str, size_hw)]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        theirs = {name: np.fromfile(f"{raw}.{name}", value.dtype).reshape(value.shape) for name, value in ours.items()}
        assert_alike(ours, theirs)
    found = subprocess.run([*command[:3], "5", "7"], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 1 and "not 5 x 7 x 3" in found.stderr
