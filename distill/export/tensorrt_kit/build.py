"""Build the engine of this kit: python build.py [--dry-run]. Needs TensorRT (10.12 or later, or 11) and numpy.

The same code serves both versions: networks are strongly typed, so the ONNX file defines the precision, and only flags
of both versions are used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from distill.export.tensorrt_kit.cuda import Cuda, KitError
from distill.export.tensorrt_kit.engine import import_tensorrt, read_kit, sidecar_of

_FLOAT8_FROM = 8.9
"""Compute capability of Ada; Hopper has 9.0."""


def engine_name(kit: dict[str, Any], machine: dict[str, str]) -> str:
    """File name with a digest of everything that an engine depends on: ONNX file, settings, GPU, TensorRT, driver."""
    key = {
        "onnx": kit["sha256"][kit["onnx"]],
        "profile": kit["profile"],
        "builder": kit["builder"],
        **machine,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return f"{Path(kit['onnx']).stem}.{digest}.engine"


def build_plan(trt: Any, kit: dict[str, Any], onnx_path: Path, timing_cache: Path | None = None) -> bytes:
    """Build and serialize the engine.

    Raises:
        KitError: The parser rejects a node, or no engine can be built.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # Strong typing is optional in 10, and the only mode in 11, where the flag has no effect.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        details = "; ".join(f"{error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors)
        raise KitError(f"{onnx_path}: TensorRT's parser rejects it: {details}")
    config = builder.create_builder_config()
    _configure(trt, builder, config, kit)
    if timing_cache is not None:
        data = timing_cache.read_bytes() if timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(data), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise KitError("TensorRT could not build an engine: see its messages above; try a smaller profile or workspace")
    if timing_cache is not None:
        timing_cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _configure(trt: Any, builder: Any, config: Any, kit: dict[str, Any]) -> None:
    settings = kit["builder"]
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(settings["workspace_gib"] * 2**30))
    config.builder_optimization_level = settings["optimization_level"]
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, settings["hardware"].upper())
    if settings["version_compatible"]:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings["strip_weights"]:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    if not settings["tf32"]:
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape(kit["input"], *(tuple(shape) for shape in kit["profile"]))
    config.add_optimization_profile(profile)


def build(folder: Path, trt: Any = None, cuda: Any = None, out: Path | None = None) -> Path:
    """Build the engine unless one with equal inputs exists; returns its path."""
    trt = trt or import_tensorrt()
    kit = read_kit(folder)
    machine = {**(cuda or Cuda()).describe(), "tensorrt": trt.__version__}
    path = out or folder / "engines" / engine_name(kit, machine)
    if path.is_file() and sidecar_of(path).is_file():
        return path
    if kit["precision"] == "fp8" and float(machine["compute_capability"]) < _FLOAT8_FROM:
        raise KitError(
            f"{machine['gpu']} has no eight-bit floats: its compute capability is {machine['compute_capability']},"
            f" {_FLOAT8_FROM} is needed; build the int8 or fp16 kit on it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    plan = build_plan(trt, kit, folder / kit["onnx"], folder / "engines" / "timing.cache")
    facts = {
        **machine,
        "onnx": os.path.relpath(folder / kit["onnx"], path.parent),
        "onnx_sha256": kit["sha256"][kit["onnx"]],
        "profile": kit["profile"],
        "hardware": kit["builder"]["hardware"],
        "version_compatible": kit["builder"]["version_compatible"],
        "weights_stripped": kit["builder"]["strip_weights"],
        "precision": kit["precision"],
        "build_s": round(time.perf_counter() - start, 1),
        "spec": kit["spec"],
    }
    sidecar_of(path).write_text(json.dumps(facts, indent=2))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(plan)
    temporary.replace(path)
    return path


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="check the kit and print the settings")
    parser.add_argument("--out", type=Path, help="engine file to write")
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    try:
        if options.dry_run:
            kit = read_kit(folder)
            print(
                f"the kit is complete; would build {kit['onnx']} ({kit['precision']})"
                f" for {kit['profile']}, {kit['builder']}"
            )
            print(f"or, without Python: sh {folder / 'trtexec.sh'}")
            return 0
        print(build(folder, out=options.out))
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
