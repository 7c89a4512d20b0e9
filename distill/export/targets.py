"""One trained student, many artefacts: each is made, gated on real pictures, and set aside if it fails.

A file lies under its own name only when its answers are within the budget; else it is named ``*.rejected.*``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.islands import lower_with_islands
from distill.export.openvino import export_openvino
from distill.export.parity import Budgets, Parity, ParityResult, ParitySample, probe_pictures
from distill.export.quantize import Quantiser, Scheme, quantise_within
from distill.export.recorded import Recorded
from distill.export.runners import Outputs, open_runner
from distill.export.tensorrt import in_parsers_terms, write_kit
from distill.export.triton import write_repository
from distill.recipe.target import TargetRecipe
from distill.spec import METADATA_KEY, StudentSpec

_SEARCH_SAMPLES = 8
"""Labelled pictures that a candidate is judged on while layers are being sought; the verdict takes all."""


_KIT_SAMPLES = 8
"""Pictures with expected outputs in a kit: 2 to 3 MB each."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """What came of one target.

    Attributes:
        target: Its name.
        engine: ``onnx``, ``openvino``, ...
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        path: The file or folder; under its own name only if `status` is ``passed``.
        size_bytes: Of all that belongs to it.
        parity: How it compares; None if it could not be made.
        status: ``passed``, ``failed`` (beyond the budget), ``refused`` (of no use here) or ``not made``.
        reason: Why not, with the numbers.
        notes: What was done on the way: layers kept in float32, where it was gated.
        runnable: Whether this machine runs it as it is meant to be run, so that its time means something.
    """

    target: str
    engine: str
    precision: str
    path: Path | None
    size_bytes: int = 0
    parity: ParityResult | None = None
    status: str = "passed"
    reason: str = ""
    notes: tuple[str, ...] = ()
    runnable: bool = True


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
        folder: Where artefacts go.
        stem: What their names begin with.
        threads: For the engines.
        say: Told what happens.
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
    _scratch: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)

    def gate(self, path: Path, budgets: Budgets, samples: Sequence[ParitySample] | None = None) -> ParityResult:
        """How the artefact in this file compares with the student."""
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
        """The contract as the artefact carries it."""
        made = {"target": target, "precision": precision}
        return self.spec.model_copy(update={"provenance": {**self.spec.provenance, **made}})


def budgets_of(recipe: TargetRecipe) -> Budgets:
    """The budgets of a target."""
    accuracy = recipe.accuracy
    return Budgets(accuracy.delta1, accuracy.normals_deg, accuracy.miou, accuracy.pmf1, accuracy.scores_only)


def make(shop: Workshop, target: str, recipe: TargetRecipe) -> Artefact:
    """The artefact of one target, gated; what cannot be made is said in it, and stops no other target."""
    try:
        return _MAKERS[recipe.engine](shop, target, recipe)
    except DistillError as error:
        return Artefact(
            target, recipe.engine, recipe.precision, None, status="not made", reason=str(error), runnable=False
        )


def _make_onnx(shop: Workshop, target: str, recipe: TargetRecipe) -> Artefact:
    graph, gated, notes = graph_for(shop, recipe, "u8s8")
    path = shop.scratch() / _file(shop, target, ".onnx")
    save_graph(graph, shop.spec_for(target, recipe.precision), path)
    parity = gated or shop.gate(path, budgets_of(recipe))
    half = recipe.precision in ("fp16", "bf16")
    return _settle(shop, target, recipe, path, parity, notes, runnable=not half)


def _make_openvino(shop: Workshop, target: str, recipe: TargetRecipe) -> Artefact:
    graph, _, notes = graph_for(shop, recipe, "u8s8")
    folder = shop.scratch()
    onnx.save(graph, folder / "source.onnx")
    path = export_openvino(
        folder / "source.onnx",
        shop.spec_for(target, recipe.precision),
        folder / _file(shop, target, ".xml"),
        compress=recipe.precision in ("fp16", "bf16"),
    )
    return _settle(shop, target, recipe, path, shop.gate(path, budgets_of(recipe)), notes)


def _make_aoti(shop: Workshop, target: str, recipe: TargetRecipe) -> Artefact:
    if recipe.precision != "fp32":
        raise DistillError(f"{target}: compiled students are float32", hint="precision: fp32, or engine: onnx")
    shop.say("compiling ahead of time: a minute or two of g++")
    path = shop.scratch() / _file(shop, target, ".pt2")
    shop.compile_student(shop.spec_for(target, recipe.precision), path, recipe.device)
    return _settle(shop, target, recipe, path, shop.gate(path, budgets_of(recipe)), ())


def _make_tensorrt(shop: Workshop, target: str, recipe: TargetRecipe) -> Artefact:
    graph, gated, notes = graph_for(shop, recipe, "s8s8")
    spec = shop.spec_for(target, recipe.precision)
    path = shop.scratch() / "kit.onnx"
    save_graph(in_parsers_terms(graph, shop.spec), spec, path)
    budgets = budgets_of(recipe)
    # Half precision is judged rounded, layer by layer; the file itself must give the answers too, on this CPU.
    on_cpu = shop.gate(path, budgets) if recipe.precision != "bf16" else gated
    parity = gated if gated is not None and not gated.passed else (on_cpu or gated)
    assert parity is not None
    samples = [(sample.rgb, _first(shop.reference(sample.rgb[None]))) for sample in shop.samples[:_KIT_SAMPLES]]
    folder = write_kit(
        onnx.load(path),
        spec,
        recipe,
        budgets,
        samples,
        shop.calibration[:_KIT_SAMPLES],
        shop.scratch() / _file(shop, target, ".kit"),
    )
    notes = (*notes, "a kit: the engine is built on its GPU, by build.py in the folder; none was built here")
    return _settle(shop, target, recipe, folder, parity, notes, runnable=False)


def _make_triton(shop: Workshop, target: str, recipe: TargetRecipe) -> Artefact:
    spec = shop.spec_for(target, recipe.precision)
    folder = shop.scratch() / _file(shop, target, ".repository")
    graph, gated, notes = graph_for(shop, recipe, "s8s8")
    path = write_repository(lambda file: save_graph(graph, spec, file), graph, spec, recipe.profile.max_batch, folder)
    parity = gated or shop.gate(path, budgets_of(recipe))
    return _settle(shop, target, recipe, folder, parity, (*notes, "not served here: no Triton server"), runnable=False)


def _first(outputs: Outputs) -> Outputs:
    return {name: value[0] for name, value in outputs.items()}


_MAKERS: dict[str, Callable[[Workshop, str, TargetRecipe], Artefact]] = {
    "onnx": _make_onnx,
    "openvino": _make_openvino,
    "aoti": _make_aoti,
    "tensorrt": _make_tensorrt,
    "triton": _make_triton,
}


def graph_for(shop: Workshop, recipe: TargetRecipe, scheme: Scheme) -> tuple[Any, ParityResult | None, tuple[str, ...]]:
    """(graph in the recipe's precision, its parity if it was gated in another form, notes)."""
    if recipe.precision == "fp32":
        return shop.graph, None, ()
    if recipe.precision == "int8":
        return _eight_bits(shop, recipe, scheme)
    return _half(shop, recipe)


def _eight_bits(
    shop: Workshop, recipe: TargetRecipe, scheme: Scheme
) -> tuple[Any, ParityResult | None, tuple[str, ...]]:
    drawn = shop.calibration[: recipe.calibration_pictures]
    shop.say(f"calibrating {scheme} on {len(drawn)} pictures ({recipe.calibration})")
    pictures = (picture[None] for picture in drawn)
    quantiser = Quantiser(shop.graph, pictures, scheme, recipe.calibration)
    found = quantise_within(quantiser, shop.judge(budgets_of(recipe)), say=shop.say)
    notes = [f"{scheme}, {found.share:.0%} of the network's nodes in eight bits"]
    notes += [f"kept in float32: {group}" for group in found.kept]
    return found.proto, None, tuple(notes)


def _half(shop: Workshop, recipe: TargetRecipe) -> tuple[Any, ParityResult | None, tuple[str, ...]]:
    assert recipe.precision in ("fp16", "bf16")
    budgets = budgets_of(recipe)
    lowered = lower_with_islands(shop.graph, recipe.precision, shop.example_images(), shop.judge(budgets), say=shop.say)
    path = shop.scratch() / "emulated.onnx"
    onnx.save(lowered.emulated, path)
    notes = [f"float32 island: {bad}" for bad in lowered.broken]
    notes.append(f"gated on a CPU with every layer rounded to {recipe.precision}, not on a GPU")
    return lowered.real, shop.gate(path, budgets), tuple(notes)


def save_graph(graph: Any, spec: StudentSpec, path: Path) -> None:
    """Write a graph with this contract in it."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    kept = {entry.key: entry.value for entry in made.metadata_props}
    onnx.helper.set_model_props(made, {**kept, METADATA_KEY: spec.to_json()})
    onnx.save(made, path)


def _file(shop: Workshop, target: str, suffix: str) -> str:
    """``nano.onnx``, ``nano.int8.onnx``, ``nano.xml``: the target's name less what the suffix says."""
    extra = target.removeprefix("onnx").removeprefix("openvino").removeprefix("aoti").strip("-")
    return f"{shop.stem}.{extra}{suffix}" if extra else f"{shop.stem}{suffix}"


def _settle(
    shop: Workshop,
    target: str,
    recipe: TargetRecipe,
    made: Path,
    parity: ParityResult,
    notes: tuple[str, ...],
    *,
    runnable: bool = True,
) -> Artefact:
    """Move what was made under its name, or under that of the rejected."""
    path = shop.folder / made.name
    status, reason = ("passed", "") if parity.passed else ("failed", explain(parity))
    path = move_files(made, path if parity.passed else rejected(path))
    size_bytes = sum(file.stat().st_size for file in files_of(path))
    return Artefact(target, recipe.engine, recipe.precision, path, size_bytes, parity, status, reason, notes, runnable)


def explain(parity: ParityResult) -> str:
    """What is beyond the budget, with the numbers."""
    return "; ".join(
        f"{task.task} changes by {task.change:.4g} in {task.measure}, the budget is {task.budget:g}"
        for task in parity.tasks
        if not task.passed
    )


def rejected(path: Path) -> Path:
    """The name under which a file that failed is kept."""
    return path.with_name(f"{path.stem}.rejected{path.suffix}")


def files_of(path: Path) -> list[Path]:
    """The files that belong to an artefact: OpenVINO's are two, a kit is a folder."""
    if path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.is_file()]
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def move_files(made: Path, path: Path) -> Path:
    """Move an artefact, the file that is opened last."""
    if made.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        made.replace(path)
        return path
    for file in reversed(files_of(made)):
        file.replace(path.with_suffix(file.suffix))
    return path


def set_aside(artefact: Artefact, reason: str) -> Artefact:
    """The artefact under the name of the rejected, refused for this reason."""
    assert artefact.path is not None
    return replace(artefact, path=move_files(artefact.path, rejected(artefact.path)), status="refused", reason=reason)
