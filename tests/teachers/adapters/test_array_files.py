"""Maps in OpenEXR and HDF5 files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import OpenEXR
import pytest

from distill.errors import DistillError
from distill.teachers.adapters.map_reader import read_map

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def exr(path: Path, **channels: np.ndarray) -> Path:
    with OpenEXR.File(
        {"type": OpenEXR.scanlineimage}, {name.replace("_", "."): one for name, one in channels.items()}
    ) as file:
        file.write(str(path))
    return path


def test_channels_of_exr_files(tmp_path: Path) -> None:
    assert (read_map(exr(tmp_path / "z.exr", Z=VALUES)) == VALUES).all()
    assert read_map(exr(tmp_path / "half.exr", Y=VALUES.astype(np.float16))).dtype == np.float32
    color = read_map(exr(tmp_path / "c.exr", B=VALUES + 2, G=VALUES + 1, R=VALUES, A=VALUES))
    assert (color == np.dstack([VALUES, VALUES + 1, VALUES + 2])).all()
    layers = exr(
        tmp_path / "l.exr",
        R=VALUES,
        G=VALUES,
        B=VALUES,
        depth_Z=VALUES + 7,
        normal_X=VALUES,
        normal_Y=VALUES,
        normal_Z=VALUES,
    )
    assert (read_map(layers, array="depth.Z") == VALUES + 7).all()
    assert (read_map(layers, usual_array="depth") == VALUES + 7).all()
    assert read_map(layers, array="normal").shape == (3, 4, 3)
    with pytest.raises(DistillError, match=r"l\.exr: holds the channels .*no map named albedo"):
        read_map(layers, array="albedo")


@pytest.mark.parametrize("cut", [0, 3, 60, 200, -5])
def test_damaged_exr_files(tmp_path: Path, cut: int) -> None:
    path = exr(tmp_path / "a.exr", Z=np.random.default_rng(0).random((64, 64)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DistillError, match=r"a\.exr: the OpenEXR file is damaged"):
        read_map(path)


def test_data_sets_of_hdf5_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"], file["group/x"] = VALUES[..., None], VALUES + 1
    assert (read_map(tmp_path / "a.h5", usual_array="depth") == VALUES).all()
    assert (read_map(tmp_path / "a.h5", array="group/x") == VALUES + 1).all()
    for name in ("normals", "group", "../x", "/"):
        with pytest.raises(DistillError, match=r"a\.h5: holds depth, group, and no data set"):
            read_map(tmp_path / "a.h5", array=name)


def test_values_in_other_files_are_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = VALUES
    VALUES.tofile(tmp_path / "raw.bin")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
        layout = h5py.VirtualLayout(VALUES.shape, VALUES.dtype)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", VALUES.shape)
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", VALUES.shape, VALUES.dtype, external=[(str(tmp_path / "raw.bin"), 0, VALUES.nbytes)])
        file["soft"] = h5py.SoftLink("/raw")
    for name in ("link", "virtual", "raw", "soft"):
        with pytest.raises(DistillError, match="no data set"):
            read_map(tmp_path / "a.h5", array=name)


def test_sizes_of_hdf5_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_MAX_PIXELS", "100000")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (1000, 1000), "f4", chunks=(100, 100), compression="gzip")
        file.create_dataset("deep", (10, 10, 100_000), "f4", chunks=True)
    for name in ("x", "deep"):
        with pytest.raises(DistillError, match=r"a\.h5: "):
            read_map(tmp_path / "a.h5", array=name)
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:300])
    with pytest.raises(DistillError, match=r"b\.h5: the HDF5 file is damaged"):
        read_map(tmp_path / "b.h5")
