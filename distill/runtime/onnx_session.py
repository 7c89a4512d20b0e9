"""ONNX Runtime sessions with the options that all callers share, and bounds for graphs that come from others."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from distill.errors import DistillError
from distill.optional import require
from distill.runtime.cpu import usable_memory

MAX_CALL_S = 300.0
"""Longer calls are stopped; so are all later calls of the session."""
MAX_TRIPS = 1_000_000
"""Largest constant number of rounds of a loop."""
_POLL_S = 1.0
_LOOPS = (b"Loop", b"Scan")
_MEMORY_FRACTION = 0.5


def open_session(
    model: Path | bytes,
    *,
    why: str,
    threads: int = 0,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
    allow_spinning: bool = True,
    optimize: bool = True,
    allow_loops: bool = False,
    fixed_dimensions: Mapping[str, int] | None = None,
    disabled_optimizers: Collection[str] = (),
) -> Any:
    """Open an ``InferenceSession``; ONNX Runtime's errors are raised unchanged (they share no class below Exception).

    All sessions of the process together may take half of the memory, and a call `MAX_CALL_S` seconds.

    Args:
        model: File, or a serialized model.
        why: Purpose, for the message where ONNX Runtime is not installed ("run an ONNX teacher").
        threads: Threads of one call; 0: ONNX Runtime's choice.
        providers: Execution providers by preference: names or (name, options).
        allow_spinning: Whether idle threads wait busily: faster alone, slower next to other work.
        optimize: Whether the graph is optimized; without it every inner value can be read.
        allow_loops: Whether the graph may have loops, which no student has; with at most `MAX_TRIPS` rounds if their
            number is a constant.
        fixed_dimensions: Values of symbolic dimensions, such as the batch.
        disabled_optimizers: Names of rewrites that are not applied.

    Raises:
        DistillError: The graph has a loop that is not allowed.
    """
    runtime = require("onnxruntime", extra="cpu", why=why)
    if isinstance(model, Path):
        _check_loops(model, allow_loops=allow_loops)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; the log would repeat them
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if allow_spinning else "0")
    if _limit_memory():
        options.add_session_config_entry("session.use_env_allocators", "1")
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for name, size in (fixed_dimensions or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    try:
        return _session_class()(
            str(model) if isinstance(model, Path) else model,
            sess_options=options,
            providers=list(providers),
            disabled_optimizers=list(disabled_optimizers),
        )
    except Exception as error:
        _check_memory_error(error)
        raise


@lru_cache(maxsize=1)
def _limit_memory() -> bool:
    """Create the allocator that all sessions share; whether it exists. Its limit also holds for constant folding."""
    import onnxruntime

    total = usable_memory()
    if not total:
        return False
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limits = onnxruntime.OrtArenaCfg({"max_mem": int(total * _MEMORY_FRACTION)})
    onnxruntime.create_and_register_allocator(info, limits)
    return True


@lru_cache(maxsize=1)
def _session_class() -> type:
    import onnxruntime

    class BoundedSession(onnxruntime.InferenceSession):
        """A session whose calls end in time."""

        _late = False

        def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
            with self._deadline(run_options) as options:
                return super().run(output_names, input_feed, options)

        def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> Any:
            with self._deadline(run_options) as options:
                return super().run_with_iobinding(iobinding, options)

        @contextmanager
        def _deadline(self, options: Any) -> Iterator[Any]:
            message = f"the graph computes for more than {MAX_CALL_S:.0f} s in one call"
            if self._late:
                raise DistillError(message)
            options = options or onnxruntime.RunOptions()
            try:
                with _WATCH.limit(options):
                    yield options
            except Exception as error:
                _check_memory_error(error)
                if not options.terminate:
                    raise
                self._late = True
                raise DistillError(message) from error

    return BoundedSession


def _check_memory_error(error: Exception) -> None:
    """Say that the limit of memory was reached, in place of an error that names no cause.

    Raises:
        DistillError: It was.
    """
    if "smaller than requested bytes" in str(error):
        limit = usable_memory() * _MEMORY_FRACTION / 2**30
        raise DistillError(
            f"the graph needs more than {limit:.1f} GiB of memory, half of what there is",
            hint="use smaller images, a smaller --batch, or a machine with more memory",
        ) from error


class _Watch:
    """A thread that stops calls which take too long."""

    def __init__(self) -> None:
        self._deadlines: dict[int, tuple[float, Any]] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, options: Any) -> Iterator[None]:
        """Stop the call with these options at its deadline."""
        if self._thread is None or not self._thread.is_alive():  # also after a fork
            self._thread = threading.Thread(target=self._look, daemon=True, name="onnx call limit")
            self._thread.start()
        self._deadlines[id(options)] = time.monotonic() + MAX_CALL_S, options
        try:
            yield
        finally:
            del self._deadlines[id(options)]

    def _look(self) -> None:
        while True:
            time.sleep(_POLL_S)
            now = time.monotonic()
            for deadline, options in list(self._deadlines.values()):
                if now > deadline:
                    options.terminate = True


_WATCH = _Watch()


def _check_loops(path: Path, *, allow_loops: bool) -> None:
    """Refuse loops that are not allowed; files without the names of these operators are not parsed.

    Raises:
        DistillError: There is one.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if all(content.find(name) < 0 for name in _LOOPS):
                return
    except (OSError, ValueError):  # an empty file; the session reports it
        return
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # of protobuf; the session reports the damage
        return
    graphs: list[Any] = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        constants = _constants(graph)
        for node in graph.node:
            if node.op_type in ("Loop", "Scan") and not allow_loops:
                raise DistillError(
                    f"{path}: its graph has a loop ({node.op_type}), which no exported student has",
                    hint="write it with distill export",
                )
            if node.op_type == "Loop":
                _check_trips(node, constants, path)
            graphs += [inner for entry in node.attribute for inner in (entry.g, *entry.graphs) if len(inner.node)]


def _constants(graph: Any) -> dict[str, Any]:
    found = {entry.name: entry for entry in getattr(graph, "initializer", ())}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], entry.t) for entry in node.attribute if entry.name == "value")
    return found


def _check_trips(node: Any, constants: Mapping[str, Any], path: Path) -> None:
    """Refuse a loop whose constant number of rounds is too large, or that has neither a number nor a condition."""
    from onnx import numpy_helper

    trips = constants.get(node.input[0] if node.input else "")
    if trips is not None and not trips.external_data and numpy_helper.to_array(trips).max(initial=0) > MAX_TRIPS:
        raise DistillError(f"{path}: its graph has a loop of more than {MAX_TRIPS} rounds", hint="use another model")
    body = next((entry.g for entry in node.attribute if entry.name == "body"), None)
    if any(node.input[:1]) or body is None or not body.output:
        return
    same = {entry.output[0]: entry.input[0] for entry in body.node if entry.op_type == "Identity"}
    condition = body.output[0].name
    while condition in same:
        condition = same.pop(condition)
    if condition in _constants(body) or (len(body.input) > 1 and condition == body.input[1].name):
        raise DistillError(f"{path}: its graph has a loop that never ends", hint="use another model")
