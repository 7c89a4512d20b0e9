"""Engine `aoti`: a ``.pt2`` file compiled ahead of time by torch, with machine code for this kind of processor."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

from distill.config.export import TargetConfig
from distill.errors import DistillError
from distill.export.onnx.prepare_module import example_input, prepare_for_export
from distill.export.runners.aot_inductor import TORCH_KEY
from distill.export.runners.base import first_line
from distill.export.targets.artifact import Artifact
from distill.export.targets.build_and_verify import file_name, finalize
from distill.export.targets.context import ExportContext, PreparedGraph, tolerances_from
from distill.spec import METADATA_KEY, StudentSpec

_MAX_BATCH, _MAX_SIDE = 1024, 16384


def export_aoti(module: nn.Module, spec: StudentSpec, path: Path, *, device: str = "cpu") -> Path:
    """Compile with dynamic batch, height and width, unless the spec fixes them; the write is atomic.

    Args:
        module: Takes uint8 (b, h, w, 3), returns a dictionary with `spec.output_names`.
        spec: Its spec, stored in the file's metadata.
        path: Ends in ``.pt2``.
        device: ``cpu`` or ``cuda``, for which the code is compiled.

    Raises:
        DistillError: No compiler, the student cannot be traced, or opening the file crashes a process.
    """
    if device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise DistillError(
            f"{path}: compiling ahead of time needs a C++ compiler, and g++ is not installed",
            hint="install g++ (or name a compiler in CXX); the other targets do not need one",
        )
    student, images = prepare_for_export(module, spec).to(device), example_input(spec).to(device)
    sides = {0: torch.export.Dim("batch", min=1, max=spec.input.max_batch or _MAX_BATCH)}
    if spec.input.fixed_size_hw is None:
        sides |= {
            1: torch.export.Dim("height", min=2, max=_MAX_SIDE),
            2: torch.export.Dim("width", min=2, max=_MAX_SIDE),
        }
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.pt2")
    configs = {
        "aot_inductor.metadata": {METADATA_KEY: spec.to_json(), TORCH_KEY: torch.__version__},
        # Otherwise the current number of threads of this process becomes part of the machine code.
        "cpp.dynamic_threads": True,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ("torch._inductor", "torch.utils.cpp_extension"):
                logging.getLogger(name).setLevel(logging.ERROR)
            program = torch.export.export(student, (images,), dynamic_shapes=(sides,))
            torch._inductor.aoti_compile_and_package(program, package_path=str(temporary), inductor_configs=configs)
        _check_opening(temporary, path)
        temporary.replace(path)
    except DistillError:
        raise
    except Exception as error:  # torch's exporter and compiler raise their own and each other's errors
        raise DistillError(
            f"{path}: the student ({spec.backbone}) cannot be compiled ahead of time: {first_line(error)}",
            hint="choose another target or backbone; DISTILL_DEBUG=1 shows where",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _check_opening(made: Path, path: Path) -> None:
    """Open the file in a separate process first, because wrong machine code crashes the process that opens it.

    The process is isolated (``-I``): modules in the working folder are not imported.
    """
    code = "import sys, torch; torch._inductor.aoti_load_package(sys.argv[1])"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(made.absolute())], check=False, capture_output=True)
    if done.returncode >= 0:
        return  # other errors are reported when the file is opened in this process
    name = signal.Signals(-done.returncode).name
    compiler = os.environ.get("CXX", "g++")
    raise DistillError(
        f"{path}: compiled, but a process that opens it crashes with {name}: {compiler} does not fit this torch",
        # Observed with a g++ that links a static libstdc++ into the file, in addition to torch's.
        hint="name the system's compiler in CXX and export again; the other targets do not need one",
    )


def build(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """Build the artifact, check it and move it to its name."""
    if config.precision != "fp32":
        raise DistillError(f"{target}: compiled students are float32", hint="precision: fp32, or engine: onnx")
    context.log("compiling ahead of time: g++ takes a minute or two")
    path = context.scratch_dir() / file_name(context, target, ".pt2")
    context.compile_student(context.spec_for(target, config.precision), path, config.device)
    return finalize(
        context, target, config, path, context.check_parity(path, tolerances_from(config)), PreparedGraph(context.graph)
    )
