"""Inputs of every target: the student, its graph in any precision, and images for the parity check."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
from jaxtyping import UInt8
from numpy import ndarray

from distill.config.export import TargetConfig
from distill.errors import DistillError
from distill.export.onnx.fp8 import Fp8Quantizer
from distill.export.onnx.int8 import Int8Quantizer, Scheme
from distill.export.onnx.mixed_precision import to_mixed_precision
from distill.export.onnx.quantization import BlockQuantizer, Sensitivity, quantize_within_tolerance
from distill.export.runners import Outputs, Runner, open_runner
from distill.export.verification.parity import Parity, ParityResult, ParitySample, Tolerances, generated_samples
from distill.files import write_hint, writer_runs
from distill.spec import METADATA_KEY, StudentSpec

_SCRATCH = ".export."
_SEARCH_SAMPLES = 8
"""Labeled images per comparison during a search for layers; the final comparison takes all."""
_MAX_NOTED_BLOCKS = 5
"""Blocks in the notes; export.json lists all."""


@dataclass(frozen=True, slots=True)
class PreparedGraph:
    """A graph in the precision of its target.

    Attributes:
        graph: The ONNX graph.
        emulated_parity: Comparison in an emulated form, if this machine cannot run the graph as intended.
        notes: Remarks for the report.
        sensitivity: As in `Artifact`.
    """

    graph: Any
    emulated_parity: ParityResult | None = None
    notes: tuple[str, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()


@dataclass
class ExportContext:
    """Inputs of every target.

    Attributes:
        spec: The student's spec.
        graph: The float32 ONNX graph.
        compile_student: Writes the student as a compiled torch package: (spec, path, device).
        reference: The student itself.
        samples: Real images with their labels, or generated images.
        calibration: Images for calibration; others than `samples`, if there are enough.
        folder: Folder of the artifacts.
        stem: Start of their names.
        threads: Threads of the engines.
        log: Takes progress messages.
        measure_blocks: int8: measure the loss of each block even if all can be quantized.
        run: Folder of the student.
        scores: Scores of the best validation by name, such as ``depth_delta1``; empty if they are not known.
    """

    spec: StudentSpec
    graph: Any
    compile_student: Callable[[StudentSpec, Path, str], Path]
    reference: CachedRunner
    samples: Sequence[ParitySample]
    calibration: Sequence[UInt8[ndarray, "h w 3"]]
    folder: Path
    stem: str
    threads: int | None = None
    log: Callable[[str], None] = lambda text: None
    measure_blocks: bool = False
    run: Path = Path()
    scores: Mapping[str, float] = field(default_factory=dict)
    _scratch: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)

    def check_parity(
        self, path: Path, tolerances: Tolerances, samples: Sequence[ParitySample] | None = None
    ) -> ParityResult:
        """Comparison of an artifact with the student."""
        with open_runner(path, threads=self.threads, allow_native=True) as candidate:
            if not tolerances.scores_only:  # various sizes, odd ones, both orientations
                probes = Parity(self.reference, candidate, tolerances)
                for sample in generated_samples(self.spec):
                    probes.update(sample)
                if not probes.result().passed:
                    self.log("outputs differ on generated images of unusual sizes")
                    return probes.result()
            parity = Parity(self.reference, candidate, tolerances)
            for sample in self.samples if samples is None else samples:
                parity.update(sample)
            return parity.result()

    def quick_parity(self, tolerances: Tolerances) -> Callable[[Any], ParityResult]:
        """Comparison of a graph in memory with the student, on a few samples."""
        path = self.scratch_dir() / "candidate.onnx"

        def compare(proto: Any) -> ParityResult:
            onnx.save(proto, path)
            return self.check_parity(path, replace(tolerances, scores_only=True), self.samples[:_SEARCH_SAMPLES])

        return compare

    def scratch_dir(self) -> Path:
        """New temporary folder, removed by `close`; those of killed processes are removed as well.

        Raises:
            DistillError: The folder cannot be written.
        """
        if not self._scratch:
            for stale in self.folder.glob(f"{_SCRATCH}*.part"):
                if stale.is_dir() and not writer_runs(stale):
                    shutil.rmtree(stale, ignore_errors=True)
        try:
            made = tempfile.TemporaryDirectory(prefix=_SCRATCH, suffix=f".{os.getpid()}.part", dir=self.folder)
        except OSError as error:
            raise DistillError(
                f"{self.folder}: cannot be written: {error.strerror or error}", hint=write_hint(error)
            ) from error
        self._scratch.append(made)
        return Path(made.name)

    def close(self) -> None:
        """Remove temporary folders."""
        for folder in self._scratch:
            folder.cleanup()

    def example_images(self) -> UInt8[ndarray, "b h w 3"]:
        """A batch of one real image, for reading inner values of graphs."""
        return self.samples[0].rgb[None]

    def spec_for(self, target: str, precision: str) -> StudentSpec:
        """The spec of an artifact, with target and precision in its provenance."""
        made = {"target": target, "precision": precision}
        return self.spec.model_copy(update={"provenance": {**self.spec.provenance, **made}})


def tolerances_from(config: TargetConfig) -> Tolerances:
    """Tolerances of a target."""
    tolerance = config.tolerance
    return Tolerances.at_level(tolerance.level, tolerance.by_task, tolerance.scores_only)


def prepare_graph(context: ExportContext, config: TargetConfig, scheme: Scheme) -> PreparedGraph:
    """The student's graph in the config's precision."""
    if config.precision == "fp32":
        return PreparedGraph(context.graph)
    return _half(context, config) if config.precision in ("fp16", "bf16") else _eight_bits(context, config, scheme)


def _eight_bits(context: ExportContext, config: TargetConfig, scheme: Scheme) -> PreparedGraph:
    images = context.calibration[: config.calibration_images]
    name = "fp8" if config.precision == "fp8" else scheme
    context.log(f"calibrating {name} on {len(images)} images ({config.calibration_method})")
    batches = (image[None] for image in images)
    quantizer: BlockQuantizer = (
        Fp8Quantizer(context.graph, batches, config.calibration_method)
        if config.precision == "fp8"
        else Int8Quantizer(context.graph, batches, scheme, config.calibration_method)
    )
    quick_parity = context.quick_parity(tolerances_from(config))
    found = quantize_within_tolerance(quantizer, quick_parity, always_measure=context.measure_blocks, log=context.log)
    notes = [f"{name}, {found.fraction:.0%} of the network's nodes in eight bits"]
    notes += [f"kept in float32: {group}" for group in found.float32_blocks]
    if found.sensitivity:
        worst = ", ".join(f"{row.group} {row.relative_loss:.2f}" for row in found.sensitivity[:_MAX_NOTED_BLOCKS])
        notes.append(f"loss of single blocks, as a fraction of the worst task's tolerance: {worst}")
    return PreparedGraph(found.proto, None, tuple(notes), found.sensitivity)


def _half(context: ExportContext, config: TargetConfig) -> PreparedGraph:
    assert config.precision in ("fp16", "bf16")
    tolerances = tolerances_from(config)
    mixed = to_mixed_precision(
        context.graph, config.precision, context.example_images(), context.quick_parity(tolerances), log=context.log
    )
    path = context.scratch_dir() / "emulated.onnx"
    onnx.save(mixed.emulated_graph, path)
    notes = [f"kept in float32: {bad}" for bad in mixed.bad_layers]
    notes.append(f"checked on a CPU with every layer rounded to {config.precision}, not on a GPU")
    return PreparedGraph(mixed.half_graph, context.check_parity(path, tolerances), tuple(notes))


def save_graph(graph: Any, spec: StudentSpec, path: Path) -> None:
    """Write a graph with this spec in its metadata."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    kept = {entry.key: entry.value for entry in made.metadata_props}
    onnx.helper.set_model_props(made, {**kept, METADATA_KEY: spec.to_json()})
    onnx.save(made, path)


class CachedRunner(Runner):
    """Cache of another runner's outputs by image content.

    Attributes:
        wrapped: The runner without cache.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner.name, runner.engine, runner.spec, runner.threads, runner)
        self.wrapped = runner
        self._cache: dict[bytes, Outputs] = {}

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        key = hashlib.blake2b(repr(images.shape).encode() + images.tobytes(), digest_size=16).digest()
        if key not in self._cache:
            self._cache[key] = self._loaded(images)
        return self._cache[key]
