"""The model card states the facts of the spec."""

from __future__ import annotations

from pathlib import Path

import yaml

from distill.export.targets.model_card import model_card_text, strictest_license_class, write_model_card
from distill.licenses import LicenseClass
from distill.spec import DepthSpec, InputSpec, NormalsSpec, SemanticSpec, StudentSpec


def spec_of(**more: object) -> StudentSpec:
    return StudentSpec(
        name="nano",
        backbone="mobilenetv4_conv_small_050",
        input=InputSpec(size_hw=(192, 256)),
        depth=DepthSpec(),
        normals=NormalsSpec(),
        semantic=SemanticSpec(classes=("road", "car")),
        **more,
    )


def test_the_card_names_every_license_with_class_and_terms(tmp_path: Path) -> None:
    spec = spec_of(
        licenses=("Apache-2.0", "CC-BY-NC-4.0", "restricted (Gemini API Additional Terms)"),
        terms={"restricted (Gemini API Additional Terms)": "https://ai.google.dev/gemini-api/terms"},
        provenance={"teachers": "a, b", "photos": "640"},
    )
    write_model_card(tmp_path / "card.md", spec, file="nano.onnx")
    text = (tmp_path / "card.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "other" and header["license_name"] == "labels-non-commercial"
    assert header["pipeline_tag"] == "depth-estimation"
    assert "| Apache-2.0 | commercial" in text and "| CC-BY-NC-4.0 | non-commercial" in text
    assert "https://ai.google.dev/gemini-api/terms" in text and "not stated" in text
    assert "Teachers: a, b." in text and "640" in text
    for name in ("depth", "normals", "semantic"):
        assert f"`{name}`" in text


def test_labels_without_a_license_are_unknown() -> None:
    assert strictest_license_class(spec_of()) is LicenseClass.UNKNOWN
    assert "| unknown | unknown: not stated" in model_card_text(spec_of(), file="nano.onnx")


def test_the_comparison_is_shown() -> None:
    rows = [{"task": "depth", "measure": "delta1", "reference": 0.98765432, "candidate": 0.98765, "passed": True}]
    assert "| depth | delta1 | 0.9877 | 0.9877 |" in model_card_text(spec_of(), file="nano.onnx", parity=rows)
