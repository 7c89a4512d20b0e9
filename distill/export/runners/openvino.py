"""Students in OpenVINO, for Intel CPUs, GPUs and NPUs."""

from __future__ import annotations

import math
import queue
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.runners.base import Outputs, Runner, compare_with_spec, first_line
from distill.optional import require
from distill.runtime.cpu import usable_cores, usable_memory
from distill.spec import METADATA_KEY, parse_spec

RT_INFO = tuple(METADATA_KEY.split("."))
"""Path of the spec in the model's run-time information."""
_LOOPS = ("Loop", "TensorIterator")
_MAX_BORROWED = 8
"""Calls whose outputs may stay in the memory of their requests; beyond that, outputs are copied."""


class OpenVinoRunner(Runner):
    """An ``.xml`` file with its ``.bin`` in the same folder."""

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        allow_spinning: bool = True,
        device: str = "cpu",
        hint: str = "LATENCY",
    ) -> None:
        """Load and compile the file.

        Args:
            path: Written by ``distill export --to openvino``.
            threads: Threads per call; None: all cores that this process may use.
            allow_spinning: No effect: OpenVINO's threads sleep.
            device: ``cpu``, ``gpu``, ``npu`` or ``auto``.
            hint: ``LATENCY`` or ``THROUGHPUT``.

        Raises:
            DistillError: The file is damaged, not a student, or this machine has no such device.
        """
        openvino = require("openvino", extra="openvino", why=f"run {path.name}")
        core = openvino.Core()
        threads = threads or usable_cores()
        if device != "auto" and not any(name.startswith(device.upper()) for name in core.available_devices):
            raise DistillError(
                f"{path}: OpenVINO finds no {device} on this machine, only {', '.join(core.available_devices)}",
                hint="choose another --device, or install the device's driver",
            )
        model = _read(core, path)
        spec = parse_spec(_spec_text(model, path), str(path))
        inputs = [entry.get_any_name() for entry in model.inputs]
        compare_with_spec(inputs, {name for entry in model.outputs for name in entry.get_names()}, spec, path)
        try:
            compiled = core.compile_model(model, device.upper(), _properties(device, threads, hint))
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise DistillError(
                f"{path}: OpenVINO cannot compile it for {device}: {first_line(error)}", hint="export it again"
            ) from error
        super().__init__(path.name, f"openvino {device}", spec, threads, compiled)
        # By index: a lookup by name in a request's outputs takes 0.1 ms after a network has evicted the caches.
        indices = {name: index for index, output in enumerate(compiled.outputs) for name in output.get_names()}
        self._output_index = {name: indices[name] for name in spec.output_names}
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._made = 0

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        # A request holds the memory of one call: each thread takes a free one, or a new one if all are in use.
        idle = self._idle
        try:
            request = idle.get_nowait()
        except queue.Empty:
            request = self._loaded.create_infer_request()
            self._made += 1
        try:
            # The converted model has one input. Outputs are not copied: that was 6 % of a call at 720p.
            found = request.infer([images], share_inputs=True, share_outputs=True).to_tuple()
        except Exception as error:
            idle.put(request)
            raise DistillError(
                f"{self.name}: OpenVINO failed on {images.shape}: {first_line(error)}",
                hint="try a smaller --batch; export the student again",
            ) from error
        if self._made - idle.qsize() > _MAX_BORROWED:
            found = tuple(value.copy() for value in found)
            idle.put(request)
        else:
            _BorrowedRequest(request, idle, found)
        return {name: found[index] for name, index in self._output_index.items()}

    def close(self) -> None:
        """Release the compiled model and its requests; borrowed ones when their last output is deleted."""
        self._idle = queue.SimpleQueue()
        super().close()


class _BorrowedRequest:
    """A request whose outputs a caller holds; it is free again when the last of its arrays is deleted.

    Views count too, because they hold a reference to their array.
    """

    def __init__(self, request: Any, idle: queue.SimpleQueue[Any], arrays: Sequence[ndarray]) -> None:
        self._request, self._idle = request, idle
        # One token less than arrays. Popping is atomic across threads, so exactly one callback finds no token left.
        self._tokens = [None] * (len(arrays) - 1)
        self._references = [weakref.ref(array, self._return) for array in arrays]
        _BORROWED.add(self)

    def _return(self, reference: weakref.ref[ndarray]) -> None:
        try:
            self._tokens.pop()
        except IndexError:
            _BORROWED.discard(self)
            self._idle.put(self._request)


_BORROWED: set[_BorrowedRequest] = set()
"""References to borrowed requests, including those of deleted runners."""


def _properties(device: str, threads: int, hint: str) -> dict[str, Any]:
    # By default OpenVINO computes in bfloat16 if the CPU has instructions for it: outputs differ from the student's,
    # and CPUs without AMX are slower (13 ms instead of 8, measured on one).
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": hint}
    if device == "cpu":
        properties["INFERENCE_NUM_THREADS"] = threads
    if device in ("npu", "auto"):
        del properties["INFERENCE_PRECISION_HINT"]
    return properties


def _read(core: Any, path: Path) -> Any:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise DistillError(
            f"{path}: its weights {weights.name} are missing", hint="copy the .bin file to the same folder"
        )
    try:
        model = core.read_model(path)
    except Exception as error:
        raise DistillError(
            f"{path}: the OpenVINO file is cut off or damaged: {first_line(error)}",
            hint="copy it and its .bin again, or export it again",
        ) from error
    _check_graph(model, path)
    return model


def _check_graph(model: Any, path: Path) -> None:
    """Refuse loops, which no exported student has, and tensors of a constant size that exceed half of the memory.

    Raises:
        DistillError: There is one.
    """
    limit = usable_memory() / 2
    for operation in model.get_ops():
        if operation.get_type_name() in _LOOPS:
            raise DistillError(
                f"{path}: its graph has a loop ({operation.get_type_name()}), which no exported student has",
                hint="write it with distill export",
            )
        for output in operation.outputs():
            shape = output.get_partial_shape()
            if (
                shape.is_static
                and math.prod(side.get_length() for side in shape) * output.element_type.size > limit > 0
            ):
                raise DistillError(
                    f"{path}: its graph needs more than {limit / 2**30:.1f} GiB of memory, half of what there is",
                    hint="write it with distill export, or use a machine with more memory",
                )


def _spec_text(model: Any, path: Path) -> str:
    if not model.has_rt_info(list(RT_INFO)):
        raise DistillError(
            f"{path}: an OpenVINO model, but not a student: it has no {METADATA_KEY} in its run-time information",
            hint="write it with distill export RUN --to openvino",
        )
    return str(model.get_rt_info(list(RT_INFO)).astype(str))
