"""One trained student, many artifacts: each is made, gated on real pictures, and set aside if it fails.

A file lies under its own name only when its answers are within the budget; else it is named ``*.rejected.*``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from distill.config.export import TargetRecipe
from distill.errors import DistillError
from distill.export.onnx.int8 import damage
from distill.export.runners import Outputs
from distill.export.targets.artifact import Artifact, explain, files_of, move_files, rejected, set_aside
from distill.export.targets.context import Prepared, Workshop, budgets_of, prepare, save_graph
from distill.export.targets.openvino import export_openvino
from distill.export.targets.tensorrt import in_parsers_terms, write_kit
from distill.export.targets.triton import write_repository
from distill.export.verification.parity import ParityResult
from distill.export.verification.regression import compare_calls
from distill.export.verification.timing import Timing

_KIT_SAMPLES = 8
"""Pictures with expected outputs in a kit: 2 to 3 MB each."""


def make(shop: Workshop, target: str, recipe: TargetRecipe) -> Artifact:
    """The artifact of one target, gated; what cannot be made is said in it, and stops no other target."""
    try:
        return _MAKERS[recipe.engine](shop, target, recipe)
    except DistillError as error:
        return Artifact(
            target, recipe.engine, recipe.precision, None, status="not made", reason=str(error), runnable=False
        )


def _make_onnx(shop: Workshop, target: str, recipe: TargetRecipe) -> Artifact:
    made = prepare(shop, recipe, "u8s8")
    path = shop.scratch() / _file(shop, target, ".onnx")
    save_graph(made.graph, shop.spec_for(target, recipe.precision), path)
    parity = made.gated or shop.gate(path, budgets_of(recipe))
    half = recipe.precision in ("fp16", "bf16")
    return _settle(shop, target, recipe, path, parity, made, runnable=not half)


def _make_openvino(shop: Workshop, target: str, recipe: TargetRecipe) -> Artifact:
    made = prepare(shop, recipe, "u8s8")
    folder = shop.scratch()
    onnx.save(made.graph, folder / "source.onnx")
    path = export_openvino(
        folder / "source.onnx",
        shop.spec_for(target, recipe.precision),
        folder / _file(shop, target, ".xml"),
        compress=recipe.precision in ("fp16", "bf16"),
    )
    return _settle(shop, target, recipe, path, shop.gate(path, budgets_of(recipe)), made)


def _make_aoti(shop: Workshop, target: str, recipe: TargetRecipe) -> Artifact:
    if recipe.precision != "fp32":
        raise DistillError(f"{target}: compiled students are float32", hint="precision: fp32, or engine: onnx")
    shop.say("compiling ahead of time: a minute or two of g++")
    path = shop.scratch() / _file(shop, target, ".pt2")
    shop.compile_student(shop.spec_for(target, recipe.precision), path, recipe.device)
    return _settle(shop, target, recipe, path, shop.gate(path, budgets_of(recipe)), Prepared(shop.graph))


def _make_tensorrt(shop: Workshop, target: str, recipe: TargetRecipe) -> Artifact:
    made = prepare(shop, recipe, "s8s8")
    spec, gated = shop.spec_for(target, recipe.precision), made.gated
    path = shop.scratch() / "kit.onnx"
    save_graph(in_parsers_terms(made.graph, shop.spec), spec, path)
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
    said = "a kit: the engine is built on its GPU, by build.py in the folder; none was built here"
    return _settle(shop, target, recipe, folder, parity, made, said, runnable=False)


def _make_triton(shop: Workshop, target: str, recipe: TargetRecipe) -> Artifact:
    spec = shop.spec_for(target, recipe.precision)
    folder = shop.scratch() / _file(shop, target, ".repository")
    made = prepare(shop, recipe, "s8s8")
    graph = made.graph
    path = write_repository(lambda file: save_graph(graph, spec, file), graph, spec, recipe.profile.max_batch, folder)
    parity = made.gated or shop.gate(path, budgets_of(recipe))
    return _settle(shop, target, recipe, folder, parity, made, "not served here: no Triton server", runnable=False)


def _first(outputs: Outputs) -> Outputs:
    return {name: value[0] for name, value in outputs.items()}


_MAKERS: dict[str, Callable[[Workshop, str, TargetRecipe], Artifact]] = {
    "onnx": _make_onnx,
    "openvino": _make_openvino,
    "aoti": _make_aoti,
    "tensorrt": _make_tensorrt,
    "triton": _make_triton,
}


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
    prepared: Prepared,
    *more: str,
    runnable: bool = True,
) -> Artifact:
    """Move what was made under its name, or under that of the rejected."""
    path = shop.folder / made.name
    status, reason = ("passed", "") if parity.passed else ("failed", explain(parity))
    path = move_files(made, path if parity.passed else rejected(path))
    size_bytes = sum(file.stat().st_size for file in files_of(path))
    return Artifact(
        target,
        recipe.engine,
        recipe.precision,
        path,
        size_bytes,
        parity,
        status,
        reason,
        (*prepared.notes, *more),
        runnable,
        prepared.sensitivity,
    )


def refuse_slow(artifact: Artifact, made: Sequence[Artifact], timings: Sequence[Timing], min_gain: float) -> Artifact:
    """An int8 artifact is refused if it is slower than its float32 sibling anywhere, or gains too little everywhere."""
    sibling = next((other for other in made if other.engine == artifact.engine and other.precision == "fp32"), None)
    if artifact.precision != "int8" or artifact.status != "passed" or sibling is None:
        return artifact
    found = [
        compare_calls(theirs.calls_ms, ours.calls_ms, f"batch {ours.batch}")
        for ours in timings
        for theirs in timings
        if (ours.subject, theirs.subject) == (artifact.target, sibling.target) and ours.batch == theirs.batch
    ]
    words = "; ".join(f"{row.new_ms:.2f} ms against {row.base_ms:.2f} ms in float32 at {row.series}" for row in found)
    if any(row.verdict == "slower" for row in found):
        return set_aside(artifact, f"slower than {sibling.target} on this machine: {words}")
    gain = max((row.base_ms / row.new_ms for row in found), default=min_gain)
    if found and (gain < min_gain or not any(row.verdict == "faster" for row in found)):
        used = f"; it takes {damage(artifact.parity):.0%} of the accuracy budget" if artifact.parity else ""
        return set_aside(
            artifact,
            f"{gain:.2f} times the images/s of {sibling.target} at best on this machine, and {min_gain:g} times are"
            f" asked for (--min-gain): {words}{used}",
        )
    return replace(artifact, notes=(*artifact.notes, words)) if found else artifact
