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

from distill.config.export import TargetRecipe
from distill.export.onnx.fp8 import Float8Quantizer
from distill.export.onnx.int8 import Blocks, Quantizer, Scheme, Sensitivity, quantize_within
from distill.export.onnx.mixed_precision import lower_with_islands
from distill.export.runners import Outputs, Runner, open_runner
from distill.export.verification.parity import Budgets, Parity, ParityResult, ParitySample, probe_pictures
from distill.spec import METADATA_KEY, StudentSpec

_SEARCH_SAMPLES = 8
"""Labeled pictures that a candidate is judged on while layers are being sought; the verdict takes all."""
_MOST_TOLD = 5
"""Of the blocks, those whose cost is told; export.json has all."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A graph in the precision of its target.

    Attributes:
        graph: As it goes into the file.
        gated: How it compares, if it was gated in another form than the file.
        notes: What was done to it.
        sensitivity: As in `Artifact`.
    """

    graph: Any
    gated: ParityResult | None = None
    notes: tuple[str, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()


@dataclass
class Workshop:
    """What every target is made from.

    Attributes:
        spec: The student's contract.
        graph: The float32 ONNX graph.
        compile_student: Writes the student as a compiled torch package: (contract, path, device).
        reference: The student itself.
        samples: Real pictures with their labels; generated ones if there are none.
        calibration: Pictures to draw ranges from; none of `samples`, if there are others.
        folder: Where artifacts go.
        stem: What their names begin with.
        threads: For the engines.
        say: Told what happens.
        measure_blocks: int8: measure what each block alone costs, also if nothing has to stay in float32.
    """

    spec: StudentSpec
    graph: Any
    compile_student: Callable[[StudentSpec, Path, str], Path]
    reference: Recorded
    samples: Sequence[ParitySample]
    calibration: Sequence[UInt8[ndarray, "h w 3"]]
    folder: Path
    stem: str
    threads: int | None = None
    say: Callable[[str], None] = lambda text: None
    measure_blocks: bool = False
    _scratch: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)

    def gate(self, path: Path, budgets: Budgets, samples: Sequence[ParitySample] | None = None) -> ParityResult:
        """How the artifact in this file compares with the student."""
        with open_runner(path, threads=self.threads) as candidate:
            if not budgets.scores_only:  # sizes that do and do not match, odd ones, both orientations
                probes = Parity(self.reference, candidate, budgets)
                for sample in probe_pictures(self.spec):
                    probes.update(sample)
                if not probes.result().passed:
                    self.say("the two already differ on generated pictures of unusual sizes")
                    return probes.result()
            parity = Parity(self.reference, candidate, budgets)
            for sample in self.samples if samples is None else samples:
                parity.update(sample)
            return parity.result()

    def judge(self, budgets: Budgets) -> Callable[[Any], ParityResult]:
        """The same for a graph in memory, on a few samples: for searching."""
        path = self.scratch() / "candidate.onnx"

        def compare(proto: Any) -> ParityResult:
            onnx.save(proto, path)
            return self.gate(path, replace(budgets, scores_only=True), self.samples[:_SEARCH_SAMPLES])

        return compare

    def scratch(self) -> Path:
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
        """The contract as the artifact carries it."""
        made = {"target": target, "precision": precision}
        return self.spec.model_copy(update={"provenance": {**self.spec.provenance, **made}})


def budgets_of(recipe: TargetRecipe) -> Budgets:
    """The budgets of a target."""
    accuracy = recipe.accuracy
    return Budgets(accuracy.delta1, accuracy.normals_deg, accuracy.miou, accuracy.pmf1, accuracy.scores_only)


def prepare(shop: Workshop, recipe: TargetRecipe, scheme: Scheme) -> Prepared:
    """The student's graph in the recipe's precision."""
    if recipe.precision == "fp32":
        return Prepared(shop.graph)
    return _half(shop, recipe) if recipe.precision in ("fp16", "bf16") else _eight_bits(shop, recipe, scheme)


def _eight_bits(shop: Workshop, recipe: TargetRecipe, scheme: Scheme) -> Prepared:
    drawn = shop.calibration[: recipe.calibration_pictures]
    name = "fp8" if recipe.precision == "fp8" else scheme
    shop.say(f"calibrating {name} on {len(drawn)} pictures ({recipe.calibration})")
    pictures = (picture[None] for picture in drawn)
    quantizer: Blocks = (
        Float8Quantizer(shop.graph, pictures, recipe.calibration)
        if recipe.precision == "fp8"
        else Quantizer(shop.graph, pictures, scheme, recipe.calibration)
    )
    judge = shop.judge(budgets_of(recipe))
    found = quantize_within(quantizer, judge, always_measure=shop.measure_blocks, say=shop.say)
    notes = [f"{name}, {found.share:.0%} of the network's nodes in eight bits"]
    notes += [f"kept in float32: {group}" for group in found.kept]
    if found.sensitivity:
        worst = ", ".join(f"{row.group} {row.damage:.2f}" for row in found.sensitivity[:_MOST_TOLD])
        notes.append(f"what a block alone costs, as a share of the budget of the worst task: {worst}")
    return Prepared(found.proto, None, tuple(notes), found.sensitivity)


def _half(shop: Workshop, recipe: TargetRecipe) -> Prepared:
    assert recipe.precision in ("fp16", "bf16")
    budgets = budgets_of(recipe)
    lowered = lower_with_islands(shop.graph, recipe.precision, shop.example_images(), shop.judge(budgets), say=shop.say)
    path = shop.scratch() / "emulated.onnx"
    onnx.save(lowered.emulated, path)
    notes = [f"float32 island: {bad}" for bad in lowered.broken]
    notes.append(f"gated on a CPU with every layer rounded to {recipe.precision}, not on a GPU")
    return Prepared(lowered.real, shop.gate(path, budgets), tuple(notes))


def save_graph(graph: Any, spec: StudentSpec, path: Path) -> None:
    """Write a graph with this contract in it."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    kept = {entry.key: entry.value for entry in made.metadata_props}
    onnx.helper.set_model_props(made, {**kept, METADATA_KEY: spec.to_json()})
    onnx.save(made, path)


class Recorded(Runner):
    """Another runner's answers, kept by the bytes of the pictures.

    Attributes:
        original: The runner itself, which forgets.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner.name, runner.engine, runner.spec, runner.threads, runner)
        self.original = runner
        self._answers: dict[bytes, Outputs] = {}

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        key = hashlib.blake2b(repr(images.shape).encode() + images.tobytes(), digest_size=16).digest()
        if key not in self._answers:
            self._answers[key] = self._loaded(images)
        return self._answers[key]
