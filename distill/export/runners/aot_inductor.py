"""Students compiled ahead of time by torch: a library of machine code for one kind of processor.

Opening such a file runs the code in it, as with TensorRT engines: open only files that you built.
"""

from __future__ import annotations

import logging
import platform
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.runners.base import Outputs, Runner, TensorOutputs, first_line
from distill.files import parse_json
from distill.optional import require
from distill.runtime.cpu import usable_cores
from distill.spec import METADATA_KEY, parse_spec

if TYPE_CHECKING:
    from torch import Tensor

TORCH_KEY = "distill.torch"
"""Metadata key of the version of torch that compiled the file."""
_MAX_METADATA_BYTES = 1_000_000


class AotiRunner(Runner):
    """A ``.pt2`` package."""

    def __init__(
        self, path: Path, *, threads: int | None = None, allow_spinning: bool = True, device: str = "cpu"
    ) -> None:
        """Load the file.

        Args:
            path: Written by ``distill export --to aoti``.
            threads: For all of torch in this process; None: all cores that this process may use.
            allow_spinning: No effect.
            device: ``cpu`` or ``cuda``, for which the file was compiled.

        Raises:
            DistillError: The file is damaged, not a student, or compiled for another processor.
        """
        torch = require("torch", extra="cpu", why=f"run {path.name}")
        metadata = read_metadata(path)
        if METADATA_KEY not in metadata:
            raise DistillError(
                f"{path}: compiled by torch, but not a student: it has no {METADATA_KEY} in its metadata",
                hint="write it with distill export RUN --to aoti",
            )
        spec = parse_spec(metadata[METADATA_KEY], str(path))
        _check_processor(metadata, path, device)
        threads = threads or usable_cores()
        torch.set_num_threads(threads)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
                loaded = torch._inductor.aoti_load_package(str(path))
        except Exception as error:
            made = metadata.get(TORCH_KEY, "another version")
            raise DistillError(
                f"{path}: torch {torch.__version__} cannot load what torch {made} compiled: {first_line(error)}",
                hint="export it again on this machine: distill export RUN --to aoti",
            ) from error
        super().__init__(path.name, f"aoti {device}", spec, threads, loaded)
        self._device = torch.device(device)

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        import torch

        outputs = self._run_tensor(torch.from_numpy(np.ascontiguousarray(images)))
        return {name: value.numpy() for name, value in outputs.items()}

    def _run_tensor(self, images: Tensor) -> TensorOutputs:
        import torch

        try:
            with torch.inference_mode():
                found = self._loaded(images.contiguous().to(self._device))
        except RuntimeError as error:
            raise DistillError(
                f"{self.name}: the compiled student failed on {tuple(images.shape)}: {first_line(error)}",
                hint="it may have been compiled for another size or batch: see its spec, or export it again",
            ) from error
        return {name: value.to(images.device) for name, value in zip(self.spec.output_names, found, strict=True)}


def read_metadata(path: Path) -> dict[str, Any]:
    """Metadata of a compiled file; does not run its code.

    Raises:
        DistillError: The file is cut off, or was not compiled by torch.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            outside = next((name for name in archive.namelist() if _is_outside(name)), None)
            if outside is not None:  # torch unpacks every member before it reads any
                raise DistillError(
                    f"{path}: its member {outside!r} would be written outside the folder it is unpacked to",
                    hint="do not open it; write one with distill export --to aoti",
                )
            names = [entry for entry in archive.infolist() if entry.filename.endswith("metadata.json")]
            if not names:
                raise DistillError(
                    f"{path}: a zip file, but not one that torch compiled",
                    hint="write it with distill export --to aoti",
                )
            if names[0].file_size > _MAX_METADATA_BYTES:
                raise DistillError(f"{path}: its metadata is over 1 MB", hint="export it again")
            metadata = parse_json(archive.read(names[0]))
            if not isinstance(metadata, dict):
                raise DistillError(f"{path}: its metadata is not an object", hint="export it again")
            return metadata
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise DistillError(
            f"{path}: the compiled file is cut off or damaged: {first_line(error)}",
            hint="copy it again, or export it again",
        ) from error


def _is_outside(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or ":" in parts[0]


def _check_processor(metadata: dict[str, Any], path: Path, device: str) -> None:
    built = str(metadata.get("AOTI_DEVICE_KEY", device))
    if built != device:
        raise DistillError(
            f"{path}: compiled for {built}, cannot be opened on {device}",
            hint=f"use --device {built}, or export it again",
        )
    machine = str(metadata.get("AOTI_MACHINE", platform.machine()))
    if machine != platform.machine():
        raise DistillError(
            f"{path}: compiled for {machine} processors, this one is {platform.machine()}",
            hint="export it again on this machine: distill export RUN --to aoti",
        )
    missing = _missing_instructions(str(metadata.get("AOTI_CPU_ISA", "")))
    if device == "cpu" and missing:
        raise DistillError(
            f"{path}: compiled for a processor with {', '.join(missing)}, which this one lacks",
            hint="export it again on this machine: distill export RUN --to aoti",
        )


def _missing_instructions(isa: str) -> list[str]:
    """Required instruction sets that this processor lacks (``avx512 avx512_vnni``); none if that is unknown."""
    try:
        line = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return []
    flags = set(line.split())
    needed = [{"avx512": "avx512f"}.get(word, word) for word in isa.lower().split() if word.startswith("avx")]
    return [word for word in needed if word not in flags]
