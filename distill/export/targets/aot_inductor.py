"""A student compiled ahead of time by torch into one ``.pt2`` file: machine code for the processor that made it."""

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
from distill.export.onnx.wrapper import example_input, prepare_for_export
from distill.export.runners.aot_inductor import TORCH_KEY
from distill.export.runners.base import first_line
from distill.export.targets.artifact import Artifact
from distill.export.targets.build import file_name, finalize
from distill.export.targets.context import ExportContext, PreparedGraph, tolerances_from
from distill.spec import METADATA_KEY, StudentSpec

_MAX_BATCH, _MAX_SIDE = 1024, 16384


def export_aoti(module: nn.Module, spec: StudentSpec, path: Path, *, device: str = "cpu") -> Path:
    """Compile with free batch, height and width, or those that the spec fixes; the file is whole or not there.

    Args:
        module: Takes uint8 (b, h, w, 3), gives a dictionary with `spec.output_names`.
        spec: Its spec, kept in the file's metadata.
        path: Ends in ``.pt2``.
        device: ``cpu`` or ``cuda``: the machine code is for this one.

    Raises:
        DistillError: No compiler, the student cannot be traced, or a process that opens the file dies.
    """
    if device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise DistillError(
            f"{path}: compiling ahead of time needs a C++ compiler, and there is no g++",
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
        # Else the number of threads of this process, here and now, becomes part of the machine code.
        "cpp.dynamic_threads": True,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ("torch._inductor", "torch.utils.cpp_extension"):
                logging.getLogger(name).setLevel(logging.ERROR)
            program = torch.export.export(student, (images,), dynamic_shapes=(sides,))
            torch._inductor.aoti_compile_and_package(program, package_path=str(temporary), inductor_configs=configs)
        _open_elsewhere(temporary, path)
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


def _open_elsewhere(made: Path, path: Path) -> None:
    """Open the file in a process of its own first, for machine code that is wrong kills whoever opens it."""
    code = "import sys, torch; torch._inductor.aoti_load_package(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(made)], check=False, capture_output=True)
    if done.returncode >= 0:
        return  # a plain refusal is a sentence when it is opened here
    name = signal.Signals(-done.returncode).name
    compiler = os.environ.get("CXX", "g++")
    raise DistillError(
        f"{path}: compiled, but a process that opens it dies of {name}: {compiler} does not suit this torch",
        # Seen with a g++ that put its own, static copy of libstdc++ into the file, beside the one that torch uses.
        hint="name the system's compiler in CXX and export again; the other targets do not need one",
    )


def build(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """Build, check and name the artifact."""
    if config.precision != "fp32":
        raise DistillError(f"{target}: compiled students are float32", hint="precision: fp32, or engine: onnx")
    context.log("compiling ahead of time: a minute or two of g++")
    path = context.scratch_dir() / file_name(context, target, ".pt2")
    context.compile_student(context.spec_for(target, config.precision), path, config.device)
    return finalize(
        context, target, config, path, context.check_parity(path, tolerances_from(config)), PreparedGraph(context.graph)
    )
