"""What every target is made from: the student, its graph in any precision, and pictures to judge by."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
from jaxtyping import UInt8
from numpy import ndarray

from distill.config.export import TargetConfig
from distill.export.onnx.fp8 import Fp8Quantizer
from distill.export.onnx.int8 import BlockQuantizer, Int8Quantizer, Scheme, Sensitivity, quantize_within_tolerance
from distill.export.onnx.mixed_precision import to_mixed_precision
from distill.export.runners import Outputs, Runner, open_runner
from distill.export.verification.parity import Parity, ParityResult, ParitySample, Tolerances, generated_samples
from distill.spec import METADATA_KEY, StudentSpec

_SEARCH_SAMPLES = 8
"""Labeled pictures that a candidate is judged on while layers are being sought; the verdict takes all."""
_MOST_TOLD = 5
"""Of the blocks, those whose cost is told; export.json has all."""


@dataclass(frozen=True, slots=True)
class PreparedGraph:
    """A graph in the precision of its target.

    Attributes:
        graph: As it goes into the file.
        emulated_parity: How it compares, if it was gated in another form than the file.
        notes: What was done to it.
        sensitivity: As in `Artifact`.
    """

    graph: Any
    emulated_parity: ParityResult | None = None
    notes: tuple[str, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()


@dataclass
class ExportContext:
    """What every target is made from.

    Attributes:
        spec: The student's spec.
        graph: The float32 ONNX graph.
        compile_student: Writes the student as a compiled torch package: (spec, path, device).
        reference: The student itself.
        samples: Real pictures with their labels; generated ones if there are none.
        calibration: Pictures to draw ranges from; none of `samples`, if there are others.
        folder: Where artifacts go.
        stem: What their names begin with.
        threads: For the engines.
        log: Told what happens.
        measure_blocks: int8: measure what each block alone costs, also if nothing has to stay in float32.
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
    _scratch: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)

    def check_parity(
        self, path: Path, tolerances: Tolerances, samples: Sequence[ParitySample] | None = None
    ) -> ParityResult:
        """How the artifact in this file compares with the student."""
        with open_runner(path, threads=self.threads) as candidate:
            if not tolerances.scores_only:  # sizes that do and do not match, odd ones, both orientations
                probes = Parity(self.reference, candidate, tolerances)
                for sample in generated_samples(self.spec):
                    probes.update(sample)
                if not probes.result().passed:
                    self.log("the two already differ on generated pictures of unusual sizes")
                    return probes.result()
            parity = Parity(self.reference, candidate, tolerances)
            for sample in self.samples if samples is None else samples:
                parity.update(sample)
            return parity.result()

    def quick_parity(self, tolerances: Tolerances) -> Callable[[Any], ParityResult]:
        """The same for a graph in memory, on a few samples: for searching."""
        path = self.scratch_dir() / "candidate.onnx"

        def compare(proto: Any) -> ParityResult:
            onnx.save(proto, path)
            return self.check_parity(path, replace(tolerances, scores_only=True), self.samples[:_SEARCH_SAMPLES])

        return compare

    def scratch_dir(self) -> Path:
        """A folder that goes with the workshop."""
        self._scratch.append(tempfile.TemporaryDirectory(prefix=".export.", dir=self.folder))
        return Path(self._scratch[-1].name)

    def close(self) -> None:
        """Remove what was only on the way."""
        for folder in self._scratch:
            folder.cleanup()

    def example_images(self) -> UInt8[ndarray, "b h w 3"]:
        """One real picture, to look into graphs with."""
        return self.samples[0].rgb[None]

    def spec_for(self, target: str, precision: str) -> StudentSpec:
        """The spec as the artifact carries it."""
        made = {"target": target, "precision": precision}
        return self.spec.model_copy(update={"provenance": {**self.spec.provenance, **made}})


def tolerances_from(config: TargetConfig) -> Tolerances:
    """The tolerances of a target."""
    tolerance = config.tolerance
    return Tolerances.at_level(tolerance.level, tolerance.by_task, tolerance.scores_only)


def prepare_graph(context: ExportContext, config: TargetConfig, scheme: Scheme) -> PreparedGraph:
    """The student's graph in the config's precision."""
    if config.precision == "fp32":
        return PreparedGraph(context.graph)
    return _half(context, config) if config.precision in ("fp16", "bf16") else _eight_bits(context, config, scheme)


def _eight_bits(context: ExportContext, config: TargetConfig, scheme: Scheme) -> PreparedGraph:
    drawn = context.calibration[: config.calibration_images]
    name = "fp8" if config.precision == "fp8" else scheme
    context.log(f"calibrating {name} on {len(drawn)} pictures ({config.calibration_method})")
    images = (picture[None] for picture in drawn)
    quantizer: BlockQuantizer = (
        Fp8Quantizer(context.graph, images, config.calibration_method)
        if config.precision == "fp8"
        else Int8Quantizer(context.graph, images, scheme, config.calibration_method)
    )
    quick_parity = context.quick_parity(tolerances_from(config))
    found = quantize_within_tolerance(quantizer, quick_parity, always_measure=context.measure_blocks, log=context.log)
    notes = [f"{name}, {found.fraction:.0%} of the network's nodes in eight bits"]
    notes += [f"kept in float32: {group}" for group in found.float32_blocks]
    if found.sensitivity:
        worst = ", ".join(f"{row.group} {row.relative_loss:.2f}" for row in found.sensitivity[:_MOST_TOLD])
        notes.append(f"what a block alone costs, as a share of the tolerance of the worst task: {worst}")
    return PreparedGraph(found.proto, None, tuple(notes), found.sensitivity)


def _half(context: ExportContext, config: TargetConfig) -> PreparedGraph:
    assert config.precision in ("fp16", "bf16")
    tolerances = tolerances_from(config)
    lowered = to_mixed_precision(
        context.graph, config.precision, context.example_images(), context.quick_parity(tolerances), log=context.log
    )
    path = context.scratch_dir() / "emulated.onnx"
    onnx.save(lowered.emulated_graph, path)
    notes = [f"kept in float32: {bad}" for bad in lowered.bad_layers]
    notes.append(f"gated on a CPU with every layer rounded to {config.precision}, not on a GPU")
    return PreparedGraph(lowered.half_graph, context.check_parity(path, tolerances), tuple(notes))


def save_graph(graph: Any, spec: StudentSpec, path: Path) -> None:
    """Write a graph with this spec in it."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    kept = {entry.key: entry.value for entry in made.metadata_props}
    onnx.helper.set_model_props(made, {**kept, METADATA_KEY: spec.to_json()})
    onnx.save(made, path)


class CachedRunner(Runner):
    """Another runner's answers, kept by the bytes of the pictures.

    Attributes:
        wrapped: The runner itself, which forgets.
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
