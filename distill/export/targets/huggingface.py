"""Engine `huggingface`: a folder that can be pushed to a model hub as it is; nothing is sent."""

from __future__ import annotations

import shutil

from distill.config.export import TargetConfig
from distill.errors import DistillError
from distill.export.targets.artifact import Artifact
from distill.export.targets.build_and_verify import file_name, finalize
from distill.export.targets.context import ExportContext, prepare_graph, save_graph, tolerances_from
from distill.export.targets.model_card import license_table, model_card_text
from distill.spec import StudentSpec, write_spec

CARD, LICENSES, WEIGHTS = "README.md", "LICENSES.md", "weights.safetensors"


def build(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """Write weights, spec, ONNX file, card and license notices; the ONNX file is compared with the student.

    Raises:
        DistillError: The weights of the run cannot be copied.
    """
    spec = context.spec_for(target, config.precision)
    folder = context.scratch_dir() / file_name(context, target, ".huggingface").replace(f".{target}.", ".")
    folder.mkdir()
    made = prepare_graph(context, config, "u8s8")
    path = folder / f"{context.stem}.onnx"
    save_graph(made.graph, spec, path)
    parity = made.emulated_parity or context.check_parity(path, tolerances_from(config))
    source = context.run / WEIGHTS
    try:
        shutil.copyfile(source, folder / WEIGHTS)
    except OSError as error:
        raise DistillError(f"{source}: cannot be copied: {error.strerror or error}") from error
    write_spec(folder / "spec.json", context.spec)
    card = model_card_text(
        spec, file=path.name, parity=parity.to_dict()["tasks"], scores=context.scores, license_file=LICENSES
    )
    (folder / CARD).write_text(card, encoding="utf-8")
    (folder / LICENSES).write_text(license_notices(spec), encoding="utf-8")
    return finalize(context, target, config, folder, parity, made, "nothing was uploaded", runnable=False)


def license_notices(spec: StudentSpec) -> str:
    """Notices of the training labels as Markdown."""
    return (
        "# Licenses\n\nThis student was trained on labels under these terms. Choose a license of its own that respects"
        f" them, and set it in {CARD}.\n\n{license_table(spec)}\n"
    )
