"""Engine `tensorrt`: a kit that builds the engine on its target machine.

The kit is a folder that needs TensorRT (10.12 or later, or 11) and numpy on the target: the ONNX file rewritten for
TensorRT's parser, a trtexec command, a builder and a checker in Python, calibration images, samples with expected
outputs, and tolerances.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from jaxtyping import UInt8
from numpy import ndarray
from onnx import TensorProto, helper

from distill.config.export import TargetConfig
from distill.errors import DistillError
from distill.export.onnx.resize_rewrite import rewrite_resize_as_matmul
from distill.export.runners import Outputs
from distill.export.targets.artifact import Artifact
from distill.export.targets.build_and_verify import file_name, finalize
from distill.export.targets.context import ExportContext, prepare_graph, save_graph, tolerances_from
from distill.export.targets.op_rules import find_op_violations
from distill.export.verification.parity import Tolerances
from distill.export.verification.task_difference import difference_name
from distill.spec import StudentSpec
from distill.tasks import TASKS

_PACKAGE = "distill.export.tensorrt_kit"
_SCRIPTS = {"cuda.py": "trt_cuda.py", "engine.py": "trt_engine.py", "build.py": "build.py", "check.py": "check.py"}
"""Module to its name in a kit, where `cuda` and `build` could hide installed packages."""


def to_tensorrt_onnx(proto: Any, spec: StudentSpec) -> Any:
    """Copy of a graph with only operators and types that TensorRT's parser supports.

    The image is cast to float first, because uint8 is only supported for inputs and outputs of a network; class ids are
    cast to uint8 via float for the same reason; the antialiased resize is replaced by products.

    Raises:
        DistillError: A layer remains that the parser does not support.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    rewrite_resize_as_matmul(made, spec.input.size_hw)
    _cast_input(made, spec.input.name)
    _cast_uint8_via_float(made)
    onnx.checker.check_model(made)
    violations = find_op_violations(made, "tensorrt")
    if violations:
        raise DistillError(
            f"TensorRT's parser would reject {violations[0]}"
            + (f" and {len(violations) - 1} more" * (len(violations) > 1)),
            hint="choose another backbone, or another target",
        )
    return made


def _cast_input(proto: Any, name: str) -> None:
    wanted = f"{name}.float"
    for node in proto.graph.node:
        if node.op_type != "Shape":
            for index, source in enumerate(node.input):
                if source == name:
                    node.input[index] = wanted
    del proto.graph.value_info[:]
    proto.graph.node.insert(
        0, helper.make_node("Cast", [name], [wanted], name="picture/Cast.first", to=TensorProto.FLOAT)
    )


def _cast_uint8_via_float(proto: Any) -> None:
    for node in list(proto.graph.node):
        if node.op_type == "Cast" and helper.get_attribute_value(node.attribute[0]) == TensorProto.UINT8:
            between = f"{node.output[0]}.float"
            at = list(proto.graph.node).index(node)
            cast = helper.make_node("Cast", [node.input[0]], [between], name=f"{node.name}.float", to=TensorProto.FLOAT)
            node.input[0] = between
            proto.graph.node.insert(at, cast)


def write_kit(
    graph: Any,
    spec: StudentSpec,
    config: TargetConfig,
    tolerances: Tolerances,
    samples: Sequence[tuple[UInt8[ndarray, "h w 3"], Outputs]],
    calibration: Sequence[UInt8[ndarray, "h w 3"]],
    folder: Path,
) -> Path:
    """Write the kit.

    Args:
        graph: Result of `to_tensorrt_onnx`, with the spec in its metadata.
        spec: The spec.
        config: Profile and builder options.
        tolerances: For the checker.
        samples: Images with the student's outputs.
        calibration: Images for a calibration on the target.
        folder: New, or replaced file by file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{spec.name}.onnx"
    onnx.save(graph, folder / name)
    stored: dict[str, Any] = {"count": np.int64(len(samples))}
    for index, (image, outputs) in enumerate(samples):
        stored[f"{index}/image"] = image
        stored |= {f"{index}/{key}": value for key, value in outputs.items()}
    np.savez_compressed(folder / "samples.npz", **stored)
    images: dict[str, Any] = {str(index): image for index, image in enumerate(calibration)}
    np.savez_compressed(folder / "calibration.npz", **images)
    for module, copy in _SCRIPTS.items():
        (folder / copy).write_text(_standalone((resources.files(_PACKAGE) / module).read_text()))
    kit = _settings(name, spec, config, tolerances)
    kit["sha256"] = {
        file: hashlib.sha256((folder / file).read_bytes()).hexdigest()
        for file in (name, "samples.npz", "calibration.npz")
    }
    (folder / "trtexec.sh").write_text(_trtexec(kit))
    (folder / "README.md").write_text(_readme(kit))
    (folder / "kit.json").write_text(json.dumps(kit, indent=2))  # last: it marks the kit as complete
    return folder


def _settings(name: str, spec: StudentSpec, config: TargetConfig, tolerances: Tolerances) -> dict[str, Any]:
    profile = config.profile
    fixed = spec.input.fixed_size_hw
    shapes = [
        [batch, *(fixed or size_hw), 3]
        for batch, size_hw in (
            (profile.min_batch, profile.min_image_hw),
            (profile.opt_batch, profile.opt_image_hw),
            (profile.max_batch, profile.max_image_hw),
        )
    ]
    return {
        "format": 2,
        "onnx": name,
        "input": spec.input.name,
        "precision": config.precision,
        "profile": shapes,
        "builder": config.builder.model_dump(mode="json"),
        # An engine adds rounding of its own, and the checker has no labels: it allows at least the device level.
        "tolerances": {
            str(task): max(tolerances.for_task(task), TASKS[task].tolerance["device"]) for task in spec.tasks
        },
        "differences": {str(task): difference_name(task, spec) for task in spec.tasks},
        "spec": json.loads(spec.to_json()),
    }


def _standalone(text: str) -> str:
    for module, copy in _SCRIPTS.items():
        text = text.replace(f"from {_PACKAGE}.{module.removesuffix('.py')} import", f"from {copy[:-3]} import")
    return text


def _trtexec(kit: dict[str, Any]) -> str:
    name, settings = kit["input"], kit["builder"]
    shapes = ["x".join(str(side) for side in shape) for shape in kit["profile"]]
    words = [
        "trtexec",
        f"--onnx={kit['onnx']}",
        f"--saveEngine={Path(kit['onnx']).stem}.engine",
        "--stronglyTyped",
        f"--minShapes={name}:{shapes[0]}",
        f"--optShapes={name}:{shapes[1]}",
        f"--maxShapes={name}:{shapes[2]}",
        f"--builderOptimizationLevel={settings['optimization_level']}",
        f"--memPoolSize=workspace:{int(settings['workspace_gib'] * 1024)}M",
        "--timingCacheFile=timing.cache",
        "--profilingVerbosity=detailed",
    ]
    words += ["--versionCompatible"] * settings["version_compatible"] + ["--stripWeights"] * settings["strip_weights"]
    words += [] if settings["tf32"] else ["--noTF32"]
    hardware = {"ampere_plus": "ampere+", "same_compute_capability": "sameComputeCapability"}.get(settings["hardware"])
    words += [f"--hardwareCompatibilityLevel={hardware}"] if hardware else []
    return (
        "#!/bin/sh\n# The engine without Python; on a Jetson, trtexec is in /usr/src/tensorrt/bin.\n"
        'cd "$(dirname "$0")" || exit 1\n' + " \\\n  ".join(shlex.quote(word) for word in words) + "\n"
    )


def _readme(kit: dict[str, Any]) -> str:
    return f"""# {kit["spec"]["name"]} for TensorRT

Copy this folder to the machine that will run it. It needs TensorRT (10.12 or later, or 11) and numpy.

    python build.py --dry-run     # check the kit, print the settings
    python build.py               # prints the engine's path; rebuilt only if GPU, driver, TensorRT or kit changed
    python check.py --dry-run     # check that the checker detects errors
    python check.py ENGINE        # compares and times the engine; exit code 1 beyond a tolerance

Without Python: `sh trtexec.sh`. Precision ({kit["precision"]}) is in the ONNX file: the network is strongly typed.
An engine runs on the kind of GPU and the version of TensorRT that built it, unless `kit.json` is set otherwise.
`trt_engine.py` has a class to run it; `samples.npz` has images with the student's outputs.
"""


_KIT_SAMPLES = 8
"""Images with expected outputs in a kit: 2 to 3 MB each."""


def build(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """Build the artifact, check it and move it to its name."""
    made = prepare_graph(context, config, "s8s8")
    spec, emulated_parity = context.spec_for(target, config.precision), made.emulated_parity
    path = context.scratch_dir() / "kit.onnx"
    save_graph(to_tensorrt_onnx(made.graph, context.spec), spec, path)
    tolerances = tolerances_from(config)
    # Half precision is checked with rounded layers; the file itself must pass on this CPU too.
    on_cpu = context.check_parity(path, tolerances) if config.precision != "bf16" else emulated_parity
    parity = (
        emulated_parity if emulated_parity is not None and not emulated_parity.passed else (on_cpu or emulated_parity)
    )
    assert parity is not None
    samples = [(sample.rgb, _unbatch(context.reference(sample.rgb[None]))) for sample in context.samples[:_KIT_SAMPLES]]
    folder = write_kit(
        onnx.load(path),
        spec,
        config,
        tolerances,
        samples,
        context.calibration[:_KIT_SAMPLES],
        context.scratch_dir() / file_name(context, target, ".kit"),
    )
    note = "a kit: build.py in the folder builds the engine on its GPU; none was built here"
    return finalize(context, target, config, folder, parity, made, note, runnable=False)


def _unbatch(outputs: Outputs) -> Outputs:
    return {name: value[0] for name, value in outputs.items()}
