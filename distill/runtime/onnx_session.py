"""ONNX Runtime sessions with the options that all callers share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.optional import require


def open_session(
    model: Path | bytes,
    *,
    why: str,
    threads: int = 0,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
    allow_spinning: bool = True,
    optimize: bool = True,
    fixed_dimensions: Mapping[str, int] | None = None,
    disabled_optimizers: Collection[str] = (),
) -> Any:
    """Open an ``InferenceSession``; ONNX Runtime's errors are raised unchanged (they share no class below Exception).

    Args:
        model: File, or a serialized model.
        why: Purpose, for the message where ONNX Runtime is not installed ("run an ONNX teacher").
        threads: Threads of one call; 0: ONNX Runtime's choice.
        providers: Execution providers by preference: names or (name, options).
        allow_spinning: Whether idle threads wait busily: faster alone, slower next to other work.
        optimize: Whether the graph is optimized; without it every inner value can be read.
        fixed_dimensions: Values of symbolic dimensions, such as the batch.
        disabled_optimizers: Names of rewrites that are not applied.
    """
    runtime = require("onnxruntime", extra="cpu", why=why)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; the log would repeat them
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if allow_spinning else "0")
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for name, size in (fixed_dimensions or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    return runtime.InferenceSession(
        str(model) if isinstance(model, Path) else model,
        sess_options=options,
        providers=list(providers),
        disabled_optimizers=list(disabled_optimizers),
    )
